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


"""Live: the bridge to ArduPilot, the player of recordings and several nodes in one process."""

from array import array
import math
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402, I100
from edge_vla.autopilot.ardupilot import ArduPilotVelocity  # noqa: E402
from edge_vla.autopilot.px4_offboard import Px4Offboard  # noqa: E402
from edge_vla.config import ArduPilotConfig, Px4Config  # noqa: E402
from edge_vla.datatypes import Frame  # noqa: E402
from edge_vla.evaluation import bag_messages, bags  # noqa: E402
from edge_vla.ros import bridging, conversions, qos  # noqa: E402
from edge_vla.ros.ardupilot_node import ArduPilotNode  # noqa: E402
from geometry_msgs.msg import PoseStamped, TwistStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

HALF = math.sqrt(.5)
SECOND = 10**9
IMAGES = 12


def twist(stamp_ns: int, frame: str, x: float, y: float, z: float, turn: float) -> TwistStamped:
    message = TwistStamped()
    message.header.stamp, message.header.frame_id = conversions.to_stamp(stamp_ns), frame
    t = message.twist
    t.linear.x, t.linear.y, t.linear.z, t.angular.z = x, y, z, turn
    return message


def test_topics_that_are_none_are_refused_in_one_line(bench) -> None:  # noqa: ANN001
    process = bench.start('ardupilot_node', ardupilot__topics='/a b')
    bench.until(lambda: process.poll() is not None, 'the end of ardupilot_node')
    assert process.returncode == 2
    line, = bench.log('ardupilot_node').splitlines()
    assert line.startswith('ardupilot_node: ') and '/a b' in line


def test_ardupilot_gets_the_world_and_gives_odometry(bench) -> None:  # noqa: ANN001
    create = bench.node.create_publisher
    poses = create(PoseStamped, '/ap/pose/filtered', qos.SENSOR_OUT)
    twists = create(TwistStamped, '/ap/twist/filtered', qos.SENSOR_OUT)
    commands = create(TwistStamped, 'cmd_vel', qos.COMMAND)
    sent = bench.listen(TwistStamped, '/ap/cmd_vel', qos.SENSOR)
    odometry = bench.listen(Odometry, 'odom', qos.SENSOR)
    reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
    bench.start('ardupilot_node', ardupilot__diagnostics_period=.1, ardupilot__topics='/ap/')
    pose = PoseStamped()  # nose north
    pose.pose.position.x = 4.0
    pose.pose.orientation.z = pose.pose.orientation.w = HALF

    def answered(frame: str = 'base_link', age_s: float = 0.0, with_pose: bool = True) -> bool:
        now = bench.node.get_clock().now().nanoseconds
        if with_pose:
            poses.publish(pose)
            twists.publish(twist(now, 'base_link', 0.0, 2.0, 0.5, 0.1))
        commands.publish(twist(now - round(age_s * SECOND), frame, 1.0, 0.5, 0.2, 0.3))
        bench.spin(.05)
        return bool(sent and odometry)
    bench.until(answered, 'a command and odometry')
    message = sent[-1][1]
    t = message.twist
    assert message.header.frame_id == 'map'
    # forward is north and left is west
    assert (t.linear.x, t.linear.y, t.linear.z, t.angular.z) == pytest.approx(
        (-0.5, 1.0, 0.2, 0.3))
    measured = odometry[-1][1]
    t = measured.twist.twist
    assert (t.linear.x, t.linear.y, t.linear.z, t.angular.z) == pytest.approx(
        (2.0, 0.0, 0.5, 0.1))
    assert measured.pose.pose.position.x == 4.0

    def told(words: str, level: bytes = DiagnosticStatus.WARN) -> bool:
        status = reports[-1][1].status[0]
        return status.level == level and words in status.message
    bench.until(lambda: answered() and told('passing on', DiagnosticStatus.OK), 'a good report')
    bench.until(lambda: told('no commands'), 'a word about silence')
    for change, words in (({'frame': 'map'}, 'must be in "base_link"'),
                          ({'age_s': 3.0}, 'an image 3'), ({'with_pose': False}, 'no pose')):
        bench.spin(.7)  # what was heard before is stale now
        sent.clear()
        for _ in range(6):
            answered(**change)
        assert not sent, change
        bench.until(lambda words=words: told(words), f'a word about {change}')
    values = {v.key: v.value for v in reports[-1][1].status[0].values}
    assert int(values['commands refused']) >= 18
    assert bench.stop('ardupilot_node') == 0


@pytest.mark.parametrize('core', [ArduPilotVelocity(ArduPilotConfig()), Px4Offboard(Px4Config())])
def test_a_command_in_another_frame_is_counted(bench, core) -> None:  # noqa: ANN001
    assert bridging.answer(bench.node, core, twist(0, 'odom', 0., 0., 0., 0.)) is None
    assert core.refused == 1 and 'they must be in "base_link"' in core.reason


