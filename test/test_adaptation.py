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

"""Adaptation: it follows the wanted velocity under wind and faults, and never does harm."""

from dataclasses import replace
import math
import os

from edge_vla.adaptation.composite import Adaptation, BOX, JUMPS
from edge_vla.config import AdaptationConfig
from edge_vla.datatypes import Motion
from edge_vla.sim import dynamics
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
NO_WIND = (0.0, 0.0, 0.0)
CHANGE = AdaptationConfig().max_compensation_rate / 30 * 1.01  # in a frame, turning a bit
EPISODES = int(os.environ.get('EDGE_VLA_EPISODES', '40'))  # of adversarial flights


class Vehicle:
    """The simulated vehicle under velocity commands, with noisy odometry."""

    def __init__(self, seed: int = 0) -> None:
        self.state, self.rotation = np.zeros(dynamics.STATE_COLUMNS), np.eye(3)
        dynamics.hover_state(self.state, 0.0, 0.0, 20.0, 0.0)
        self.vehicle, self.time = dynamics.VEHICLE.copy(), 0.0
        self.rng = np.random.default_rng(seed)

    def motion(self, noise: float = 0.03) -> Motion:
        """Measure."""
        yaw = math.atan2(self.rotation[1, 0], self.rotation[0, 0])
        c, s = math.cos(yaw), math.sin(yaw)
        x, y, z = self.state[3:6]
        v = np.array([c * x + s * y, -s * x + c * y, z]) + self.rng.normal(0, noise, 3)
        return Motion(round(self.time * 1e9), v, float(self.state[12]), 0.0, 0.0)

    def fly(self, command: np.ndarray, dt: float, wind: tuple[float, ...] = NO_WIND) -> None:
        """Hold a command for `dt` seconds."""
        steps = math.ceil(dt * 1e9 / dynamics.STEP_NS)
        dynamics.fly(self.state, command, np.array(wind), self.vehicle, self.rotation, dt / steps,
                     steps)
        self.time += dt


def wanted_at(t: float) -> np.ndarray:
    """Return a wanted velocity that changes all the time, with turns."""
    return np.array([.7 * math.sin(.7 * t), .5 * math.sin(.9 * t + 1), .2 * math.sin(.5 * t),
                     .5 * math.sin(.4 * t)])


def errors(adaptation: Adaptation | None, seconds: float = 9.0, rate: float = 30.0,
           wind: tuple[float, ...] = NO_WIND, fault: tuple[float, ...] = (1, 1, 1, 1, 1),
           onset: float = 3.0) -> tuple[np.ndarray, Vehicle]:
    """Return |wanted response - velocity| after the onset of wind and fault, m/s."""
    free, held, out = Vehicle(), Vehicle(), []
    dt = 1 / rate
    for k in range(round(seconds * rate)):
        t = k * dt
        shifted = t >= onset
        if shifted:
            held.vehicle = dynamics.VEHICLE * fault
        wanted = wanted_at(t)
        command = wanted if adaptation is None else adaptation.step(wanted, held.motion(), dt)
        free.fly(wanted, dt)
        held.fly(command, dt, wind if shifted else NO_WIND)
        if shifted:
            out.append(float(np.linalg.norm(free.state[3:6] - held.state[3:6])))
    return np.array(out), held


@pytest.mark.parametrize(('wind', 'fault'), [
    ((4.0, 0.0, 0.0), (1, 1, 1, 1, 1)), ((-5.0, 6.0, 0.5), (1, 1, 1, 1, 1)),
    (NO_WIND, (.8, 1, 1, 1, 1)), (NO_WIND, (1, 4, 4, 1, 1))])
def test_the_error_halves_within_three_seconds(wind: tuple[float, ...],
                                               fault: tuple[float, ...]) -> None:
    frozen, _ = errors(None, wind=wind, fault=fault)
    adapted, _ = errors(Adaptation(), wind=wind, fault=fault)
    assert adapted[60:90].mean() < .5 * frozen[60:90].mean()
    assert adapted.mean() < .5 * frozen.mean()


def test_without_a_shift_nothing_gets_worse() -> None:
    adapted, _ = errors(Adaptation())
    assert adapted.mean() < .03  # of the order of the odometry's noise


@pytest.mark.parametrize('rate', [10.0, 20.0, 60.0])
def test_it_learns_the_same_at_any_rate(rate: float) -> None:
    slow, reference = Adaptation(), Adaptation()
    errors(slow, rate=rate, wind=(6.0, 0.0, 0.0))
    errors(reference, rate=30.0, wind=(6.0, 0.0, 0.0))
    np.testing.assert_allclose(slow.parameters[:2], reference.parameters[:2], atol=.6)


