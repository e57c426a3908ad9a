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


"""The pilot node against a camera that misbehaves, and its services and parameters."""

from array import array
import math
from pathlib import Path
import socket
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402, I100
from edge_vla.config import NODES, settings_of, VlaNodeConfig  # noqa: E402
from edge_vla.ros import conversions, parameters, qos  # noqa: E402
from edge_vla.ros.conversions import Frame, frame_to_image  # noqa: E402
from edge_vla.ros.instructions import Words  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, SetParameters  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

PERIOD = .04


class Camera:
    """Publishes images, an instruction and odometry to a pilot under test."""

    def __init__(self, bench) -> None:  # noqa: ANN001
        self.bench = bench
        create = bench.node.create_publisher
        self.images = create(Image, 'image', qos.SENSOR_OUT)
        self.compressed = create(CompressedImage, 'image/compressed', qos.SENSOR_OUT)
        self.odometry = create(Odometry, 'odom', qos.SENSOR_OUT)
        self.instruction = create(String, 'instruction', qos.LATCHED)
        self.commands = bench.listen(TwistStamped, 'cmd_vel', qos.COMMAND)
        self.reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        self.narrations = bench.listen(String, 'narration', qos.RELIABLE)
        self.stamp_ns = 10**9
        rng = np.random.default_rng(0)
        self.image = rng.integers(60, 190, (120, 160, 3), dtype=np.uint8)

    def shoot(self, image=None, step_ns: int = 40_000_000, **change) -> None:  # noqa: ANN001
        """Publish one image, with some fields changed."""
        self.stamp_ns += step_ns
        message = frame_to_image(Frame(self.stamp_ns, self.image if image is None else image),
                                 'camera')
        for key, value in change.items():
            setattr(message, key, value)
        self.images.publish(message)
        self.bench.spin(PERIOD)

    def fly(self, frames: int) -> list:
        """Publish good images; return the commands heard meanwhile."""
        known = len(self.commands)
        for _ in range(frames):
            self.shoot()
        return [m for _, m in self.commands[known:]]

    def settle(self) -> None:
        """Wait until the pilot answers images."""
        self.instruction.publish(String(data='find the red sphere'))

        def answered() -> bool:
            self.shoot()
            return bool(self.commands)
        self.bench.until(answered, 'the first command', 120.0)
        self.bench.until(lambda: bool(self.narrations), 'a narration')

    def report(self) -> tuple[bytes, str, dict[str, str]]:
        """Fly on until the pilot's next diagnostics; return level, message and values."""
        known = len(self.reports)

        def told() -> bool:
            self.shoot()
            return len(self.reports) > known
        self.bench.until(told, 'diagnostics')
        status = self.reports[-1][1].status[0]
        return status.level, status.message, {v.key: v.value for v in status.values}


def numbers(message: TwistStamped) -> list[float]:
    t = message.twist
    return [t.linear.x, t.linear.y, t.linear.z, t.angular.z]


def set_parameter(bench, name: str, value: float) -> tuple[bool, str]:  # noqa: ANN001
    kind = ParameterType.PARAMETER_STRING if isinstance(value, str) else (
        ParameterType.PARAMETER_DOUBLE)
    content = ParameterValue(type=kind, **({'string_value': value} if isinstance(value, str)
                                           else {'double_value': float(value)}))
    result = bench.call(SetParameters, '/vla_node/set_parameters', SetParameters.Request(
        parameters=[Parameter(name=name, value=content)])).results[0]
    return result.successful, result.reason


