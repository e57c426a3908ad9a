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


"""The shift suite: flying it, going on, summaries and plots."""

from collections.abc import Callable, Sequence
from functools import partial
import json
from pathlib import Path
import shutil
import sys
from types import SimpleNamespace

from edge_vla.cli import evaluate as command
from edge_vla.cli.main import main
from edge_vla.evaluation.shift_report import bootstrap, markdown, summarise_suite
from edge_vla.evaluation.shift_suite import conditions, Pilot, run_suite
from edge_vla.exceptions import ConfigError, MissingDependencyError
from edge_vla.sim.shifts import find, SHIFTS, STRENGTHS
from edge_vla.visualization.shift_plot import plot_shifts
import numpy as np
import pytest
from test_shifts import climber, diver, SMALL, Stub


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown shift 'rain'; known: none, winter, .*wind_st"):
        find('rain')
    with pytest.raises(ConfigError, match="unknown strength 'huge'; known: weak, medium, strong"):
        find('noise:huge')
    with pytest.raises(ConfigError, match='unknown shift'):
        conditions(['noise', 'nosie'])
    for own in ('noise:strong', 'none:weak'):
        with pytest.raises(ConfigError, match=f'{own}: the shifts of a suite'):
            conditions(['mass', own])
    assert find('noise:strong') == SHIFTS['noise'].effects[2]
    assert conditions(['noise', 'none'], STRENGTHS)[:2] == [('none', ''), ('noise', 'weak')]
    assert len(conditions()) == len(SHIFTS) + 1


def crew(*loads: Callable[[], Stub]) -> list[Pilot]:
    return [Pilot(load.__name__, False, load) for load in loads]


def test_the_suite_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log, seen = tmp_path / 'deep' / 'log.jsonl', []
    pairs = conditions(['noise', 'thrust'])
    fly = partial(run_suite, crew(diver, climber), pairs, 2, 3, 1, SMALL, log)
    first = fly(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 12) for i in range(1, 13)]
    assert [r['policy'] for r in first] == ['diver'] * 3 + ['climber'] * 3
    assert all(s == 'collision' for r in first[:3] for s in r['status'])
    assert len(log.read_text().splitlines()) == 6

    def never() -> Stub:
        raise AssertionError('nothing is left to fly')
    done = [Pilot(p.name, False, never) for p in crew(diver, climber)]
    assert run_suite(done, pairs, 2, 3, 1, SMALL, log) == first
    whole = log.read_text()
    # interrupted while it wrote, and lines of others
    log.write_bytes(b'\xff\n{"status": 3, "episodes": 1}\n[]\n' + whole[:-40].encode())
    seen.clear()
    assert fly(progress=lambda done, total: seen.append((done, total))) == first
    assert seen == [(11, 12), (12, 12)]
    # other weights, another seed or camera are other cells
    again = [Pilot('diver', False, diver, 'new'), Pilot('diver', True, diver)]
    run_suite(again, pairs[:1], 2, 3, 1, SMALL, log)
    assert len(log.read_bytes().splitlines()) == 3 + 6 + 2 + 1  # the line that was cut stays
    with pytest.raises(ConfigError, match='the same name'):
        run_suite(crew(diver, diver), pairs, 1, 1)


def test_the_suite_does_not_depend_on_processes() -> None:
    pairs = conditions(['wind_gust'])
    one = run_suite(crew(diver, climber), pairs, 2, 3, 1, SMALL)
    assert run_suite(crew(diver, climber), pairs, 2, 3, 2, SMALL) == one


def record(policy: str, shift: str, strength: str, successes: list[int],
           adaptation: bool = False) -> dict:
    status = ['success' if s else 'timeout' for s in successes]
    return {'policy': policy, 'adaptation': adaptation, 'version': '', 'shift': shift,
            'strength': strength, 'effect': {}, 'episodes': len(status), 'seed': 1,
            'camera': '48x36', 'status': status, 'time_s': [5.0] * len(status)}


def made_up(n: int = 40) -> dict:
    """Return a summary of two policies, with adaptation on and off, over two shifts."""
    rng, records = np.random.default_rng(0), []
    for policy, adaptation, rate in (('a', False, .5), ('a', True, .9), ('b', False, .5),
                                     ('b', True, .7)):
        for shift, strength in conditions(['mass', 'noise'], STRENGTHS):
            records.append(record(policy, shift, strength,
                                  (rng.random(n) < rate).astype(int).tolist(), adaptation))
    return summarise_suite(records)


