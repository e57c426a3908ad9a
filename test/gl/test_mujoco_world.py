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

"""MuJoCo as a second world: the scenes and the vehicle of the built-in one, another engine."""

from collections.abc import Iterator
import subprocess
import sys

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.exceptions import ConfigError, MissingDependencyError
from edge_vla.language.plan import VERBS
from edge_vla.sim import raycast
from edge_vla.sim.dynamics import rotation_matrix
from edge_vla.sim.expert import Expert
from edge_vla.sim.judge import Judge
from edge_vla.sim.mujoco_world import MujocoWorld
from edge_vla.sim.shifts import Effect
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import MISSIONS, TASKS
import numpy as np
import pytest

SMALL = CameraConfig(width=160, height=120)
CALM = SimConfig(wind=0.0)
FRAME_NS = 33_333_333


def open_world(sim: SimConfig | None = None) -> MujocoWorld:
    try:
        return MujocoWorld(sim, SMALL)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='module')
def world() -> Iterator[MujocoWorld]:
    w = open_world()
    yield w
    w.close()


@pytest.fixture(scope='module')
def calm() -> Iterator[MujocoWorld]:
    w = open_world(CALM)
    yield w
    w.close()


def fly(sim: Simulator, command: tuple[float, float, float, float], seconds: float) -> np.ndarray:
    """Return heading-frame velocity and yaw rate every 20 ms."""
    sim.command(np.array(command[:3]), command[3])
    out = []
    for _ in range(round(seconds / .02)):
        sim.advance(20_000_000)
        m = sim.motion()
        out.append([*m.velocity, m.yaw_rate])
    return np.array(out)


def truth(sim: Simulator) -> np.ndarray:
    """Return what the ray-caster sees from a world's pose, int8 [H, W]."""
    shape = sim.camera.height, sim.camera.width
    image, ids = np.empty((*shape, 3), np.uint8), np.empty(shape, np.int8)
    x, y, z, w = sim.quaternion
    rotation = np.empty((3, 3))
    rotation_matrix(np.array([w, x, y, z]), rotation)
    raycast.render(image, ids, np.empty(shape, np.float32), sim.rows, len(sim.scene.objects),
                   sim.position, rotation, np.tan(np.radians(sim.camera.fov) / 2),
                   sim.scene.light)
    return ids


@pytest.mark.parametrize('task', [None, *TASKS, *MISSIONS])
def test_a_seed_gives_the_scene_of_the_built_in_world(world: MujocoWorld, task: str) -> None:
    other = Simulator(SimConfig(), SMALL)
    for seed in range(3):
        world.reset(seed, task)
        other.reset(seed, task)
        assert (world.rows == other.rows).all() and (world.state == other.state).all()
        assert (world.scene.light == other.scene.light).all()
        assert (world.plans, world.asked, world.other) == (other.plans, other.asked, other.other)


def test_both_renderers_see_the_same_objects(world: MujocoWorld) -> None:
    overlaps = []
    for seed in range(8):
        world.reset(seed, 'go')
        fly(world, (1., .3, .2, .2), 1.)  # tilted, and off the start
        a, b = truth(world), world.labels()
        overlaps.append(((a == b) & (a >= 0)).sum() / ((a >= 0) | (b >= 0)).sum())
    assert np.median(overlaps) >= .9 and min(overlaps) > .8, overlaps


def test_the_picture_shows_the_scene_in_its_colours(world: MujocoWorld) -> None:
    built_in = Simulator(SimConfig(), SMALL)
    for seed in range(4):
        world.reset(seed, 'go')
        built_in.reset(seed, 'go')
        a, b = world.frame(), built_in.frame()
        assert (a.stamp_ns, a.image.shape, a.image.dtype) == (0, b.image.shape, np.uint8)
        assert a.image.flags.c_contiguous
        # ground and sky texture by texture differ, their colours do not
        for part in (slice(0, 40), slice(80, 120)):
            means = [f.image[part].reshape(-1, 3).mean(0) for f in (a, b)]
            assert np.abs(means[0] - means[1]).max() < 30


@pytest.mark.parametrize('axis', range(4))
def test_it_answers_a_velocity_step_like_the_built_in_vehicle(calm: MujocoWorld,
                                                              axis: int) -> None:
    command = [0.0] * 4
    command[axis] = .8
    rise = []
    for sim in (calm, Simulator(CALM, SMALL)):
        sim.reset(1)
        fly(sim, (0, 0, 1.5, 0), 3.0)  # over the objects, which are solid here
        fly(sim, (0, 0, 0, 0), 6.0)
        answer = fly(sim, tuple(command), 8.0)
        rise.append(int(np.argmax(answer[:, axis] > .9 * .8)))
        assert np.abs(answer[-50:] - command).max() < .05
        assert answer[:, axis].max() < 1.3 * .8
    assert rise[0] > 0 and abs(rise[0] - rise[1]) <= max(1, .25 * rise[1]), rise


