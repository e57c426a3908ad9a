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


"""The safety gate: whatever comes in, what goes out is finite, limited and slewed."""

import math

from edge_vla.config import SafetyConfig
from edge_vla.datatypes import Action
from edge_vla.exceptions import ConfigError
from edge_vla.safety import SafetyGate
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

C = SafetyConfig()
FRAME_NS = 33_333_333
anything = st.floats(allow_nan=True, allow_infinity=True)
actions = st.lists(st.tuples(st.lists(anything, min_size=3, max_size=3), anything,
                             st.integers(-10**9, 10**9)), min_size=1, max_size=30)


def action(stamp_ns: int, x: float = 0., y: float = 0., z: float = 0.,
           rate: float = 0.) -> Action:
    return Action(stamp_ns, np.array([x, y, z]), rate)


def settle(gate: SafetyGate, frames: int = 60, **wanted: float):  # noqa: ANN201
    for k in range(1, frames + 1):
        command = gate.filter(action(k * FRAME_NS, **wanted))
    return command


@settings(max_examples=200, deadline=None)
@given(actions)
def test_every_command_is_finite_limited_and_slewed(inputs: list) -> None:
    gate, last, stamp = SafetyGate(C), np.zeros(4), 0
    for velocity, rate, step in inputs:
        before, stamp = stamp, stamp + step
        c = gate.filter(Action(stamp, np.array(velocity), rate))
        now = np.array([*c.velocity, c.yaw_rate])
        assert np.isfinite(now).all()
        assert -C.max_backward - 1e-9 <= now[0] <= C.max_forward + 1e-9
        assert abs(now[1]) <= C.max_lateral + 1e-9 and abs(now[2]) <= C.max_vertical + 1e-9
        assert np.linalg.norm(now[:3]) <= C.max_speed + 1e-9
        assert abs(now[3]) <= C.max_yaw_rate + 1e-9
        longest = max(.1, 1 / 30) if stamp <= before else min(.1, (stamp - before) * 1e-9)
        longest = max(longest, 1 / 30)
        assert np.linalg.norm(now[:3] - last[:3]) <= C.max_acceleration * longest + 1e-6
        assert abs(now[3] - last[3]) <= C.max_yaw_acceleration * longest + 1e-6
        finite = np.isfinite(velocity).all() and math.isfinite(rate)
        assert (c.state == 'rejected') == (not finite)
        last = now


def test_a_reachable_action_passes_unchanged() -> None:
    c = settle(SafetyGate(C), x=.5, y=-.3, z=.2, rate=.4)
    assert c.velocity == pytest.approx((.5, -.3, .2)) and c.yaw_rate == pytest.approx(.4)
    assert c.state == 'ok' and c.stamp_ns == 60 * FRAME_NS


def test_too_much_is_scaled_not_turned() -> None:
    c = settle(SafetyGate(SafetyConfig(max_speed=.5)), x=1.0, y=1.0)
    assert c.state == 'limited'
    assert c.velocity[0] == pytest.approx(c.velocity[1])
    assert math.hypot(*c.velocity) == pytest.approx(.5)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_stale_commands_reach_zero_in_the_ramp_time(age: float) -> None:
    gate = SafetyGate(C)
    settle(gate, x=1.2)
    c = gate.decay(age)
    speed = math.hypot(*c.velocity)
    assert math.isfinite(speed) and speed <= 1.2 + 1e-9
    if not (math.isfinite(age) and age <= C.stale_after + C.ramp_time):
        assert speed == 0.0 and c.state == 'stale'
    if math.isfinite(age) and age <= C.stale_after:
        assert speed == pytest.approx(1.2) and c.state == 'ok'


def test_the_stale_ramp_falls_steadily_and_the_next_command_starts_from_it() -> None:
    gate = SafetyGate(C)
    settle(gate, x=1.2)
    speeds = [gate.decay(C.stale_after + f * C.ramp_time).velocity[0] for f in (.25, .5, .75, 1)]
    assert speeds == pytest.approx([.9, .6, .3, 0])
    c = gate.filter(action(10**10, x=1.2))
    assert 0 < c.velocity[0] <= C.max_acceleration * .1 + 1e-9


def test_limits_that_were_lowered_hold_without_frames_too() -> None:
    gate = SafetyGate(C)
    settle(gate, x=1.5, rate=1.0)
    gate.config = SafetyConfig(max_forward=.2, max_speed=.2, max_yaw_rate=.1)
    for age in (.1, .26, .3, .38, .39):
        c = gate.decay(age)
        assert c.velocity[0] <= .2 and c.yaw_rate <= .1, age
    assert c.velocity[0] == pytest.approx(.1)  # and the ramp ends where it would have
    assert gate.decay(.4).velocity == (0, 0, 0)


def test_zero_is_zero() -> None:
    gate = SafetyGate(C)
    settle(gate, x=1.2)
    c = gate.zero(7)
    assert c.velocity == (0, 0, 0) and c.yaw_rate == 0
    assert c.state == 'disabled' and c.stamp_ns == 7
    assert gate.filter(action(8, x=1.2)).velocity[0] < .2  # starts from standstill


@pytest.mark.parametrize('velocity', [np.zeros(2), np.ones(1), np.ones((3, 1)), [10 ** 400, 0, 0],
                                      None, 'abc', 1.0])
def test_misshapen_actions_brake(velocity: object) -> None:
    gate = SafetyGate(C)
    settle(gate, x=1.2)
    c = gate.filter(Action(61 * FRAME_NS, velocity, 0.0))
    assert c.state == 'rejected' and c.velocity[0] < 1.2


def test_no_time_passes_between_two_of_one_stamp() -> None:
    gate = SafetyGate(C)
    first = gate.filter(action(FRAME_NS, x=1.2))
    assert first.velocity[0] > 0
    for _ in range(5):
        assert gate.filter(action(FRAME_NS, x=1.2)).velocity == first.velocity


@pytest.mark.parametrize('limits', [{'max_forward': math.nan}, {'max_acceleration': math.nan},
                                    {'max_forward': -1.0}, {'ramp_time': math.inf}])
def test_limits_that_are_none_are_refused(limits: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        SafetyConfig(**limits)
