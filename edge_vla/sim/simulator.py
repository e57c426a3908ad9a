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

"""The built-in simulator: one quadrotor, one camera, one scene."""

import math

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Frame, Motion
from edge_vla.exceptions import ConfigError
from edge_vla.language.plan import Plan
from edge_vla.sim import dynamics
from edge_vla.sim.instructions import mentioned_objects
from edge_vla.sim.raycast import render
from edge_vla.sim.scene import sample_scene, Scene
from edge_vla.sim.tasks import TASKS
import numpy as np

GUST_TIME_S = 1.5


class Wind:
    """Mean wind plus Ornstein-Uhlenbeck gusts, world frame, m/s."""

    def __init__(self, rng: np.random.Generator, mean_speed: float) -> None:
        direction = rng.normal(0, 1, 3) * (1, 1, .2)
        self._mean = direction / np.linalg.norm(direction) * mean_speed * rng.uniform(.5, 1)
        self._strength = .35 * mean_speed * np.array([1, 1, .3])
        self._rng = rng
        self.velocity = self._mean.copy()

    def advance(self, dt: float) -> np.ndarray:
        """Return the wind `dt` seconds later."""
        if self._strength[0] > 0:
            keep = math.exp(-dt / GUST_TIME_S)
            noise = self._rng.normal(0, 1, 3) * self._strength * math.sqrt(1 - keep * keep)
            self.velocity = self._mean + (self.velocity - self._mean) * keep + noise
        return self.velocity


class Simulator:
    """
    A quadrotor with a velocity autopilot and a camera in a scene of primitives.

    Everything follows from ``(sim.seed, task)``. World is ENU, the camera looks along body x.

    Parameters
    ----------
    sim : SimConfig
    camera : CameraConfig

    Attributes
    ----------
    scene : Scene
    plan : Plan
        The task of this episode.
    other : Plan or None
        The same task on a distractor, to be mentioned in an instruction.
    time_ns : int
        Simulated time since the reset.

    """

    def __init__(self, sim: SimConfig | None = None, camera: CameraConfig | None = None) -> None:
        self.config = sim or SimConfig()
        self.camera = camera or CameraConfig()
        self._tan_half = math.tan(math.radians(self.camera.fov) / 2)
        self._state = np.zeros(dynamics.STATE_COLUMNS)
        self._rotation = np.eye(3)
        self._vehicle = dynamics.VEHICLE.copy()
        self._command = np.zeros(4)
        self._no_ids = np.zeros((0, 0), np.int8)
        self._no_depth = np.zeros((0, 0), np.float32)
        self.reset()

    def reset(self, seed: int | None = None, task: str | None = None) -> None:
        """
        Start a new episode.

        Parameters
        ----------
        seed : int, optional
            Defaults to the configuration's.
        task : str, optional
            One of ``TASKS``; by default drawn from the seed, or what the configuration's
            instruction asks for.

        Raises
        ------
        ConfigError
            `task` is unknown.

        """
        if task is not None and task not in TASKS:
            raise ConfigError(f'unknown task {task!r}; known: {", ".join(TASKS)}')
        rng = np.random.default_rng(self.config.seed if seed is None else seed)
        drawn = str(rng.choice(TASKS))
        named: tuple[tuple[str, str], ...] = ()
        if self.config.instruction:
            named = tuple(mentioned_objects(self.config.instruction))
        verb = task or ('go' if named else drawn)
        self.scene: Scene = sample_scene(rng, verb, self.config.style, named)
        objects = self.scene.objects
        self.plan = Plan(verb, objects[0].colour, objects[0].shape)
        self.other = Plan(verb, objects[1].colour, objects[1].shape) if len(objects) > 1 else None
        self._rows, self._count = self.scene.rows(), len(objects)
        dynamics.hover_state(self._state, *self.scene.start)
        dynamics.rotation_matrix(self._state[6:10], self._rotation)
        self._wind = Wind(rng, self.config.wind)
        self._command[:] = 0.0
        self.time_ns = 0

    def command(self, velocity: np.ndarray, yaw_rate: float) -> None:
        """
        Set the autopilot's setpoint, heading frame, m/s and rad/s; held until the next.

        Raises
        ------
        ValueError
            A value is not finite.

        """
        new = np.array([velocity[0], velocity[1], velocity[2], yaw_rate], float)
        if not np.isfinite(new).all():
            raise ValueError(f'velocity command is not finite: {new}')
        self._command[:] = new

    def advance(self, duration_ns: int) -> None:
        """Fly on for `duration_ns` nanoseconds under the held command."""
        if duration_ns <= 0:
            return
        steps = -(-duration_ns // dynamics.STEP_NS)
        dt = duration_ns * 1e-9
        dynamics.fly(self._state, self._command, self._wind.advance(dt), self._vehicle,
                     self._rotation, dt / steps, steps)
        self.time_ns += int(duration_ns)

    def frame(self) -> Frame:
        """Take a picture now: uint8 [height, width, 3] RGB."""
        image = np.empty((self.camera.height, self.camera.width, 3), np.uint8)
        render(image, self._no_ids, self._no_depth, self._rows, self._count, self._state[0:3],
               self._rotation, self._tan_half, self.scene.light)
        return Frame(self.time_ns, image)

    def motion(self) -> Motion:
        """Measure the motion now."""
        s, r = self._state, self._rotation
        cy, sy = math.cos(self.yaw), math.sin(self.yaw)
        velocity = np.array([cy * s[3] + sy * s[4], -sy * s[3] + cy * s[4], s[5]])
        roll, pitch = math.atan2(r[2, 1], r[2, 2]), -math.asin(max(-1., min(1., r[2, 0])))
        # Euler yaw rate: what a gyro measures, turned to the vertical
        rate = (math.sin(roll) * s[11] + math.cos(roll) * s[12]) / max(math.cos(pitch), .1)
        return Motion(self.time_ns, velocity, rate, roll, pitch)

    @property
    def state(self) -> np.ndarray:
        """Return the dynamics' state row, float64 [STATE_COLUMNS] (a view)."""
        return self._state

    @property
    def rows(self) -> np.ndarray:
        """Return the scene's object rows, target first (a view)."""
        return self._rows

    @property
    def position(self) -> np.ndarray:
        """World position, float64 [3], m."""
        return self._state[0:3].copy()

    @property
    def quaternion(self) -> np.ndarray:
        """Body-to-world rotation, float64 [4], x y z w."""
        return self._state[[7, 8, 9, 6]]

    @property
    def velocity_world(self) -> np.ndarray:
        """World velocity, float64 [3], m/s."""
        return self._state[3:6].copy()

    @property
    def angular_velocity_body(self) -> np.ndarray:
        """Body rates, float64 [3], rad/s."""
        return self._state[10:13].copy()

    @property
    def yaw(self) -> float:
        """Heading, rad, counter-clockwise from east."""
        return math.atan2(self._rotation[1, 0], self._rotation[0, 0])
