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


"""Closed-loop evaluation and flight records: seeded, independent of processes, all counted."""

import json
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
from edge_vla.cli import demo
from edge_vla.cli.main import main
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Frame
from edge_vla.evaluation import flight
from edge_vla.evaluation.closed_loop import Episode, evaluate, Flyer, Setting, summarise
from edge_vla.evaluation.metrics import spread, wilson
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.plan import Plan, VERBS
from edge_vla.pipeline import Pipeline
from edge_vla.sim.expert import expert
from edge_vla.sim.instructions import reference_plan
from edge_vla.sim.scene import Scene
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import TASKS
from edge_vla.visualization.overlay import draw, Overlay
from hypothesis import given, strategies as st
import numpy as np
import pytest

PERIOD_NS = 33_333_333
SMALL = CameraConfig(width=96, height=72, rate=15.0)


@pytest.mark.parametrize(('k', 'n', 'low', 'high'), [  # Newcombe (1998), table I
    (81, 263, .2553, .3662), (15, 148, .0624, .1605), (0, 20, 0.0, .1611), (1, 29, .0061, .1718),
    (20, 20, .8389, 1.0)])
def test_wilson_gives_the_published_intervals(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_proportion(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1 and low < high


@pytest.mark.parametrize(('k', 'n'), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_nonsense(k: int, n: int) -> None:
    with pytest.raises(ValueError, match='no proportion'):
        wilson(k, n)


def test_spread() -> None:
    assert spread([]) is None
    assert spread(list(range(101))) == {'p50': 50, 'p95': 95, 'p99': 99, 'max': 100, 'count': 101}


def test_episodes_do_not_depend_on_their_number_or_processes(pilot: Pipeline) -> None:
    alone = Flyer(pilot, Setting(camera=SMALL)).fly(5, 2)
    few = evaluate(Pipeline.load, 3, 5, setting=Setting(camera=SMALL))
    assert [e.index for e in few] == [0, 1, 2]
    assert few[2] == alone
    assert evaluate(Pipeline.load, 3, 5, jobs=2, setting=Setting(camera=SMALL)) == few
    assert Flyer(pilot, Setting(camera=SMALL)).fly(6, 2) != alone


def die_in_a_worker() -> Pipeline:
    """Load the pilot, but end any process that was made to fly beside the first."""
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return Pipeline.load()


def test_processes_of_others_are_left_alone() -> None:
    with multiprocessing.get_context('spawn').Pool(1) as own:
        evaluate(Pipeline.load, 2, 5, jobs=2, setting=Setting(SimConfig(), SMALL))
        still = own.apply_async(os.getpid).get(timeout=60)  # never, of one that was ended
        assert still in {child.pid for child in multiprocessing.active_children()}


def test_a_dead_process_is_said_and_not_waited_for() -> None:
    with pytest.raises(EdgeVlaError, match='a process of the evaluation died'):
        evaluate(die_in_a_worker, 2, 5, jobs=2, setting=Setting(camera=SMALL))


def test_a_task_can_be_chosen(pilot: Pipeline) -> None:
    episode = Flyer(pilot, Setting(camera=SMALL)).fly(1, 0, 'search')
    assert episode.task == 'search'
    assert episode.status in ('success', 'collision', 'timeout', 'lost')
    assert 0 < episode.time_s <= 40.1 and episode.path_m > 0


def test_the_command_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'deep' / 'r.json'
    assert main(['evaluate', '--episodes', '2', '--seed', '3', '--jobs', '1', '--task', 'go',
                 '--json', str(file)]) == 0
    report = json.loads(file.read_text())
    assert (report['episodes'], report['seed'], report['backend']) == (2, 3, 'numba')
    assert 0 <= report['success_rate'] <= 1 and 0 <= report['collision_rate'] <= 1
    assert list(report['per_task']) == ['go']
    failures = round((1 - report['success_rate']) * 2)
    assert len(report['failures']) == failures
    assert 'success' in capsys.readouterr().out


def test_the_summary_counts() -> None:
    def episode(i: int, task: str, status: str) -> Episode:
        return Episode(i, task, 'words', i != 3, status, 10.0 + i, 5.0, None)
    report = summarise([episode(0, 'go', 'success'), episode(1, 'go', 'collision'),
                        episode(2, 'search', 'success'), episode(3, 'search', 'timeout')], 9)
    assert report['success_rate'] == .5 and report['collision_rate'] == .25
    assert report['timeout_rate'] == .25 and report['lost_rate'] == 0
    assert report['understood_rate'] == .75 and report['mean_time_s'] == 11.0
    assert report['per_task']['go']['collision_rate'] == .5
    assert [f['index'] for f in report['failures']] == [1, 3]
    assert 'orbit_left' not in report['per_task']
    with pytest.raises(ValueError, match='no episodes'):
        summarise([], 1)


def test_the_torch_pilot_is_the_same_pilot() -> None:
    pytest.importorskip('torch', reason="the torch baseline needs 'edge_vla[train]'")
    from edge_vla.datatypes import Observation
    from edge_vla.training.torch_pipeline import TorchPipeline
    whole = PipelineConfig(tolerance=0.0)  # torch computes all features of every frame
    pilot, torch_pilot, simulator = Pipeline.load(whole), TorchPipeline.load(whole), Simulator()
    for _ in range(20):
        seen = Observation(simulator.frame(), 'fly to the red sphere', simulator.motion())
        a, b = pilot.step(seen), torch_pilot.step(seen)
        np.testing.assert_allclose(a.velocity, b.velocity, atol=2e-4)
        assert a.yaw_rate == pytest.approx(b.yaw_rate, abs=2e-4)
        np.testing.assert_allclose(a.info['attention'], b.info['attention'], atol=2e-4)
        simulator.command(a.velocity, a.yaw_rate)
        simulator.advance(PERIOD_NS)


class ExpertSession:
    """A FlightSession without ROS, flown by the expert."""

    def __init__(self, sim: SimConfig, dead_after_s: float = 1e9) -> None:
        self.simulator = Simulator(sim, CameraConfig(width=64, height=48))
        self.dead_after_s, self.narration, self.latencies_ms = dead_after_s, '', [3.0]
        self.diagnostics: dict[str, str] = {}
        self._plan: Plan | None = None
        self._seen = False

    def instruct(self, text: str) -> None:
        self._plan, self._seen = reference_plan(text), False
        self.narration = self._plan.text() if self._plan else 'hover'

    def spin(self, seconds: float) -> None:
        s = self.simulator
        if s.time_ns * 1e-9 > self.dead_after_s:
            return
        out = np.zeros(4)
        if self._plan is not None and self._plan.verb != 'hover':
            scene = s.scene
            target = scene.find(self._plan.colour, self._plan.shape)
            rows = Scene(scene.objects, target, scene.light, scene.start).rows()
            self._seen = expert(s.state, rows, len(scene.objects),
                                VERBS.index(self._plan.verb), self._seen, out)
        s.command(out[:3], out[3])
        s.advance(PERIOD_NS)

    def tail(self, name: str) -> str:
        return f'the log of {name}'

    @property
    def odometry(self) -> SimpleNamespace:
        s = self.simulator
        return SimpleNamespace(stamp_ns=s.time_ns, position=s.position, yaw=s.yaw,
                               velocity_world=s.velocity_world, quaternion=s.quaternion)

    @property
    def image(self) -> Frame:
        return self.simulator.frame()

    @property
    def command(self) -> tuple:
        return (.5, .1, 0.0), .2, self.simulator.time_ns


def fly(texts: tuple[str, ...], dead_after_s: float = 1e9, seed: int = 1) -> list:
    session = ExpertSession(SimConfig(seed=seed, instruction='; '.join(texts)), dead_after_s)
    flown = demo.Demo(session, session.simulator.scene, demo.Window(False), 60.0)
    legs = [flown.fly(text, f'[{k}]') for k, text in enumerate(texts)]
    facts = flown.facts([1.0, 2.0], {'tokens': '108', 'memory [MB]': 'none'})
    assert facts['camera_hz'] == facts['command_hz'] == pytest.approx(30, abs=.1)
    assert facts['tokens_per_frame'] == 108 and facts['vla_node_memory_mb'] is None
    assert facts['camera_to_command_ms']['count'] == 2
    return legs


def test_a_flight_is_recorded_and_reported(tmp_path: Path, pilot: Pipeline) -> None:
    legs = fly(demo.INSTRUCTIONS)
    assert [leg.reached for leg in legs] == [True, True, True]
    assert flight.exit_status(legs) == 0
    flight.write_report(tmp_path / 'report.json', legs, seed=1)
    legs[0].instruction += ' worth $5_$ \\frac'  # no formula
    flight.write_trajectory(tmp_path / 'trajectory.png', legs, 'test')
    flight.write_video(tmp_path / 'flight.mp4', legs, 30.0, pilot)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['obeyed'] is True and report['seed'] == 1
    for row, leg in zip(report['instructions'], legs, strict=True):
        assert row['reached'] is True and row['outcome'] == 'obeyed'
        assert row['time_s'] == pytest.approx(leg.elapsed, abs=.01) and row['path_length_m'] > .5
        assert row['closest_distractor_m'] > .2
    picture = cv2.imread(str(tmp_path / 'trajectory.png'))
    assert picture.shape[0] > 800 and picture.std() > 10
    video = cv2.VideoCapture(str(tmp_path / 'flight.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == sum(len(leg.pictures) for leg in legs)


def test_what_nobody_can_judge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, 'UNJUDGED_S', 1.0)
    legs = fly(('fly to the sphere',))  # which one?
    assert legs[0].reached is None and legs[0].outcome == 'not judged'
    assert legs[0].row()['meaning'] is None and legs[0].elapsed == pytest.approx(1, abs=.1)
    assert flight.exit_status(legs) == 3


def test_hovering_is_not_called_flying() -> None:
    leg, = fly(('stop',))
    assert leg.outcome == 'hovered' and leg.reached is True


def test_what_is_not_understood_is_not_obeyed(monkeypatch: pytest.MonkeyPatch,
                                              pilot: Pipeline,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    text = 'fly to the giraffe'
    context = pilot.language.read(text)

    def instruct(session: ExpertSession, text: str) -> None:
        session.narration = pilot.doing(context)
    monkeypatch.setattr(ExpertSession, 'instruct', instruct)
    leg, = fly((text,))
    assert leg.outcome == 'not understood' and leg.reached is False
    assert flight.exit_status([leg]) == 1
    assert 'I do not understand "fly to the giraffe"' in capsys.readouterr().out


def test_one_failure_is_a_failure() -> None:
    legs = fly(('fly to the red sphere',))
    failed = flight.LegRecord('go', [Plan('go', 'red', 'sphere')], legs[0].scene)
    unknown = flight.LegRecord('?', [], legs[0].scene)
    assert failed.outcome == 'stopped early' and failed.reached is False
    assert flight.exit_status([*legs, unknown]) == 3
    assert flight.exit_status([*legs, failed, unknown]) == 1


def test_a_silent_simulator_ends_the_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, 'SILENCE_S', .2)
    with pytest.raises(EdgeVlaError, match='no odometry for .*\nthe log of sim_node'):
        fly(('fly to the red sphere',), dead_after_s=1.0)


def test_an_object_that_is_not_there_is_an_error() -> None:
    scene = Simulator(SimConfig(instruction='the red sphere')).scene
    kinds = {(o.colour, o.shape) for o in scene.objects}
    absent = next(c for c in ('white', 'black', 'purple') if (c, 'cone') not in kinds)
    leg = flight.LegRecord('go there', [Plan('go', absent, 'cone')], scene)
    with pytest.raises(EdgeVlaError, match=f'the scene has no {absent} cone'):
        leg.pose(0, np.zeros(3), np.zeros(3), 0.0)


@pytest.mark.parametrize('size', [(48, 64), (240, 320), (432, 768), (90, 33), (32, 80)])
def test_an_overlay_fits_any_picture(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    attention = np.zeros((9, 12), np.float32)
    plain = draw(image, Overlay('go ' * 60))
    assert plain.shape[1] >= 640 and plain.shape[0] % 2 == plain.shape[1] % 2 == 0
    attention[4, 6] = .9
    marked = draw(image, Overlay('go ' * 60, attention=attention))
    changed = np.argwhere((plain != marked).any(-1))
    middle = np.array(plain.shape[:2]) / 2
    assert len(changed) and np.abs(changed.mean(0) - middle).max() < .15 * max(plain.shape)
    arrow = draw(image, Overlay('go', velocity=(1.0, -.5, .3), yaw_rate=.5, state='stale'))
    assert (arrow != draw(image, Overlay('go'))).any()
    assert image.max() == image.min() == 90


def test_a_text_of_megabytes_is_drawn_as_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may publish one, and a flying node draws it."""
    image, measured, real = np.full((240, 320, 3), 90, np.uint8), [], cv2.getTextSize

    def size(text: str, *how: Any) -> Any:
        measured.append(len(text))
        return real(text, *how)
    monkeypatch.setattr(cv2, 'getTextSize', size)
    shown = draw(image, Overlay('fly to ' * 10**6, narration='x' * 10**6))
    assert sum(measured) < 20_000
    assert (shown == draw(image, Overlay('fly to ' * 50, narration='x' * 300))).all()


@pytest.mark.parametrize('size', [(12, 640), (32, 4096)])
def test_a_flat_picture_has_no_dial(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    assert (draw(image, Overlay('go', velocity=(1.0, 0, 0))) == draw(image, Overlay('go'))).all()


def test_an_overlay_shows_which_patches_are_read() -> None:
    image = np.tile(np.array([200, 60, 30], np.uint8), (240, 320, 1))
    plain, kept = draw(image, Overlay()), np.ones((9, 12), np.uint8)
    assert (draw(image, Overlay(kept=kept)) == plain).all()
    side = plain.shape[0] // 9
    kept[4, 3:6] = 0, 2, 3
    shown = draw(image, Overlay(kept=kept)).astype(int)
    left_out, chosen, framed = (shown[4 * side:5 * side, k * side:(k + 1) * side]
                                for k in (3, 4, 5))
    middle = [p[side // 2, side // 2] for p in (left_out, chosen, framed)]
    assert np.ptp(middle[0]) < np.ptp(plain[4 * side, 0].astype(int)) / 2  # grey
    assert middle[1][2] > 30 and (middle[1] == middle[2]).all()  # bluer
    assert (framed[side // 2, 0] != middle[2]).any()  # framed
    kept[4, 3:6] = 1
    rest = np.ones(shown.shape[:2], bool)
    rest[4 * side - 6:5 * side + 6, 3 * side - 6:6 * side + 6] = False
    assert (shown[rest] == plain[rest]).all()


def test_every_task_has_its_row() -> None:
    flights = [Episode(i, t, '', True, 'success', 1.0, 1.0, None) for i, t in enumerate(TASKS)]
    assert list(summarise(flights, 0)['per_task']) == list(TASKS)
