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


"""What PX4 measures, in the frames of ROS."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_vla.autopilot import frames
from edge_vla.motion import rotate
import numpy as np

VELOCITY_NED, VELOCITY_FRD, VELOCITY_BODY_FRD = 1, 2, 3  # of px4_msgs/VehicleOdometry


class MeasuredPose(NamedTuple):
    """
    Pose and velocity.

    Attributes
    ----------
    position : numpy.ndarray
        float64 [3], m, ENU; NaN where PX4 does not know it.
    quaternion : numpy.ndarray
        float64 [4], x y z w, body FLU to world ENU.
    velocity_world : numpy.ndarray
        float64 [3], m/s, ENU.
    rates_body : numpy.ndarray
        float64 [3], rad/s, FLU.

    """

    position: np.ndarray
    quaternion: np.ndarray
    velocity_world: np.ndarray
    rates_body: np.ndarray


def read_odometry(position: Sequence[float], quaternion: Sequence[float], velocity_frame: int,
                  velocity: Sequence[float],
                  angular_velocity: Sequence[float]) -> MeasuredPose | None:
    """
    Turn the fields of ``px4_msgs/VehicleOdometry`` into the frames of ROS.

    Parameters
    ----------
    position : sequence of float
        [3], m, in PX4's local frame: NED, or FRD with a heading of its own.
    quaternion : sequence of float
        w x y z, body FRD to that local frame.
    velocity_frame : int
        1 and 2: the local frame; 3: the body, FRD.
    velocity : sequence of float
        [3], m/s.
    angular_velocity : sequence of float
        [3], rad/s, body FRD.

    Returns
    -------
    MeasuredPose or None
        None where attitude, velocity or rates are unknown (PX4 marks them with NaN).

    """
    w, x, y, z = frames.swap_attitude(quaternion)
    attitude = np.array([x, y, z, w])
    if velocity_frame in (VELOCITY_NED, VELOCITY_FRD):
        world = frames.swap_world(velocity)
    elif velocity_frame == VELOCITY_BODY_FRD:
        world = rotate(attitude, frames.swap_body(velocity))
    else:
        return None
    rates = frames.swap_body(angular_velocity)
    if not np.isfinite([*attitude, *world, *rates]).all():
        return None
    return MeasuredPose(frames.swap_world(position), attitude, world, rates)
