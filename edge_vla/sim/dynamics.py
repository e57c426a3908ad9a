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
Quadrotor with a velocity autopilot: rigid body, cascaded loops, motor lag, drag, wind.

The cascade is the one of PX4 (velocity PID -> tilt and thrust -> body rates -> torque) with its
default gains: MPC_XY_VEL_P/I/D_ACC 1.8/0.4/0.2, MPC_Z_VEL_P/I_ACC 4.0/2.0, MC_ROLL_P 6.5,
MC_YAW_P 2.8. World is ENU, body is forward-left-up, quaternions are w x y z.
"""

import math

from numba import njit
import numpy as np

# Columns of a state row: position 0:3, velocity 3:6 (world), quaternion w x y z 6:10, body rates
# 10:13, thrust 13 (m/s^2), angular acceleration 14:17, integral of the velocity error 17:20, yaw
# setpoint 20, velocity of the last step 21:24.
THRUST, YAW_SETPOINT = 13, 20
STATE_COLUMNS = 24
GRAVITY = 9.81
STEP_NS = 4_000_000  # longest physics step
GROUND = 0.08  # m, height of the centre of a vehicle that stands on its feet
# Columns of a vehicle row: thrust efficiency, linear drag 1/s, quadratic drag 1/m, motor lag s,
# velocity gain.
VEHICLE = np.array([1.0, 0.18, 0.03, 0.05, 1.0])


@njit(cache=True, nogil=True)
def rotation_matrix(q, out):  # noqa: ANN001, ANN201
    """Body-to-world matrix of quaternion w x y z."""
    w, x, y, z = q[0], q[1], q[2], q[3]
    out[0, 0] = 1 - 2 * (y * y + z * z)
    out[0, 1] = 2 * (x * y - w * z)
    out[0, 2] = 2 * (x * z + w * y)
    out[1, 0] = 2 * (x * y + w * z)
    out[1, 1] = 1 - 2 * (x * x + z * z)
    out[1, 2] = 2 * (y * z - w * x)
    out[2, 0] = 2 * (x * z - w * y)
    out[2, 1] = 2 * (y * z + w * x)
    out[2, 2] = 1 - 2 * (x * x + y * y)


@njit(cache=True, nogil=True)
def hover_state(out, x, y, z, yaw):  # noqa: ANN001, ANN201
    """Fill a state row: at rest, level, thrust at hover."""
    out[:] = 0.0
    out[0] = x
    out[1] = y
    out[2] = z
    out[6] = math.cos(yaw / 2)
    out[9] = math.sin(yaw / 2)
    out[YAW_SETPOINT] = yaw
    out[THRUST] = GRAVITY


@njit(cache=True, nogil=True)
def _wrap(angle):  # noqa: ANN001, ANN202
    return math.atan2(math.sin(angle), math.cos(angle))


@njit(cache=True, nogil=True)
def fly(s, command, wind, vehicle, rotation, dt, steps):  # noqa: ANN001, ANN201
    """
    Advance one state row by `steps` of `dt` seconds under a held velocity command.

    Parameters
    ----------
    s : float64 [STATE_COLUMNS], changed
        The state.
    command : float64 [4]
        Heading-frame velocity x y z in m/s and yaw rate in rad/s.
    wind : float64 [3]
        Air velocity, world, m/s.
    vehicle : float64 [5]
        See VEHICLE.
    rotation : float64 [3, 3], written
        Body-to-world matrix at the end.
    dt, steps : float, int
        Length (s) and number of physics steps.

    """
    r = rotation
    for _ in range(steps):
        rotation_matrix(s[6:10], r)
        yaw = math.atan2(r[1, 0], r[0, 0])
        s[YAW_SETPOINT] += command[3] * dt
        yaw_error = _wrap(s[YAW_SETPOINT] - yaw)
        if abs(yaw_error) > 0.5:  # the setpoint must not run away from a slow vehicle
            yaw_error = math.copysign(0.5, yaw_error)
            s[YAW_SETPOINT] = yaw + yaw_error
        cy = math.cos(yaw)
        sy = math.sin(yaw)
        e0 = cy * command[0] - sy * command[1] - s[3]
        e1 = sy * command[0] + cy * command[1] - s[4]
        e2 = command[2] - s[5]
        k = vehicle[4]
        a0 = k * 1.8 * e0 + s[17] - 0.2 * (s[3] - s[21]) / dt
        a1 = k * 1.8 * e1 + s[18] - 0.2 * (s[4] - s[22]) / dt
        a2 = k * 4.0 * e2 + s[19]
        s[17] = min(3.0, max(-3.0, s[17] + 0.4 * e0 * dt))
        s[18] = min(3.0, max(-3.0, s[18] + 0.4 * e1 * dt))
        s[19] = min(4.0, max(-4.0, s[19] + 2.0 * e2 * dt))
        for i in range(3):
            s[21 + i] = s[3 + i]
        lift = max(a2 + GRAVITY, 2.0)
        tilt = math.sqrt(a0 * a0 + a1 * a1)
        if tilt > 0.7 * lift:  # 35 degrees
            a0 *= 0.7 * lift / tilt
            a1 *= 0.7 * lift / tilt
        thrust = math.sqrt(a0 * a0 + a1 * a1 + lift * lift)
        z0 = a0 / thrust
        z1 = a1 / thrust
        z2 = lift / thrust
        thrust = min(thrust, 2.2 * GRAVITY)
        # tilt error: cross product of the body z axis and the wanted one, in body axes
        c0 = r[1, 2] * z2 - r[2, 2] * z1
        c1 = r[2, 2] * z0 - r[0, 2] * z2
        c2 = r[0, 2] * z1 - r[1, 2] * z0
        w0 = 6.5 * (r[0, 0] * c0 + r[1, 0] * c1 + r[2, 0] * c2)
        w1 = 6.5 * (r[0, 1] * c0 + r[1, 1] * c1 + r[2, 1] * c2)
        w2 = 2.8 * yaw_error + command[3]
        lag = dt / vehicle[3] if vehicle[3] > dt else 1.0
        s[13] += lag * (thrust * vehicle[0] - s[13])
        s[14] += lag * (20.0 * (w0 - s[10]) - s[14])
        s[15] += lag * (20.0 * (w1 - s[11]) - s[15])
        s[16] += lag * (8.0 * (w2 - s[12]) - s[16])
        v0 = s[3] - wind[0]
        v1 = s[4] - wind[1]
        v2 = s[5] - wind[2]
        drag = vehicle[1] + vehicle[2] * math.sqrt(v0 * v0 + v1 * v1 + v2 * v2)
        s[3] += (r[0, 2] * s[13] - drag * v0) * dt
        s[4] += (r[1, 2] * s[13] - drag * v1) * dt
        s[5] += (r[2, 2] * s[13] - drag * v2 - GRAVITY) * dt
        for i in range(3):
            s[10 + i] += s[14 + i] * dt
            s[i] += s[3 + i] * dt
        if s[2] < GROUND and s[5] < 0:
            s[2] = GROUND
            s[3] = s[4] = s[5] = 0.0
        w, x, y, z = s[6], s[7], s[8], s[9]
        p, q, n = s[10], s[11], s[12]
        h = 0.5 * dt
        s[6] = w - h * (x * p + y * q + z * n)
        s[7] = x + h * (w * p + y * n - z * q)
        s[8] = y + h * (w * q - x * n + z * p)
        s[9] = z + h * (w * n + x * q - y * p)
        norm = 1 / math.sqrt(s[6] ** 2 + s[7] ** 2 + s[8] ** 2 + s[9] ** 2)
        for i in range(6, 10):
            s[i] *= norm
    rotation_matrix(s[6:10], r)


@njit(cache=True, nogil=True)
def fly_batch(states, commands, winds, vehicles, rotations, dts, steps, live):  # noqa: ANN001, ANN201, E501
    """`fly` for every live world; worlds that are not live stay as they are."""
    for i in range(states.shape[0]):
        if live[i]:
            fly(states[i], commands[i], winds[i], vehicles[i], rotations[i], dts[i], steps[i])
