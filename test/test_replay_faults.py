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


"""What is wrong with a recording is one clear line, or is left out and noted."""

from collections.abc import Callable, Collection
from contextlib import closing
import json
import os
from pathlib import Path
import sqlite3
import tempfile
from typing import Any

import cv2
from edge_vla.cli.main import main
from edge_vla.datatypes import Frame
from edge_vla.evaluation import replay_jobs
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import Bag, cameras_of, IMAGE, open_recording, SECOND_NS
from edge_vla.evaluation.commands import POSITION_TARGET, TRAJECTORY_SETPOINT
from edge_vla.evaluation.replay import Job
from edge_vla.evaluation.track import Track
from edge_vla.exceptions import BagError, EdgeVlaError
from edge_vla.visualization.video import VideoWriter
import numpy as np
import pytest
from recordings import GO, make, picture, replay, report, STEP_NS
import yaml


def no_metadata(folder: Path) -> tuple[Any, ...]:
    bag = make(folder / 'bag')
    (bag / 'metadata.yaml').unlink()
    return (bag,)


def wrong_storage(name: str) -> Callable[[Path], tuple[Any, ...]]:
    def write(folder: Path) -> tuple[Any, ...]:
        file = make(folder / 'bag') / 'metadata.yaml'
        file.write_text(file.read_text().replace('storage_identifier: mcap',
                                                 f'storage_identifier: {name}'))
        return (file.parent,)
    return write


def lost_file(folder: Path) -> tuple[Any, ...]:
    bag = make(folder / 'bag')
    next(bag.glob('*.mcap')).unlink()
    return (bag,)


def with_options(*options: str, **topics: Any) -> Callable[[Path], tuple[Any, ...]]:
    return lambda folder: (make(folder / 'bag', **topics), *options)


def damaged_pictures(suffix: str, size: int) -> Callable[[Path], tuple[Any, ...]]:
    return lambda folder: (pictures(folder / 'bag', suffix, range(14), lambda w: w[:size]),)


def no_video(folder: Path) -> tuple[Any, ...]:
    (folder / 'flight.mp4').write_bytes(b'no film')
    return (folder / 'flight.mp4',)


def compressed(mode: str) -> Callable[[Path], tuple[Any, ...]]:
    def write(folder: Path) -> tuple[Any, ...]:
        rosbags = pytest.importorskip('rosbags.rosbag2')
        new = rosbags.Writer(folder / 'small', version=9)
        new.set_compression(rosbags.CompressionMode[mode], rosbags.CompressionFormat.ZSTD)
        with Bag(make(folder / 'bag', storage='sqlite3')) as bag, new:
            made = new.add_connection('/image', IMAGE, typestore=bag.messages.standard)
            for _, time_ns, raw in bag.reader.messages():
                new.write(made, time_ns, raw)
        return (next((folder / 'small').glob('*.db3*')),)
    return write


def truncated(storage: str) -> Callable[[Path], tuple[Any, ...]]:
    def write(folder: Path) -> tuple[Any, ...]:
        file = next(make(folder / 'bag', storage=storage).glob('bag.*'))
        file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])
        return (file,)
    return write


def named(name: str, content: bytes) -> Callable[[Path], tuple[Any, ...]]:
    def write(folder: Path) -> tuple[Any, ...]:
        (folder / name).write_bytes(content)
        return (folder / name,)
    return write


def with_metadata(**values: Any) -> Callable[[Path], tuple[Any, ...]]:
    def write(folder: Path) -> tuple[Any, ...]:
        file = make(folder / 'bag') / 'metadata.yaml'
        said = yaml.safe_load(file.read_text())
        said['rosbag2_bagfile_information'] |= values
        file.write_text(yaml.safe_dump(said))
        return (file.parent,)
    return write


def two_in_a_folder(folder: Path) -> tuple[Any, ...]:
    make(folder / 'flights' / 'one')
    make(folder / 'flights' / 'two')
    return (folder / 'flights',)


