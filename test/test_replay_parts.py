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

"""Part of a recording, what is near it on the disk, and what it says no more."""

from pathlib import Path
from types import SimpleNamespace

import cv2
from edge_vla.cli.main import main
from edge_vla.evaluation import replay as replaying
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import Bag, SECOND_NS
from edge_vla.evaluation.commands import command_from_message, POSITION_TARGET
from edge_vla.motion import MOTION_LIFE_S
import numpy as np
import pytest
from recordings import GO, make, picture, replay, report, STEP_NS


def test_a_part_knows_what_was_said_before_it(tmp_path: Path) -> None:
    path = make(tmp_path / 'bag', instruction='fly to the red ball', odometry=('/odom',),
                commands=('/cmd_vel',))
    with Bag(path) as bag:
        whole = list(bag)
    with Bag(path, start_s=5.5 * STEP_NS / SECOND_NS) as bag:
        part = list(bag)
        assert len(bag.sent.arrays()[0]) == len(bag.measured.arrays()[0]) == len(part)
    for a, b in zip(whole[-len(part):], part, strict=True):
        assert a.instruction == b.instruction == 'fly to the red ball'
        np.testing.assert_array_equal(a.sent, b.sent)
    out = tmp_path / 'out'
    assert replay(out, path, '--start', '.3') == 0
    assert 'go to the red sphere' in (out / 'report.json').read_text()


def test_a_part_after_the_odometry_has_ended_has_none(tmp_path: Path) -> None:
    path = make(tmp_path / 'moving', odometry=('/odom',), count=30)
    with Bag(path) as bag, BagWriter(tmp_path / 'bag') as new:
        made = {c.topic: new.raw.add_connection(c.topic, c.msgtype,
                                                typestore=bag.messages.standard)
                for c in bag.connections}
        for c, t, raw in bag.reader.messages():
            if c.topic == '/image' or t < SECOND_NS + 10 * STEP_NS:
                new.raw.write(made[c.topic], t, raw)
    for start in (0.0, .1):
        with Bag(tmp_path / 'bag', start_s=start) as bag:
            samples = list(bag)
        old = [(s.recorded_ns - SECOND_NS - 10 * STEP_NS + 2) / SECOND_NS for s in samples]
        assert [s.motion is None for s in samples] == [age >= MOTION_LIFE_S for age in old]
        assert {s.motion is None for s in samples} == {True, False}


def test_a_recording_beside_the_results_is_left_alone(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = make(tmp_path / 'source'), tmp_path / 'out'
    mine = make(out / 'bag')
    before = {f: f.read_bytes() for f in mine.iterdir()}
    for kind in ('none', 'ours', 'all'):
        assert replay(out, source, *GO, '--bag', kind) == 2
        assert 'no replay wrote it; choose another --out' in capsys.readouterr().err
    assert {f: f.read_bytes() for f in mine.iterdir()} == before


def test_results_of_a_replay_are_replaced(tmp_path: Path) -> None:
    source, out = make(tmp_path / 'source'), tmp_path / 'out'
    for _ in range(2):
        assert replay(out, source, *GO, '--bag', 'ours') == 0
        assert (out / 'bag' / 'metadata.yaml').is_file()
    assert replay(out, source, *GO, '--bag', 'none') == 0
    assert not (out / 'bag').exists()


def test_a_source_named_like_a_result_is_kept(tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / 'overlay.mp4'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'mp4v'), 20.0, (80, 60))
    for k in range(8):
        writer.write(picture(k))
    writer.release()
    assert replay(tmp_path, film, *GO) == 2
    assert 'choose another --out' in capsys.readouterr().err and film.is_file()


def test_a_damaged_message_of_another_topic_is_not_copied(tmp_path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import get_typestore, Stores
    store, path = get_typestore(Stores.ROS1_NOETIC), tmp_path / 'one.bag'
    with Bag(make(tmp_path / 'bag')) as bag, Writer(path) as writer:
        camera = writer.add_connection('/image', 'sensor_msgs/msg/Image', typestore=store)
        log = writer.add_connection('/log', 'std_msgs/msg/String', typestore=store)
        text = store.types['std_msgs/msg/String']('all is well')
        for k, s in enumerate(bag):
            header = store.types['std_msgs/msg/Header'](
                k, store.types['builtin_interfaces/msg/Time'](1, k), 'camera')
            h, w = s.frame.image.shape[:2]
            image = store.types['sensor_msgs/msg/Image'](header, h, w, 'rgb8', 0, 3 * w,
                                                         s.frame.image.reshape(-1))
            said = bytes(store.serialize_ros1(text, 'std_msgs/msg/String'))
            writer.write(log, s.recorded_ns, said[:6] if k == 3 else said)
            writer.write(camera, s.recorded_ns,
                         store.serialize_ros1(image, 'sensor_msgs/msg/Image'))
    out = tmp_path / 'out'
    assert main(['replay', str(path), '--out', str(out), *GO, '--no-overlay', '--no-report']) == 0
    assert '1 messages are damaged and not copied' in report(out)['notes']
    with Bag(out / 'bag') as bag:
        assert {c.topic: c.msgcount for c in bag.connections}['/log'] == 15


@pytest.mark.parametrize(('frame', 'body'), [(1, False), (7, False), (8, True), (9, True)])
def test_mavros_takes_frames_but_two_along_the_world(frame: int, body: bool) -> None:
    m = SimpleNamespace(velocity=SimpleNamespace(x=1.0, y=0.0, z=0.0), yaw_rate=.2, type_mask=0,
                        coordinate_frame=frame)
    want = [1, 0, 0, .2] if body else [0, -1, 0, .2]  # the nose points north, x east
    np.testing.assert_allclose(command_from_message(m, POSITION_TARGET, np.pi / 2), want,
                               atol=1e-12)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'file').touch()
    for wrong in (tmp_path, tmp_path / 'file' / 'deep' / 'x.json'):
        for option in ('--json', '--plot'):
            assert main(['evaluate', '--suite', 'shift', option, str(wrong)]) == 2
            error = capsys.readouterr().err
            assert str(tmp_path) in error and error.count('\n') == 1
    assert main(['bag', 'from-video', str(tmp_path / 'file'), '/proc/none/x']) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_only_what_a_replay_wrote_is_one_of_its_bags(tmp_path: Path) -> None:
    source = make(tmp_path / 'source', commands=('/replay/cmd_vel',))  # a recorded replay
    assert not replaying._replayed(source) and not replaying._replayed(tmp_path)
    (tmp_path / 'alien').mkdir()
    (tmp_path / 'alien' / 'bag.mcap').write_bytes(b'somebody else wrote this')
    assert not replaying._unfinished(tmp_path / 'alien')
    assert replay(tmp_path / 'out', make(tmp_path / 'bag'), *GO, '--bag', 'ours') == 0
    assert replaying._replayed(tmp_path / 'out' / 'bag')
    (tmp_path / 'out' / 'bag' / 'metadata.yaml').unlink()
    assert replaying._unfinished(tmp_path / 'out' / 'bag')


def test_odometry_without_stamps_is_of_when_it_was_recorded(tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch
                                                            ) -> None:
    header = BagWriter.header
    monkeypatch.setattr(BagWriter, 'header', lambda self, stamp_ns, frame: header(
        self, 0 if frame == 'odom' else stamp_ns, frame))
    with Bag(make(tmp_path / 'bag', odometry=('/odom',))) as bag:
        stamps = [s.motion.stamp_ns for s in bag]
    assert min(np.diff(stamps)) > 0
