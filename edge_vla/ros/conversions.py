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
Messages to data and back.

Every message field is cast to its plain Python type: rclpy does not check fields by default,
and a NumPy scalar would arrive as garbage without any error.
"""

from array import array
import math
from typing import Any

from builtin_interfaces.msg import Time
from edge_vla.datatypes import Command, Frame
from edge_vla.motion import rotate
from edge_vla.vision.image_encodings import decode_compressed, to_rgb
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


def to_nanoseconds(stamp: Time) -> int:
    """Return a stamp in nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def stamp_of(message: Any, node: Node) -> int:
    """Return a message's stamp in nanoseconds; of a driver without a clock, when it came."""
    return to_nanoseconds(message.header.stamp) or node.get_clock().now().nanoseconds


def to_stamp(nanoseconds: int) -> Time:
    """Return nanoseconds as a stamp."""
    return Time(sec=int(nanoseconds // 1_000_000_000), nanosec=int(nanoseconds % 1_000_000_000))


def image_to_frame(message: Image, stamp_ns: int | None = None) -> Frame:
    """
    Decode an image message.

    Parameters
    ----------
    message : sensor_msgs.msg.Image
        The message.
    stamp_ns : int, optional
        Overrides the message's stamp (for drivers that leave it zero).

    Raises
    ------
    ImageError
        Unknown encoding, or fewer bytes than the size needs.

    """
    image = to_rgb(message.data, message.encoding, message.height, message.width, message.step,
                   bool(message.is_bigendian))
    return Frame(to_nanoseconds(message.header.stamp) if stamp_ns is None else stamp_ns, image)


def compressed_to_frame(message: CompressedImage, stamp_ns: int | None = None) -> Frame:
    """
    Decode a compressed image message.

    Raises
    ------
    ImageError
        The data is no image, or one of distances.

    """
    image = decode_compressed(message.data, message.format)
    return Frame(to_nanoseconds(message.header.stamp) if stamp_ns is None else stamp_ns, image)


def frame_to_image(frame: Frame, frame_id: str) -> Image:
    """Encode a frame as rgb8."""
    h, w = frame.image.shape[:2]
    message = Image(height=h, width=w, encoding='rgb8', is_bigendian=0, step=3 * w)
    message.header.stamp, message.header.frame_id = to_stamp(frame.stamp_ns), frame_id
    data = array('B')  # anything else is copied byte by byte by the message class
    data.frombytes(np.ascontiguousarray(frame.image).data)
    message.data = data
    return message


def command_to_twist(command: Command, frame_id: str) -> TwistStamped:
    """Encode a command; its stamp is that of the observation it answers."""
    message = TwistStamped()
    message.header.stamp, message.header.frame_id = to_stamp(command.stamp_ns), frame_id
    linear = message.twist.linear
    linear.x, linear.y, linear.z = (float(v) for v in command.velocity)
    message.twist.angular.z = float(command.yaw_rate)
    return message


def pose_to_odometry(stamp_ns: int, position: np.ndarray, quaternion: np.ndarray,
                     velocity_world: np.ndarray, rates_body: np.ndarray, frame_id: str,
                     child_frame_id: str) -> Odometry:
    """
    Encode a pose and a velocity.

    Parameters
    ----------
    stamp_ns : int
        Time of the pose.
    position : numpy.ndarray
        float64 [3], world, m.
    quaternion : numpy.ndarray
        float64 [4], body to world, x y z w.
    velocity_world : numpy.ndarray
        float64 [3], m/s; turned into the body frame here.
    rates_body : numpy.ndarray
        float64 [3], rad/s.
    frame_id, child_frame_id : str
        World and body frame.

    """
    message = Odometry(child_frame_id=child_frame_id)
    message.header.stamp, message.header.frame_id = to_stamp(stamp_ns), frame_id
    p, o, t = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
    p.x, p.y, p.z = (float(v) for v in position)
    o.x, o.y, o.z, o.w = (float(v) for v in quaternion)
    inverse = (-quaternion[0], -quaternion[1], -quaternion[2], quaternion[3])
    t.linear.x, t.linear.y, t.linear.z = (
        float(x) for x in rotate(inverse, np.asarray(velocity_world)))
    t.angular.x, t.angular.y, t.angular.z = (float(x) for x in rates_body)
    return message


def camera_info(stamp_ns: int, frame_id: str, width: int, height: int,
                fov_rad: float) -> CameraInfo:
    """Describe a pinhole camera with square pixels and no distortion."""
    f = width / 2 / math.tan(fov_rad / 2)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    message = CameraInfo(height=height, width=width, distortion_model='plumb_bob')
    message.header.stamp, message.header.frame_id = to_stamp(stamp_ns), frame_id
    message.d = [0.0] * 5
    message.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message
