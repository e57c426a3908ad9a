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
Messages of px4_msgs: with the real package where it is installed, and with stand-ins.

The stand-ins have the fields of PX4 1.14, the oldest release served, and nothing else.
"""

import importlib
import math
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from edge_vla.autopilot.px4_offboard import Setpoint  # noqa: E402, I100
from edge_vla.autopilot.px4_requests import Vehicle, VehicleCommand  # noqa: E402
from edge_vla.exceptions import MissingDependencyError  # noqa: E402
from edge_vla.ros import px4_messages  # noqa: E402


def stand_in(**fields: Any) -> type:
    """Return a class with these fields and no others, as message classes have."""
    def make(self: Any, **given: Any) -> None:
        for name, default in fields.items():
            setattr(self, name, given.pop(name, default))
        assert not given
    return type('Message', (), {'__slots__': tuple(fields), '__init__': make})


STAND_INS = SimpleNamespace(
    OffboardControlMode=stand_in(timestamp=0, position=False, velocity=False,
                                 acceleration=False, attitude=False, body_rate=False,
                                 actuator=False),
    TrajectorySetpoint=stand_in(timestamp=0, position=[0.0] * 3, velocity=[0.0] * 3,
                                acceleration=[0.0] * 3, jerk=[0.0] * 3, yaw=0.0, yawspeed=0.0),
    VehicleCommand=stand_in(timestamp=0, **{f'param{k}': 0.0 for k in range(1, 8)}, command=0,
                            target_system=0, target_component=0, source_system=0,
                            source_component=0, confirmation=0, from_external=False),
    VehicleStatus=stand_in(arming_state=1, nav_state=0, nav_state_user_intention=0,
                           failsafe=False, pre_flight_checks_pass=False),
    VehicleOdometry=stand_in(timestamp=0, timestamp_sample=0, pose_frame=1, position=[0.0] * 3,
                             q=[1.0, 0.0, 0.0, 0.0], velocity_frame=1, velocity=[0.0] * 3,
                             angular_velocity=[0.0] * 3, position_variance=[0.0] * 3,
                             orientation_variance=[0.0] * 3, velocity_variance=[0.0] * 3))


@pytest.fixture(params=['stand-ins', 'px4_msgs'])
def messages(request: pytest.FixtureRequest) -> Any:
    """Return what stands for ``px4_msgs.msg``."""
    if request.param == 'stand-ins':
        return STAND_INS
    return pytest.importorskip('px4_msgs.msg', reason='px4_msgs is not installed')


def test_a_setpoint_controls_velocity_and_yaw_rate_alone(messages: Any) -> None:
    heartbeat, out = px4_messages.from_setpoint(messages, 7, Setpoint((1.0, 2.0, -3.0), 0.5))
    modes = [n for n in ('position', 'velocity', 'acceleration', 'attitude', 'body_rate')
             if getattr(heartbeat, n)]
    assert modes == ['velocity'] and heartbeat.timestamp == out.timestamp == 7
    assert list(out.velocity) == [1.0, 2.0, -3.0] and out.yawspeed == 0.5
    for value in (*out.position, *out.acceleration, *out.jerk, out.yaw):
        assert math.isnan(value)


def test_a_command_never_forces(messages: Any) -> None:
    out = px4_messages.from_command(messages, 9, VehicleCommand(400, (1.0, 0.0, 0.0), 300), 3)
    assert (out.command, out.param1, out.param2) == (400, 1.0, 0.0)  # 21196 would be by force
    assert (out.target_system, out.source_system, out.confirmation) == (3, 3, 255)
    assert out.from_external and out.timestamp == 9


def test_the_state_is_read(messages: Any) -> None:
    status = messages.VehicleStatus(arming_state=2, nav_state=4, nav_state_user_intention=14,
                                    failsafe=True, pre_flight_checks_pass=True)
    assert px4_messages.to_vehicle(status) == Vehicle(True, 4, 14, True, True)


@pytest.mark.parametrize('frame', [1, 2, 3])
def test_odometry_in_every_frame(messages: Any, frame: int) -> None:
    half = math.sqrt(.5)  # nose east
    velocity = [0.0, 2.0, -1.0] if frame != 3 else [2.0, 0.0, -1.0]
    source = messages.VehicleOdometry(
        q=[half, 0.0, 0.0, half], position=[1.0, 2.0, -3.0], velocity_frame=frame,
        velocity=velocity, angular_velocity=[0.1, 0.2, 0.3],
        position_variance=[0.1, 0.2, 0.3], velocity_variance=[math.nan] * 3)
    out = px4_messages.to_odometry(px4_messages.to_pose(source), source, 10**9, 'odom', 'base')
    p, t = out.pose.pose.position, out.twist.twist
    assert (p.x, p.y, p.z) == pytest.approx((2.0, 1.0, 3.0))
    assert (t.linear.x, t.linear.y, t.linear.z) == pytest.approx((2.0, 0.0, 1.0), abs=1e-6)
    assert (t.angular.x, t.angular.y, t.angular.z) == pytest.approx((0.1, -0.2, -0.3))
    assert out.pose.covariance[[0, 7, 14]] == pytest.approx([0.2, 0.1, 0.3])
    assert out.twist.covariance[0] == 0.0  # unknown


@pytest.mark.parametrize(('yaw', 'frame', 'expected'), [
    (90, 1, (4.0, 0.01, 0.5)), (90, 2, (4.0, 0.01, 0.5)), (90, 3, (0.01, 4.0, 0.5)),
    (0, 1, (0.01, 4.0, 0.5)), (45, 1, (2.005, 2.005, 0.5))])
def test_the_variance_of_the_velocity_is_in_the_body(messages: Any, yaw: int, frame: int,
                                                     expected: tuple) -> None:
    half = math.radians(yaw) / 2  # clockwise from north
    source = messages.VehicleOdometry(
        q=[math.cos(half), 0.0, 0.0, math.sin(half)], velocity_frame=frame,
        velocity_variance=[0.01, 4.0, 0.5])
    out = px4_messages.to_odometry(px4_messages.to_pose(source), source, 0, 'odom', 'base')
    found = out.twist.covariance.reshape(6, 6)
    assert found.diagonal()[:3] == pytest.approx(expected)
    # with the nose north-east, what is uncertain to the east is forward and to the right
    assert found[0, 1] == found[1, 0] == pytest.approx(-1.995 if yaw == 45 else 0.0, abs=1e-6)
    assert not found[3:].any() and not found[:, 3:].any()


@pytest.mark.parametrize('change', [
    {'q': [math.nan, 0.0, 0.0, 0.0]}, {'velocity': [math.nan, 0.0, 0.0]},
    {'velocity_frame': 0}, {'angular_velocity': [0.0, math.nan, 0.0]}])
def test_odometry_that_does_not_know_is_none(messages: Any, change: dict) -> None:
    assert px4_messages.to_pose(messages.VehicleOdometry(**change)) is None


def test_a_position_that_is_unknown_is_marked(messages: Any) -> None:
    source = messages.VehicleOdometry(velocity_frame=1, q=[1.0, 0.0, 0.0, 0.0],
                                      position=[math.nan] * 3)
    out = px4_messages.to_odometry(px4_messages.to_pose(source), source, 0, 'odom', 'base')
    assert out.pose.covariance[0] == -1.0 and out.pose.pose.position.x == 0.0


def test_topics_carry_the_version_of_their_messages() -> None:
    for version, name in ((None, 'fmu/out/s'), (0, 'fmu/out/s'), (1, 'fmu/out/s_v1'),
                          (12, 'fmu/out/s_v12')):
        kind = type('Status', (), {} if version is None else {'MESSAGE_VERSION': version})
        assert px4_messages.versioned(kind, 'fmu/out/s') == name
    published = ['/fmu/out/s', '/fmu/out/s_v2', '/fmu/out/s_v1', '/fmu/out/sx', '/fmu/out/s_vx']
    assert px4_messages.other_versions('/fmu/out/s_v1', published) == [
        '/fmu/out/s', '/fmu/out/s_v2']
    assert px4_messages.other_versions('/fmu/out/s', published) == [
        '/fmu/out/s_v1', '/fmu/out/s_v2']


def test_without_px4_msgs_one_line_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f'No module named {name!r}')
    monkeypatch.setattr(px4_messages, 'import_module', missing)
    with pytest.raises(MissingDependencyError, match='colcon build') as caught:
        px4_messages.px4_msgs()
    assert '\n' not in str(caught.value)
    assert importlib.import_module('edge_vla.ros.px4_offboard_node')  # needs them only to run
