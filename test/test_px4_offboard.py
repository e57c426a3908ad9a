# Copyright 2026 The edge_vla authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


"""PX4's offboard control against a simulated PX4: no heartbeat without a fresh, valid command."""

from dataclasses import replace
import math

from edge_vla.autopilot.freshness import Freshness, FUTURE_S
from edge_vla.autopilot.px4_offboard import Px4Offboard
from edge_vla.autopilot.px4_requests import ARM_DISARM, OFFBOARD, SET_MODE, Vehicle
from edge_vla.autopilot.timesync import JUMPED, Timesync, WINDOW
from edge_vla.config import Px4Config
from hypothesis import example, given, settings, strategies as st
from px4_simulation import HOLD, LOSS_S, POSITION, SimulatedPx4
import pytest

NORTH = (1.0, 0.0, 0.0, 0.0)  # level, nose north
CONFIG = Px4Config(allow_commands=True)
STEP = 0.05
EPOCH_NS = 1_700_000_000 * 10**9  # of the clock of the stamps


class Loop:
    """Pilot, bridge and PX4 on one timeline; every link and habit can be broken."""

    def __init__(self, config: Px4Config = CONFIG) -> None:
        self.config = config
        self.bridge, self.px4 = Px4Offboard(config), SimulatedPx4()
        self.now = 100.0
        self.pilot = self.images = self.odometry = self.status = True
        self.clock_runs = True
        self.clock_ns, self.stamp_ns = EPOCH_NS, EPOCH_NS
        self.velocity, self.yaw_rate, self.skew_ns = (0.5, 0.0, 0.0), 0.0, 0
        self.heartbeats: list[float] = []
        self.advanced_at = self.odometry_at = self.status_at = -math.inf
        self.sent_ns = 0

    def step(self) -> None:
        """Let one period pass."""
        self.now += STEP
        if self.clock_runs:
            self.clock_ns += round(STEP * 1e9)
        px4, bridge = self.px4, self.bridge
        px4.advance(self.now)
        if self.status:
            bridge.hear_vehicle(self.now, px4.status())
            self.status_at = self.now
        if self.odometry:
            bridge.hear_attitude(self.now, NORTH)
            self.odometry_at = self.now
        command = bridge.tick(self.now)
        if command is not None:
            answer = px4.obey(self.now, command)
            if answer is not None:
                bridge.hear_ack(self.now, *answer)
        if self.pilot:
            if self.images and self.clock_ns > self.stamp_ns:
                self.stamp_ns = self.clock_ns
            if self.stamp_ns + self.skew_ns != self.sent_ns:
                self.sent_ns, self.advanced_at = self.stamp_ns + self.skew_ns, self.now
            setpoint = bridge.command(self.now, self.clock_ns, self.sent_ns, self.velocity,
                                      self.yaw_rate)
            if setpoint is not None:
                self.heartbeats.append(self.now)
                px4.hear_heartbeat(self.now, setpoint)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.step()

    def ask(self, kind: str, seconds: float = 6.0):  # noqa: ANN201
        """Make a request and wait for its end."""
        request = self.bridge.request(self.now, kind)
        for _ in range(round(seconds / STEP)):
            if request.outcome:
                break
            self.step()
        return request

    def fly(self) -> 'Loop':
        """Stream, arm and enter offboard."""
        self.run(1.5)
        assert self.ask('arm').success and self.ask('offboard').success
        assert self.px4.armed and self.px4.nav_state == OFFBOARD
        return self


def test_nothing_happens_by_itself() -> None:
    loop = Loop()
    loop.run(20.0)
    assert loop.heartbeats and not loop.px4.commands
    assert not loop.px4.armed and loop.px4.nav_state == POSITION


@pytest.mark.parametrize('kind', ['arm', 'disarm', 'offboard', 'hold'])
def test_requests_are_off_by_default(kind: str) -> None:
    loop = Loop(Px4Config())
    loop.run(2.0)
    request = loop.bridge.request(loop.now, kind)
    assert not request.success and 'px4.allow_commands' in request.outcome
    loop.run(2.0)
    assert not loop.px4.commands


def test_a_flight_from_arming_to_disarming() -> None:
    loop = Loop().fly()
    assert loop.px4.setpoint.velocity == pytest.approx((0.5, 0.0, 0.0))
    assert loop.bridge.state(loop.now) == 'flying offboard'
    loop.velocity, loop.yaw_rate = (0.0, 0.4, 0.3), 0.7  # left of north is west; up is not down
    loop.run(0.2)
    assert loop.px4.setpoint.velocity == pytest.approx((0.0, -0.4, -0.3))
    assert loop.px4.setpoint.yaw_rate == pytest.approx(-0.7)
    assert loop.ask('hold').success and loop.px4.nav_state == HOLD
    assert loop.ask('disarm').success and not loop.px4.armed
    assert {c for _, c in loop.px4.commands} == {ARM_DISARM, SET_MODE}