def old_bag(path: Path, kind: str = IMAGE) -> Path:
    """Write a bag as Foxy did: sqlite3 without message definitions."""
    new = make(path.with_name('new'), storage='sqlite3')
    path.mkdir()
    db = sqlite3.connect(path / 'old_0.db3')
    db.execute('CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT '
               'NULL, serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)')
    db.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, '
               'timestamp INTEGER NOT NULL, data BLOB NOT NULL)')
    for topic, name in ((1, IMAGE), (2, 'their_msgs/msg/Secret')):
        db.execute('INSERT INTO topics VALUES(?, ?, ?, "cdr", "")', (
            topic, '/image' if topic == 1 else '/secret', name))
    for _, t, raw in Bag(new).reader.messages():
        db.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?)', (t, raw))
        db.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES(2, ?, ?)', (t, b'?'))
    db.commit()
    db.close()
    topic = ('    - topic_metadata: {{name: {}, type: {}, serialization_format: cdr, '
             'offered_qos_profiles: ""}}\n      message_count: 16\n')
    (path / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n  version: 4\n  storage_identifier: sqlite3\n'
        '  relative_file_paths: [old_0.db3]\n  duration: {nanoseconds: 750000000}\n'
        '  starting_time: {nanoseconds_since_epoch: 1000000000}\n  message_count: 32\n'
        '  topics_with_message_count:\n' + topic.format('/image', IMAGE)
        + topic.format('/secret', 'their_msgs/msg/Secret')
        + '  compression_format: ""\n  compression_mode: ""\n')
    return path


@pytest.mark.parametrize(('write', 'said'), [
    (no_metadata, 'it has no metadata.yaml; give its file instead: '),
    (wrong_storage('tape'), "Storage plugin 'tape' not supported"),
    (wrong_storage('sqlite3'), 'says sqlite3, but its files are .mcap'),
    (lost_file, 'put them back, or ros2 bag reindex writes metadata.yaml anew'),
    (truncated('mcap'), 'truncated or corrupt: File end magic is invalid; mcap recover may save'),
    (truncated('sqlite3'), 'malformed; the command .recover of sqlite3 may save the rest'),
    (named('cut.bag', b'#ROSBAG V2.0\n' + bytes(60)), 'rosbag reindex may save the rest'),
    (with_metadata(version='x'), 'Invalid bag metadata'),
    (with_metadata(duration=None), 'not subscriptable; ros2 bag reindex writes metadata.yaml'),
    (with_metadata(message_count='abc'), "'abc' in the place of a number; ros2 bag reindex"),
    (with_metadata(message_count=0),
     'is empty: it holds no messages; if its files do, ros2 bag reindex writes metadata.yaml'),
    (with_metadata(relative_file_paths=[]),
     'none of 16 images on /image could be found; it is damaged, or its metadata is wrong: ros2'),
    (two_in_a_folder, 'it holds recordings, give one or several of them: one, two'),
    (named('FLIGHT.MCAP', b''), 'is taken as a recording if its name ends in .mcap; rename it'),
    (named('notes.txt', b'flew to the red ball\n' * 30), 'cannot be read as a video'),
    (lambda folder: (folder / ('long' * 80 + '.mcap'),), 'cannot be read: File name too long'),
    (with_options(commands=('/cmd_vel', '/joy/cmd_vel')),
     'has several command topics; choose one with --commands: /cmd_vel, /joy/cmd_vel, or'),
    (with_options(odometry=('/a', '/b')),
     'has several odometry topics; choose one with --odometry: /a, /b, or --odometry none'),
    (with_options('--start', '60'), 'lasts 0.8 s; --start 60 is behind its end'),
    (with_options('--start', '.01', '--duration', '.01'), 'no image on /image in the time'),
    (with_options('--start', '-1'), '--start must be at least 0 s'),
    (with_options('--duration', 'nan'), '--duration above 0 s'),
    (with_options('--rate', '-3'), '--rate must be above 0 and at most 1000 images per second'),
    (with_options('--rate', 'nan'), '--rate must be above 0'),
    (with_options('--set', 'safety.max_forward=fast'), 'safety.max_forward: expected float'),
    (with_options('--compare', ''), "'' is no setting NAME=VALUE, YAML file or folder"),
    (with_options('--compare', 'nothing'), "'nothing' is no setting NAME=VALUE, YAML file or"),
    (with_options('--compare', 'speed=3'), "unknown setting 'speed'"),
    (with_options('--ray', 'x', '--jobs', '0'), '--jobs must be at least 1'),
    (damaged_pictures('.png', 200), 'compressed image of 200 bytes cannot be decoded'),
    (damaged_pictures('.tiff', 200), 'compressed image of 200 bytes cannot be decoded'),
    (no_video, 'cannot be read as a video'),
    (compressed('FILE'), 'is a compressed part of a rosbag2; give its folder: '),
    (compressed('MESSAGE'), 'its messages are compressed; give the folder'),
    (lambda folder: (old_bag(folder / 'old'), '--commands', '/secret'),
     'has no command topic /secret'),
], ids=lambda v: v[:24] if isinstance(v, str) else '')
def test_what_cannot_be_replayed_is_one_line(tmp_path: Path, write: Callable, said: str,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path)
    capfd.readouterr()
    assert replay(tmp_path / 'out', *source, *GO) == 2
    # all there is on the terminal, whatever libraries of other languages have to say
    lines = [li for li in capfd.readouterr().err.replace('\r', '\n').splitlines()
             if li.strip() and not li.startswith('replay: ')]
    assert len(lines) == 1 and said in lines[0] and lines[0].startswith('edge-vla: '), lines
    assert not (tmp_path / 'out' / 'report.json').exists()


