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


"""What the bridges to autopilots share: how a command is taken, and refused."""

import time
from typing import Any

from edge_vla.autopilot.bridge import VelocityBridge
from edge_vla.ros import conversions
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node

LOG_EVERY_S = 2.0


def answer(node: Node, core: VelocityBridge, message: TwistStamped, refused: str = '') -> Any:
    """
    Ask what an autopilot is to be sent for a command, and log why where it is nothing.

    Parameters
    ----------
    node : rclpy.node.Node
        Its clock is that of the stamps.
    core : VelocityBridge
        Decides over the command.
    message : TwistStamped
        The command.
    refused : str, optional
        What the log says before the reason of a refusal.

    Returns
    -------
    object or None
        As `core` answers; None also for commands in another frame than its configured one.

    """
    log, frame, expected = node.get_logger(), message.header.frame_id, core.config.frame_id
    if frame != expected:
        core.reject(f'commands in frame "{frame}" are refused, they must be in "{expected}"')
        log.error(core.reason, throttle_duration_sec=LOG_EVERY_S)
        return None
    t = message.twist
    made = core.command(time.monotonic(), node.get_clock().now().nanoseconds,
                        conversions.to_nanoseconds(message.header.stamp),
                        (t.linear.x, t.linear.y, t.linear.z), t.angular.z)
    if made is None:
        log.warning(f'{refused}{core.reason}', throttle_duration_sec=LOG_EVERY_S)
    return made