@pytest.mark.parametrize(('change', 'said'), [
    ({'pilot': False}, ''),
    ({'velocity': (math.nan, 0.0, 0.0)}, 'not finite'),
    ({'velocity': (0.0, math.inf, 0.0)}, 'not finite'),
    ({'yaw_rate': math.nan}, 'not finite'),
    ({'velocity': (9.0, 0.0, 0.0)}, 'more than 5'),
    ({'yaw_rate': -4.0}, 'more than 3'),
    ({'odometry': False}, 'no odometry'),
    ({'images': False}, 'answers an image'),
    ({'skew_ns': -2 * 10**9}, 'answers an image'),
    ({'skew_ns': 2 * 10**9}, 'clocks'),
    ({'clock_runs': False}, 'no new image'),
    ({'status': False}, 'PX4 is not heard'),
])
def test_the_stream_stops_and_the_failsafe_takes_over(change: dict, said: str) -> None:
    loop = Loop().fly()
    for name, value in change.items():
        setattr(loop, name, value)
    loop.run(1.0 + CONFIG.max_status_age)
    known = len(loop.heartbeats)
    loop.run(LOSS_S + 1.0)
    assert len(loop.heartbeats) == known, 'a heartbeat without a fresh valid command'
    assert loop.px4.failsafe and loop.px4.nav_state == HOLD
    assert said in loop.bridge.reason
    # all is well again: it does not take the vehicle back by itself
    for name in change:
        setattr(loop, name, getattr(Loop(), name))
    loop.run(5.0)
    assert len(loop.heartbeats) == known and loop.px4.nav_state == HOLD
    assert 'interrupted' in loop.bridge.reason
    # until the pilot at the switch chooses another mode, and offboard again
    assert loop.px4.choose(loop.now, POSITION)
    loop.run(1.5)
    assert len(loop.heartbeats) > known and loop.px4.choose(loop.now, OFFBOARD)
    loop.run(2.0)
    assert loop.px4.nav_state == OFFBOARD and loop.px4.entered_by_itself == 0


@pytest.mark.parametrize(('gap', 'resumes'), [(0.3, True), (0.7, False)])
def test_a_short_gap_is_bridged_by_px4_a_longer_one_is_an_interruption(gap: float,
                                                                       resumes: bool) -> None:
    loop = Loop().fly()
    loop.pilot = False
    loop.run(gap)
    loop.pilot = True
    known = len(loop.heartbeats)
    loop.run(2.0)
    assert (len(loop.heartbeats) > known) == resumes == (loop.px4.nav_state == OFFBOARD)
    assert loop.px4.failsafe != resumes and loop.px4.entered_by_itself == 0


def test_a_bridge_that_starts_anew_does_not_take_a_vehicle_in_failsafe() -> None:
    loop = Loop().fly()
    loop.pilot = False
    loop.run(2.0)
    assert loop.px4.failsafe
    loop.bridge, loop.pilot = Px4Offboard(CONFIG), True
    known = len(loop.heartbeats)
    loop.run(3.0)
    assert len(loop.heartbeats) == known and loop.px4.nav_state == HOLD


def test_braking_zeros_of_a_blind_pilot_pass_for_a_while() -> None:
    loop = Loop().fly()
    loop.images = False
    loop.run(0.4)
    loop.velocity = (0.0, 0.0, 0.0)
    loop.run(0.4)
    assert loop.px4.setpoint.velocity == pytest.approx((0.0, 0.0, 0.0))
    assert loop.heartbeats[-1] == loop.now


def test_requests_that_px4_refuses_are_reported() -> None:
    loop = Loop()
    loop.run(2.0)
    loop.px4.checks_pass = False
    request = loop.ask('arm')
    assert not request.success and 'rejected for now' in request.outcome
    loop.px4.checks_pass, loop.px4.accepts_offboard = True, False
    assert loop.ask('arm').success
    request = loop.ask('offboard')
    assert not request.success and 'denied' in request.outcome
    assert loop.px4.nav_state == POSITION


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    loop = Loop()
    loop.run(2.0)
    loop.px4.deaf = True
    request = loop.bridge.request(loop.now, 'arm')
    loop.run(0.8)
    loop.px4.deaf = False
    loop.run(1.0)
    assert request.success and request.sent > 1
    loop.px4.deaf = True
    request = loop.ask('disarm')
    assert not request.success and 'did not answer within 3 s' in request.outcome
    count = request.sent
    loop.run(3.0)
    assert request.sent == count <= 7


