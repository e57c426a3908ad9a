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

"""
MuJoCo as a second world that no pilot was trained in (extra `sim`).

Scenes, tasks and wind of a seed are those of the built-in simulator; rigid body, rotors,
contacts and picture are MuJoCo's.
"""

import math

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Frame
from edge_vla.exceptions import ConfigError
from edge_vla.sim import dynamics
from edge_vla.sim.dynamics import GRAVITY, THRUST, VEHICLE, YAW_SETPOINT
from edge_vla.sim.mujoco_scene import (
    ARM,
    build_model,
    DRAG_TORQUE,
    INERTIA,
    load_mujoco,
    MASS,
    ROTOR_LIMIT,
    ROTORS,
    View,
)
from edge_vla.sim.shifts import Effect
from edge_vla.sim.simulator import Simulator
from numba import njit
import numpy as np

_ROTORS = np.array(ROTORS, float)


@njit(cache=True, nogil=True)
def autopilot(s, command, rotation, dt, rotors):  # noqa: ANN001, ANN201
    """
    Velocity PID, tilt, body rates, torque: the cascade of ``dynamics``, down to four rotors.

    Parameters
    ----------
    s : float64 [STATE_COLUMNS], changed
        State row; the integrals, the yaw setpoint and the last velocity are updated.
    command : float64 [4]
        Heading-frame velocity x y z in m/s and yaw rate in rad/s.
    rotation : float64 [3, 3]
        Body to world.
    dt : float
        Seconds until the next call.
    rotors : float64 [4], written
        Wanted thrust of each rotor, N.

    """
    r = rotation
    yaw = math.atan2(r[1, 0], r[0, 0])
    error = s[YAW_SETPOINT] + command[3] * dt - yaw
    # the setpoint must not run away from a slow vehicle
    error = min(.5, max(-.5, math.atan2(math.sin(error), math.cos(error))))
    s[YAW_SETPOINT] = yaw + error
    cy, sy = math.cos(yaw), math.sin(yaw)
    e0 = cy * command[0] - sy * command[1] - s[3]
    e1 = sy * command[0] + cy * command[1] - s[4]
    e2 = command[2] - s[5]
    a0 = 1.8 * e0 + s[17] - 0.2 * (s[3] - s[21]) / dt
    a1 = 1.8 * e1 + s[18] - 0.2 * (s[4] - s[22]) / dt
    lift = max(4.0 * e2 + s[19] + GRAVITY, 2.0)
    s[17] = min(3.0, max(-3.0, s[17] + 0.4 * e0 * dt))
    s[18] = min(3.0, max(-3.0, s[18] + 0.4 * e1 * dt))
    s[19] = min(4.0, max(-4.0, s[19] + 2.0 * e2 * dt))
    s[21:24] = s[3:6]
    tilt = math.sqrt(a0 * a0 + a1 * a1)
    if tilt > 0.7 * lift:  # 35 degrees
        a0 *= 0.7 * lift / tilt
        a1 *= 0.7 * lift / tilt
    thrust = math.sqrt(a0 * a0 + a1 * a1 + lift * lift)
    # tilt error: cross product of the body z axis and the wanted one, in body axes
    c0 = (r[1, 2] * lift - r[2, 2] * a1) / thrust
    c1 = (r[2, 2] * a0 - r[0, 2] * lift) / thrust
    c2 = (r[0, 2] * a1 - r[1, 2] * a0) / thrust
    w0 = 6.5 * (r[0, 0] * c0 + r[1, 0] * c1 + r[2, 0] * c2)
    w1 = 6.5 * (r[0, 1] * c0 + r[1, 1] * c1 + r[2, 1] * c2)
    roll = INERTIA[0] * 20.0 * (w0 - s[10]) / (4 * ARM)
    pitch = INERTIA[1] * 20.0 * (w1 - s[11]) / (4 * ARM)
    turn = INERTIA[2] * 8.0 * (2.8 * error + command[3] - s[12]) / (4 * DRAG_TORQUE)
    room = abs(turn)  # yaw gets what the tilt leaves of the rotors' range
    for i in range(4):
        x, y = _ROTORS[i, 0], _ROTORS[i, 1]
        f = MASS * thrust / 4 + y * roll - x * pitch
        rotors[i] = min(ROTOR_LIMIT, max(0.0, f))
        left = ROTOR_LIMIT - rotors[i] if _ROTORS[i, 2] * turn > 0 else rotors[i]
        room = min(room, left)
    for i in range(4):
        rotors[i] += _ROTORS[i, 2] * math.copysign(room, turn)


