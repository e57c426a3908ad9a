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


"""Recordings: what is read and written, and one clear line for each that cannot be."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
from edge_vla.cli.main import main
from edge_vla.datatypes import Frame
from edge_vla.evaluation.bag_writer import bag_from_video, BagWriter
from edge_vla.evaluation.bags import Bag, COMPRESSED, IMAGE, ODOMETRY, open_recording, SECOND_NS
from edge_vla.evaluation.replay import COMMAND_TOPIC, NARRATION_TOPIC
from edge_vla.exceptions import BagError, EdgeVlaError, ImageError
from edge_vla.pipeline import Pipeline
from edge_vla.sim.simulator import Simulator
from edge_vla.vision.image_encodings import decode_compressed, ENCODINGS, to_rgb
import numpy as np
import pytest

PERIOD_NS = SECOND_NS // 30
VIDEOS = Path(__file__).resolve().parents[2] / 'shared' / 'data'


def flight(count: int = 12) -> list[tuple[Frame, Any]]:
    """Fly forward in the simulator and return frames with the simulator's state."""
    simulator, seen = Simulator(), []
    simulator.command(np.array([.8, .2, .1]), .3)
    for _ in range(count):
        simulator.advance(PERIOD_NS)
        body = simulator._rotation.T @ simulator.velocity_world
        seen.append((simulator.frame(), (simulator.motion(), simulator.quaternion, body,
                                         simulator.angular_velocity_body)))
    return seen


def make_bag(path: Path, storage: str = 'mcap', compressed: bool = False, topics: int = 1,
             odometry: bool = True, images: bool = True) -> Path:
    """Write a bag of a short flight."""
    with BagWriter(path, storage) as bag:
        t = bag.types.types
        for frame, (_, quaternion, linear, angular) in flight():
            time_ns = frame.stamp_ns + 5
            if odometry:
                pose = t['geometry_msgs/msg/PoseWithCovariance'](
                    t['geometry_msgs/msg/Pose'](
                        t['geometry_msgs/msg/Point'](0.0, 0.0, 0.0),
                        t['geometry_msgs/msg/Quaternion'](*map(float, quaternion))), np.zeros(36))
                vector = t['geometry_msgs/msg/Vector3']
                twist = t['geometry_msgs/msg/TwistWithCovariance'](
                    t['geometry_msgs/msg/Twist'](vector(*map(float, linear)),
                                                 vector(*map(float, angular))), np.zeros(36))
                bag.write('/odom', ODOMETRY, time_ns - 1, child_frame_id='base_link', pose=pose,
                          header=bag.header(frame.stamp_ns, 'odom'), twist=twist)
            for k in range(topics if images else 0):
                bag.image(f'/camera{k}' if topics > 1 else '/image', time_ns, frame, compressed)
    return path


def replay(source: Path, out: Path, *options: str) -> int:
    return main(['replay', str(source), '--out', str(out), '--instruction',
                 'fly to the red sphere', '--no-report', *options])


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_gives_back_what_was_written(tmp_path: Path, storage: str) -> None:
    with Bag(make_bag(tmp_path / 'bag', storage)) as bag:
        samples = list(bag)
        assert (bag.topic, bag.odometry, len(bag)) == ('/image', '/odom', 12)
    for sample, (frame, (motion, *_)) in zip(samples, flight(), strict=True):
        assert sample.frame.stamp_ns == frame.stamp_ns
        assert sample.recorded_ns == frame.stamp_ns + 5
        np.testing.assert_array_equal(sample.frame.image, frame.image)
        np.testing.assert_allclose(sample.motion.velocity, motion.velocity, atol=1e-12)
        assert sample.motion.yaw_rate == pytest.approx(motion.yaw_rate, abs=1e-12)
        assert sample.motion.roll == pytest.approx(motion.roll, abs=1e-12)
        assert sample.motion.pitch == pytest.approx(motion.pitch, abs=1e-12)


def test_a_single_file_is_a_bag_too(tmp_path: Path) -> None:
    folder = make_bag(tmp_path / 'bag')
    with Bag(next(folder.glob('*.mcap'))) as bag:
        assert len(list(bag)) == 12


def test_compressed_images_are_close(tmp_path: Path) -> None:
    with Bag(make_bag(tmp_path / 'bag', compressed=True)) as bag:
        for sample, (frame, _) in zip(bag, flight(), strict=True):
            error = np.abs(sample.frame.image.astype(int) - frame.image)
            assert error.mean() < 4