def test_a_misbehaving_camera_is_survived(bench) -> None:  # noqa: ANN001
    bench.start('vla_node')
    camera = Camera(bench)
    camera.settle()
    good = camera.fly(10)
    assert len(good) >= 5 and all(math.isfinite(v) for m in good for v in numbers(m))
    assert good[-1].header.frame_id == 'base_link'
    assert conversions.to_nanoseconds(good[-1].header.stamp) <= camera.stamp_ns
    # unknown encoding, truncated data, a size of zero: refused, said, and over at once
    for change in ({'encoding': 'nonsense'}, {'data': array('B', b'12345')}, {'height': 0},
                   {'step': 7}):
        known = len(camera.commands)
        for _ in range(4):
            camera.shoot(**change)
        assert all(math.isfinite(v) for _, m in camera.commands[known:] for v in numbers(m))
    level, message, values = camera.report()
    assert level == b'\x02' and 'frame refused' in message
    assert int(values['frames refused']) >= 8
    # without a usable frame it brakes
    camera.commands.clear()
    for _ in range(25):
        camera.shoot(encoding='nonsense')
    assert camera.commands and numbers(camera.commands[-1][1]) == [0, 0, 0, 0]
    # other encodings and sizes are no problem
    assert camera.fly(5)
    for image in (np.zeros((480, 640, 3), np.uint8), np.zeros((50, 400, 3), np.uint8)):
        known = len(camera.commands)
        for _ in range(5):
            camera.shoot(image)
        assert len(camera.commands) > known
    gray = np.full((120, 160, 3), 90, np.uint8)
    known = len(camera.commands)
    for _ in range(5):
        camera.shoot(gray, encoding='mono8', step=160, data=array('B', bytes(120 * 160)))
    assert len(camera.commands) > known
    # odometry that is not a number counts as none
    odometry = Odometry()
    odometry.pose.pose.orientation.w = math.nan
    odometry.twist.twist.linear.x = math.inf
    for _ in range(5):
        camera.odometry.publish(odometry)
        assert all(math.isfinite(v) for m in camera.fly(2) for v in numbers(m))
    odometry.pose.pose.orientation.w, odometry.twist.twist.linear.x = 1.0, 1e300
    camera.odometry.publish(odometry)
    assert camera.report()[:2] == (
        b'\x02', 'odometry is not finite, or beyond 1000 m/s: flying without')
    # the clock goes back, then leaps
    for jump in (-10**9, 10**12):
        camera.shoot(step_ns=jump)
        assert camera.fly(5)
    bench.spin(2.5)
    camera.fly(30)
    assert camera.report()[0] == b'\x00'
    assert bench.processes['vla_node'].poll() is None


def test_a_camera_that_repeats_its_last_image_is_none(bench) -> None:  # noqa: ANN001
    bench.start('vla_node')
    camera = Camera(bench)
    camera.settle()
    camera.fly(10)
    bench.until(lambda: any(any(numbers(m)) for m in camera.fly(3)), 'a command that moves')
    for _ in range(30):
        camera.shoot(step_ns=0)
    camera.commands.clear()
    for _ in range(5):
        camera.shoot(step_ns=0)
    assert camera.commands and not any(any(numbers(m)) for _, m in camera.commands)
    assert 'no new usable image' in bench.log('vla_node')
    assert camera.fly(5)  # and when it goes on, so does the flight


def test_a_plain_publisher_is_heard_and_may_repeat_itself(bench) -> None:  # noqa: ANN001
    """As ``ros2 topic pub`` does: volatile, once a second."""
    bench.start('vla_node')
    camera = Camera(bench)
    camera.settle()
    plain = bench.node.create_publisher(String, 'instruction', 10)
    bench.until(lambda: plain.get_subscription_count() > 0, 'somebody who listens')
    sinking = []
    for _ in range(6):
        plain.publish(String(data='hover, then land'))
        sinking += [numbers(m)[2] < -.1 for m in camera.fly(20)]
    assert any(sinking)  # the first step has ended, whatever was repeated
    assert bench.log('vla_node').count('"hover, then land": ') == 1
    camera.instruction.publish(String(data='hover'))  # to both subscriptions, read once
    bench.until(lambda: camera.fly(2) and '"hover": ' in bench.log('vla_node'), 'a reading')
    plain.publish(String(data='hover, then land'))
    bench.until(lambda: camera.fly(2) and bench.log('vla_node').count(
        '"hover, then land": ') == 2, 'another reading')
    assert bench.log('vla_node').count('"hover": ') == 1


