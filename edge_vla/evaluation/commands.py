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


"""Recorded velocity commands of several kinds, brought to the heading frame."""

import math
from typing import Any

from edge_vla.autopilot import frames
import numpy as np

TWIST = 'geometry_msgs/msg/Twist'
TWIST_STAMPED = 'geometry_msgs/msg/TwistStamped'
POSITION_TARGET = 'mavros_msgs/msg/PositionTarget'
TRAJECTORY_SETPOINT = 'px4_msgs/msg/TrajectorySetpoint'
COMMANDS = (TWIST_STAMPED, TWIST, POSITION_TARGET, TRAJECTORY_SETPOINT)
# What is read of those that a bag defines itself; old releases of PX4 had others.
FIELDS = {POSITION_TARGET: ('coordinate_frame', 'type_mask', 'velocity', 'yaw_rate'),
          TRAJECTORY_SETPOINT: ('velocity', 'yawspeed')}
# A stamped twist in one of these is along the axes of the world: east, north, up.
WORLD_FRAMES = ('map', 'odom', 'world', 'earth', 'local_origin')
IGNORES_VELOCITY, IGNORES_YAW_RATE = 8 | 16 | 32, 2048  # MAVLink
BODY_FRAMES = 8, 9  # BODY_NED, BODY_OFFSET_NED: MAVROS takes any other for the world's axes


def yaw_of(message: Any) -> float:
    """Return the heading of a ``nav_msgs/Odometry``, rad, counter-clockwise from its x axis."""
    q = message.pose.pose.orientation
    return frames.yaw_of((q.w, q.x, q.y, q.z))


def command_from_message(message: Any, kind: str, yaw: float | None) -> np.ndarray | None:
    """
    Return the velocity that a message asks for.

    Parameters
    ----------
    message : object
        Of one of the types in ``COMMANDS``. A twist without a frame, or in one of the vehicle,
        is taken as level and along the heading, as autopilots do.
    kind : str
        Its type.
    yaw : float or None
        Heading at that time, for commands along the axes of the world (x east), rad.

    Returns
    -------
    numpy.ndarray or None
        float64 [4]: forward, left, up in m/s and yaw rate in rad/s; may hold NaN where the
        message does. None where it asks for no velocity, or needs a heading that is not known.

    """
    if kind in (TWIST, TWIST_STAMPED):
        twist = message.twist if kind == TWIST_STAMPED else message
        v, rate = twist.linear, twist.angular.z
        world = kind == TWIST_STAMPED and \
            message.header.frame_id.rpartition('/')[2] in WORLD_FRAMES
        return _level((v.x, v.y, v.z), rate, yaw, world)
    if kind == POSITION_TARGET:
        if message.type_mask & IGNORES_VELOCITY:
            return None
        v = message.velocity
        rate = 0.0 if message.type_mask & IGNORES_YAW_RATE else message.yaw_rate
        # MAVROS takes these in ROS's axes, whatever the name of the frame
        return _level((v.x, v.y, v.z), rate, yaw, message.coordinate_frame not in BODY_FRAMES)
    north, east, down = (float(c) for c in message.velocity)
    if all(math.isnan(c) for c in (north, east, down)):
        return None  # PX4 is asked for a position
    rate = 0.0 if math.isnan(message.yawspeed) else -float(message.yawspeed)
    return _level((east, north, -down), rate, yaw, True)


def _level(v: tuple[float, float, float], rate: float, yaw: float | None,
           world: bool) -> np.ndarray | None:
    if not world:
        return np.array([*v, rate], np.float64)
    if yaw is None:
        return None
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([c * v[0] + s * v[1], c * v[1] - s * v[0], v[2], rate], np.float64)
