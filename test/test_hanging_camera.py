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


"""A camera that repeats its last picture while the vehicle moves is flown without."""

from collections.abc import Callable
from dataclasses import replace
import math

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Action, Frame, Motion, Observation
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.sim.shifts import find
from edge_vla.sim.simulator import Simulator
from edge_vla.vision.hanging import HangingCamera, MOVED, SLOW
from hypothesis import given, strategies as st
import numpy as np
import pytest

DT = 1 / 30
picture = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
Look = Callable[[float, Frame], Frame]


def moving(speed: float, rate: float) -> Motion:
    """Return a measured motion."""
    return Motion(0, np.array([0.0, speed, 0.0]), rate, 0.0, 0.0)


@given(st.floats(0, 3), st.floats(-2, 2))
def test_a_picture_that_stays_counts_until_the_vehicle_has_moved(speed: float,
                                                                 rate: float) -> None:
    camera, still = HangingCamera(), 0
    for _ in range(300):
        shown = camera.look(picture, moving(speed, rate), DT)
        if camera.hangs:
            assert not shown.any()
            break
        assert np.array_equal(shown, picture)
        still += 1
    needed = 1 + MOVED / (speed * DT) if speed > SLOW else math.inf  # turning does not count
    assert still == pytest.approx(min(300, needed), abs=1.01)
    other = picture.copy()
    other[40, 3, 1] ^= 1  # the first other picture ends it
    assert np.array_equal(camera.look(other, moving(speed, rate), DT), other)
    assert not camera.hangs


@pytest.mark.parametrize('motion', [None, moving(math.nan, 0.0), moving(1e9, 0.0)],
                         ids=['none', 'nan', 'not set'])
def test_without_measured_motion_the_picture_counts(motion: Motion | None) -> None:
    camera = HangingCamera()
    for _ in range(300):
        assert camera.look(picture, motion, DT).any() and not camera.hangs
    for _ in range(10):
        camera.look(picture, moving(1.0, 0.0), DT)
    assert camera.hangs
    assert not camera.look(picture, motion, DT).any()  # and one that hangs still does
    camera.reset()
    assert camera.look(picture, moving(1.0, 0.0), DT).any()


def fly(pilot: Pipeline, seconds: float, look: Look, shift: str = 'none', seed: int = 40011,
        task: str = 'go') -> tuple[Simulator, list[Action]]:
    """Fly with a camera that shows what `look` makes of its picture at a time in seconds."""
    pilot.reset()
    gate, sim = SafetyGate(), Simulator(SimConfig(), CameraConfig(rate=30.0), find(shift))
    sim.reset(seed, task)
    begin, actions = sim.time_ns, []
    while (t := (sim.time_ns - begin) * 1e-9) < seconds:
        actions.append(pilot.step(Observation(look(t, sim.frame()), sim.plan.text(),
                                              sim.motion())))
        command = gate.filter(actions[-1])
        pilot.sent(command)
        sim.command(np.array(command.velocity), command.yaw_rate)
        sim.advance(round(1e9 / 30))
    return sim, actions


@pytest.mark.parametrize('seed', [40011, 40012, 40013])
def test_who_sees_the_same_for_ever_does_not_fly_on(seed: int) -> None:
    pilot, kept = Pipeline.load(), []

    def hang(t: float, frame: Frame) -> Frame:
        kept.append(frame.image)
        return frame if t < 2 else replace(frame, image=kept[59])
    sim, actions = fly(pilot, 12, hang, seed=seed)
    hangs = [a.info['hangs'] for a in actions]
    assert not any(hangs[:61]) and all(hangs[75:])
    assert not np.abs([a.velocity for a in actions[180:]]).any()  # longest_dark is 3 s
    assert math.hypot(*(sim.position[:2] - sim.scene.start[:2])) < 9  # were 38 m


def test_a_camera_that_shows_something_again_is_flown_with() -> None:
    pilot, kept = Pipeline.load(), []

    def hang(t: float, frame: Frame) -> Frame:
        kept.append(frame.image)
        return replace(frame, image=kept[30]) if 1 <= t < 6 else frame
    _, actions = fly(pilot, 20, hang)
    assert actions[150].info['hangs'] and not actions[-1].info['hangs']
    assert actions[-1].info['dark_s'] == 0 and actions[-1].info['target_visible'] > .5


@pytest.mark.parametrize('shift', [
    'none', 'fog:strong', 'odometry_noise:strong', 'frame_rate:strong', 'over_exposed:strong'])
def test_no_camera_that_works_is_taken_for_one_that_hangs(shift: str) -> None:
    pilot = Pipeline.load()
    for task in ('go', 'search'):
        _, actions = fly(pilot, 15, lambda t, frame: frame, shift, 7, task)
        assert not any(a.info['hangs'] for a in actions)
