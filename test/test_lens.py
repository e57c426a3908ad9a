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

"""Dirt on a lens is found while the vehicle turns, and nothing else is taken for it."""

from dataclasses import replace

import cv2
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Frame, Motion, Observation
from edge_vla.kernels.lens import ENOUGH, fill, peel
from edge_vla.pipeline import Pipeline
from edge_vla.sim.shifts import Effect
from edge_vla.sim.simulator import Simulator
from edge_vla.vision.lens import Lens
from hypothesis import given, strategies as st
import numpy as np
import pytest

CAMERA = CameraConfig(width=96, height=72)
TICK_NS, DT = 33_333_333, 1 / 30
TURNING = (0., 0., 0., .8)


def world(effect: Effect | None = None, seed: int = 3, task: str = 'search') -> Simulator:
    sim = Simulator(SimConfig(wind=.3), CAMERA, effect)
    sim.reset(seed, task)
    return sim


def fly(sim: Simulator, lens: Lens, command: tuple, seconds: float) -> np.ndarray:
    """Command the same for a while and return the last cleaned picture."""
    image = sim.frame().image.copy()
    for _ in range(round(seconds / DT)):
        sim.command(np.array(command[:3]), command[3])
        sim.advance(TICK_NS)
        image = sim.frame().image.copy()
        lens.clean(image, sim.motion(), DT)
    return image


@pytest.mark.parametrize('seed', [1, 2, 3, 4])
@pytest.mark.parametrize('yaw_rate', [.8, -.5])
def test_dirt_is_found_in_a_turn_and_replaced(seed: int, yaw_rate: float) -> None:
    dirty, clean = world(Effect(occlusion=.1), seed), world(None, seed)
    lens, plain = Lens(), Lens()
    seen = fly(dirty, lens, (0, 0, 0, yaw_rate), 5.)
    wanted = fly(clean, plain, (0, 0, 0, yaw_rate), 5.).astype(int)
    raw = dirty.frame().image.astype(int)
    under = (np.abs(raw - wanted) > 8).any(-1)  # the same scene without dirt
    assert .05 < under.mean() < .12 and lens.share > .8 * under.mean()
    found = (seen != raw).any(-1)
    border = cv2.dilate(under.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert (found & under).sum() > .8 * under.sum()
    assert (found & ~border).mean() < .02
    assert np.abs(seen - wanted)[under].mean() < .4 * np.abs(raw - wanted)[under].mean()
    assert plain.share < .01


@pytest.mark.parametrize('seed', range(6))
def test_what_is_circled_is_no_dirt(seed: int) -> None:
    sim, lens = world(None, seed, 'orbit_left'), Lens()
    target = sim.scene.objects[sim.scene.find(sim.plan.colour, sim.plan.shape)].position
    worst = turned = 0.
    for _ in range(400):
        d = np.array(target[:2]) - sim.position[:2]
        bearing = np.arctan2(d[1], d[0]) - sim.yaw
        bearing = (bearing + np.pi) % (2 * np.pi) - np.pi
        far = np.hypot(*d) - 2.
        sim.command(np.array([np.clip(far, -.5, .8), .7 if far < .5 else 0., 0.]),
                    np.clip(2 * bearing, -1, 1))
        sim.advance(TICK_NS)
        lens.clean(sim.frame().image.copy(), sim.motion(), DT)
        worst, turned = max(worst, lens.share), turned + abs(sim.motion().yaw_rate) * DT
    assert worst < .02 and turned > 2


def test_dirt_that_was_wiped_off_is_forgotten() -> None:
    dirty, clean, lens = world(Effect(occlusion=.1)), world(), Lens()
    fly(dirty, lens, TURNING, 4.)
    assert lens.share > .08
    fly(clean, lens, TURNING, 2.)
    assert lens.share < .01
    fly(dirty, lens, TURNING, 4.)
    assert lens.share > .08
    lens.reset()
    image = dirty.frame().image.copy()
    lens.clean(image, dirty.motion(), DT)
    assert lens.share == 0 and np.array_equal(image, dirty.frame().image)


@pytest.mark.parametrize('motion', [
    None, Motion(0, np.full(3, np.nan), .8, 0., 0.),
    Motion(0, np.array([.01, 0, 0]), np.nan, 0., 0.),
    Motion(0, np.array([1e9, 0, 0]), .8, 0., 0.), Motion(0, np.array([.01, 0, 0]), 1e9, 0., 0.),
    Motion(0, np.zeros(3), .8, 0., 0.)],
    ids=['none', 'nan', 'nan turn', 'not set', 'turn not set', 'no velocity'])
def test_without_measured_motion_nothing_is_found(motion: Motion | None) -> None:
    sim, lens = world(Effect(occlusion=.1)), Lens()
    for _ in range(150):
        sim.command(np.zeros(3), .8)
        sim.advance(TICK_NS)
        lens.clean(sim.frame().image.copy(), motion, DT)
    assert lens.share == 0


def test_a_turn_that_is_not_one_finds_nothing() -> None:
    """Odometry that is stuck while the vehicle stands would make dirt of all there is."""
    image, lens = world().frame().image, Lens()
    for _ in range(150):
        lens.clean(image.copy(), Motion(0, np.array([.01, 0, 0]), .8, 0., 0.), DT)
    assert lens.share == 0


@given(seed=st.integers(0, 2**16), share=st.floats(0, .6))
def test_only_dirt_is_filled_with_what_is_around(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    evidence = (ENOUGH * (rng.random((20, 30)) < share)).astype(np.uint8)
    ring, order = np.zeros((20, 30), np.int16), np.zeros(600, np.int32)
    count = peel(evidence, ring, order)
    near = cv2.dilate((evidence > 0).astype(np.uint8), np.ones((3, 3))).astype(bool)
    if near.all():
        assert count == 0
        return
    assert count == near.sum() and np.array_equal(ring > 0, near)
    assert len(set(order[:count].tolist())) == count
    after = image.copy()
    fill(after, ring, order, count)
    assert np.array_equal(after[~near], image[~near])
    low, high = image[~near].min(0), image[~near].max(0)
    assert (after >= low).all() and (after <= high).all()


def test_the_pipeline_cleans_and_says_so() -> None:
    pipeline, sim = Pipeline.load(PipelineConfig(seeing=False)), world(Effect(occlusion=.1))

    def covered(frames: int) -> float:
        for _ in range(frames):
            sim.command(np.zeros(3), .8)
            sim.advance(TICK_NS)
            action = pipeline.step(Observation(
                Frame(sim.time_ns, sim.frame().image), 'hover', sim.motion()))
        return action.info['covered']
    assert covered(120) > .08
    pipeline.config = replace(pipeline.config, clean_lens=False)
    assert covered(60) == 0
    pipeline.config = replace(pipeline.config, clean_lens=True)
    assert covered(1) == 0
    assert covered(120) > .08
    pipeline.reset()
    assert covered(1) == 0
