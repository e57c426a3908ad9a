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


"""ArduPilot over DDS: commands go on in the map frame, pose and twist become odometry."""

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from edge_vla.autopilot.ardupilot import ArduPilotVelocity
from edge_vla.config import ArduPilotNodeConfig
from edge_vla.ros import bridging, conversions, diagnostics, parameters, qos, spin
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node


class ArduPilotNode(Node):
    """
    A thin shell around ``ArduPilotVelocity``.

    Commands leave from the callback of ``cmd_vel`` and from nowhere else; without them
    ArduPilot stops after ``GUID_TIMEOUT``. It neither arms nor changes modes.
    """

    lingers = True  # for the pilot's last zero, when both are told to end

    def __init__(self, **options: Any) -> None:
        super().__init__('ardupilot_node', **options)
        self.config = parameters.declare(self, ArduPilotNodeConfig).ardupilot
        self.core = ArduPilotVelocity(self.config)
        self._pose: tuple[float, Any] | None = None
        prefix = self.config.topics.rstrip('/')
        self._command = self.create_publisher(TwistStamped, f'{prefix}/cmd_vel', qos.COMMAND)
        self._odometry = self.create_publisher(Odometry, 'odom', qos.SENSOR_OUT)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        for kind, topic, callback, profile in (
                (PoseStamped, f'{prefix}/pose/filtered', self._on_pose, qos.SENSOR),
                (TwistStamped, f'{prefix}/twist/filtered', self._on_twist, qos.SENSOR),
                (TwistStamped, 'cmd_vel', self._on_command, qos.COMMAND)):
            self.create_subscription(kind, topic, callback, profile)
        self.create_timer(self.config.diagnostics_period, self._report,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_pose(self, message: PoseStamped) -> None:
        now, q = time.monotonic(), message.pose.orientation
        if self.core.hear_attitude(now, (q.x, q.y, q.z, q.w)):
            self._pose = (now, message.pose)

    def _on_twist(self, message: TwistStamped) -> None:
        """Publish odometry: ArduPilot's velocity is in the world, its rates in the body."""
        if self._pose is None or time.monotonic() - self._pose[0] > self.config.max_pose_age:
            return
        pose, t = self._pose[1], message.twist
        p, q = pose.position, pose.orientation
        values = np.array([p.x, p.y, p.z, t.linear.x, t.linear.y, t.linear.z,
                           t.angular.x, t.angular.y, t.angular.z])
        if not np.isfinite(values).all():
            self.get_logger().error('ArduPilot sends what is not finite: no odometry',
                                    throttle_duration_sec=bridging.LOG_EVERY_S)
            return
        attitude = np.array([q.x, q.y, q.z, q.w])
        # ArduPilot stamps with the time since its start until it has GPS: ours is better
        self._odometry.publish(conversions.pose_to_odometry(
            self.get_clock().now().nanoseconds, values[:3], attitude / np.linalg.norm(attitude),
            values[3:6], values[6:], self.config.odom_frame_id, self.config.frame_id))

    def _on_command(self, message: TwistStamped) -> None:
        world = bridging.answer(self, self.core, message)
        if world is None:
            return
        out = TwistStamped()
        out.header.stamp, out.header.frame_id = message.header.stamp, self.config.map_frame_id
        out.twist.linear.x, out.twist.linear.y, out.twist.linear.z = (float(v) for v in world)
        out.twist.angular.z = float(message.twist.angular.z)
        self._command.publish(out)

    def _report(self) -> None:
        core = self.core
        wrong = core.state(time.monotonic())
        name = self.get_fully_qualified_name().lstrip('/')
        self._diagnostics.publish(diagnostics.array(
            self.get_clock().now().to_msg(), f'{name}: ArduPilot', 'edge_vla',
            diagnostics.WARN if wrong else diagnostics.OK, wrong or 'passing on', {
                'commands sent': core.passed, 'commands refused': core.refused}))

    def close(self) -> None:
        """Stop: ArduPilot hears no command any more."""


def main() -> int:
    """Run the node."""
    return spin.run(ArduPilotNode, 'ardupilot_node')


if __name__ == '__main__':
    raise SystemExit(main())