class Listener:
    """Hears as the two subscriptions of the pilot do, and notes what it would follow."""

    def __init__(self) -> None:
        self.words, self.followed = Words(), []

    def hear(self, text: str, sent: int, number: int | None = 1, gid: int = 1,
             now: int = 0, told: bool = True) -> None:
        """Hear a word; with `now`, the time, it is said then, else it was kept."""
        info = {'publisher_gid': {'data': bytes([gid])}, 'source_timestamp': sent,
                'received_timestamp': (now or 100) * told, 'publication_sequence_number': number}
        both = [self.words.said_now] if now else []
        self.followed += [text for news in (*both, self.words.kept) if news(info)]


def test_of_words_that_were_kept_the_last_one_said_counts() -> None:
    listener = Listener()
    listener.hear('stop', 20, gid=2)
    listener.hear('fly to the red sphere', 10, gid=1)  # said before it, found after it
    assert listener.followed == ['stop']
    listener.hear('land', 5, gid=3, now=110)  # said now, by a clock that is behind
    listener.hear('hover', 50, gid=4)
    assert listener.followed == ['stop', 'land']
    listener.hear('orbit the blue box', 120, gid=5)  # said, then found
    assert listener.followed[2:] == ['orbit the blue box']
    listener.hear('find the red sphere', 0, gid=6)  # a middleware that does not say when
    assert listener.followed[3:] == ['find the red sphere']


def test_a_middleware_need_not_say_when_a_word_came() -> None:
    listener = Listener()
    listener.hear('stop', 20, gid=2, now=110, told=False)
    listener.hear('fly to the red sphere', 10, gid=1, told=False)
    assert listener.followed == ['stop']


def test_a_kept_word_from_the_future_does_not_silence_those_after_it() -> None:
    listener = Listener()
    listener.hear('fly to the red sphere', time.time_ns() + 10**12, gid=1)
    listener.hear('stop', time.time_ns(), gid=2)
    assert listener.followed == ['fly to the red sphere', 'stop']


def test_what_comes_twice_is_heard_once_whatever_the_clock() -> None:
    listener, now = Listener(), iter(range(1, 100))
    for text, sent, number in (('a', 10, 1), ('b', 20, 2), ('a', 10, 1), ('b', 20, 2)):
        listener.hear(text, sent, number, now=next(now))
    assert listener.followed == ['a', 'b']
    listener.hear('stop', 5, 3, now=next(now))  # the publisher's clock was set back
    listener.hear('stop', 5, 3, now=next(now))
    listener.hear('go', 1, 1, gid=2, now=next(now))
    assert listener.followed == ['a', 'b', 'stop', 'go']
    for text, sent in (('x', 9), ('x', 9), ('y', 3)):  # a middleware that does not number
        listener.hear(text, sent, None, gid=3, now=next(now))
    assert listener.followed[4:] == ['x', 'y']
    for text in ('u', 'v'):  # one that does not even say when
        listener.hear(text, 0, None, gid=4)
    assert listener.followed[6:] == ['u', 'v']