def test_an_old_bag_without_definitions_replays(tmp_path: Path) -> None:
    assert replay(tmp_path / 'a', old_bag(tmp_path / 'old'), *GO) == 0
    assert replay(tmp_path / 'b', tmp_path / 'new', *GO) == 0
    old, new = (json.loads((tmp_path / n / 'actions.json').read_text()) for n in 'ab')
    assert old['actions'] == new['actions']
    assert main(['replay', str(tmp_path / 'old'), '--out', str(tmp_path / 'c'), *GO,
                 '--no-overlay', '--no-report']) == 0
    assert report(tmp_path / 'c')['notes'][-1] == \
        'the recording has neither commands nor odometry: there is nothing to compare the ' \
        'pilot with'
    assert 'not copied, for want of a definition: /secret' in report(tmp_path / 'c')['notes']


def pictures(path: Path, suffix: str, damaged: Collection[int],
             spoil: Callable[[np.ndarray], np.ndarray], count: int = 14) -> Path:
    """Write a bag of compressed images, some of them spoilt."""
    whole = cv2.imencode(suffix, picture(3))[1].reshape(-1)
    with BagWriter(path) as bag:
        for k in range(count):
            now = SECOND_NS + k * STEP_NS
            bag.write('/image/compressed', 'sensor_msgs/msg/CompressedImage', now,
                      header=bag.header(now, 'camera'), format='jpeg',
                      data=spoil(whole) if k in damaged else whole)
    return path


def jpegs(path: Path, damaged: tuple[int, ...], count: int = 14) -> Path:
    """Write a bag of JPEG images, some of them cut."""
    return pictures(path, '.jpg', damaged, lambda whole: whole[:40], count)


def test_part_of_a_jpeg_is_used_and_noted(tmp_path: Path,
                                       capfd: pytest.CaptureFixture[str]) -> None:
    def spoil(whole: np.ndarray) -> np.ndarray:
        rest = whole.size // 5
        return np.concatenate([whole[:-2 * rest], np.tile(np.uint8([0xff, 0xd9]), rest)])

    for damaged in ((), (4, 7)):
        source, count = pictures(tmp_path / f'bag{len(damaged)}', '.jpg', damaged, spoil), len(
            damaged)
        capfd.readouterr()
        assert replay(tmp_path / 'out', source, *GO) == 0
        assert report(tmp_path / 'out')['runs'][0]['frames'] == 14
        told = [n for n in report(tmp_path / 'out')['notes'] if 'damaged in part' in n]
        assert len(told) == (count > 0)
        assert not count or f'{count} compressed images are damaged in part' in told[0]
        assert 'Corrupt JPEG' not in capfd.readouterr().err


@pytest.mark.parametrize('damaged', [(0,), (3, 4), (13,), tuple(range(13))])
def test_damaged_images_are_left_out_and_noted(tmp_path: Path, damaged: tuple[int, ...]) -> None:
    assert replay(tmp_path / 'out', jpegs(tmp_path / 'bag', damaged), *GO) == 0
    said = report(tmp_path / 'out')
    assert said['runs'][0]['frames'] == 14 - len(damaged)
    assert any(n.startswith(f'{len(damaged)} messages are damaged and left out') and
               'compressed image of 40 bytes cannot be decoded' in n for n in said['notes'])
    assert str(tmp_path) not in json.dumps(said)  # the same report wherever the bag lies
    stamps = [a['stamp_ns'] for a in json.loads(
        (tmp_path / 'out' / 'actions.json').read_text())['actions']]
    assert stamps == [SECOND_NS + k * STEP_NS for k in range(14) if k not in damaged]


