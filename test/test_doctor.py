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


"""The doctor: finds what is there, what is broken, and says how to mend it."""

from pathlib import Path
import shutil
import sys

from edge_vla.cli import doctor
import pytest


def test_a_complete_installation_can_fly(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rclpy', reason='flying needs ROS 2')
    assert doctor.run(None) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'ready to fly'
    for subject in ('python', 'numba', 'ROS 2', 'middleware', 'CPU', 'kernel cache', 'model'):
        assert subject in out


def test_levels_are_known() -> None:
    assert {f.level for f in doctor.examine()} <= {'ok', 'note', 'missing'}
    assert all(f.text for f in doctor.examine())


def test_px4_msgs_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'px4_msgs.msg', None)
    assert doctor._px4().level == 'note' and 'PX4/px4_msgs' in doctor._px4().text
    monkeypatch.setattr(doctor, 'import_module', lambda name: doctor)
    assert doctor._px4() == ('ok', 'px4_msgs', str(Path(doctor.__file__).parent))


def test_changed_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Path(doctor.__file__).parents[1] / 'checkpoints' / 'pilot'
    copy = tmp_path / 'checkpoints' / 'pilot'
    shutil.copytree(shipped, copy)
    (tmp_path / 'cli').mkdir()
    monkeypatch.setattr(doctor, '__file__', str(tmp_path / 'cli' / 'doctor.py'))
    assert [f.level for f in doctor._model()] == ['ok']
    weights = copy / 'policy.safetensors'
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    finding, = doctor._model()
    assert finding.level == 'missing' and 'policy.safetensors' in finding.text
    weights.unlink()
    assert 'policy.safetensors' in next(iter(doctor._model())).text
    (copy / 'SHA256SUMS').unlink()
    assert 'no SHA256SUMS' in next(iter(doctor._model())).text


def test_the_cache_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path))
    assert 'is empty' in doctor._cache().text
    (tmp_path / 'kernel.nbc').write_bytes(b'')
    assert '1 compiled' in doctor._cache().text
    monkeypatch.setattr(doctor.os, 'access', lambda *_: False)
    assert doctor._cache().level == 'note'
    assert 'NUMBA_CACHE_DIR' in doctor._cache().text


def test_a_broken_package_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError('libfoo.so: cannot open')
    monkeypatch.setattr(doctor, 'import_module', broken)
    finding = doctor._import('cv2', 'opencv-python-headless')
    assert finding.level == 'missing' and 'broken: libfoo.so' in finding.text