def test_compressed_images_and_debug_image(bench) -> None:  # noqa: ANN001
    import cv2
    bench.start('vla_node')
    camera = Camera(bench)
    camera.settle()
    pictures = bench.listen(Image, '/vla_node/debug/image', qos.SENSOR)
    known = len(camera.commands)
    ok, jpeg = cv2.imencode('.jpg', camera.image)
    assert ok

    def seen() -> bool:
        camera.stamp_ns += 40_000_000
        message = CompressedImage(format='jpeg', data=array('B', jpeg.tobytes()))
        message.header.stamp = conversions.to_stamp(camera.stamp_ns)
        camera.compressed.publish(message)
        bench.spin(PERIOD)
        return bool(pictures) and len(camera.commands) > known
    bench.until(seen, 'a debug image')
    assert pictures[-1][1].encoding == 'rgb8' and pictures[-1][1].width >= 160
    # a driver that publishes every picture both ways is answered once for each
    camera.fly(5)
    camera.commands.clear()
    shot, frames = camera.stamp_ns, int(camera.report()[2]['frames'])

    def answered() -> bool:
        message = CompressedImage(format='jpeg', data=array('B', jpeg.tobytes()))
        message.header.stamp = conversions.to_stamp(camera.stamp_ns)
        camera.compressed.publish(message)
        camera.shoot()
        return len(camera.commands) > 10
    bench.until(answered, 'answers to eleven pictures')
    stamps = [conversions.to_nanoseconds(m.header.stamp) for _, m in camera.commands]
    assert len(stamps) > 10 and stamps == sorted(stamps)  # one may come again, when braking
    more = int(camera.report()[2]['frames']) - frames
    assert 0 < more <= (camera.stamp_ns - shot) // 40_000_000

    # pictures that come faster than they can be answered are left out, and counted
    def dropped() -> bool:
        for _ in range(50):
            camera.stamp_ns += 1_000_000
            camera.images.publish(frame_to_image(Frame(camera.stamp_ns, camera.image), 'camera'))
        return int(camera.report()[2]['frames dropped']) > 0
    bench.until(dropped, 'a dropped frame')


def test_a_pilot_that_waits_for_images_says_where(bench) -> None:  # noqa: ANN001
    bench.start('vla_node')
    elsewhere = bench.node.create_publisher(Image, 'front/image', qos.SENSOR_OUT)
    reports = bench.listen(DiagnosticArray, '/diagnostics', qos.RELIABLE)
    text = ('no images on /image or /image/compressed, where nobody publishes; there are some on '
            '/front/image')
    bench.until(lambda: reports and reports[-1][1].status[0].message == text, text)
    bench.until(lambda: text in bench.log('vla_node'), 'a warning in the log')
    bench.node.destroy_publisher(elsewhere)
    unseen = bench.node.create_publisher(Image, 'image', qos.SENSOR_OUT)
    bench.until(lambda: 'though somebody publishes there' in reports[-1][1].status[0].message,
                'another reason')
    bench.node.destroy_publisher(unseen)


def test_questions_are_answered_and_the_narration_tells_what_is_seen(bench) -> None:  # noqa: ANN001, E501
    from edge_vla.config import CameraConfig, SimConfig
    from edge_vla.sim.simulator import Simulator
    bench.start('vla_node')
    camera = Camera(bench)
    camera.image = Simulator(SimConfig(seed=10, instruction='red sphere'),
                             CameraConfig(width=160, height=120)).frame().image
    answers = bench.listen(String, 'answer', qos.RELIABLE)
    questions = bench.node.create_publisher(String, 'question', qos.RELIABLE)
    camera.settle()

    def ask(text: str) -> str:
        known = len(answers)

        def answered() -> bool:
            questions.publish(String(data=text))
            camera.fly(3)
            return len(answers) > known
        bench.until(answered, f'an answer to "{text}"')
        return answers[-1][1].data
    assert ask('where is the red sphere?').startswith('red sphere ')
    assert ask('where is the purple box?') == 'I cannot see a purple box'
    bench.until(lambda: camera.fly(5) and camera.narrations[-1][1].data.startswith(
        'red sphere ') and 'search' in camera.narrations[-1][1].data, 'what is seen')
    # a question that cannot be read is refused, and the next one answered
    questions.publish(String(data='x' * 500))
    assert 'a question has 1 to 400 characters' in camera.report()[1]
    bench.until(lambda: 'a question has 1 to 400 characters' in answers[-1][1].data, 'a refusal')
    assert ask('what is ahead?')