class MujocoWorld(Simulator):
    """
    A quadrotor with four rotors, a velocity autopilot and a camera, in MuJoCo.

    What is public is the built-in simulator's, with the same meaning. Give the GL resources
    back with ``close``.

    Parameters
    ----------
    sim : SimConfig, optional
    camera : CameraConfig, optional
    shift : Effect, optional
        For the signature's sake: must change nothing.

    Raises
    ------
    ConfigError
        A shift is given.
    MissingDependencyError
        MuJoCo or a GL library is missing.

    """

    def __init__(self, sim: SimConfig | None = None, camera: CameraConfig | None = None,
                 shift: Effect | None = None) -> None:
        if shift is not None and shift != Effect():
            raise ConfigError('shifts are of the built-in world, not of MuJoCo')
        self._mujoco = load_mujoco()
        camera = camera or CameraConfig()
        self._view = View(self._mujoco, camera.width, camera.height)
        super().__init__(sim, camera)

    def reset(self, seed: int | None = None, task: str | None = None) -> None:
        """
        Start a new episode.

        Parameters
        ----------
        seed : int, optional
            Defaults to the configuration's.
        task : str, optional
            One of ``TASKS`` or ``MISSIONS``; by default drawn as in the built-in simulator.

        Raises
        ------
        ConfigError
            `task` is unknown.

        """
        super().reset(seed, task)
        light = self.scene.light
        # compiling takes milliseconds: no model needs to serve two scenes
        self._model = build_model(self._mujoco, self.rows[:self._count], light, self.camera)
        self._data = self._mujoco.MjData(self._model)
        self._vehicle_id = self._model.body('vehicle').id
        self._data.qpos[:3], self._data.qpos[3:7] = self._state[0:3], self._state[6:10]
        self._data.act[:] = MASS * GRAVITY / 4
        self._view.show(self._model, light)

    def advance(self, duration_ns: int) -> None:
        """Fly on for `duration_ns` nanoseconds under the held command."""
        if duration_ns <= 0:
            return
        steps = -(-duration_ns // dynamics.STEP_NS)
        dt = duration_ns * 1e-9
        wind = self._wind.advance(dt)
        self._model.opt.timestep = dt / steps
        s, data = self._state, self._data
        for _ in range(steps):
            autopilot(s, self._command, self._rotation, dt / steps, data.ctrl)
            air = s[3:6] - wind
            drag = VEHICLE[1] + VEHICLE[2] * math.sqrt(air @ air)
            data.xfrc_applied[self._vehicle_id, :3] = -MASS * drag * air
            self._mujoco.mj_step(self._model, data)
            s[0:3], s[3:6] = data.qpos[:3], data.qvel[:3]
            s[6:10], s[10:13] = data.qpos[3:7], data.qvel[3:6]
            dynamics.rotation_matrix(s[6:10], self._rotation)
        s[THRUST], s[14:17] = data.act.sum() / MASS, data.qacc[3:6]
        self.time_ns += int(duration_ns)

    def frame(self) -> Frame:
        """Return MuJoCo's picture of now: uint8 [height, width, 3] RGB."""
        return Frame(self.time_ns, self._view.image(self._data))

    def labels(self) -> np.ndarray:
        """Return which of `rows` each pixel sees, int8 [height, width], -1 for none."""
        return self._view.labels(self._data)

    def close(self) -> None:
        """Give the GL resources back; no more pictures and episodes after that."""
        self._view.close()