def test_only_damaged_images_are_an_error(tmp_path: Path,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    for count in (3, 14):
        bag = jpegs(tmp_path / f'bag{count}', tuple(range(count)), count)
        assert replay(tmp_path / 'out', bag, *GO, quick=False) == 2
        assert 'cannot be decoded' in capfd.readouterr().err
        assert not (tmp_path / 'out' / 'bag').exists()  # no half a bag is left behind


def test_nothing_is_left_of_a_replay_that_broke_off(tmp_path: Path,
                                                    capfd: pytest.CaptureFixture[str]) -> None:
    bag = make(tmp_path / 'bag', storage='sqlite3')
    file = bag / 'bag.db3'
    file.write_bytes(file.read_bytes()[:-100])
    with Bag(bag) as opened:
        samples = iter(opened)
        assert next(samples).frame.image.shape == (60, 80, 3)
        with pytest.raises(BagError, match='malformed'):
            list(samples)
    assert replay(tmp_path / 'out', bag, *GO, quick=False) == 2
    assert 'malformed' in capfd.readouterr().err
    assert list((tmp_path / 'out').iterdir()) == []


def test_wrong_metadata_hides_no_images(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag')
    metadata = yaml.safe_load((bag / 'metadata.yaml').read_text())
    said = metadata['rosbag2_bagfile_information']
    said['starting_time']['nanoseconds_since_epoch'] += 10 * SECOND_NS
    said['topics_with_message_count'][0]['message_count'] += 5
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(metadata))
    assert replay(tmp_path / 'out', bag, *GO) == 0
    told = report(tmp_path / 'out')
    assert told['runs'][0]['frames'] == 16
    assert any('only 16 of 21 images could be found' in n for n in told['notes'])


@pytest.mark.parametrize('out', ['file', 'file/below', '/proc/nowhere'])
def test_a_place_that_takes_no_results_is_one_line(tmp_path: Path, out: str,
                                                   capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'file').write_text('mine')
    assert replay(tmp_path / out, make(tmp_path / 'bag'), *GO) == 2
    assert 'the results cannot be written to' in capfd.readouterr().err
    assert (tmp_path / 'file').read_text() == 'mine'


def test_times_beyond_all_recordings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for storage in ('mcap', 'sqlite3'):
        bag = make(tmp_path / storage, storage=storage)
        assert replay(tmp_path / 'out', bag, *GO, '--duration', '1e300') == 0
        assert replay(tmp_path / 'out', bag, *GO, '--start', '1e9') == 2
        assert 'is behind its end' in capfd.readouterr().err
        assert replay(tmp_path / 'out', bag, *GO, '--start', '1e300') == 2
        assert '--start must be at least 0 s' in capfd.readouterr().err


@pytest.mark.parametrize('name', ['bag', 'bag/bag.mcap', 'a.mcap', 'a.bag', 'a.mp4'])
@pytest.mark.parametrize('locked', ['file', 'folder'])
def test_who_may_not_read_is_told_so(name: str, locked: str) -> None:
    with tempfile.TemporaryDirectory() as place:  # where everybody may look, unlike tmp_path
        folder, root = Path(place), os.geteuid() == 0
        folder.chmod(0o755)
        source = make(folder / 'bag').parent / name
        if not source.exists():
            source.write_bytes(b'mine')
        inside = source / 'bag.mcap' if name == 'bag' else source
        (inside if locked == 'file' else folder).chmod(0)
        if root:
            os.seteuid(65534)
        try:
            for read in (open_recording, cameras_of)[:1 + (source.suffix != '.mp4')]:
                with pytest.raises(BagError, match='cannot be read: Permission denied'):
                    read(source)
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)


def test_a_rosbag2_folder_may_be_called_anything(tmp_path: Path) -> None:
    for name in ('flight.bag', 'flight.mcap', 'flight.mp4'):
        with Bag(make(tmp_path / name)) as bag:
            assert (bag.ros, bag.kind, len(list(bag))) == (2, 'rosbag2 (mcap)', 16)