def test_replay_is_the_same_twice_and_complete(tmp_path: Path, pilot: Pipeline) -> None:
    source = make_bag(tmp_path / 'bag')
    assert replay(source, tmp_path / 'a') == 0
    assert replay(source, tmp_path / 'b', '--no-overlay') == 0
    text = (tmp_path / 'a' / 'actions.json').read_bytes()
    assert text == (tmp_path / 'b' / 'actions.json').read_bytes()
    report = json.loads(text)
    assert report['frames'] == len(report['actions']) == 12
    assert report['understood'] == 'go to the red sphere'
    assert [a['stamp_ns'] for a in report['actions']] == [f.stamp_ns for f, _ in flight()]
    assert np.isfinite([a['velocity'] for a in report['actions']]).all()
    assert json.loads((tmp_path / 'a' / 'latency.json').read_text())['step_ms']['count'] == 12
    video = cv2.VideoCapture(str(tmp_path / 'a' / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert not (tmp_path / 'b' / 'overlay.mp4').exists()


def test_replay_is_what_the_pipeline_does(tmp_path: Path, pilot: Pipeline) -> None:
    from edge_vla.datatypes import Observation
    assert replay(make_bag(tmp_path / 'bag'), tmp_path / 'out') == 0
    pilot.reset()
    for action, (frame, (_, quaternion, linear, angular)) in zip(
            json.loads((tmp_path / 'out' / 'actions.json').read_text())['actions'], flight(),
            strict=True):
        from edge_vla.motion import motion_from_odometry
        motion = motion_from_odometry(frame.stamp_ns, quaternion, linear, angular)
        direct = pilot.step(Observation(frame, 'fly to the red sphere', motion))
        assert action['velocity'] == list(direct.velocity)
        assert action['yaw_rate'] == direct.yaw_rate


def test_the_new_bag_holds_the_old_messages_and_the_commands(tmp_path: Path) -> None:
    source = make_bag(tmp_path / 'bag')
    assert replay(source, tmp_path / 'out') == 0
    with Bag(source) as old, Bag(tmp_path / 'out' / 'bag') as new:
        def raw(bag: Bag, topics: tuple[str, ...]) -> list[tuple[str, int, bytes]]:
            return [(c.topic, t, bytes(data)) for c, t, data in bag.reader.messages()
                    if c.topic in topics]
        assert raw(new, ('/image', '/odom')) == raw(old, ('/image', '/odom'))
        commands = raw(new, (COMMAND_TOPIC,))
        assert len(commands) == 12
        first = new.messages.standard.deserialize_cdr(commands[0][2],
                                                      'geometry_msgs/msg/TwistStamped')
        assert first.header.frame_id == 'base_link'
        stamp = first.header.stamp.sec * SECOND_NS + first.header.stamp.nanosec
        assert stamp == flight(1)[0][0].stamp_ns
        assert len(raw(new, (NARRATION_TOPIC,))) == 1
    # replaying a replay: its commands are replaced, not doubled
    assert replay(tmp_path / 'out' / 'bag', tmp_path / 'again') == 0
    with Bag(tmp_path / 'again' / 'bag') as again:
        assert sum(c.topic == COMMAND_TOPIC for c in again.reader.connections) == 1


def cut(path: Path, kept: float) -> None:
    """Keep only the first part of a bag's storage file."""
    file = next(p for p in path.iterdir() if p.suffix in ('.mcap', '.db3'))
    file.write_bytes(file.read_bytes()[:int(file.stat().st_size * kept)])


def truncated(storage: str, kept: float) -> Callable[[Path], tuple[Path, tuple[str, ...]]]:
    def make(folder: Path) -> tuple[Path, tuple[str, ...]]:
        bag = make_bag(folder / 'bag', storage)
        cut(bag, kept)
        return bag, ()
    return make


def empty(folder: Path) -> tuple[Path, tuple[str, ...]]:
    with BagWriter(folder / 'bag'):
        pass
    return folder / 'bag', ()


def no_images(folder: Path) -> tuple[Path, tuple[str, ...]]:
    return make_bag(folder / 'bag', images=False), ()


def wrong_topic(folder: Path) -> tuple[Path, tuple[str, ...]]:
    return make_bag(folder / 'bag'), ('--topic', '/front')


def several_topics(folder: Path) -> tuple[Path, tuple[str, ...]]:
    return make_bag(folder / 'bag', topics=2), ()


def wrong_odometry(folder: Path) -> tuple[Path, tuple[str, ...]]:
    return make_bag(folder / 'bag'), ('--odometry', '/nowhere')


def missing(folder: Path) -> tuple[Path, tuple[str, ...]]:
    return folder / 'nothing.mcap', ()


def no_metadata(folder: Path) -> tuple[Path, tuple[str, ...]]:
    (folder / 'bag').mkdir()
    return folder / 'bag', ()


def broken_metadata(folder: Path) -> tuple[Path, tuple[str, ...]]:
    bag = make_bag(folder / 'bag')
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')
    return bag, ()


def garbage_video(folder: Path) -> tuple[Path, tuple[str, ...]]:
    (folder / 'film.mp4').write_bytes(bytes(range(256)) * 40)
    return folder / 'film.mp4', ()


def garbage_bag(folder: Path) -> tuple[Path, tuple[str, ...]]:
    (folder / 'film.mcap').write_bytes(bytes(range(256)) * 40)
    return folder / 'film.mcap', ()


def image_bag(encoding: str = 'rgb8', width: int = 32, kind: str = IMAGE) \
        -> Callable[[Path], tuple[Path, tuple[str, ...]]]:
    def make(folder: Path) -> tuple[Path, tuple[str, ...]]:
        with BagWriter(folder / 'bag') as bag:
            fields = ({'format': 'jpeg', 'data': np.zeros(50, np.uint8)} if kind == COMPRESSED
                      else {'height': 24, 'width': width, 'encoding': encoding,
                            'is_bigendian': 0, 'step': 96, 'data': np.zeros(24 * 96, np.uint8)})
            bag.write('/image', kind, 1, header=bag.header(1, 'camera'), **fields)
        return folder / 'bag', ()
    return make


@pytest.mark.parametrize(('make', 'said'), [
    (truncated('mcap', .9), 'truncated or corrupt'),
    (truncated('mcap', .3), 'truncated or corrupt'),
    (truncated('mcap', 0), 'truncated or corrupt'),
    (truncated('sqlite3', .6), 'truncated or corrupt'),
    (truncated('sqlite3', 0), 'truncated or corrupt'),
    (empty, 'is empty: it holds no messages'),
    (no_images, 'has no image topic; it has /odom (nav_msgs/msg/Odometry)'),
    (wrong_topic, 'has no image topic /front; it has /image'),
    (several_topics, 'choose one with --topic: /camera0, /camera1'),
    (wrong_odometry, 'has no odometry topic /nowhere; it has /odom'),
    (missing, 'nothing.mcap does not exist'),
    (no_metadata, 'it has no metadata.yaml'),
    (broken_metadata, 'truncated or corrupt'),
    (garbage_video, 'cannot be read as a video'),
    (garbage_bag, 'truncated or corrupt'),
    (image_bag('rgb7'), "image encoding 'rgb7' is not supported"),
    (image_bag(width=4000), 'needs rows of at least 12000 bytes'),
    (image_bag(width=0), 'size 0x24 is not positive'),
    (image_bag(kind=COMPRESSED), 'compressed image of 50 bytes cannot be decoded'),
], ids=lambda v: '' if isinstance(v, str) else getattr(v, '__qualname__', '').split('.')[0])
def test_a_bad_recording_is_one_clear_line(tmp_path: Path, make: Callable, said: str,
                                           capfd: pytest.CaptureFixture[str]) -> None:
    source, options = make(tmp_path)
    capfd.readouterr()
    assert replay(source, tmp_path / 'out', *options) == 2
    lines = [li for li in capfd.readouterr().err.replace('\r', '\n').splitlines()
             if li.startswith('edge-vla: ')]
    assert len(lines) == 1 and said in lines[0], lines
    assert not (tmp_path / 'out' / 'actions.json').exists()


def test_an_empty_instruction_is_refused(tmp_path: Path,
                                         capfd: pytest.CaptureFixture[str]) -> None:
    bag = make_bag(tmp_path / 'bag')
    assert main(['replay', str(bag), '--out', str(tmp_path), '--instruction', '  ']) == 2
    assert 'the instruction is empty' in capfd.readouterr().err


def test_results_never_replace_their_source(tmp_path: Path) -> None:
    source = make_bag(tmp_path / 'bag')
    assert replay(source, tmp_path) == 2
    with Bag(source) as bag:
        assert len(bag) == 12


def make_video(path: Path, rate: float = 20.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, (320, 240))
    for frame, _ in flight(8):
        writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_videos_replay_too(tmp_path: Path) -> None:
    video = make_video(tmp_path / 'film.mp4')
    assert replay(video, tmp_path / 'a') == 0
    assert replay(video, tmp_path / 'b') == 0
    text = (tmp_path / 'a' / 'actions.json').read_bytes()
    assert text == (tmp_path / 'b' / 'actions.json').read_bytes()
    stamps = [a['stamp_ns'] for a in json.loads(text)['actions']]
    assert stamps == [k * SECOND_NS // 20 for k in range(8)]


@pytest.mark.parametrize('options', [(), ('--compressed',), ('--storage', 'sqlite3'),
                                     ('--rate', '10', '--topic', 'front/image')])
def test_a_video_becomes_a_bag(tmp_path: Path, options: tuple[str, ...]) -> None:
    video = make_video(tmp_path / 'film.mp4')
    assert main(['bag', 'from-video', str(video), str(tmp_path / 'bag'), *options]) == 0
    with Bag(tmp_path / 'bag') as bag, open_recording(video) as film:
        expected = '/front/image' if '--topic' in options else (
            '/image/compressed' if options == ('--compressed',) else '/image')
        assert bag.topic == expected
        step = SECOND_NS // (10 if '--rate' in options else 20)
        for k, (a, b) in enumerate(zip(bag, film, strict=True)):
            assert a.frame.stamp_ns == SECOND_NS + k * step
            error = np.abs(a.frame.image.astype(int) - b.frame.image).mean()
            assert error < 4 if '--compressed' in options else error == 0


@pytest.mark.parametrize('rate', ['-3', 'nan', '1e9'])
def test_a_rate_out_of_range_is_said_to_be(tmp_path: Path, rate: str,
                                           capfd: pytest.CaptureFixture[str]) -> None:
    video = make_video(tmp_path / 'film.mp4')
    assert main(['bag', 'from-video', str(video), str(tmp_path / 'bag'), '--rate', rate]) == 2
    assert 'images per second is out of range' in capfd.readouterr().err
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize('topic', ['bad topic', '/a//b', '/1a', '/a/'])
def test_a_topic_that_is_no_name_is_refused(tmp_path: Path, topic: str) -> None:
    video = make_video(tmp_path / 'film.mp4')
    with pytest.raises(BagError, match='no name of a topic'):
        bag_from_video(video, tmp_path / 'bag', topic)
    assert not (tmp_path / 'bag').exists()


def test_a_bag_is_not_overwritten(tmp_path: Path) -> None:
    video = make_video(tmp_path / 'film.mp4')
    assert bag_from_video(video, tmp_path / 'bag') == 8
    with pytest.raises(BagError, match='exists'):
        bag_from_video(video, tmp_path / 'bag')
    with pytest.raises(BagError, match='does not exist'):
        bag_from_video(tmp_path / 'no.mp4', tmp_path / 'other')


@pytest.mark.parametrize('name', ['carphone_moving_background.mp4'])
def test_real_video_is_the_same_twice(tmp_path: Path, name: str) -> None:
    if not (VIDEOS / name).is_file():
        pytest.skip(f'{name} is not beside this checkout')
    for out in ('a', 'b'):
        assert replay(VIDEOS / name, tmp_path / out, '--no-overlay') == 0
    text = (tmp_path / 'a' / 'actions.json').read_bytes()
    assert text == (tmp_path / 'b' / 'actions.json').read_bytes()
    assert json.loads(text)['frames'] == 120


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_gives_the_colour_it_names(encoding: str) -> None:
    rgb = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    image = _encode(rgb, encoding)
    out = to_rgb(image.tobytes(), encoding, 6, 8)
    grey = encoding in ('mono8', 'mono16', '8UC1')
    expected = np.full(3, 120) if grey else rgb[0, 0]
    assert out.shape == (6, 8, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
    np.testing.assert_allclose(out[2:4, 2:6].reshape(-1, 3), np.tile(expected, (8, 1)), atol=2)


def _encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    if encoding.startswith('bayer'):
        colours = ['rgb'.index(c) for c in encoding[6:10]]
        out = np.zeros(rgb.shape[:2], np.uint8)
        for k, c in enumerate(colours):
            out[k // 2::2, k % 2::2] = rgb[0, 0, c]
        return out.astype('<u2') * 256 + 9 if encoding.endswith('16') else out
    if encoding in ('uyvy', 'yuv422'):
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_UYVY)
    if encoding in ('yuyv', 'yuv422_yuy2'):
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2)
    if encoding in ('nv12', 'nv21'):
        height, width = rgb.shape[:2]
        planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
        y, u, v = np.split(planar, [height * width, height * width * 5 // 4])
        pair = (u, v) if encoding == 'nv12' else (v, u)
        return np.concatenate([y, np.stack(pair, 1).reshape(-1)])
    if encoding == 'nv24':
        nv12 = _encode(rgb.repeat(2, 0).repeat(2, 1), 'nv12').reshape(3 * rgb.shape[0], -1)
        y, pairs = np.split(nv12, [2 * rgb.shape[0]])
        return np.concatenate([y[::2, ::2].reshape(-1), pairs.reshape(-1)])
    if encoding in ('mono8', '8UC1'):
        return np.full(rgb.shape[:2], 120, np.uint8)
    if encoding == 'mono16':
        return np.full(rgb.shape[:2], 120 * 256 + 9, '<u2')
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    order = rgb if encoding.startswith('rgb') else rgb[..., ::-1]
    if 'a' in encoding or encoding == '8UC4':
        order = np.concatenate([order, alpha], 2)
    return order.astype('<u2') * 256 + 9 if encoding.endswith('16') else order


def test_nv24_has_the_colours_of_every_pixel() -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:, ::2], rgb[:, 1::2] = (200, 100, 50), (50, 100, 200)  # NV12 would mix them
    planes = _encode(rgb, 'nv24')
    out = to_rgb(planes.tobytes(), 'nv24', 6, 8)
    np.testing.assert_allclose(out, rgb, atol=3)
    rows = [np.pad(a, ((0, 0), (0, pad))).reshape(-1) for a, pad in (
        (planes[:48].reshape(6, 8), 2), (planes[48:].reshape(6, 16), 4))]
    np.testing.assert_array_equal(to_rgb(np.concatenate(rows).tobytes(), 'nv24', 6, 8, 10), out)
    with pytest.raises(ImageError, match='needs rows'):
        to_rgb(planes[:-1].tobytes(), 'nv24', 6, 8)


@pytest.mark.parametrize('encoding', [e for e in ENCODINGS if e.startswith('bayer')])
def test_a_compressed_mosaic_gets_its_colours(encoding: str) -> None:
    rgb = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    png = cv2.imencode('.png', _encode(rgb, encoding))[1].tobytes()
    out = decode_compressed(png, f'{encoding}; png compressed ')
    np.testing.assert_array_equal(out[2:4, 2:6].reshape(-1, 3), np.tile(rgb[0, 0], (8, 1)))
    # what the driver has turned into colours stays as it is, and so does grey
    colours = cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()
    for kind in (f'{encoding}; png compressed bgr8', 'bgr8; png compressed bgr8', 'png', ''):
        np.testing.assert_array_equal(decode_compressed(colours, kind), rgb)
    assert (np.ptp(decode_compressed(png, 'mono8; png compressed '), axis=2) == 0).all()
    tiff = cv2.imencode('.tiff', np.ones((6, 8), np.float32))[1].tobytes()
    with pytest.raises(ImageError, match='holds float32 numbers'):
        decode_compressed(tiff, f'{encoding}; tiff')
    tiff = cv2.imencode('.tiff', np.ones((6, 8, 3), np.float32))[1].tobytes()
    with pytest.raises(ImageError, match='no colours'):
        decode_compressed(tiff, f'{encoding}; tiff')


def test_distances_are_no_picture() -> None:
    png = cv2.imencode('.png', np.full((60, 80), 1500, np.uint16))[1].tobytes()
    for kind in ('16UC1; compressedDepth png', '16UC1; png compressed ', '32FC1; compressedDepth'):
        with pytest.raises(ImageError, match='holds distances'):
            decode_compressed(png, kind)


@pytest.mark.parametrize('encoding', ['uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21'])
def test_shared_colours_need_even_widths(encoding: str) -> None:
    with pytest.raises(ImageError, match='81x60 needs (an even width|even sides)'):
        to_rgb(bytes(81 * 60 * 2), encoding, 60, 81)


def test_padded_rows_and_byte_order() -> None:
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    padded = np.zeros((4, 20), np.uint8)
    padded[:, :15] = rgb.reshape(4, 15)
    np.testing.assert_array_equal(to_rgb(padded.tobytes(), 'rgb8', 4, 5, 20), rgb)
    # the last row may come without its padding
    np.testing.assert_array_equal(to_rgb(padded.tobytes()[:-5], 'rgb8', 4, 5, 20), rgb)
    big = (rgb.astype(np.uint16) * 256 + 3).astype('>u2').tobytes()
    np.testing.assert_array_equal(to_rgb(big, 'rgb16', 4, 5, 0, True), rgb)
    for size in (0, 59, 74):
        with pytest.raises(ImageError, match='needs rows'):
            to_rgb(padded.tobytes()[:size], 'rgb8', 4, 5, 20)
    with pytest.raises(EdgeVlaError, match='needs rows'):
        to_rgb(padded.tobytes(), 'rgb8', 4, 5, 14)