def test_the_summary_counts_and_compares() -> None:
    rows = [record('a', 'none', '', [1, 1, 1, 1]), record('a', 'mass', 'medium', [1, 0, 1, 0]),
            record('a', 'noise', 'medium', [1, 1, 1, 0]), record('b', 'none', '', [1, 1, 1, 0]),
            record('b', 'mass', 'medium', [0, 0, 1, 0]),
            record('b', 'noise', 'medium', [1, 0, 1, 0])]
    summary = summarise_suite(rows)
    assert summary['pilots'] == ['a', 'b']
    assert [a['mean'] for a in summary['averages']] == [.625, .375]
    (difference,) = summary['differences']
    assert (difference['pilot'], difference['minus']) == ('b', 'a')
    assert difference['mean'] == -.25
    low, high = difference['interval']
    assert -.5 <= low < -.25 < high <= 0
    cell = summary['cells'][1]
    assert (cell['success_rate'], cell['timeout_rate'], cell['group']) == (.5, .5, 'vehicle')
    assert cell['success_interval'] == pytest.approx([.15, .85], abs=.002)
    text = markdown(summary)
    assert '| vehicle | mass | medium | 0.500 [0.150, 0.850] | 0.250' in text
    assert '| b minus a | medium | -0.250' in text


def test_adaptation_is_compared_with_its_absence() -> None:
    pairs = {(d['pilot'], d['minus']) for d in made_up()['differences']}
    assert pairs == {('a + adaptation', 'a'), ('b', 'a'), ('b + adaptation', 'a'),
                     ('b + adaptation', 'b')}
    gain = next(d for d in made_up(200)['differences'] if d['pilot'] == 'a + adaptation')
    assert gain['interval'][0] > .2


def test_the_bootstrap_covers_the_mean() -> None:
    rng, hits = np.random.default_rng(0), 0
    for k in range(100):
        low, high = bootstrap((rng.random(60) < .4).astype(float), k)
        hits += low <= .4 <= high
    assert hits >= 87
    assert bootstrap(np.ones(5)) == (1.0, 1.0)
    with pytest.raises(ValueError, match='no values'):
        bootstrap(np.zeros(0))


@pytest.mark.parametrize('strength', ['', 'strong'])
def test_the_plot_is_written(tmp_path: Path, strength: str) -> None:
    pytest.importorskip('matplotlib')
    file = tmp_path / 'deep' / 'shift.png'
    plot_shifts(file, made_up(), strength)
    assert file.read_bytes()[:4] == b'\x89PNG' and file.stat().st_size > 10_000