def test_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        kind = bag.types.types['sensor_msgs/msg/Image']
        time = bag.types.types['builtin_interfaces/msg/Time']
        header = bag.types.types['std_msgs/msg/Header']
        for k in range(8):
            stamp = time(2**31 - 1, 2**32 - 1) if k == 2 else time(1, k * STEP_NS)
            bag.write('/image', IMAGE, 2**63 + 1 if k == 7 else SECOND_NS + k * STEP_NS,
                      **vars(kind(header(stamp, ''), 60, 80, 'rgb8', 0, 240,
                                  picture(k).reshape(-1))))
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO, quick=False) == 0
    said = report(tmp_path / 'out')
    assert said['runs'][0]['frames'] == 6
    assert said['notes'][0] == ('2 messages are damaged and left out; the first: bag: a stamp of '
                                '2147483647 s and 4294967295 ns is no time')


def test_an_unstamped_image_of_no_time_is_left_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for k in range(6):
            at = SECOND_NS << 32 if k == 3 else SECOND_NS + k * STEP_NS
            bag.image('/image', at, Frame(0, picture(k)))
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO, quick=False) == 0
    said = report(tmp_path / 'out')
    assert said['runs'][0]['frames'] == 5 and 'is no time' in said['notes'][0]


def test_a_time_before_all_times_is_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path / 'bag', storage='sqlite3')
    with closing(sqlite3.connect(next(folder.glob('*.db3')))) as base, base:
        base.execute('update messages set timestamp = -5 where id = (select max(id) from '
                     'messages)')
    assert replay(tmp_path / 'out', folder, *GO, '--bag', 'all', quick=False) == 0
    assert any('is no time' in note for note in report(tmp_path / 'out')['notes'])


@pytest.mark.parametrize('name', ['..', '.', '/..'])
def test_no_name_leads_out_of_the_results(tmp_path: Path, name: str) -> None:
    beside = tmp_path / 'actions.json'
    beside.write_text('mine')
    make(tmp_path / 'bag')
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO, '--compare', name) == 2 or (
        beside.read_text() == 'mine' and not (tmp_path / 'out' / 'actions.json').exists())
    assert {p.name for p in tmp_path.iterdir()} <= {'actions.json', 'bag', 'out'}


def test_a_pilot_brakes_while_there_are_no_images(tmp_path: Path) -> None:
    """In a gap as long as this a node's watchdog has ramped to zero."""
    def first_after(gap_ns: int) -> float:
        path = tmp_path / f'bag{gap_ns}'
        with BagWriter(path) as bag:
            for k in range(20):
                at = SECOND_NS + k * STEP_NS + (gap_ns if k > 14 else 0)
                bag.image('/image', at, Frame(at, picture(k)))
        out = tmp_path / f'out{gap_ns}'
        assert replay(out, path, *GO, quick=False) == 0
        actions = json.loads((out / 'actions.json').read_text())['actions']
        return float(np.linalg.norm(actions[15]['command']))
    assert first_after(SECOND_NS * 9 // 10) < first_after(0)


@pytest.mark.parametrize('kind', [POSITION_TARGET, TRAJECTORY_SETPOINT])
def test_commands_with_other_fields_are_noted(tmp_path: Path, kind: str,
                                              capfd: pytest.CaptureFixture[str]) -> None:
    typesys = pytest.importorskip('rosbags.typesys')
    with BagWriter(tmp_path / 'bag') as bag:  # as PX4 once did
        bag.types.register(typesys.get_types_from_msg('float32 vx\nfloat32 yawspeed\n', kind))
        for k in range(4):
            now = SECOND_NS + k * STEP_NS
            bag.image('/image', now, Frame(now, picture(k)))
            bag.write('/setpoint', kind, now, vx=1.0, yawspeed=0.0)
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO) == 0
    note = report(tmp_path / 'out')['notes'][0]
    assert f'/setpoint: its {kind} has no ' in note and 'velocity' in note
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO, '--commands', '/setpoint') == 2
    assert 'so /setpoint cannot be read' in capfd.readouterr().err


