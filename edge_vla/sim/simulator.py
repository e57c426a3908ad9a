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

from dataclasses import replace
import math

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Frame, Motion
from edge_vla.exceptions import ConfigError
from edge_vla.language.plan import Plan
from edge_vla.motion import believable, FASTEST
from edge_vla.sim import dynamics
from edge_vla.sim.instructions import mentioned_objects
from edge_vla.sim.missions import sample_relation, sample_two_steps, sample_unseen
from edge_vla.sim.questions import in_view, Visible
from edge_vla.sim.raycast import render
from edge_vla.sim.scene import sample_scene, Scene
from edge_vla.sim.scene_shift import shift_scene
from edge_vla.sim.sensors import Delay, Lens, Odometry
from edge_vla.sim.shifts import Effect
from edge_vla.sim.tasks import MISSIONS, TASKS
from edge_vla.sim.wind import DrydenWind, GustyWind, Wind
from edge_vla.vision import layout
import numpy as np

GUSTY_MEAN = 2.0  # m/s, on which the gusts of a shift ride
TRIM_S, TRIM_HEIGHT = 20.0, 100.0  # s, m: clear of the ground


class Simulator:
    """
    A quadrotor with a velocity autopilot and a camera in a scene of primitives.

    Everything follows from ``(sim.seed, task)``. World is ENU, the camera looks along body x. A
    shift has its own random numbers: scene, task and breeze of a seed are the same under all of
    them.

    Parameters
    ----------
    sim : SimConfig
    camera : CameraConfig
    shift : Effect, optional
        What is unlike the training, see ``shifts``.

    Attributes
    ----------
    scene : Scene
    plans : list of Plan
        The steps of this episode's task.
    asked : list of Plan
        The same as an instruction puts them: objects may be told by a relation.
    plan : Plan
        The first step.
    other : Plan or None
        The same task on a distractor, to be mentioned in an instruction.
    time_ns : int
        Simulated time since the reset.

    """

    def __init__(self, sim: SimConfig | None = None, camera: CameraConfig | None = None,
                 shift: Effect | None = None) -> None:
        self.config = sim or SimConfig()
        self.shift = e = shift or Effect()
        camera = camera or CameraConfig()
        self.camera = replace(camera, rate=min(camera.rate, e.rate))
        self._state = np.zeros(dynamics.STATE_COLUMNS)
        self._rotation = np.eye(3)
        # the autopilot thinks of the nominal mass: a heavier vehicle answers less to any force
        self._vehicle = dynamics.VEHICLE * (e.thrust / e.mass, e.drag / e.mass, e.drag / e.mass,
                                            e.motor_lag, e.velocity_gain)
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
            One of ``TASKS`` or ``MISSIONS``; by default one of ``TASKS``, drawn from the seed, or
            to go to the first object that the configuration's instruction names.

        Raises
        ------
        ConfigError
            `task` is unknown, or under this shift not what is meant any more.

        """
        if task is not None and task not in (*TASKS, *MISSIONS):
            raise ConfigError(f'unknown task {task!r}; known: {", ".join((*TASKS, *MISSIONS))}')
        if task == 'relation' and self.shift.distractors:
            raise ConfigError('a shift that adds objects makes "the nearest box" mean another '
                              'one: not with the task relation')
        seed = self.config.seed if seed is None else seed
        rng = np.random.default_rng(seed)
        drawn = str(rng.choice(TASKS))
        named: tuple[tuple[str, str], ...] = ()
        if self.config.instruction:
            named = tuple(mentioned_objects(self.config.instruction))
        self._set_task(rng, task or ('go' if named else drawn), named)
        dynamics.hover_state(self._state, *self.scene.start)
        dynamics.rotation_matrix(self._state[6:10], self._rotation)
        self._wind = Wind(rng, self.config.wind)
        self._command[:] = 0.0
        self.time_ns = 0
        self._apply_shift(np.random.SeedSequence(seed))
        self._rows, self._count = self.scene.rows(), len(self.scene.objects)

    def _set_task(self, rng: np.random.Generator, task: str,
                  named: tuple[tuple[str, str], ...]) -> None:
        style = self.config.style
        self.scene: Scene
        self.other = None
        if task == 'two_step':
            self.scene, self.plans = sample_two_steps(rng, style)
            self.asked = self.plans
        elif task == 'relation':
            self.scene, asked, meant = sample_relation(rng, style)
            self.asked, self.plans = [asked], [meant]
        else:
            if task == 'unseen':
                self.scene, plan = sample_unseen(rng, style)
            else:
                self.scene = sample_scene(rng, task, style, named)
                plan = Plan(task, self.scene.objects[0].colour, self.scene.objects[0].shape)
            self.plans = self.asked = [plan]
            if len(self.scene.objects) > 1:
                o = self.scene.objects[1]
                self.other = Plan(plan.verb, o.colour, o.shape)
        self.plan = self.plans[0]

    def _apply_shift(self, seed: np.random.SeedSequence) -> None:
        """Make this episode's scene, wind and sensors what the shift says."""
        e = self.shift
        # one stream each: a change of one part leaves the others as they were
        light, more, lens, odometry, wind, self._losses = map(np.random.default_rng, seed.spawn(6))
        self.scene = shift_scene(self.scene, e, self.plan.verb, light, more)
        self._lens = Lens(e, self.camera, lens)
        self._odometry = Odometry(e, odometry)
        if e.wind_dryden > 0:
            self._wind = DrydenWind(wind, e.wind_dryden)
        elif e.wind_gust > 0:
            self._wind = GustyWind(wind, GUSTY_MEAN, e.wind_gust)
        elif e.wind_steady > 0:
            self._wind = GustyWind(wind, e.wind_steady)
        if max(e.wind_dryden, e.wind_gust, e.wind_steady) > 0:
            self._trim(self._wind.mean)
        elif (e.thrust, e.mass) != (1.0, 1.0):
            self._trim(np.zeros(3))
        self._delay = Delay(e.latency) if e.latency > 0 else None
        if self._delay is not None:
            self._delay.note(0, self._state)

    def _trim(self, wind: np.ndarray) -> None:
        """Let the autopilot find its hover first: an episode does not begin with a fall."""
        steps = round(TRIM_S * 1e9 / dynamics.STEP_NS)
        self._state[2] = TRIM_HEIGHT
        dynamics.fly(self._state, self._command, wind, self._vehicle, self._rotation,
                     dynamics.STEP_NS * 1e-9, steps)
        self._state[0:3] = self.scene.start[0:3]

    def command(self, velocity: np.ndarray, yaw_rate: float) -> None:
        """
        Set the autopilot's setpoint, heading frame, m/s and rad/s; held until the next.

        Raises
        ------
        ValueError
            A value is not finite, or beyond 1000.

        """
        new = np.array([velocity[0], velocity[1], velocity[2], yaw_rate], float)
        if not believable(new):  # the dynamics would end in numbers that are none
            raise ValueError(f'velocity command is not finite, or beyond {FASTEST:g}: {new}')
        self._command[:] = new
        self._command[:3] *= self.shift.command_gain

    def advance(self, duration_ns: int) -> None:
        """Fly on for `duration_ns` nanoseconds under the held command."""
        if duration_ns <= 0:
            return
        steps = -(-duration_ns // dynamics.STEP_NS)
        dt = duration_ns * 1e-9
        dynamics.fly(self._state, self._command, self._wind.advance(dt), self._vehicle,
                     self._rotation, dt / steps, steps)
        self.time_ns += int(duration_ns)
        if self._delay is not None:
            self._delay.note(self.time_ns, self._state)

    def dropped(self) -> bool:
        """Tell whether this tick's picture gets lost; ask once per tick."""
        return self.shift.drop > 0 and bool(self._losses.random() < self.shift.drop)

    def frame(self) -> Frame:
        """Return the picture that arrives now: uint8 [height, width, 3] RGB."""
        stamp, position, rotation = self.time_ns, self._state[0:3], self._rotation
        if self._delay is not None:
            stamp, position, rotation = self._delay.pose(stamp)
        if self._lens.mount is not None:
            rotation = rotation @ self._lens.mount
        image = np.empty((self.camera.height, self.camera.width, 3), np.uint8)
        render(image, self._no_ids, self._no_depth, self._rows, self._count, position, rotation,
               self._lens.tan_half, self.scene.light)
        self._lens.spoil(image, stamp)
        return Frame(stamp, image)

    def visible(self) -> list[Visible]:
        """Return all objects as the pilot's small picture has them now, the target first."""
        rotation = self._rotation
        if self._lens.mount is not None:
            rotation = rotation @ self._lens.mount
        shape = (layout.HEIGHT, layout.WIDTH)
        ids = np.empty(shape, np.int8)
        render(np.empty((*shape, 3), np.uint8), ids, np.empty(shape, np.float32), self._rows,
               self._count, self._state[0:3], rotation, self._lens.tan_half, self.scene.light)
        return [in_view(o.colour, o.shape, self._rows[j], self._state[0:3], self._rotation,
                        int((ids == j).sum())) for j, o in enumerate(self.scene.target_first)]

    def motion(self) -> Motion | None:
        """Measure the motion now; None only under a shift with outages of the odometry."""
        s, r = self._state, self._rotation
        cy, sy = math.cos(self.yaw), math.sin(self.yaw)
        velocity = np.array([cy * s[3] + sy * s[4], -sy * s[3] + cy * s[4], s[5]])
        roll, pitch = math.atan2(r[2, 1], r[2, 2]), -math.asin(max(-1., min(1., r[2, 0])))
        # Euler yaw rate: what a gyro measures, turned to the vertical
        rate = (math.sin(roll) * s[11] + math.cos(roll) * s[12]) / max(math.cos(pitch), .1)
        return self._odometry.measure(Motion(self.time_ns, velocity, rate, roll, pitch))

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
    def rotation(self) -> np.ndarray:
        """Body-to-world rotation, float64 [3, 3]."""
        return self._rotation.copy()

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
