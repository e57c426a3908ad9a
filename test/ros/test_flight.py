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


"""Both nodes together: flying, losing the simulator, getting it back, leaving in order."""

from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402, I100
from edge_vla.ros import conversions, qos  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

INSTRUCTION = 'orbit the red sphere clockwise'
SCENE = {'sim__instruction': INSTRUCTION, 'sim__seed': 3}


def speed(message: TwistStamped) -> float:
    t = message.twist
    return float(np.abs([t.linear.x, t.linear.y, t.linear.z, t.angular.z]).max())


class Flight:
    """Both nodes under way, with an instruction."""

    def __init__(self, bench) -> None:  # noqa: ANN001
        self.bench = bench
        self.commands = bench.listen(TwistStamped, 'cmd_vel', qos.COMMAND)
        self.poses = bench.listen(Odometry, 'odom', qos.SENSOR)
        self.instruction = bench.node.create_publisher(String, 'instruction', qos.LATCHED)
        self.instruction.publish(String(data=INSTRUCTION))
        bench.start('sim_node', **SCENE)
        bench.start('vla_node', use_sim_time=True)
        self.await_motion()
        bench.until(lambda: bool(self.poses), 'odometry')

    def await_motion(self) -> None:
        """Wait until the pilot commands a real motion again."""
        known = len(self.commands)
        self.bench.until(lambda: any(speed(m) > .15 for _, m in self.commands[known:]),
                         'a command to move', 120.0)


@pytest.fixture
def flight(bench) -> Flight:  # noqa: ANN001
    return Flight(bench)


def test_the_interface_is_the_documented_one(flight: Flight) -> None:
    bench = flight.bench
    images = bench.listen(Image, 'image', qos.SENSOR)
    infos = bench.listen(CameraInfo, 'camera_info', qos.SENSOR)
    clocks = bench.listen(Clock, '/clock', qos.CLOCK)
    narrations = bench.listen(String, 'narration', qos.RELIABLE)
    bench.until(lambda: all((images, infos, clocks, narrations)), 'a message on every topic')
    node = bench.node
    best, reliable = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
    for topic, kind, policy in (
            ('/image', 'sensor_msgs/msg/Image', best),
            ('/image/compressed', 'sensor_msgs/msg/CompressedImage', best),
            ('/odom', 'nav_msgs/msg/Odometry', best),
            ('/instruction', 'std_msgs/msg/String', reliable)):
        ends = [e for e in node.get_subscriptions_info_by_topic(topic)
                if e.node_name == 'vla_node']
        both = topic == '/instruction'  # of publishers that keep their last word, and of others
        assert [e.topic_type for e in ends] == [kind] * (1 + both), topic
        assert all(e.qos_profile.reliability == policy for e in ends)
        if both:
            assert {e.qos_profile.durability for e in ends} == {
                DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE}
    for topic, kind in (('/cmd_vel', 'geometry_msgs/msg/TwistStamped'),
                        ('/narration', 'std_msgs/msg/String'),
                        ('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray'),
                        ('/vla_node/debug/image', 'sensor_msgs/msg/Image')):
        ends = [e for e in node.get_publishers_info_by_topic(topic) if e.node_name == 'vla_node']
        assert [e.topic_type for e in ends] == [kind], topic
    services = dict(node.get_service_names_and_types_by_node('vla_node', '/'))
    assert services['/vla_node/enable'] == ['std_srvs/srv/SetBool']
    assert services['/vla_node/reset'] == ['std_srvs/srv/Trigger']
    info, image = infos[-1][1], images[-1][1]
    assert (info.width, info.height) == (image.width, image.height) == (320, 240)
    assert info.k[0] == pytest.approx(160.0)  # 90 degrees
    # commands carry the stamp of the image they answer
    bench.spin(1.0)
    shot = {conversions.to_nanoseconds(m.header.stamp) for _, m in images}
    answered = [conversions.to_nanoseconds(m.header.stamp) for t, m in flight.commands
                if t > images[0][0] + .5]
    assert answered and np.mean([s in shot for s in answered]) > .8
    assert 'orbit the red sphere' in narrations[-1][1].data


def test_it_flies_and_tells_how(flight: Flight) -> None:
    bench = flight.bench
    reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
    start = flight.poses[-1][1].pose.pose.position
    bench.spin(4.0)
    end = flight.poses[-1][1].pose.pose.position
    assert np.hypot(end.x - start.x, end.y - start.y) > .5
    values = {v.key: v.value for _, m in reports for s in m.status for v in s.values}
    assert float(values['rate [Hz]']) > 5
    assert 0 <= int(values['tokens']) <= 108 and float(values['memory [MB]']) > 20
    assert values['plan'] == 'orbit the red sphere to the left'
    assert len(values['camera to command [ms]'].split()) > 5
    assert bench.call(Trigger, '/sim_node/reset', Trigger.Request()).success
    flight.await_motion()