def test_without_matplotlib_the_plot_says_so(monkeypatch: pytest.MonkeyPatch,
                                             tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(MissingDependencyError, match=r'edge_vla\[viz\]'):
        plot_shifts(tmp_path / 'x.png', made_up())


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> list:
    """Let the command fly a stub; return what it asked for."""
    asked = []

    def loader(folder: str, backend: str, adaptation: bool,
               changes: Sequence[str]) -> Callable[[], Stub]:
        asked.append((folder, backend, adaptation, *changes))
        return climber
    monkeypatch.setattr(command, '_loader', loader)
    return asked


def test_the_command_flies_the_suite(stubs: list, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'out' / 'report.json'
    arguments = ['evaluate', '--suite', 'shift', '--shifts', 'noise,mass', '--strength', 'all',
                 '--episodes', '1', '--jobs', '1', '--camera', '48x36', '--adaptation', 'both',
                 '--policies', 'ours=,lstm=/nowhere', '--rate', '10', '--json', str(file)]
    assert main(arguments) == 0
    assert stubs == [('', 'numba', False), ('', 'numba', True), ('/nowhere', 'numba', False),
                     ('/nowhere', 'numba', True)]
    summary = json.loads(file.read_text())
    assert summary['pilots'] == ['ours', 'ours + adaptation', 'lstm', 'lstm + adaptation']
    assert summary['camera'] == '48x36 90 deg 10 Hz' and len(summary['cells']) == 4 * 7
    assert file.with_suffix('.md').read_text() in capsys.readouterr().out
    assert len(file.with_suffix('.jsonl').read_text().splitlines()) == 4 * 7


def test_the_command_flies_one_shift(stubs: list, tmp_path: Path) -> None:
    file = tmp_path / 'report.json'
    assert main(['evaluate', '--shift', 'wind_steady:weak', '--episodes', '1', '--jobs', '1',
                 '--drop', '.1', '--rate', '10', '--camera', '48x36', '--adaptation', 'on',
                 '--set', 'pipeline.tokens=full', '--json', str(file)]) == 0
    report = json.loads(file.read_text())
    assert (report['shift'], report['drop'], report['camera'], report['camera_rate']) == (
        'wind_steady:weak', .1, '48x36', 10)
    assert stubs == [('', 'numba', True, 'pipeline.tokens=full')]


@pytest.mark.parametrize(('shift', 'said'), [('none', '20'), ('frame_rate:strong', '5')])
def test_a_report_says_the_rate_that_was_flown(shift: str, said: str, stubs: list,
                                               tmp_path: Path) -> None:
    file = tmp_path / 'report.json'
    assert main(['evaluate', '--shift', shift, '--episodes', '1', '--jobs', '1', '--rate', '20',
                 '--camera', '48x36', '--json', str(file)]) == 0
    assert json.loads(file.read_text())['camera_rate'] == float(said)


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--shift', 'rain'), "unknown shift 'rain'; known: none, winter"),
    (('--suite', 'shift', '--shifts', 'rain'), "unknown shift 'rain'"),
    (('--suite', 'shift', '--policies', 'a'), 'wants NAME=FOLDER'),
    (('--suite', 'shift', '--task', 'go'), 'not for a suite'),
    (('--suite', 'shift', '--shifts', 'mass:weak'), 'not their own'),
    (('--suite', 'shift', '--json', '{}/a.jsonl'), 'are different files'),
    (('--suite', 'shift', '--json', '{}/a.md'), 'are different files'),
    (('--suite', 'shift', '--json', '{}/a.png', '--plot', '{}/a.png'), 'are different files'),
    (('--suite', 'shift', '--plot', '{}/a.foo'), 'is no picture: its name ends with one of'),
    (('--suite', 'shift', '--json', '{}/taken.json'), 'taken.md'),
    (('--task', 'relation', '--shift', 'lookalikes', '--episodes', '1'), 'with the task relation'),
    (('--adaptation', 'both'), 'need --suite shift'),
    (('--camera', 'big'), 'no size like 320x240'),
    (('--drop', '1'), 'a probability below 1'),
    (('--set', 'safety.max_speed=1', '--episodes', '1'), 'only settings of the pipeline'),
    (('--set', 'pipeline.tokens=few', '--episodes', '1'), 'none of full, live'),
    (('--set', 'pipeline.model=/x', '--episodes', '1'), 'say it with --model'),
    (('--set', '.', '--episodes', '1'), 'say it with --model'),
    (('--shift', 'mass', '--strength', 'strong'), '--shift NAME:STRENGTH'),
    (('--rate', '0'), 'outside')])
def test_wrong_arguments_are_one_line(arguments: tuple[str, ...], said: str,
                                      tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'taken.md').mkdir()
    assert main(['evaluate', *(a.format(tmp_path) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


def test_all_that_steers_tells_pilots_apart(tmp_path: Path) -> None:
    from edge_vla.pipeline import SHIPPED_MODEL
    assert command._version('') and not command._version(str(tmp_path))
    versions = {command._version('')}
    mine = tmp_path / 'pilot'
    shutil.copytree(SHIPPED_MODEL, mine)
    assert command._version(str(mine)) in versions
    for part in ('policy', 'memory/policy', 'seeing/model', 'language/model'):
        with (mine / f'{part}.safetensors').open('ab') as file:
            file.write(b'x')
        versions.add(command._version(str(mine)))
    shutil.rmtree(mine / 'seeing')
    versions.add(command._version(str(mine)))
    assert len(versions) == 6


@pytest.mark.parametrize('kind', ['cfc', 'lstm'])
def test_the_weights_say_who_flies_them(kind: str, monkeypatch: pytest.MonkeyPatch,
                                        tmp_path: Path) -> None:
    from edge_vla.checkpoints.safetensors import write_safetensors
    from edge_vla.pipeline import Pipeline
    write_safetensors(tmp_path / 'policy.safetensors', {'x': np.zeros(1, np.float32)},
                      {'kind': kind})
    monkeypatch.setattr(Pipeline, 'load', classmethod(lambda cls, config: cls.__name__))
    fake = SimpleNamespace(TorchPipeline=type('TorchPipeline', (Pipeline,), {}))
    monkeypatch.setitem(sys.modules, 'edge_vla.training.torch_pipeline', fake)
    wanted = {'cfc': 'Pipeline', 'lstm': 'TorchPipeline'}[kind]
    assert command.load_pilot(str(tmp_path), 'numba', False) == wanted
    assert command.load_pilot(str(tmp_path), 'torch', False) == 'TorchPipeline'