def test_hover_holds_its_place(calm: MujocoWorld) -> None:
    calm.reset(2)
    start, yaw = calm.position, calm.yaw
    fly(calm, (0, 0, 0, 0), 10.0)
    assert np.linalg.norm(calm.position - start) < .01
    assert abs(calm.yaw - yaw) < .01
    assert abs(np.linalg.norm(calm.quaternion) - 1) < 1e-9
    assert abs(calm.state[13] - 9.81) < .01


def test_hover_holds_in_wind() -> None:
    w = open_world(SimConfig(wind=6.0))
    fly(w, (0, 0, 0, 0), 12.0)
    assert np.linalg.norm(w.velocity_world) < .6
    w.close()


def test_objects_are_solid_and_touching_them_is_a_collision(calm: MujocoWorld) -> None:
    calm.reset(3, 'go')
    fly(calm, (0, 0, -1, 0), 4.0)
    assert .05 < calm.position[2] < .12  # stands on the ground
    for seed in range(4):
        calm.reset(seed, 'go')
        target = calm.rows[0]
        fly(calm, (0, 0, (target[raycast.Z] - calm.position[2]) / 2, 0), 2.0)
        x, y = target[raycast.X:raycast.Z] - calm.position[:2]
        c, s = np.cos(calm.yaw), np.sin(calm.yaw)
        way = np.array([c * x + s * y, -s * x + c * y]) / np.hypot(x, y)
        judged = Judge(calm.scene, calm.plan, calm.position, calm.yaw, calm.time_ns)
        for _ in range(round(50 * (2 + np.hypot(x, y)))):
            fly(calm, (*way, 0, 0), .02)
            verdict = judged.update(calm.time_ns, calm.position, calm.velocity_world, calm.yaw)
        assert verdict.status == 'collision'
        assert np.hypot(*(calm.position[:2] - target[raycast.X:raycast.Z])) > .15


def test_a_seed_gives_one_flight() -> None:
    a, b = open_world(), open_world()
    for seed in (4, 5):
        for w in (a, b):
            w.reset(seed)
        for k in range(20):
            for w in (a, b):
                w.command(np.array([1., .2, .1]), .1 * k)
                w.advance(FRAME_NS)
            assert (a.state == b.state).all()
            assert (a.frame().image == b.frame().image).all()
    # nor does looking change the flight
    b.reset(5)
    for k in range(20):
        b.command(np.array([1., .2, .1]), .1 * k)
        b.advance(FRAME_NS)
    assert (a.state == b.state).all() and a.time_ns == b.time_ns
    a.close()
    b.close()


@pytest.mark.parametrize('task', TASKS)
def test_the_expert_solves_every_task(world: MujocoWorld, task: str) -> None:
    for seed in range(6):
        world.reset(seed, task)
        judged = Judge(world.scene, world.plan, world.position, world.yaw, 0)
        expert, status = Expert(VERBS.index(task)), 'running'
        while status == 'running':
            a = expert.act(world.state, world.rows, len(world.scene.objects))
            world.command(a[:3], a[3])
            world.advance(50_000_000)
            status = judged.update(world.time_ns, world.position, world.velocity_world,
                                   world.yaw).status
        assert status == 'success', (task, seed)


def test_wild_commands_stay_finite(world: MujocoWorld) -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        world.reset(seed)
        for _ in range(10):
            fly(world, tuple(rng.uniform(-30, 30, 4)), .5)
        assert np.isfinite(world.state).all()


def test_what_it_cannot_do_is_refused(world: MujocoWorld) -> None:
    with pytest.raises(ValueError, match='not finite'):
        world.command(np.array([np.nan, 0, 0]), 0.0)
    with pytest.raises(ConfigError, match='known: go'):
        world.reset(1, 'loop')
    with pytest.raises(ConfigError, match='shifts'):
        MujocoWorld(shift=Effect(fog=.1))


def test_resources_are_given_back() -> None:
    for _ in range(5):
        w = open_world()
        w.frame()
        w.close()
        w.close()
        with pytest.raises(RuntimeError, match='closed'):
            w.frame()
    w = open_world()
    w.frame()
    del w
    open_world().close()


@pytest.mark.parametrize('gl', ['egl', 'osmesa', ''])
def test_a_process_ends_quietly_with_an_open_world(gl: str) -> None:
    program = f"""
import os
for name in ('MUJOCO_GL', 'PYOPENGL_PLATFORM'):
    os.environ.pop(name, None)
if {gl!r}:
    os.environ['MUJOCO_GL'] = {gl!r}
from edge_vla.exceptions import MissingDependencyError
from edge_vla.sim.mujoco_world import MujocoWorld
try:
    world = MujocoWorld()
    print(world.frame().image.std() > 3)
except MissingDependencyError as error:
    print('skip', error)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    if done.stdout.startswith('skip'):
        pytest.skip(done.stdout)
    assert (done.stdout.strip(), done.stderr) == ('True', '')


def test_without_mujoco_the_message_says_what_to_do() -> None:
    program = """
import sys
sys.modules['mujoco'] = None
from edge_vla.sim.mujoco_world import MujocoWorld
MujocoWorld()
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert "MissingDependencyError: MuJoCo is not installed: pip install 'edge_vla[sim]'" in \
        done.stderr.replace('edge_vla.exceptions.', '')
