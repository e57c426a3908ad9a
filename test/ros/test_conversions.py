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

"""Messages to data and back, and what is refused on the way."""

from array import array
import math
from types import SimpleNamespace

from edge_vla.config import SimConfig
from edge_vla.datatypes import Command, Frame
from edge_vla.exceptions import ImageError
from edge_vla.motion import motion_from_message
from edge_vla.sim.simulator import Simulator
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no messages')

from builtin_interfaces.msg import Time  # noqa: E402, I100
from edge_vla.ros import conversions  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

STAMP = 12_345_678_901
anything = st.floats(allow_nan=True, allow_infinity=True)


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(0, (2**31 - 1) * 10**9))
def test_stamps_come_back(ns: int) -> None:
    assert conversions.to_nanoseconds(conversions.to_stamp(ns)) == ns


def test_a_frame_comes_back() -> None:
    message = conversions.frame_to_image(Frame(STAMP, picture()), 'eye')
    assert isinstance(message.data, array) and message.step == 96
    frame = conversions.image_to_frame(message)
    assert frame.stamp_ns == STAMP and message.header.frame_id == 'eye'
    assert np.array_equal(frame.image, picture())
    assert conversions.image_to_frame(message, 7).stamp_ns == 7


def encoded(encoding: str, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an encoding and the RGB picture they mean."""
    alpha = np.full((*rgb.shape[:2], 1), 9, np.uint8)
    gray = rgb[..., :1]
    return {'rgb8': (rgb, rgb), 'bgr8': (rgb[..., ::-1], rgb),
            'rgba8': (np.concatenate([rgb, alpha], 2), rgb),
            'bgra8': (np.concatenate([rgb[..., ::-1], alpha], 2), rgb),
            'mono8': (gray, gray.repeat(3, 2))}[encoding]


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'])
@pytest.mark.parametrize('padding', [0, 5])
def test_encodings_and_padded_rows(encoding: str, padding: int) -> None:
    pixels, meant = encoded(encoding, picture())
    rows = np.ascontiguousarray(pixels).reshape(24, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=24, width=32, encoding=encoding, step=rows.shape[1],
                    data=array('B', rows.tobytes()))
    assert np.array_equal(conversions.image_to_frame(message).image, meant)


@pytest.mark.parametrize('big', [False, True])
def test_sixteen_bits_in_both_byte_orders(big: bool) -> None:
    gray = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85
    message = Image(height=24, width=32, encoding='mono16', step=64, is_bigendian=int(big),
                    data=array('B', gray.astype('>u2' if big else '<u2').tobytes()))
    image = conversions.image_to_frame(message).image
    assert np.array_equal(image, (gray >> 8).astype(np.uint8)[..., None].repeat(3, 2))


@pytest.mark.parametrize(('change', 'said'), [
    ({'encoding': '32FC1'}, "'32FC1' is not supported"), ({'encoding': ''}, 'not supported'),
    ({'width': 0}, 'not positive'), ({'step': 95}, 'needs rows'), ({'height': 25}, 'needs rows'),
    ({'width': 2**32 - 1, 'step': 0}, 'needs rows'), ({'data': array('B')}, 'needs rows')])
def test_bad_images_are_refused_in_one_line(change: dict, said: str) -> None:
    message = conversions.frame_to_image(Frame(STAMP, picture()), 'eye')
    for key, value in change.items():
        setattr(message, key, value)
    with pytest.raises(ImageError, match=said) as caught:
        conversions.image_to_frame(message)
    assert '\n' not in str(caught.value)


def test_bad_compressed_images_are_refused() -> None:
    for data in (b'', b'no picture'):
        with pytest.raises(ImageError, match='cannot be decoded'):
            conversions.compressed_to_frame(CompressedImage(data=array('B', data)))


def test_odometry_tells_the_motion_of_the_simulator() -> None:
    simulator = Simulator(SimConfig(seed=4, wind=4.0))
    rng = np.random.default_rng(2)
    for _ in range(20):
        simulator.command(rng.uniform(-1.5, 1.5, 3), rng.uniform(-1, 1))
        simulator.advance(300_000_000)
        message = conversions.pose_to_odometry(
            simulator.time_ns, simulator.position, simulator.quaternion,
            simulator.velocity_world, simulator.angular_velocity_body, 'odom', 'base_link')
        stamp_ns = conversions.to_nanoseconds(message.header.stamp)
        motion, truth = motion_from_message(message, stamp_ns), simulator.motion()
        assert motion.stamp_ns == truth.stamp_ns == simulator.time_ns
        assert motion.velocity == pytest.approx(truth.velocity, abs=1e-9)
        assert (motion.yaw_rate, motion.roll, motion.pitch) == pytest.approx(
            (truth.yaw_rate, truth.roll, truth.pitch), abs=1e-9)
        body = message.twist.twist.linear  # turned, not scaled
        assert math.hypot(body.x, body.y, body.z) == pytest.approx(
            np.linalg.norm(simulator.velocity_world))


@pytest.mark.parametrize(('stamp', 'want'), [(Time(), STAMP),
                                             (Time(sec=3, nanosec=4), 3 * 10**9 + 4)])
def test_who_has_no_clock_is_stamped_on_arrival(stamp: Time, want: int) -> None:
    message, clock = Odometry(), SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=STAMP))
    message.header.stamp = stamp
    stamp_ns = conversions.stamp_of(message, SimpleNamespace(get_clock=lambda: clock))
    assert stamp_ns == want


@settings(max_examples=200, deadline=None)
@given(st.lists(anything, min_size=10, max_size=10))
def test_odometry_of_any_numbers_is_taken(values: list) -> None:
    message = Odometry()
    o, t = message.pose.pose.orientation, message.twist.twist
    o.x, o.y, o.z, o.w = values[:4]
    t.linear.x, t.linear.y, t.linear.z = values[4:7]
    t.angular.x, t.angular.y, t.angular.z = values[7:]
    motion = motion_from_message(message, STAMP)
    if any(math.isnan(v) for v in values[:7]):  # and is never mistaken for a measurement
        assert not np.isfinite(motion.velocity).all()


def test_commands_are_plain_numbers() -> None:
    command = Command(np.int64(STAMP), tuple(np.float32([.5, -.25, .125])), np.float32(.75), 'ok')
    message = conversions.command_to_twist(command, 'base_link')
    t = message.twist
    assert (t.linear.x, t.linear.y, t.linear.z, t.angular.z) == (.5, -.25, .125, .75)
    assert all(type(v) is float for v in (t.linear.x, t.angular.z))
    assert (t.angular.x, t.angular.y) == (0, 0)
    assert message.header.stamp == Time(sec=12, nanosec=345_678_901)
    assert message.header.frame_id == 'base_link'


def test_the_camera_described_is_the_camera_simulated() -> None:
    info = conversions.camera_info(STAMP, 'eye', 320, 240, math.radians(90))
    assert (info.width, info.height, info.distortion_model) == (320, 240, 'plumb_bob')
    assert list(info.k) == pytest.approx([160, 0, 159.5, 0, 160, 119.5, 0, 0, 1])
    assert list(info.p[:3]) == pytest.approx(info.k[:3]) and not any(info.d)
