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
Messages of px4_msgs to data and back; the package is needed only where PX4 is flown.

The functions take the module ``px4_msgs.msg``, so that any of its releases will do. Every field
is cast to its plain Python type, as in ``conversions``.
"""

from importlib import import_module
import math
import re
from types import ModuleType
from typing import Any

from edge_vla.autopilot.px4_odometry import MeasuredPose, read_odometry, VELOCITY_BODY_FRD
from edge_vla.autopilot.px4_offboard import Setpoint
from edge_vla.autopilot.px4_requests import Vehicle, VehicleCommand
from edge_vla.exceptions import MissingDependencyError
from edge_vla.motion import rotate
from edge_vla.ros import conversions
from nav_msgs.msg import Odometry
import numpy as np

ARMED = 2  # ARMING_STATE_ARMED
UNKNOWN = (math.nan,) * 3  # not controlled, says px4_msgs/TrajectorySetpoint
COMPONENT = 1  # MAV_COMP_ID_AUTOPILOT1


def px4_msgs() -> ModuleType:
    """
    Import ``px4_msgs.msg``.

    Raises
    ------
    MissingDependencyError
        It is not installed.

    """
    try:
        return import_module('px4_msgs.msg')
    except ImportError as error:
        raise MissingDependencyError(
            'PX4 needs the ROS package px4_msgs of the release that flies: put '
            'https://github.com/PX4/px4_msgs (branch release/...) into your workspace, '
            f'colcon build, source install/setup.bash ({error})') from error


def versioned(kind: type, name: str) -> str:
    """
    Return the topic name of a message type: since 1.16 PX4 appends its version, if not 0.

    Parameters
    ----------
    kind : type
        Message class.
    name : str
        Topic without version, for example ``fmu/out/vehicle_status``.

    """
    version = int(getattr(kind, 'MESSAGE_VERSION', 0))
    return f'{name}_v{version}' if version else name


def other_versions(topic: str, published: list[str]) -> list[str]:
    """
    Return those of the published topics that are `topic` in another version.

    Parameters
    ----------
    topic : str
        Full name, with its version if any.
    published : list of str
        Full names.

    """
    bare = re.sub(r'_v\d+$', '', topic)
    return sorted(t for t in published
                  if t != topic and re.fullmatch(re.escape(bare) + r'(_v\d+)?', t))


def to_vehicle(message: Any) -> Vehicle:
    """Read a VehicleStatus."""
    return Vehicle(message.arming_state == ARMED, int(message.nav_state),
                   int(message.nav_state_user_intention), bool(message.failsafe),
                   bool(message.pre_flight_checks_pass))


def to_pose(message: Any) -> MeasuredPose | None:
    """Read a VehicleOdometry; None where what counts in it is unknown."""
    return read_odometry(message.position, message.q, int(message.velocity_frame),
                         message.velocity, message.angular_velocity)


def to_odometry(pose: MeasuredPose, variances: Any, stamp_ns: int, frame_id: str,
                child_frame_id: str) -> Odometry:
    """
    Encode what PX4 measured as ``nav_msgs/Odometry``.

    Parameters
    ----------
    pose : MeasuredPose
        The measurement.
    variances : px4_msgs.msg.VehicleOdometry
        Message with the variances of position, orientation and velocity, and the frame of
        the last.
    stamp_ns : int
        Time of the measurement on our clock, ns.
    frame_id, child_frame_id : str
        World (ENU) and body (FLU) frame.

    """
    known = np.isfinite(pose.position).all()
    message = conversions.pose_to_odometry(
        stamp_ns, pose.position if known else np.zeros(3), pose.quaternion,
        pose.velocity_world, pose.rates_body, frame_id, child_frame_id)
    east, north = 1, 0
    for field, index, values in (
            (message.pose, 0, [variances.position_variance[k] for k in (east, north, 2)]),
            (message.pose, 3, variances.orientation_variance)):
        for k, value in enumerate(float(v) for v in values):
            field.covariance[7 * (index + k)] = value if math.isfinite(value) else 0.0
    message.twist.covariance.reshape(6, 6)[:3, :3] = _velocity_covariance(pose, variances)
    if not known:
        message.pose.covariance[0] = -1.0  # unknown, as sensor_msgs says it
    return message


def _velocity_covariance(pose: MeasuredPose, source: Any) -> np.ndarray:
    """Return the covariance of the velocity in the body, [3, 3]; zeros where unknown."""
    x, y, z = (float(v) for v in source.velocity_variance)
    if int(source.velocity_frame) == VELOCITY_BODY_FRD:
        return np.diag(np.nan_to_num([x, y, z], posinf=0, neginf=0))
    if not np.isfinite([x, y, z]).all():  # it would be in every axis
        return np.zeros((3, 3))
    axes = np.array([rotate(pose.quaternion, axis) for axis in np.eye(3)])  # of the body, ENU
    return axes @ np.diag([y, x, z]) @ axes.T


def _stamped(kind: type, stamp_us: int) -> Any:
    """Return an empty message with PX4's time, us."""
    message = kind()
    message.timestamp = int(stamp_us)
    return message


def from_setpoint(messages: ModuleType, stamp_us: int, setpoint: Setpoint) -> tuple[Any, Any]:
    """
    Return the heartbeat and the setpoint of one command.

    Parameters
    ----------
    messages : module
        ``px4_msgs.msg``.
    stamp_us : int
        PX4's time, us.
    setpoint : Setpoint
        What to fly.

    """
    heartbeat = _stamped(messages.OffboardControlMode, stamp_us)
    heartbeat.velocity = True
    out = _stamped(messages.TrajectorySetpoint, stamp_us)
    out.position = out.acceleration = out.jerk = list(UNKNOWN)
    out.velocity = [float(v) for v in setpoint.velocity]
    out.yaw, out.yawspeed = math.nan, float(setpoint.yaw_rate)
    return heartbeat, out


def from_command(messages: ModuleType, stamp_us: int, command: VehicleCommand,
                 system_id: int) -> Any:
    """
    Return a VehicleCommand.

    Parameters
    ----------
    messages : module
        ``px4_msgs.msg``.
    stamp_us : int
        PX4's time, us.
    command : VehicleCommand
        What to ask.
    system_id : int
        MAV_SYS_ID of the vehicle.

    """
    out = _stamped(messages.VehicleCommand, stamp_us)
    out.command = int(command.command)
    out.param1, out.param2, out.param3 = (float(p) for p in command.params)
    out.target_system = out.source_system = int(system_id)
    out.target_component = out.source_component = COMPONENT
    out.confirmation, out.from_external = min(255, int(command.confirmation)), True
    return out