def test_parameters_and_services(bench) -> None:  # noqa: ANN001
    bench.start('vla_node')
    camera = Camera(bench)
    camera.settle()
    settings = {s.name: s for s in settings_of(VlaNodeConfig)}
    described = bench.call(DescribeParameters, '/vla_node/describe_parameters',
                           DescribeParameters.Request(names=list(settings))).descriptors
    for d in described:
        s = settings[d.name]
        assert d.description.startswith(s.help) and d.read_only == (not s.dynamic)
        if s.type is float:
            assert d.floating_point_range[0].to_value == s.high
    assert not set_parameter(bench, 'safety.max_forward', 99.0)[0]
    assert not set_parameter(bench, 'safety.max_forward', math.nan)[0]
    assert not set_parameter(bench, 'pipeline.model', 'elsewhere')[0]
    assert set_parameter(bench, 'safety.max_yaw_rate', .1)[0]
    camera.fly(5)
    turning = camera.fly(20)  # "find" turns on the spot: the new limit shows at once
    assert turning and max(abs(m.twist.angular.z) for m in turning) <= .1 + 1e-9
    # disabled: one zero, then silence; enabled: commands again
    assert bench.call(SetBool, '/vla_node/enable', SetBool.Request(data=False)).success
    bench.spin(.2)
    assert numbers(camera.commands[-1][1]) == [0, 0, 0, 0]
    assert camera.fly(10) == []
    assert bench.call(SetBool, '/vla_node/enable', SetBool.Request(data=True)).success
    assert camera.fly(10)
    assert bench.call(Trigger, '/vla_node/reset', Trigger.Request()).success
    # no instruction: hovering
    camera.fly(10)
    assert max(map(abs, numbers(camera.commands[-1][1]))) > 0
    camera.instruction.publish(String(data=' '))
    camera.fly(20)
    assert numbers(camera.commands[-1][1]) == pytest.approx([0, 0, 0, 0], abs=1e-9)
    # an instruction by parameter, one that cannot be read, and silence
    assert set_parameter(bench, 'pipeline.instruction', 'orbit the blue box clockwise')[0]
    bench.until(lambda: 'orbit the blue box' in camera.narrations[-1][1].data, 'the narration')
    pictures = bench.listen(Image, '/vla_node/debug/image', qos.SENSOR)
    camera.instruction.publish(String(data='x' * 100_000))
    bench.until(lambda: 'refused' in camera.report()[1], 'a word about the instruction')
    camera.fly(20)
    assert numbers(camera.commands[-1][1]) == pytest.approx([0, 0, 0, 0], abs=1e-9)
    # nor does drawing it hold up what flies
    assert camera.report()[2]['instruction'] == 'x' * 400 + '...'
    known = len(pictures), len(camera.commands)
    camera.fly(20)
    bench.until(lambda: len(pictures) > known[0] and len(camera.commands) > known[1], 'pictures')


def change(bench, transition: int) -> bool:  # noqa: ANN001
    return bench.call(ChangeState, '/vla_node/change_state', ChangeState.Request(
        transition=Transition(id=transition))).success


def state(bench) -> str:  # noqa: ANN001
    return bench.call(GetState, '/vla_node/get_state', GetState.Request()).current_state.label


def test_transitions_in_any_order(bench) -> None:  # noqa: ANN001
    process = bench.start('vla_node', autostart=False)
    camera = Camera(bench)
    rules = {  # transition -> (from, to)
        Transition.TRANSITION_CONFIGURE: ('unconfigured', 'inactive'),
        Transition.TRANSITION_CLEANUP: ('inactive', 'unconfigured'),
        Transition.TRANSITION_ACTIVATE: ('inactive', 'active'),
        Transition.TRANSITION_DEACTIVATE: ('active', 'inactive')}
    rng, now = np.random.default_rng(3), 'unconfigured'
    assert state(bench) == now
    for _ in range(24):
        transition = int(rng.choice(list(rules)))
        allowed = rules[transition][0] == now
        assert change(bench, transition) == allowed
        now = rules[transition][1] if allowed else now
        assert state(bench) == now and process.poll() is None
        camera.fly(2)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        if rules[transition][0] == state(bench):
            assert change(bench, transition)
    camera.commands.clear()
    camera.settle()
    camera.fly(5)
    assert change(bench, Transition.TRANSITION_DEACTIVATE)
    bench.spin(.3)
    assert numbers(camera.commands[-1][1]) == [0, 0, 0, 0]  # a last zero
    known = len(camera.commands)
    camera.fly(10)
    assert len(camera.commands) == known  # then silence
    assert change(bench, Transition.TRANSITION_INACTIVE_SHUTDOWN)
    assert state(bench) == 'finalized' and process.poll() is None