def test_what_px4_accepts_but_does_not_do_is_no_success() -> None:
    bridge = Px4Offboard(CONFIG)
    sent = 0
    vehicle = Vehicle(armed=False, nav_state=POSITION, intention=POSITION)
    bridge.hear_vehicle(0.0, vehicle)
    request = bridge.request(0.0, 'arm')
    for k in range(100):
        now = k * STEP
        bridge.hear_vehicle(now, vehicle)
        if bridge.tick(now) is not None:
            sent += 1
            bridge.hear_ack(now, ARM_DISARM, 5)  # in progress
            bridge.hear_ack(now, SET_MODE, 2)  # somebody else's
            bridge.hear_ack(now, ARM_DISARM, 0)
    assert sent == 1 and not request.success and 'did not do it' in request.outcome


def test_offboard_needs_a_stream_before_and_meanwhile() -> None:
    loop = Loop()
    loop.run(0.5)
    assert 'needs 1 s of commands' in loop.bridge.request(loop.now, 'offboard').outcome
    loop.run(1.5)
    loop.px4.deaf = True
    request = loop.bridge.request(loop.now, 'offboard')
    assert '"offboard" is still under way' in loop.bridge.request(loop.now, 'arm').outcome
    loop.pilot = False
    loop.run(1.0)
    assert 'the commands of the pilot stopped' in request.outcome
    loop.px4.deaf = False
    loop.run(5.0)
    assert loop.px4.commands == [] and loop.px4.nav_state == POSITION


def test_losing_px4_ends_a_request_and_it_may_come_back() -> None:
    loop = Loop()
    loop.run(2.0)
    loop.px4.deaf = True
    request = loop.bridge.request(loop.now, 'arm')
    loop.status = False
    loop.run(CONFIG.max_status_age + 0.5)
    assert 'not heard any more' in request.outcome
    assert 'PX4 is not heard' in loop.bridge.request(loop.now, 'arm').outcome
    assert loop.bridge.state(loop.now) == 'PX4 is not heard'
    loop.px4, loop.status = SimulatedPx4(), True  # it has rebooted
    loop.run(2.0)
    assert loop.ask('arm').success


FAULTS = st.one_of(
    *(st.tuples(st.just(name), st.booleans())
      for name in ('pilot', 'images', 'odometry', 'status', 'clock_runs')),
    st.tuples(st.just('velocity'), st.sampled_from(
        [(0.5, 0.0, 0.0), (0.0, 0.0, 0.0), (math.nan, 0.0, 0.0), (0.0, 20.0, 0.0)])),
    st.tuples(st.just('yaw_rate'), st.sampled_from([0.0, 0.5, math.inf])),
    st.tuples(st.just('skew_ns'), st.sampled_from([0, -3 * 10**9, 3 * 10**9, -10**7])),
    st.tuples(st.just('px4'), st.sampled_from(
        ['reboot', 'deaf', 'hears', 'mute', 'speaks', 'checks fail', 'checks pass'])),
    st.tuples(st.just('user'), st.sampled_from([POSITION, OFFBOARD, HOLD])),
    st.tuples(st.just('ask'), st.sampled_from(['arm', 'disarm', 'offboard', 'hold'])))


@settings(max_examples=150)
@given(st.booleans(), st.booleans(),
       st.lists(st.tuples(st.integers(1, 60), FAULTS), min_size=1, max_size=25))
@example(False, True, [(1, ('pilot', True)), (3, ('pilot', False)), (18, ('user', OFFBOARD)),
                       (1, ('ask', 'arm'))])
def test_no_heartbeat_without_a_fresh_valid_command(flying: bool, allowed: bool,
                                                    schedule: list) -> None:
    loop = Loop()
    if flying:
        loop.fly()
    # the vehicle flies on, whatever the second setting allows from here
    config = replace(CONFIG, allow_commands=allowed)
    loop.config = loop.bridge.config = config
    loop.px4.commands.clear()
    asked = 0
    for steps, (name, value) in schedule:
        if name == 'px4':
            if value == 'reboot':
                loop.px4 = SimulatedPx4()
            elif value in ('deaf', 'hears'):
                loop.px4.deaf = value == 'deaf'
            elif value in ('mute', 'speaks'):
                loop.px4.mute = value == 'mute'
            else:
                loop.px4.checks_pass = value == 'checks pass'
        elif name == 'user':
            loop.px4.choose(loop.now, value)
        elif name == 'ask':
            asked += loop.bridge.request(loop.now, value).outcome == ''
        else:
            setattr(loop, name, value)
        for _ in range(steps):
            before, commands = len(loop.heartbeats), len(loop.px4.commands)
            loop.step()
            sent = len(loop.heartbeats) > before
            if sent:  # judged by what the pilot really did, not by what the bridge believes
                assert loop.pilot
                assert all(math.isfinite(v) for v in (*loop.velocity, loop.yaw_rate))
                assert math.hypot(*loop.velocity) <= config.max_speed
                assert loop.now - loop.advanced_at <= config.max_frame_age + STEP
                age = (loop.clock_ns - loop.stamp_ns - loop.skew_ns) * 1e-9
                assert -FUTURE_S <= age <= config.max_frame_age
                assert loop.now - loop.odometry_at <= config.max_odometry_age + STEP
                assert loop.now - loop.status_at <= config.max_status_age + STEP
            if len(loop.px4.commands) > commands:
                assert allowed and asked
            if loop.heartbeats and loop.now - loop.heartbeats[-1] > LOSS_S + STEP:
                assert not (loop.px4.armed and loop.px4.nav_state == OFFBOARD)
    if ('status', False) not in [fault for _, fault in schedule]:
        assert loop.px4.entered_by_itself == 0


