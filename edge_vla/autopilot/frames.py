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
Between the frames of ROS and those of autopilots.

ROS (REP-103): world east-north-up (ENU), body forward-left-up (FLU), yaw counter-clockwise
from east. PX4 and ArduPilot: world north-east-down (NED), body forward-right-down (FRD), yaw
clockwise from north. Every swap here undoes itself, so one function serves both directions.
"""

from collections.abc import Sequence
import math

import numpy as np

HALF = math.sqrt(0.5)


def swap_world(vector: Sequence[float]) -> np.ndarray:
    """
    Turn a world vector from NED to ENU, or back.

    Parameters
    ----------
    vector : sequence of float
        [3], any unit.

    Returns
    -------
    numpy.ndarray
        float64 [3].

    """
    x, y, z = (float(v) for v in vector)
    return np.array([y, x, -z])


def swap_body(vector: Sequence[float]) -> np.ndarray:
    """
    Turn a body vector from FRD to FLU, or back.

    Parameters
    ----------
    vector : sequence of float
        [3], any unit.

    Returns
    -------
    numpy.ndarray
        float64 [3].

    """
    x, y, z = (float(v) for v in vector)
    return np.array([x, -y, -z])


def swap_attitude(quaternion: Sequence[float]) -> np.ndarray:
    """
    Turn an attitude from body FRD in NED to body FLU in ENU, or back.

    It is q(ENU from NED) * q * q(FRD from FLU), which comes down to sums.

    Parameters
    ----------
    quaternion : sequence of float
        w x y z, body to world; any length but zero.

    Returns
    -------
    numpy.ndarray
        float64 [4], w x y z, of unit length; NaN where the argument is zero or not finite.

    """
    w, x, y, z = (float(v) for v in quaternion)
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if not (math.isfinite(length) and length > 0):
        return np.full(4, np.nan)
    return HALF / length * np.array([w + z, x + y, x - y, w - z])


def wrap_angle(angle: float) -> float:
    """
    Return an angle within [-pi, pi).

    Parameters
    ----------
    angle : float
        rad.

    """
    wrapped = (angle + math.pi) % (2 * math.pi) - math.pi
    return -math.pi if wrapped >= math.pi else wrapped  # rounding can reach the excluded end


def swap_yaw(yaw: float) -> float:
    """
    Turn a yaw from clockwise from north to counter-clockwise from east, or back.

    Parameters
    ----------
    yaw : float
        rad.

    Returns
    -------
    float
        rad, within [-pi, pi).

    """
    return wrap_angle(math.pi / 2 - yaw)


def yaw_of(quaternion: Sequence[float]) -> float:
    """
    Return the yaw (ZYX convention) of an attitude, in the attitude's own world frame.

    Parameters
    ----------
    quaternion : sequence of float
        w x y z, body to world, of unit length.

    Returns
    -------
    float
        rad, within [-pi, pi]; NaN where the attitude is not finite.

    """
    w, x, y, z = (float(v) for v in quaternion)
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def heading_to_enu(velocity: Sequence[float], yaw: float) -> np.ndarray:
    """
    Turn a velocity in the heading frame (forward, left, up; level) into the world.

    Parameters
    ----------
    velocity : sequence of float
        [3], m/s.
    yaw : float
        rad, counter-clockwise from east.

    Returns
    -------
    numpy.ndarray
        float64 [3], m/s, ENU.

    """
    x, y, z = (float(v) for v in velocity)
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([c * x - s * y, s * x + c * y, z])


def heading_to_ned(velocity: Sequence[float], yaw: float) -> np.ndarray:
    """
    Turn a velocity in the heading frame (forward, left, up; level) into the world.

    Parameters
    ----------
    velocity : sequence of float
        [3], m/s.
    yaw : float
        rad, clockwise from north.

    Returns
    -------
    numpy.ndarray
        float64 [3], m/s, NED.

    """
    return swap_world(heading_to_enu(velocity, swap_yaw(yaw)))