def test_a_model_that_is_not_there_is_refused(bench, tmp_path) -> None:  # noqa: ANN001
    process = bench.start('vla_node', autostart=False, pipeline__model=tmp_path)
    camera = Camera(bench)
    assert not change(bench, Transition.TRANSITION_CONFIGURE)
    assert state(bench) == 'unconfigured' and process.poll() is None
    bench.spin(.2)
    assert 'no policy.safetensors' in bench.log('vla_node')
    level, message, _ = camera.report()
    assert level == b'\x02' and 'no policy.safetensors' in message


@pytest.mark.parametrize(('given', 'said'), [
    ({'safety__max_forward': 99.0}, 'safety.max_forward'),
    ({'safety__max_forward': 2}, 'with a decimal point: 2.0, not 2'),
    ({'safety__max_forwardd': 1.0}, 'unknown parameter safety.max_forwardd; known: safety.max_'),
    ({'safety': 3}, 'unknown parameter safety; known: safety.max_'),
])
def test_a_parameter_that_is_none_or_out_of_range_ends_the_start(bench, given: dict,  # noqa: ANN001
                                                                 said: str) -> None:
    process = bench.start('vla_node', **given)
    bench.until(lambda: process.poll() is not None, 'the end of vla_node')
    assert process.returncode == 2
    assert said in bench.log('vla_node').splitlines()[-1]


def test_a_misspelt_group_is_warned_of(bench) -> None:  # noqa: ANN001
    bench.start('vla_node', autostart=False, saftey__max_forward=.1)
    bench.until(lambda: 'saftey.max_forward is not of this node; if safety' in bench.log(
        'vla_node'), 'a warning')


def test_the_shipped_files_and_parameters_of_other_nodes_are_taken(root: Path) -> None:
    words = ['--ros-args', '-p', 'use_sim_time:=false', '-p', 'autostart:=true',
             '-p', 'qos_overrides./clock.subscription.depth:=1']
    for name in ('vla', 'sim', 'px4', 'ardupilot', 'player'):
        words += ['--params-file', str(root / 'config' / f'{name}.yaml')]
    context = rclpy.Context()
    rclpy.init(context=context)
    for cls in NODES.values():
        node = rclpy.create_node('any', context=context, cli_args=words)
        assert parameters.declare(node, cls) == cls()
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_live_view_comes_with_the_flight_and_never_instead_of_it(bench) -> None:  # noqa: ANN001
    pytest.importorskip('foxglove', reason='pip install -e .[foxglove]')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    bench.start('vla_node', node__live=f'foxglove:{port}')
    camera = Camera(bench)
    camera.settle()
    with socket.create_connection(('127.0.0.1', port), 5) as viewer:
        viewer.sendall((f'GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n'
                        'Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
                        'Sec-WebSocket-Protocol: foxglove.sdk.v1\r\n'
                        'Sec-WebSocket-Version: 13\r\n\r\n').encode())
        heard = b''
        while b'/live/pilot' not in heard:  # offered to whoever comes
            heard += viewer.recv(4096)
        assert camera.fly(10)
    assert f'live view in foxglove on port {port}' in bench.log('vla_node')
    assert camera.fly(10)  # the viewer has gone
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        assert bench.stop('vla_node') == 0
        bench.start('vla_node', node__live=f'foxglove:{taken.getsockname()[1]}')
        camera.commands.clear()
        camera.settle()
        assert camera.fly(10)
    assert 'flying without a live view: no live view in foxglove' in bench.log('vla_node')
    assert 'Traceback' not in bench.log('vla_node')