@pytest.mark.parametrize('namespace', ['', 'drone1'])
def test_the_topics_of_ardupilot_are_in_the_namespace(bench, namespace: str) -> None:  # noqa: ANN001
    node = ArduPilotNode(context=bench.context, namespace=namespace)
    above = f'/{namespace}'.rstrip('/')
    assert f'{above}/ap/cmd_vel' in {p.topic_name for p in node.publishers}
    assert {s.topic_name for s in node.subscriptions} >= {
        f'{above}/ap/pose/filtered', f'{above}/ap/twist/filtered'}
    node.destroy_node()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Write a bag with images, odometry and a word; as another tool would have."""
    rosbags = bag_messages.rosbags()
    types = bag_messages.typestore()
    path = tmp_path / 'flight'
    rng = np.random.default_rng(0)
    with rosbags.rosbag2.Writer(path, version=9) as writer:
        made = {name: writer.add_connection(name, kind, typestore=types) for name, kind in (
            ('/front/image_raw', bags.IMAGE), ('/state', bags.ODOMETRY),
            ('/word', 'std_msgs/msg/String'))}
        for k in range(IMAGES):
            at = 100 * SECOND + k * SECOND // 10
            frame = Frame(at - 5_000_000, rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
            writer.write(made['/front/image_raw'], at,
                         serialize_message(conversions.frame_to_image(frame, 'camera')))
            state = Odometry()
            state.header.stamp = conversions.to_stamp(at)
            state.twist.twist.linear.x = float(k)
            writer.write(made['/state'], at + 1_000_000, serialize_message(state))
            writer.write(made['/word'], at + 2_000_000, serialize_message(String(data=f'{k}')))
    return path


def test_a_recording_is_played_as_it_was(bench, recording: Path) -> None:  # noqa: ANN001
    images = bench.listen(Image, 'image', qos.SENSOR_OUT)
    states = bench.listen(Odometry, 'odom', qos.SENSOR_OUT)
    words = bench.listen(String, '/word', qos.COMMAND)
    clocks = bench.listen(Clock, '/clock', qos.SENSOR_OUT)
    process = bench.start('bag_player_node', player__bag=recording, player__topics='/word',
                          player__start=.25, player__rate=.5)
    bench.until(lambda: process.poll() is not None, 'the end of the recording')
    assert process.returncode == 0
    stamps = [conversions.to_nanoseconds(m.header.stamp) for _, m in images]
    assert stamps == [100 * SECOND + k * SECOND // 10 - 5_000_000 for k in range(3, IMAGES)]
    assert images[0][1].width == 64 and images[0][1].header.frame_id == 'camera'
    assert [m.twist.twist.linear.x for _, m in states][-1] == IMAGES - 1
    assert [m.data for _, m in words][-3:] == ['9', '10', '11']
    times = [conversions.to_nanoseconds(m.clock) for _, m in clocks]
    assert times == sorted(times) and times[0] >= 100.25 * SECOND
    assert 'played 9 images, 0 were answered; without a command: ' in bench.log('bag_player_node')


def test_in_lockstep_no_image_is_lost(bench, recording: Path) -> None:  # noqa: ANN001
    commands = bench.node.create_publisher(TwistStamped, 'cmd_vel', qos.COMMAND)
    slow: list[int] = []

    def on_image(message: Image) -> None:
        stamp = conversions.to_nanoseconds(message.header.stamp)
        assert stamp not in slow
        slow.append(stamp)
        bench.node.create_timer(.15, lambda: commands.publish(twist(stamp, 'b', 0., 0., 0., 0.)))
    bench.node.create_subscription(Image, 'image', on_image, qos.SENSOR)
    process = bench.start('bag_player_node', player__bag=recording, player__lockstep=True,
                          player__rate=50.0)
    bench.until(lambda: process.poll() is not None, 'the end of the recording')
    assert len(slow) == IMAGES, bench.log('bag_player_node')
    assert f'played {IMAGES} images, {IMAGES} were answered\n' in bench.log('bag_player_node')


def half_damaged(tmp_path: Path, ros: int) -> Path:
    """Write a bag of six images a nanosecond apart, of which the third to the fifth are none."""
    rosbags, types = bag_messages.rosbags(), bag_messages.typestore(ros)
    t, path = types.types, tmp_path / ('flight.bag' if ros == 1 else 'flight')
    with rosbags.rosbag1.Writer(path) if ros == 1 else rosbags.rosbag2.Writer(
            path, version=9) as writer:
        eye = writer.add_connection('/eye', bags.IMAGE, typestore=types)
        for k in range(6):
            header = t['std_msgs/msg/Header'](*([k] if ros == 1 else []),
                                              t['builtin_interfaces/msg/Time'](0, 0), 'eye')
            image = t[bags.IMAGE](header, 16, 16, 'mono8', 0, 16, np.zeros(256, np.uint8))
            raw = bytes((types.serialize_ros1 if ros == 1 else types.serialize_cdr)(
                image, bags.IMAGE))
            writer.write(eye, 100 * SECOND + k, {2: b'', 3: raw[:6], 4: raw[:99]}.get(k, raw))
    return path


@pytest.mark.parametrize('ros', [1, 2])
def test_damaged_messages_are_left_out_and_missing_stamps_written(bench, tmp_path: Path,  # noqa: ANN001,E501
                                                                  ros: int) -> None:
    path = half_damaged(tmp_path, ros)
    images = bench.listen(Image, 'image', qos.SENSOR_OUT)
    process = bench.start('bag_player_node', player__bag=path)
    bench.until(lambda: process.poll() is not None, 'the end of the recording')
    log = bench.log('bag_player_node')
    assert process.returncode == 0 and 'played 3 images' in log, log
    assert [conversions.to_nanoseconds(m.header.stamp) for _, m in images] == [
        100 * SECOND + k for k in (0, 1, 5)]
    assert log.count('messages are damaged') == 1
    assert '3 messages are damaged and left out; the first' in log


def test_where_no_image_can_be_played_the_player_fails(bench, tmp_path: Path) -> None:  # noqa: ANN001
    bench.listen(Image, 'image', qos.SENSOR_OUT)
    process = bench.start('bag_player_node', player__bag=half_damaged(tmp_path, 2),
                          player__start=2e-9, player__duration=3e-9, player__loop=True)
    bench.until(lambda: process.poll() is not None, 'the end of the recording')
    log = bench.log('bag_player_node')
    assert process.returncode == 1 and '3 messages are damaged and left out' in log, log
    assert 'no image on /eye in the time asked for can be played' in log


@pytest.mark.parametrize(('change', 'said'), [
    ({}, 'player.bag names no recording'),
    ({'player__bag': 'nowhere'}, 'nowhere'),
    ({'player__start': 99.0}, 'only 1.1 s long'),
    ({'player__topics': '/nothing'}, 'has no topic /nothing'),
    ({'player__topics': '/word,/cmd_vel'}, '/cmd_vel is written by the pilot'),
    ({'player__actions': 'replay', 'player__loop': True}, 'compared at the end'),
    ({'player__image': '/word'}, 'has no image topic /word'),
])
def test_what_cannot_be_played_is_said_in_one_line(bench, recording: Path, change: dict,
                                                   said: str) -> None:  # noqa: ANN001
    given = ({'player__bag': recording} if 'player__bag' not in change and change else {})
    process = bench.start('bag_player_node', **given | change)
    bench.until(lambda: process.poll() is not None, 'the end of bag_player_node')
    lines = bench.log('bag_player_node').splitlines()
    assert process.returncode == 2 and said in lines[-1]
    assert not any('Traceback' in line for line in lines)


def test_two_nodes_in_one_process(bench) -> None:  # noqa: ANN001
    commands = bench.listen(TwistStamped, 'cmd_vel', qos.COMMAND)
    reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
    with (bench.folder / 'single_process.log').open('ab') as log:
        bench.processes['single_process'] = subprocess.Popen(
            [sys.executable, '-m', 'edge_vla.ros.single_process', 'vla_node', 'sim_node',
             '--ros-args', '-p', 'use_sim_time:=true', '-p', 'sim.seed:=3',
             '-p', 'pipeline.instruction:=orbit the red sphere',
             '-p', 'sim.instruction:=orbit the red sphere'],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    bench.until(lambda: any(abs(m.twist.angular.z) > .05 for _, m in commands),
                'a command to move', 180.0)
    bench.until(lambda: {s.name for _, m in reports for s in m.status} >= {
        'vla_node: pilot', 'sim_node: simulator'}, 'diagnostics of both')
    assert bench.stop('single_process', signal.SIGTERM) == 0
    bench.spin(.3)
    t = commands[-1][1].twist
    assert (t.linear.x, t.linear.y, t.linear.z, t.angular.z) == (0, 0, 0, 0)  # a last zero
    assert 'Traceback' not in bench.log('single_process')


@pytest.mark.parametrize('names', [[], ['nonsense'], ['sim_node', 'sim_node']])
def test_a_process_of_no_known_nodes_says_how(names: list) -> None:
    done = subprocess.run([sys.executable, '-m', 'edge_vla.ros.single_process', *names],
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('usage: single_process NODE...')
    assert done.stderr.count('\n') == 1


def test_stamps_are_read_in_both_byte_orders() -> None:
    from edge_vla.ros.bag_player_node import stamp_of, stamped
    for order, flag in (('little', 1), ('big', 0)):
        raw = bytes([0, flag, 0, 0]) + (7).to_bytes(4, order) + (9).to_bytes(4, order)
        raw += array('B', b'rest').tobytes()
        assert stamp_of(raw) == 7 * SECOND + 9 and stamped(raw, 5) == raw
        assert stamped(raw[:4] + bytes(8) + raw[12:], 7 * SECOND + 9) == raw
