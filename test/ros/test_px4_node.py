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


"""px4_offboard_node over DDS with real px4_msgs, against the simulated PX4."""

import math
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')
messages = pytest.importorskip('px4_msgs.msg', reason='px4_msgs is not installed: no live PX4')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402, I100
from edge_vla.autopilot.px4_offboard import Setpoint  # noqa: E402
from edge_vla.autopilot.px4_requests import VehicleCommand  # noqa: E402
from edge_vla.ros import conversions, qos  # noqa: E402
from edge_vla.ros.px4_messages import versioned  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from px4_simulation import HOLD, OFFBOARD, POSITION, SimulatedPx4  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from std_srvs.srv import SetBool  # noqa: E402


def profile(durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, durability=durability,
                      history=HistoryPolicy.KEEP_LAST, depth=1)


OUT = profile(DurabilityPolicy.TRANSIENT_LOCAL)  # as the uXRCE-DDS client of PX4 writes
IN = profile(DurabilityPolicy.VOLATILE)  # and reads
BOOT_S = 12345.0  # of PX4's clock, which is not ours


class Px4OverDds:
    """The simulated PX4 behind its topics, with a clock of its own."""

    def __init__(self, bench, status_topic: str = '') -> None:  # noqa: ANN001
        self.bench, self.px4 = bench, SimulatedPx4()
        self.began = time.monotonic()
        self.heartbeats: list[float] = []
        self.setpoints: list[tuple[float, object]] = []
        create, hear = bench.node.create_publisher, bench.node.create_subscription
        kinds = {'status': (messages.VehicleStatus, 'fmu/out/vehicle_status'),
                 'odometry': (messages.VehicleOdometry, 'fmu/out/vehicle_odometry'),
                 'ack': (messages.VehicleCommandAck, 'fmu/out/vehicle_command_ack')}
        self.out = {name: create(kind, versioned(kind, topic), OUT)
                    for name, (kind, topic) in kinds.items() if name != 'status'}
        kind, topic = kinds['status']
        self.out['status'] = create(kind, status_topic or versioned(kind, topic), OUT)
        hear(messages.OffboardControlMode, 'fmu/in/offboard_control_mode', self.on_heartbeat, IN)
        hear(messages.TrajectorySetpoint, 'fmu/in/trajectory_setpoint', self.on_setpoint, IN)
        hear(messages.VehicleCommand, 'fmu/in/vehicle_command', self.on_command, IN)
        self.timer = bench.node.create_timer(0.02, self.tick)

    @property
    def time_us(self) -> int:
        return int((time.monotonic() - self.began + BOOT_S) * 1e6)

    def tick(self) -> None:
        px4 = self.px4
        px4.advance(time.monotonic())
        v = px4.status()
        self.out['status'].publish(messages.VehicleStatus(
            timestamp=self.time_us, arming_state=2 if v.armed else 1, nav_state=v.nav_state,
            nav_state_user_intention=v.intention, failsafe=v.failsafe,
            pre_flight_checks_pass=v.ready))
        half = math.sqrt(.5)
        self.out['odometry'].publish(messages.VehicleOdometry(
            timestamp=self.time_us, timestamp_sample=self.time_us - 5000, pose_frame=1,
            position=[1.0, 2.0, -3.0], q=[half, 0.0, 0.0, half], velocity_frame=1,
            velocity=[0.0, 0.5, -0.1], angular_velocity=[0.0, 0.0, 0.2]))

    def on_heartbeat(self, message) -> None:  # noqa: ANN001
        assert message.velocity and not message.position and not message.attitude
        assert abs(message.timestamp - self.time_us) < 0.4e6, 'not stamped on the clock of PX4'
        self.heartbeats.append(time.monotonic())
        self.px4.hear_heartbeat(time.monotonic(), Setpoint((0, 0, 0), 0))

    def on_setpoint(self, message) -> None:  # noqa: ANN001
        self.setpoints.append((time.monotonic(), message))

    def on_command(self, message) -> None:  # noqa: ANN001
        assert message.from_external and message.target_system == 1
        answer = self.px4.obey(time.monotonic(), VehicleCommand(
            message.command, (message.param1, message.param2, message.param3),
            message.confirmation))
        if answer is not None:
            self.out['ack'].publish(messages.VehicleCommandAck(
                timestamp=self.time_us, command=answer[0], result=answer[1]))


class Pilot:
    """Publishes commands at 30 Hz, stamped like images of now."""

    def __init__(self, bench) -> None:  # noqa: ANN001
        self.publisher = bench.node.create_publisher(TwistStamped, 'cmd_vel', qos.COMMAND)
        self.node, self.flying, self.frozen_ns = bench.node, True, 0
        self.frame, self.forward, self.left = 'base_link', 0.5, 0.0
        self.sent: list[float] = []
        bench.node.create_timer(1 / 30, self.tick)

    def tick(self) -> None:
        if not self.flying:
            return
        message = TwistStamped()
        message.header.stamp = conversions.to_stamp(
            self.frozen_ns or self.node.get_clock().now().nanoseconds)
        message.header.frame_id = self.frame
        message.twist.linear.x, message.twist.linear.y = self.forward, self.left
        message.twist.linear.z, message.twist.angular.z = 0.1, 0.2
        self.publisher.publish(message)
        self.sent.append(time.monotonic())