@given(st.lists(st.tuples(st.floats(0.0, 0.3), st.integers(-10**9, 10**9),
                          st.integers(-10**9, 10**9)), max_size=80))
def test_a_stamp_that_stands_still_never_stays_fresh(arrivals: list) -> None:
    fresh = Freshness(0.5, 5.0, 3.0)
    now, last, first = 0.0, None, {}
    for pause, clock, stamp in arrivals:
        now += pause
        said = fresh.judge(now, EPOCH_NS + clock, EPOCH_NS + stamp, (0, 0, 0), 0.0)
        if stamp != last:
            first[stamp] = now
        last = stamp if not said else last
        if not said:
            assert now - first[stamp] <= 0.5 + 1e-9
    stamp = fresh._newest_ns or EPOCH_NS
    for k in range(20):  # two clocks that disagree change nothing about it
        fresh.judge(now + 0.1 * k, stamp + (k % 2) * 10**8, stamp, (0, 0, 0), 0.0)
    assert fresh.judge(now + 2.0, stamp, stamp, (0, 0, 0), 0.0)


def test_one_stamp_from_the_future_does_not_block_the_rest() -> None:
    fresh = Freshness(0.5, 5.0, 3.0)
    assert 'ahead' in fresh.judge(0.0, EPOCH_NS, 2 * EPOCH_NS, (0, 0, 0), 0.0)
    assert fresh.judge(0.1, EPOCH_NS + 10**8, EPOCH_NS + 10**8, (0, 0, 0), 0.0) == ''


def test_a_simulation_that_starts_again_is_followed() -> None:
    fresh = Freshness(0.5, 5.0, 3.0)
    assert fresh.judge(0.0, 10**11, 10**11, (0, 0, 0), 0.0) == ''
    assert 'older' in fresh.judge(0.1, 10**11 + 10**8, 10**11 - 1, (0, 0, 0), 0.0)
    assert fresh.judge(0.2, 10**8, 10**8, (0, 0, 0), 0.0) == ''
    assert fresh.judge(0.3, 2 * 10**8, 2 * 10**8, (0, 0, 0), 0.0) == ''


@given(st.integers(-10**15, 10**15), st.lists(st.integers(0, 400_000), min_size=1, max_size=300))
def test_timesync_finds_the_offset_below_every_delay(offset_us: int, delays_us: list) -> None:
    sync = Timesync()
    for k, delay in enumerate(delays_us):
        there = 10**15 + k * 10_000
        assert sync.hear((there + offset_us + delay) * 1000, there)
    recent = delays_us[-WINDOW:]
    assert sync.offset_ns == (offset_us + min(recent)) * 1000
    there = 10**15 + 12_345
    assert sync.to_there_us(sync.to_here_ns(there)) == there and sync.jumps == 0


@given(st.sampled_from([-10**9, 10**9, 3600 * 10**6]), st.integers(0, 2**32))
def test_timesync_believes_a_clock_set_anew_but_no_single_message(jump_us: int,
                                                                  start: int) -> None:
    sync = Timesync()
    for k in range(50):
        sync.hear((start + k * 10_000 + 500) * 1000, start + 10**10 + k * 10_000)
    before = sync.offset_ns
    here = start + 500_000
    assert not sync.hear((here + 500) * 1000, here + 10**10 + jump_us)
    assert sync.hear((here + 10_500) * 1000, here + 10**10 + 10_000)
    assert sync.offset_ns == before and sync.jumps == 0
    heard = [sync.hear((here + k * 10_000 + 500) * 1000, here + 10**10 + jump_us + k * 10_000)
             for k in range(2, 12)]
    assert heard == [False] * (JUMPED - 1) + [True] * (11 - JUMPED) and sync.jumps == 1
    assert sync.offset_ns == before - jump_us * 1000


def test_timesync_without_a_stamp_says_so() -> None:
    with pytest.raises(ValueError, match='no stamp'):
        Timesync().to_there_us(0)
    sync = Timesync()
    sync.hear(10**9, 10**9)
    assert sync.to_there_us(-10**18) == 0