def test_what_it_learned_of_the_wind_stays_in_the_world() -> None:
    adaptation, vehicle = Adaptation(), Vehicle()
    for k in range(150):  # heading east, wind from behind
        vehicle.fly(adaptation.step(np.zeros(4), vehicle.motion(), 1 / 30), 1 / 30, (6., 0., 0.))
        assert k < 149 or adaptation.parameters[0] > .5
    before = adaptation.parameters[:2]
    for _ in range(80):  # turns by about a quarter
        vehicle.fly(adaptation.step(np.array([0, 0, 0, .6]), vehicle.motion(), 1 / 30), 1 / 30,
                    (6., 0., 0.))
    assert abs(adaptation.parameters[0] - before[0]) < .8
    assert abs(adaptation.parameters[1] - before[1]) < .8


def test_off_changes_nothing() -> None:
    adaptation = Adaptation(AdaptationConfig(enabled=False))
    wanted = np.array([1.0, -.3, .2, .4])
    motion = Motion(1, np.array([-3.0, 2.0, 1.0]), 0.0, 0.0, 0.0)
    assert np.array_equal(adaptation.step(wanted, motion, .05), wanted)
    assert adaptation.state()['state'] == 'off'


def learn_wind(adaptation: Adaptation) -> Vehicle:
    """Fly in wind until what is added is large."""
    _, vehicle = errors(adaptation, wind=(8.0, 0.0, 0.0), seconds=5.0)
    assert adaptation.state()['compensation'] > 1
    return vehicle


def test_switched_on_again_it_begins_anew() -> None:
    adaptation, wanted = Adaptation(), np.zeros(4)
    vehicle, on = learn_wind(adaptation), adaptation.config
    adaptation.config = replace(on, enabled=False)
    assert not adaptation.step(wanted, vehicle.motion(), 1 / 30).any()
    adaptation.config, before = on, wanted
    assert not adaptation.parameters.any()
    for _ in range(60):  # in calm air
        vehicle.fly(before, 1 / 30)
        out = adaptation.step(wanted, vehicle.motion(), 1 / 30)
        assert np.linalg.norm(out - before) <= CHANGE
        before = out


@pytest.mark.parametrize('frames', [1, 6, 150])
def test_after_a_rest_nothing_jumps(frames: int) -> None:
    adaptation, wanted = Adaptation(), np.zeros(4)
    vehicle, before = learn_wind(adaptation), np.zeros(4)
    for _ in range(frames):
        vehicle.fly(wanted, 1 / 30)
        adaptation.rest(wanted, vehicle.motion(), 1 / 30)
    assert adaptation.state()['state'] == 'frozen' and not adaptation.state()['compensation']
    for _ in range(60):
        out = adaptation.step(wanted, vehicle.motion(), 1 / 30)
        assert np.linalg.norm(out - before) <= CHANGE
        vehicle.fly(out, 1 / 30)
        before = out


def test_a_rest_fades_and_turns_as_the_vehicle_does() -> None:
    rested, blind = Adaptation(), Adaptation()
    for adaptation in (rested, blind):
        learn_wind(adaptation)
    turning = Motion(0, np.zeros(3), math.pi / 2, 0.0, 0.0)
    for _ in range(30):
        rested.rest(np.zeros(4), turning, 1 / 30)
        blind.step(np.array([0, 0, 0, math.pi / 2]), None, 1 / 30)
    assert rested._authority == blind._authority < .7
    assert rested._heading == pytest.approx(blind._heading, abs=.1)


def test_without_measurement_it_freezes_and_then_fades() -> None:
    adaptation = Adaptation()
    _, vehicle = errors(adaptation, wind=(8.0, 0.0, 0.0), seconds=5.0)
    learned, wanted = adaptation.parameters, np.zeros(4)
    assert np.linalg.norm(adaptation.step(wanted, vehicle.motion(), 1 / 30)[:3]) > .3
    for _ in range(10):
        adaptation.step(wanted, None, 1 / 30)
    assert adaptation.state()['state'] == 'frozen'
    np.testing.assert_allclose(adaptation.parameters, learned, atol=.15)
    for _ in range(300):
        out = adaptation.step(wanted, None, 1 / 30)
    assert np.linalg.norm(out[:3]) < .05