def ask(bench, name: str, value: bool) -> SetBool.Response:  # noqa: ANN001
    return bench.call(SetBool, f'/px4_offboard_node/{name}', SetBool.Request(data=value))


def test_a_flight_and_the_end_of_the_pilot(bench) -> None:  # noqa: ANN001
    over, pilot = Px4OverDds(bench), Pilot(bench)
    odometry = bench.listen(Odometry, 'odom', qos.SENSOR)
    bench.start('px4_offboard_node', px4__allow_commands=True)
    bench.until(lambda: len(over.heartbeats) > 30 and odometry, 'heartbeats and odometry')
    # nose east, 0.5 m/s forward: NED (0, .5, -.1); nothing else is controlled
    setpoint = over.setpoints[-1][1]
    assert list(setpoint.velocity) == pytest.approx([0.0, 0.5, -0.1], abs=1e-6)
    assert setpoint.yawspeed == pytest.approx(-0.2)
    for values in (setpoint.position, setpoint.acceleration, [setpoint.yaw]):
        assert all(math.isnan(v) for v in values)
    measured = odometry[-1][1]
    p, q, t = (measured.pose.pose.position, measured.pose.pose.orientation,
               measured.twist.twist)
    assert (p.x, p.y, p.z) == pytest.approx((2.0, 1.0, 3.0))
    assert (q.x, q.y, q.z, abs(q.w)) == pytest.approx((0, 0, 0, 1), abs=1e-6)
    assert (t.linear.x, t.linear.y, t.linear.z) == pytest.approx((0.5, 0.0, 0.1), abs=1e-6)
    assert t.angular.z == pytest.approx(-0.2)
    assert measured.header.frame_id == 'odom' and measured.child_frame_id == 'base_link'
    now = bench.node.get_clock().now().nanoseconds
    assert 0 <= now - conversions.to_nanoseconds(measured.header.stamp) < 2e9  # on our clock
    # not armed, not in the mode: only the services do that, and say what PX4 said
    assert not over.px4.commands and not over.px4.armed
    over.px4.checks_pass = False
    answer = ask(bench, 'arm', True)
    assert not answer.success and 'rejected' in answer.message
    over.px4.checks_pass = True
    assert ask(bench, 'arm', True).success and over.px4.armed
    assert ask(bench, 'offboard', True).success and over.px4.nav_state == OFFBOARD
    # the pilot goes on with the last image it had: heartbeats end, PX4 takes over
    pilot.frozen_ns = bench.node.get_clock().now().nanoseconds
    bench.until(lambda: over.px4.failsafe, "PX4's failsafe", 10.0)
    known = len(over.heartbeats)
    assert pilot.sent[-1] - over.heartbeats[-1] > 0.5
    pilot.frozen_ns = 0
    bench.spin(2.0)
    assert len(over.heartbeats) == known and over.px4.nav_state == HOLD
    # and comes back only after another mode was chosen
    over.px4.choose(time.monotonic(), POSITION)
    bench.until(lambda: len(over.heartbeats) > known + 30, 'heartbeats again')
    assert over.px4.choose(time.monotonic(), OFFBOARD)
    pilot.flying = False
    bench.until(lambda: over.px4.failsafe, "PX4's failsafe", 10.0)
    last = over.heartbeats[-1]
    bench.spin(1.0)
    assert over.heartbeats[-1] == last <= pilot.sent[-1] + 1.0
    assert over.px4.entered_by_itself == 0
    assert bench.stop('px4_offboard_node') == 0


def test_without_leave_nothing_is_commanded(bench) -> None:  # noqa: ANN001
    over, pilot = Px4OverDds(bench), Pilot(bench)
    pilot.frame = 'map'
    bench.start('px4_offboard_node')
    bench.until(lambda: 'must be in "base_link"' in bench.log('px4_offboard_node'), 'a refusal')
    assert not over.heartbeats
    pilot.frame = 'base_link'
    bench.until(lambda: len(over.heartbeats) > 40, 'heartbeats')
    for name in ('arm', 'offboard'):
        answer = ask(bench, name, True)
        assert not answer.success and 'px4.allow_commands' in answer.message
    pilot.forward = math.nan
    bench.spin(0.5)
    known = len(over.heartbeats)
    bench.spin(1.0)
    assert len(over.heartbeats) == known and not over.px4.commands


def test_another_version_of_the_messages_is_named(bench) -> None:  # noqa: ANN001
    Pilot(bench)
    over = Px4OverDds(bench, status_topic='fmu/out/vehicle_status_v77')
    reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
    bench.start('px4_offboard_node')
    bench.until(lambda: any('vehicle_status_v77' in s.message for _, m in reports
                            for s in m.status), 'a word about the version')
    assert not over.heartbeats