def test_a_defect_does_not_stop_the_other_recordings(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    def step(job: Job, *rest: Any) -> Any:
        return 1 / 0 if job.source.name == 'bad' else whole(job, *rest)

    whole = replay_jobs.replay
    monkeypatch.setattr(replay_jobs, 'replay', step)
    bad, good = make(tmp_path / 'bad'), make(tmp_path / 'good')
    assert replay(tmp_path / 'out', bad, good, *GO) == 1
    assert f'edge-vla: {bad}: the replay broke off at ZeroDivisionError' in capfd.readouterr().err
    assert report(tmp_path / 'out' / 'good')['runs'][0]['frames'] == 16
    with pytest.raises(ZeroDivisionError):  # alone it is not taken for wrong input
        replay(tmp_path / 'out', bad, *GO)


def test_an_image_without_anything_to_see_is_left_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for k in range(6):
            now = SECOND_NS + k * STEP_NS
            bag.image('/image', now, Frame(now, picture(k)[:4, :4] if k == 2 else picture(k)))
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO) == 0
    said = report(tmp_path / 'out')
    assert said['runs'][0]['frames'] == 5
    assert said['notes'][0] == ('1 messages are damaged and left out; the first: bag, /image: an '
                                'image of 4x4 is too small, at least 16x12 is needed')


def test_pictures_of_any_shape_become_a_video(tmp_path: Path) -> None:
    for width, height in ((16, 3000), (9000, 16)):
        with BagWriter(tmp_path / f'{width}') as bag:
            bag.image('/image', SECOND_NS, Frame(SECOND_NS, np.full((height, width, 3), 9,
                                                                    np.uint8)))
        out = tmp_path / f'out{width}'
        assert main(['replay', str(tmp_path / f'{width}'), '--out', str(out), *GO,
                     '--no-report', '--bag', 'none']) == 0
        shown = cv2.VideoCapture(str(out / 'overlay.mp4')).read()[1]
        assert max(shown.shape) <= 8190 and all(side % 2 == 0 for side in shown.shape[:2])


def test_a_tall_picture_fits_into_a_report() -> None:
    track = Track()
    track.picture(np.zeros((9000, 48, 3), np.uint8))
    assert cv2.imdecode(np.frombuffer(track.pictures[0][1], np.uint8), 1).shape == (4800, 25, 3)


def test_a_video_that_cannot_be_written_can_be_left_out(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'film.mp4', 30.0) as video, \
            pytest.raises(EdgeVlaError, match='0x48.*--no-overlay'):
        video.write(np.zeros((48, 0, 3), np.uint8))


def test_what_else_is_on_the_topic_is_no_missing_image(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        chat = bag.raw.add_connection('/image', 'std_msgs/msg/String', typestore=bag.types)
        for k in range(4):
            now = SECOND_NS + k * STEP_NS
            bag.image('/image', now, Frame(now, picture(k)))
            bag.raw.write(chat, now, bag.types.serialize_cdr(
                bag.types.types['std_msgs/msg/String']('?'), 'std_msgs/msg/String'))
    with Bag(tmp_path / 'bag') as read:
        assert len(read) == len(list(read)) == 4
        assert read.notes() == []


def test_speeds_beyond_all_flight_are_left_out(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',), odometry=('/odom',),
               speed=lambda k: 1e300 * (-1) ** k if k < 5 else .5)
    assert replay(tmp_path / 'out', bag, *GO) == 0
    said = report(tmp_path / 'out')
    assert [n for n in said['notes'] if 'beyond 1000 m/s' in n] == [
        f'{topic}: 5 messages hold numbers that are not finite, or beyond 1000 m/s; they are '
        'left out' for topic in ('/cmd_vel', '/odom')]
    assert said['runs'][0]['agreement']['compared'] == 11
    assert said['runs'][0]['agreement']['velocity_rmse'] < 2


def test_commands_of_another_time_are_said_to_be(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        vector = bag.types.types['geometry_msgs/msg/Vector3'](.5, 0.0, 0.0)
        bag.write('/cmd_vel', 'geometry_msgs/msg/Twist', SECOND_NS, linear=vector, angular=vector)
        for k in range(4):
            now = 9 * SECOND_NS + k * STEP_NS
            bag.image('/image', now, Frame(now, picture(k)))
    assert replay(tmp_path / 'out', tmp_path / 'bag', *GO) == 0
    assert report(tmp_path / 'out')['notes'] == [
        'no image is near enough in time to the recorded commands: there is nothing to compare '
        'the pilot with']


def test_a_recording_given_twice_is_one(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag')
    assert replay(tmp_path / 'out', bag, bag, *GO) == 0
    assert report(tmp_path / 'out')['runs'][0]['frames'] == 16
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'actions.json', 'latency.json', 'report.json']
