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


"""Measured motion from the fields of an odometry message, without ROS."""

from collections.abc import Sequence
import math
from typing import Any, TypeGuard

from edge_vla.datatypes import Motion
import numpy as np

MOTION_LIFE_S = 0.5  # older odometry counts as none
FASTEST = 1e3  # m/s, rad/s: what a driver did not initialise is often far beyond


def believable(values: Sequence[float] | np.ndarray) -> bool:
    """Tell whether velocities and angles (m/s, rad/s, rad) are numbers that a flight can have."""
    return bool((np.abs(values) <= FASTEST).all())


def measured(motion: Motion | None) -> TypeGuard[Motion]:
    """Tell whether there are a velocity and a yaw rate, and both can be believed."""
    return motion is not None and believable((*motion.velocity, motion.yaw_rate))


def motion_from_odometry(stamp_ns: int, quaternion: Sequence[float], linear: Sequence[float],
                         angular: Sequence[float]) -> Motion:
    """
    Turn the pose and twist of ``nav_msgs/Odometry`` into motion in the heading frame.

    Parameters
    ----------
    stamp_ns : int
        Time of measurement, nanoseconds.
    quaternion : sequence of float
        x y z w, body to world.
    linear, angular : sequence of float
        m/s and rad/s in the body frame (the message's child frame).

    Returns
    -------
    Motion
        With a zero quaternion (the publisher knows no attitude) the body is taken as level.

    """
    x, y, z, w = (float(v) for v in quaternion)
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    x, y, z, w = (x / norm, y / norm, z / norm, w / norm) if not norm <= 1e-6 else (
        0.0, 0.0, 0.0, 1.0)
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    u, v, n = (float(c) for c in linear)
    velocity = np.array([cp * u + sp * sr * v + sp * cr * n, cr * v - sr * n,
                         -sp * u + cp * sr * v + cp * cr * n])
    _, q, r = (float(c) for c in angular)
    yaw_rate = (sr * q + cr * r) / max(cp, 0.1)
    return Motion(stamp_ns, velocity, yaw_rate, roll, pitch)


def motion_from_message(message: Any, stamp_ns: int) -> Motion:
    """
    Read a ``nav_msgs/Odometry``, of rclpy or of rosbags.

    Its twist is in the child frame (body), as REP-105 and nav_msgs want it.
    """
    q, t = message.pose.pose.orientation, message.twist.twist
    return motion_from_odometry(
        stamp_ns, (q.x, q.y, q.z, q.w), (t.linear.x, t.linear.y, t.linear.z),
        (t.angular.x, t.angular.y, t.angular.z))


def rotate(quaternion: Sequence[float], vector: np.ndarray) -> np.ndarray:
    """Rotate a vector [3] by a unit quaternion x y z w."""
    u, w = np.asarray(quaternion[:3]), float(quaternion[3])
    return vector + 2 * np.cross(u, np.cross(u, vector) + w * vector)