def kill_simulator(flight: Flight) -> float:
    """Kill the simulator, return when the zero was heard, s after it, and go on flying."""
    bench = flight.bench
    # like an autopilot, the witness hears nothing from the simulator
    witness = type(bench)(bench.folder, bench.domain)
    commands = witness.listen(TwistStamped, 'cmd_vel', qos.COMMAND)
    try:
        witness.until(lambda: any(speed(m) > .15 for _, m in commands), 'a command to move')
        process = bench.processes['sim_node']
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.monotonic()

        def zeros() -> list[float]:
            return [t for t, m in commands if t > killed and speed(m) == 0]
        witness.until(lambda: bool(zeros()), 'a zero', 8.0)
        witness.spin(2.0)  # does it stay?
        stopped = zeros()[0]
    finally:
        witness.close()
    assert not any(speed(m) for t, m in commands if t > stopped)
    bench.start('sim_node', **SCENE)
    flight.await_motion()
    assert bench.processes['vla_node'].poll() is None
    return stopped - killed


def test_killing_the_simulator_stops_and_restarting_resumes(flight: Flight) -> None:
    heard: list[float] = []
    # a process killed in the shared memory of Fast DDS can hold up all who send there for one
    # to three seconds, about one time in thirteen (doc/autopilots.md); not each of three times
    while len(heard) < 3 and min(heard, default=9) > .6:
        heard.append(kill_simulator(flight))
    assert min(heard) < .6, heard  # 0.4 s and what this process needs to hear of it
    assert max(heard) < 4.0, heard


LOOPBACK = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>
  <transport_descriptors><transport_descriptor>
    <transport_id>udp</transport_id><type>UDPv4</type>
    <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
    <maxInitialPeersRange>32</maxInitialPeersRange>
  </transport_descriptor></transport_descriptors>
  <participant profile_name="udp" is_default_profile="true"><rtps>
    <userTransports><transport_id>udp</transport_id></userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
    <builtin><initialPeersList><locator><udpv4><address>127.0.0.1</address></udpv4></locator>
    </initialPeersList></builtin>
  </rtps></participant>
</profiles></dds>
"""
KILLS = """
import os
from pathlib import Path
import sys
sys.path.insert(0, sys.argv[1])
from conftest import Bench
from test_flight import Flight, kill_simulator
folder = Path(sys.argv[2])
# the range LOCALHOST would add shared memory whatever the profile says
os.environ |= {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SYSTEM_DEFAULT',
               'FASTDDS_DEFAULT_PROFILES_FILE': str(folder / 'udp.xml')}
bench = Bench(folder)
try:
    flight = Flight(bench)
    print(*(kill_simulator(flight) for _ in range(3)))
finally:
    bench.close()
"""


def test_without_shared_memory_nothing_holds_up_a_zero(tmp_path: Path) -> None:
    (tmp_path / 'udp.xml').write_text(LOOPBACK)
    # in a process of its own: the middleware reads its profile once
    done = subprocess.run(
        [sys.executable, '-c', KILLS, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert max(map(float, done.stdout.split())) < .6, done.stdout


def test_a_simulator_as_fast_as_it_goes_still_listens(bench) -> None:  # noqa: ANN001
    bench.start('sim_node', sim__real_time_factor=0.0, sim__wind=0.0, **SCENE)
    poses = bench.listen(Odometry, 'odom', qos.SENSOR)
    commands = bench.node.create_publisher(TwistStamped, 'cmd_vel', qos.COMMAND)
    bench.until(lambda: bool(poses), 'odometry')
    start = poses[-1][1].pose.pose.position.z
    climb = TwistStamped()
    climb.twist.linear.z = .5

    def climbed() -> bool:
        commands.publish(climb)
        return poses[-1][1].pose.pose.position.z > start + 1
    bench.until(climbed, 'a climb')
    assert bench.call(Trigger, '/sim_node/reset', Trigger.Request()).success
    known = len(poses)
    bench.until(lambda: len(poses) > known, 'odometry after the reset')
    stamps = [conversions.to_nanoseconds(m.header.stamp) for _, m in poses]
    assert stamps == sorted(stamps)  # time goes on over a reset
    assert bench.stop('sim_node') == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_leaving_sends_a_last_zero(flight: Flight, number: int) -> None:
    bench = flight.bench
    assert bench.stop('vla_node', number) == 0
    bench.spin(.3)
    assert speed(flight.commands[-1][1]) == 0
    assert bench.stop('sim_node', number) == 0
    assert 'Traceback' not in bench.log('vla_node') + bench.log('sim_node')
