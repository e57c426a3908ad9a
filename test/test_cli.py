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


"""The command line: help, errors and exit statuses."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import cv2
from edge_vla import __version__
from edge_vla.cli.main import COMMANDS, main
from edge_vla.cli.results import need_writable
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, program: str = '-m edge_vla', **environment: str) \
        -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *program.split(), *arguments], cwd=ROOT,
                          capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize('command', [(), *((c,) for c in COMMANDS), ('bag', 'from-video')])
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, '--help'])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith('usage: edge-vla')


def test_version_and_module() -> None:
    assert run('--version').stdout.strip() == f'edge_vla {__version__}'


def test_nothing_and_nonsense_are_usage_errors() -> None:
    for arguments in ((), ('fly',), ('evaluate', '--episodes', 'many')):
        done = run(*arguments)
        assert done.returncode == 2 and 'usage: edge-vla' in done.stderr


def test_files_that_are_looked_at_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / 'there').write_text('it')
    (tmp_path / 'link').symlink_to(tmp_path / 'later')
    os.mkfifo(tmp_path / 'pipe')
    for name in ('there', 'link', 'pipe', 'new'):
        need_writable(tmp_path / name)
    assert (tmp_path / 'there').read_text() == 'it'
    assert (tmp_path / 'link').is_symlink() and not (tmp_path / 'later').exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['link', 'pipe', 'there']


@pytest.mark.parametrize(('arguments', 'said'), [
    (('evaluate', '--task', 'land'), "unknown task 'land'; known: go, orbit_left"),
    (('evaluate', '--episodes', '0'), '--episodes and --jobs must be at least 1'),
    (('evaluate', '--model', '/nowhere', '--episodes', '1'), '/nowhere is not a pilot'),
    (('demo', '--instruction', ' '), '--instruction is empty'),
    (('demo', '--seed', '-1'), 'seed: -1 is outside'),
    (('demo', '--timeout', '0'), '--timeout must be above 0 s'),
    (('demo', '--timeout', 'nan'), '--timeout must be above 0 s'),
    (('demo', '--out', '/proc'), '/proc/report.json cannot be written: '),
    (('demo', '--out', '/proc/none'), '/proc/none/report.json cannot be written: '),
    (('evaluate', '--json', '/proc/x.json'), '/proc/x.json cannot be written: '),
    (('replay', '/nowhere.mp4', '--instruction', 'go', '--out', '/tmp/x'), 'does not exist'),
    (('bag', 'from-video', '/nowhere.mp4', '/tmp/x'), '/nowhere.mp4 does not exist'),
])
def test_errors_are_one_line(arguments: tuple[str, ...], said: str,
                             capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith('edge-vla: ') and said in captured.err
    assert captured.err.count('\n') == 1


def test_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt
    monkeypatch.setattr(COMMANDS['doctor'], 'run', interrupted)
    assert main(['doctor']) == 130
    assert capsys.readouterr().err == 'edge-vla: interrupted\n'


def evaluating() -> tuple[subprocess.Popen, str]:
    """Start an evaluation on two processes; return it and what it said once it has flown."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'edge_vla', 'evaluate', '--episodes', '500', '--jobs', '2'],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a shell's background job ignores it, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    errors = ''
    while '/500' not in errors:  # the first episode is done
        character = process.stderr.read(1)
        assert character, errors
        errors += character
    return process, errors


def test_a_signal_interrupts_a_running_command() -> None:
    process, errors = evaluating()
    os.killpg(process.pid, signal.SIGINT)
    errors += process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors.rstrip().endswith('edge-vla: interrupted')
    assert 'Traceback' not in errors


def test_the_processes_of_a_killed_command_end_with_it() -> None:
    process, _ = evaluating()
    process.kill()
    # the pipe is closed when the last process that holds it is gone
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Blocked())
from edge_vla.cli.main import main
sys.exit(main({arguments!r}))
"""


def blocked(names: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess:
    program = BLOCKED.format(blocked=set(names), arguments=list(arguments))
    return subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True,
                          text=True)


def test_help_and_doctor_work_where_everything_is_missing() -> None:
    everything = ('numpy', 'numba', 'llvmlite', 'cv2', 'yaml', 'rclpy', 'rosbags', 'matplotlib',
                  'torch', 'tqdm', 'gymnasium')
    assert blocked(everything, '--help').returncode == 0
    done = blocked(everything, 'doctor')
    assert done.returncode == 1, done.stderr
    assert 'pip install opencv-python-headless' in done.stdout
    assert "pip install 'edge_vla[ros]'" in done.stdout
    assert done.stdout.splitlines()[-1].startswith('cannot fly: numpy')


@pytest.mark.parametrize(('missing', 'arguments', 'extra'), [
    ('rclpy', ('demo',), 'edge_vla[ros]'),
    ('rosbags', ('bag', 'from-video', 'FILM', '/tmp/never'), 'edge_vla[bag]'),
    ('torch', ('train', 'policy'), 'edge_vla[train]'),
    ('torch', ('train', 'language', '--help'), 'edge_vla[train]'),
    ('torch', ('evaluate', '--backend', 'torch'), 'edge_vla[train]')])
def test_a_missing_extra_is_named(missing: str, arguments: tuple[str, ...], extra: str,
                                  tmp_path: Path) -> None:
    film = tmp_path / 'film.mp4'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'mp4v'), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    done = blocked((missing,), *(str(film) if a == 'FILM' else a for a in arguments))
    assert done.returncode == 2
    assert extra in done.stderr and done.stderr.count('\n') == 1, done.stderr
