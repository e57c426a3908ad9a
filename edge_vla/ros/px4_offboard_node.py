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


"""PX4 over uXRCE-DDS: velocity commands become offboard setpoints, odometry becomes ours."""

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from edge_vla.autopilot.px4_offboard import Px4Offboard
from edge_vla.autopilot.px4_requests import Request
from edge_vla.autopilot.timesync import Timesync
from edge_vla.config import Px4NodeConfig
from edge_vla.ros import bridging, diagnostics, parameters, px4_messages, qos, spin
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool

TICK_S = 0.05


class Px4OffboardNode(Node):
    """
    A thin shell around ``Px4Offboard``.

    Heartbeats and setpoints leave from the callback of ``cmd_vel`` and from nowhere else. The
    timer carries out requests of the services ``~/arm`` and ``~/offboard``, nothing more.
    """

    lingers = True  # for the pilot's last zero, when both are told to end

    def __init__(self, **options: Any) -> None:
        super().__init__('px4_offboard_node', **options)
        self.config = parameters.declare(self, Px4NodeConfig).px4
        self._messages = messages = px4_messages.px4_msgs()
        self.core, self.sync = Px4Offboard(self.config), Timesync()
        self._waiting: list[tuple[Request, Future]] = []
        self._doing = (False, False)  # PX4 is heard, setpoints go out
        self._late = 0

        def topic(kind: type, name: str) -> str:
            return px4_messages.versioned(kind, f'{self.config.topics.rstrip("/")}/{name}')

        create, hear = self.create_publisher, self.create_subscription
        self._heartbeat, self._setpoint, self._command = (
            create(kind, topic(kind, name), qos.PX4) for kind, name in (
                (messages.OffboardControlMode, 'in/offboard_control_mode'),
                (messages.TrajectorySetpoint, 'in/trajectory_setpoint'),
                (messages.VehicleCommand, 'in/vehicle_command')))
        self._odometry = create(Odometry, 'odom', qos.SENSOR_OUT)
        self._diagnostics = create(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        self._status_topic = ''
        for kind, name, callback in (
                (messages.VehicleStatus, 'out/vehicle_status', self._on_status),
                (messages.VehicleOdometry, 'out/vehicle_odometry', self._on_odometry),
                (messages.VehicleCommandAck, 'out/vehicle_command_ack', self._on_ack)):
            made = hear(kind, topic(kind, name), callback, qos.PX4)
            self._status_topic = self._status_topic or made.topic_name
        hear(TwistStamped, 'cmd_vel', self._on_command, qos.COMMAND)
        # in a group of their own: while they wait for PX4 everything else has to go on
        group = ReentrantCallbackGroup()
        self.create_service(SetBool, '~/arm', self._on_arm, callback_group=group)
        self.create_service(SetBool, '~/offboard', self._on_offboard, callback_group=group)
        self.add_on_set_parameters_callback(self._on_parameters)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_S, self._tick, clock=steady)
        self.create_timer(self.config.diagnostics_period, self._report, clock=steady)
        self.get_logger().info(f'waiting for PX4 on {self._status_topic}')

    def _clock_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    # --- from PX4 ---

    def _on_status(self, message: Any) -> None:
        if self._in_time(message):
            self.core.hear_vehicle(time.monotonic(), px4_messages.to_vehicle(message))

    def _on_odometry(self, message: Any) -> None:
        pose = px4_messages.to_pose(message)
        if not self._in_time(message) or pose is None:
            return
        self.core.hear_attitude(time.monotonic(), message.q)
        stamp_ns = self.sync.to_here_ns(int(message.timestamp_sample or message.timestamp))
        self._odometry.publish(px4_messages.to_odometry(
            pose, message, max(0, stamp_ns), self.config.odom_frame_id, self.config.frame_id))

    def _in_time(self, message: Any) -> bool:
        """Take a stamp of PX4; messages that disagree with its clock are left out."""
        jumps = self.sync.jumps
        agrees = self.sync.hear(self._clock_ns(), int(message.timestamp))
        self._late += not agrees
        if self.sync.jumps > jumps:
            self.get_logger().warning('the clock of PX4 was set anew, or PX4 has restarted')
        return agrees

    def _on_ack(self, message: Any) -> None:
        self.core.hear_ack(time.monotonic(), int(message.command), int(message.result))

    # --- to PX4 ---

    def _on_command(self, message: TwistStamped) -> None:
        setpoint = bridging.answer(self, self.core, message, 'not passed on: ')
        if setpoint is None:
            return
        heartbeat, out = px4_messages.from_setpoint(self._messages, self._px4_us(), setpoint)
        self._heartbeat.publish(heartbeat)
        self._setpoint.publish(out)

    def _px4_us(self) -> int:
        return self.sync.to_there_us(self._clock_ns())

    def _tick(self) -> None:
        now = time.monotonic()
        command = self.core.tick(now)
        if command is not None:
            self._command.publish(px4_messages.from_command(
                self._messages, self._px4_us(), command, self.config.system_id))
        for request, future in [w for w in self._waiting if w[0].outcome]:
            self._waiting.remove((request, future))
            self.get_logger().info(f'{request.kind}: {request.outcome}')
            future.set_result(None)
        doing = self.core.connected(now), self.core.streaming(now)
        if doing != self._doing:
            self._doing = doing
            self.get_logger().info(self.core.state(now))

    # --- services, parameters, diagnostics ---

    async def _on_arm(self, request: SetBool.Request,
                      response: SetBool.Response) -> SetBool.Response:
        return await self._ask('arm' if request.data else 'disarm', response)

    async def _on_offboard(self, request: SetBool.Request,
                           response: SetBool.Response) -> SetBool.Response:
        return await self._ask('offboard' if request.data else 'hold', response)

    async def _ask(self, kind: str, response: SetBool.Response) -> SetBool.Response:
        """Ask PX4 and answer when it has; meanwhile everything else goes on."""
        request = self.core.request(time.monotonic(), kind)
        if not request.outcome:
            future: Future = Future(executor=self.executor)
            self._waiting.append((request, future))
            await future
        response.success, response.message = request.success, request.outcome
        return response

    def _on_parameters(self, changed: list[Parameter]) -> Any:
        config, result = parameters.on_change(self, Px4NodeConfig, changed)
        if config is not None:
            self.config = self.core.config = config.px4
        return result

    def _report(self) -> None:
        now, core = time.monotonic(), self.core
        vehicle, state = core.vehicle, core.state(now)
        level, message = diagnostics.OK, state
        if not core.connected(now):
            level = diagnostics.ERROR
            names = [n for n, _ in self.get_topic_names_and_types()]
            if others := px4_messages.other_versions(self._status_topic, names):
                message = (f'PX4 publishes {", ".join(others)}, the installed px4_msgs are for '
                           f'{self._status_topic}: install those of the release that flies')
                self.get_logger().error(message, throttle_duration_sec=10 * bridging.LOG_EVERY_S)
        elif not core.streaming(now):
            level = diagnostics.WARN
        offset = self.sync.offset_ns
        name = self.get_fully_qualified_name().lstrip('/')
        self._diagnostics.publish(diagnostics.array(
            self.get_clock().now().to_msg(), f'{name}: PX4', 'edge_vla', level, message, {
                'armed': 'unknown' if vehicle is None else vehicle.armed,
                'mode': 'unknown' if vehicle is None else vehicle.nav_state,
                'failsafe': 'unknown' if vehicle is None else vehicle.failsafe,
                'setpoints sent': core.passed, 'commands refused': core.refused,
                'last refusal': core.reason or 'none',
                'clock offset [ms]': 'unknown' if offset is None else f'{offset * 1e-6:.1f}',
                'clock set anew': self.sync.jumps, 'messages out of time': self._late,
                'commands allowed': self.config.allow_commands}))

    def close(self) -> None:
        """Stop: PX4 hears no heartbeat any more."""


def main() -> int:
    """Run the node."""
    return spin.run(Px4OffboardNode, 'px4_offboard_node')


if __name__ == '__main__':
    raise SystemExit(main())