def test_a_repeated_or_jumping_measurement_teaches_nothing() -> None:
    adaptation = Adaptation()
    _, vehicle = errors(adaptation, wind=(4.0, 0.0, 0.0), seconds=5.0)
    motion = vehicle.motion()
    adaptation.step(np.zeros(4), motion, 1 / 30)
    learned = adaptation.parameters
    adaptation.step(np.zeros(4), motion, 1 / 30)
    assert adaptation.state()['state'] == 'frozen'
    assert np.array_equal(adaptation.parameters, learned)
    far = motion.velocity + 9.0
    for k in range(1, JUMPS):
        adaptation.step(np.zeros(4), Motion(motion.stamp_ns + k, far, 0.0, 0.0, 0.0), 1 / 30)
        assert np.array_equal(adaptation.parameters, learned)
    adaptation.step(np.zeros(4), Motion(motion.stamp_ns + JUMPS, far, 0.0, 0.0, 0.0), 1 / 30)
    assert adaptation.state()['state'] == 'reverted' and not adaptation.parameters.any()


def test_it_gives_up_where_the_vehicle_does_not_answer() -> None:
    adaptation = Adaptation()
    rng, states = np.random.default_rng(0), set()
    for k in range(900):  # somebody else flies
        v = np.array([1.5 * math.sin(k / 9), 1.5 * math.cos(k / 7), math.sin(k / 5)])
        seen = Motion(k, v + rng.normal(0, .03, 3), 0.0, 0.0, 0.0)
        out = adaptation.step(wanted_at(k / 30), seen, 1 / 30)
        states.add(adaptation.state()['state'])
        assert np.linalg.norm(out[:3] - wanted_at(k / 30)[:3]) <= (
            adaptation.config.max_compensation + 1e-9)
    assert 'reverted' in states


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(ANY_FLOAT, min_size=4, max_size=4),
                          st.one_of(st.none(), st.lists(ANY_FLOAT, min_size=4, max_size=4)),
                          ANY_FLOAT, st.integers(-10**9, 10**10)), max_size=30))
def test_nothing_makes_it_infinite(
        steps: list[tuple[list[float], list[float] | None, float, int]]) -> None:
    adaptation = Adaptation()
    for wanted, measured, dt, stamp in steps:
        motion = None if measured is None else Motion(stamp, np.array(measured[:3]), measured[3],
                                                      0.0, 0.0)
        out = adaptation.step(np.array(wanted), motion, dt)
        base = np.array(wanted) if np.isfinite(wanted).all() else np.zeros(4)
        assert np.isfinite(out).all() or not np.isfinite(base).all()
        assert np.linalg.norm(out[:3] - base[:3]) <= adaptation.config.max_compensation * (
            1 + 1e-9) + 1e-9 * np.abs(base).max()
        assert (np.abs(adaptation.parameters) <= BOX).all()
        assert all(np.isfinite(v) for v in adaptation.state().values() if isinstance(v, float))


@pytest.mark.parametrize('seed', range(EPISODES))
def test_adversarial_flights_stay_bounded(seed: int) -> None:
    """Odometry that is NaN, missing, jumping, frozen or late, in wind, with changing faults."""
    rng = np.random.default_rng(seed)
    adaptation, vehicle, frozen = Adaptation(), Vehicle(seed), Vehicle(seed)
    wind, late, kind, fastest = rng.normal(0, 4, 3) * (1, 1, .2), None, 'good', 0.0
    for k in range(450):
        if k % 30 == 0:
            kind = str(rng.choice(('good', 'nan', 'none', 'jump', 'frozen', 'zero', 'late')))
            vehicle.vehicle = dynamics.VEHICLE * rng.uniform((.75, .5, .5, .7, .4),
                                                             (1.05, 3, 3, 1.5, 1.2))
            frozen.vehicle = vehicle.vehicle
        motion = vehicle.motion()
        seen = {'nan': Motion(motion.stamp_ns, np.full(3, np.nan), 0., 0., 0.), 'none': None,
                'jump': Motion(motion.stamp_ns, rng.normal(0, 8, 3), 0., 0., 0.), 'frozen': late,
                'zero': Motion(motion.stamp_ns, np.zeros(3), 0., 0., 0.),
                'late': late}.get(kind, motion)
        if kind != 'frozen':
            late = motion
        dt = float(rng.choice((1 / 60, 1 / 30, .1, .4), p=(.2, .6, .15, .05)))
        command = adaptation.step(wanted_at(k / 30), seen, dt)
        assert np.isfinite(command).all()
        assert np.linalg.norm(command[:3] - wanted_at(k / 30)[:3]) <= 3 + 1e-9
        vehicle.fly(command, dt, tuple(wind))
        frozen.fly(wanted_at(k / 30), dt, tuple(wind))
        # a storm carries any vehicle away; adaptation may add its limit and no more
        fastest = max(fastest, float(np.linalg.norm(frozen.state[3:6])))
        assert np.linalg.norm(vehicle.state[3:6]) < fastest + 4.5
