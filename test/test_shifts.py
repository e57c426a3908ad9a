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


"""The shift suite: shifts do what they say and nothing else, and the suite counts right."""

from collections.abc import Callable
from functools import partial
import json
import math
from pathlib import Path
import sys
from types import SimpleNamespace

from edge_vla.cli import evaluate as command
from edge_vla.cli.main import main
from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Action, Command, Observation
from edge_vla.evaluation.closed_loop import evaluate, Flyer, Setting
from edge_vla.evaluation.shift_report import bootstrap, markdown, summarise_suite
from edge_vla.evaluation.shift_suite import conditions, Pilot, run_suite
from edge_vla.exceptions import ConfigError, MissingDependencyError
from edge_vla.sim.scene import MAX_OBJECTS
from edge_vla.sim.shifts import Effect, find, SHIFTS, STRENGTHS
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.wind import DrydenWind, GustyWind
from edge_vla.visualization.shift_plot import plot_shifts
import numpy as np
import pytest

SMALL = CameraConfig(width=96, height=72, rate=20.0)
TICK_NS = 50_000_000
STILL = SimConfig(wind=0.0)


def world(shift: Effect | None = None, seed: int = 3, task: str = 'go',
          sim: SimConfig | None = None) -> Simulator:
    made = Simulator(sim, SMALL, shift)
    made.reset(seed, task)
    return made


def flight(shift: Effect | None, seed: int = 3, ticks: int = 12) -> tuple[list, list, list]:
    """Fly the same commands; return pictures, states and measured motions."""
    sim, pictures, states, motions = world(shift, seed), [], [], []
    for k in range(ticks):
        pictures.append(sim.frame().image)
        states.append(sim.state.copy())
        m = sim.motion()
        motions.append(None if m is None else [*m.velocity, m.yaw_rate, m.roll, m.pitch])
        sim.command(np.array([.8, .2, .1]), .05 * k)
        sim.advance(TICK_NS)
    return pictures, states, motions


def same(a: list, b: list) -> bool:
    return all((x is None) == (y is None) and (x is None or np.array_equal(x, y))
               for x, y in zip(a, b, strict=True))


CASES = [(name, strength) for name in SHIFTS for strength in STRENGTHS]
SEEN = {'background', 'light', 'picture', 'occlusion', 'camera', 'distractors'}
FELT = {'wind', 'vehicle'}


def test_no_shift_is_the_plain_simulator() -> None:
    plain, neutral = flight(None), flight(Effect())
    assert all(same(a, b) for a, b in zip(plain, neutral, strict=True))
    assert find('none') == Effect() and Effect().changes() == {}


@pytest.mark.parametrize(('name', 'strength'), CASES)
def test_a_shift_changes_what_it_should_and_only_that(name: str, strength: str) -> None:
    effect, group = find(name, strength), SHIFTS[name].group
    ticks = 80 if name == 'odometry_dropout' else 12
    (pictures, states, motions), plain = flight(effect, ticks=ticks), flight(None, ticks=ticks)
    assert same(states, plain[1]) == (group not in FELT)
    if group not in FELT:
        assert same(motions, plain[2]) == (group != 'odometry')
        assert same(pictures, plain[0]) == (group not in SEEN and name != 'latency')
    a, b = world(effect), world()
    assert (a.plan, a.other) == (b.plan, b.other)
    assert all(x is not y and x.colour == y.colour and np.array_equal(x.row(), y.row())
               for x, y in zip(a.scene.objects, b.scene.objects, strict=False))
    assert (len(a.scene.objects) > len(b.scene.objects)) == (group == 'distractors')
    assert np.array_equal(a.scene.light, b.scene.light) == (group not in ('background', 'light'))
    assert (a.camera == b.camera) == (name != 'frame_rate' or strength == 'weak')
    assert a.dropped() in (False, name == 'frame_drops')
    assert np.array_equal(a.position, b.position)


@pytest.mark.parametrize('name', SHIFTS)
def test_a_seed_gives_one_flight(name: str) -> None:
    effect = find(name)
    one = flight(effect)
    assert all(same(a, b) for a, b in zip(one, flight(effect), strict=True))
    assert not same(one[0], flight(effect, seed=4)[0])


@pytest.mark.parametrize('shift', SHIFTS.values(), ids=lambda s: s.name)
def test_strengths_are_ordered(shift: object) -> None:
    neutral = Effect()
    for name in shift.effects[0].changes():
        values = [getattr(e, name) for e in shift.effects]
        if not isinstance(values[0], str):
            distance = [abs(v - getattr(neutral, name)) for v in values]
            assert distance == sorted(distance)
    assert len({str(e.changes()) for e in shift.effects}) == 3
    assert shift.doc and len(shift.effects) == len(STRENGTHS)


@pytest.mark.parametrize('name', ['winter', 'night', 'noise', 'blur', 'occlusion', 'fog',
                                  'camera_pitch', 'camera_roll', 'colour_cast', 'under_exposed'])
def test_stronger_shifts_change_the_picture_more(name: str) -> None:
    plain = world().frame().image.astype(int)
    change = [np.abs(world(e).frame().image - plain).mean() for e in SHIFTS[name].effects]
    assert 0 < change[0] < change[1] < change[2]


@pytest.mark.parametrize('share', [.05, .1, .2])
def test_dirt_covers_its_share_and_stays(share: float) -> None:
    sim, plain = world(Effect(occlusion=share)), world()
    dirty = (sim.frame().image != plain.frame().image).any(-1)
    assert abs(dirty.mean() - share) < .01
    sim.command(np.array([1., 0, 0]), 1.0)
    plain.command(np.array([1., 0, 0]), 1.0)
    for made in (sim, plain):
        made.advance(500_000_000)
    later = (sim.frame().image != plain.frame().image).any(-1)
    assert (later != dirty).mean() < .01


@pytest.mark.parametrize('kind', ['any', 'lookalike', 'new'])
@pytest.mark.parametrize('task', ['go', 'orbit_left', 'search'])
def test_more_objects_keep_the_rules(kind: str, task: str) -> None:
    for seed in range(8):
        sim = world(Effect(distractors=3, distractor_kind=kind), seed, task)
        before = len(world(None, seed, task).scene.objects)
        objects = sim.scene.objects
        assert len(objects) == min(MAX_OBJECTS, before + 3)
        assert len({(o.colour, o.shape) for o in objects}) == len(objects)
        target, added = objects[sim.scene.target], objects[before:]
        for o in added:
            gaps = [np.hypot(*(o.position - p.position)[:2]) for p in objects if p is not o]
            assert min(gaps) > 2.4
            if task == 'orbit_left':
                assert np.hypot(*(o.position - target.position)[:2]) > 3.5
            if kind == 'lookalike':
                assert o.colour == target.colour or o.shape == target.shape
            assert (o.colour in ('pink', 'brown', 'grey', 'cyan')) == (kind == 'new')


def test_a_camera_that_looks_down_sees_more_ground() -> None:
    skies = set()
    for seed in range(10):
        tilted, plain = (world(e, seed, 'go').frame().image.astype(int)
                         for e in (find('camera_pitch'), None))
        sky = [(i[..., 2] > i[..., 1]).mean() for i in (tilted, plain)]
        skies.add(round(math.copysign(1, sky[0] - sky[1])))
    assert skies == {-1, 1}  # either side, over the seeds


def test_a_late_picture_is_an_old_one_with_an_honest_stamp() -> None:
    late, plain = world(Effect(latency=.1)), world()
    pictures = []
    for k in range(20):
        pictures.append(plain.frame())
        frame = late.frame()
        assert frame.stamp_ns == k * TICK_NS - 100_000_000
        assert late.motion().stamp_ns == k * TICK_NS
        old = pictures[max(0, k - 2)].image.astype(int)
        assert np.abs(frame.image - old).mean() < .02
        for sim in (late, plain):
            sim.command(np.array([1., .3, 0]), .5)
            sim.advance(TICK_NS)
    assert np.abs(frame.image - pictures[-1].image.astype(int)).mean() > .3


def test_between_two_ticks_a_late_pose_is_interpolated() -> None:
    late, fine = world(Effect(latency=.075), sim=STILL), world(sim=STILL)
    for sim, cuts in ((late, 1), (fine, 2)):
        sim.command(np.array([1., 0, 0]), .8)
        for _ in range(20 * cuts):
            sim.advance(TICK_NS // cuts)
    past = world(sim=STILL)
    past.command(np.array([1., 0, 0]), .8)
    past.advance(20 * TICK_NS - 75_000_000)
    assert np.abs(late.frame().image - past.frame().image.astype(int)).mean() < .3


def test_frames_drop_as_often_as_they_should() -> None:
    sim = world(find('frame_drops'))
    lost = [sim.dropped() for _ in range(3000)]
    assert abs(np.mean(lost) - .3) < .04
    assert [world(find('frame_drops')).dropped() for _ in range(5)] == lost[:1] * 5
    assert not any(world().dropped() for _ in range(10))


class Stub:
    """A pilot that always says the same."""

    def __init__(self, *velocity: float) -> None:
        self.velocity, self.context = np.array(velocity), None
        self.stamps: list[int] = []

    def reset(self) -> None:
        self.stamps = []

    def sent(self, command: Command) -> None:
        """Hear what the gate made of it."""

    def step(self, observation: Observation) -> Action:
        self.stamps.append(observation.frame.stamp_ns)
        return Action(self.stamps[-1], self.velocity, 0.0)


def diver() -> Stub:
    return Stub(0.0, 0.0, -.8)


def climber() -> Stub:
    return Stub(.3, 0.0, .8)


def test_time_grows_over_lost_frames() -> None:
    stub = climber()
    episode = Flyer(stub, Setting(camera=SMALL, shift=Effect(drop=.4))).fly(1, 0, 'go')
    gaps = np.diff(stub.stamps)
    assert set(gaps % TICK_NS) == {0} and gaps.max() >= 2 * TICK_NS
    assert abs(len(stub.stamps) * TICK_NS * 1e-9 / episode.time_s - .6) < .15


def test_a_camera_without_frames_does_not_fly_on() -> None:
    blind = Flyer(climber(), Setting(STILL, SMALL, Effect(drop=.999)))
    assert blind.fly(1, 0, 'go').path_m < 1.5


def test_flights_do_not_depend_on_processes() -> None:
    shift = Effect(drop=.2, latency=.05, noise=6.0, wind_dryden=6.0, odometry_noise=.1)
    alone = evaluate(climber, 4, 5, setting=Setting(camera=SMALL, shift=shift))
    assert evaluate(climber, 4, 5, jobs=2, setting=Setting(camera=SMALL, shift=shift)) == alone
    assert evaluate(climber, 4, 5, setting=Setting(camera=SMALL)) != alone


def speed_after(effect: Effect, seconds: float) -> float:
    sim = world(effect, sim=STILL)
    sim.command(np.array([1., 0, 0]), 0.0)
    for _ in range(round(seconds / .05)):
        sim.advance(TICK_NS)
    return float(sim.motion().velocity[0])


def test_vehicles_answer_less() -> None:
    assert abs(speed_after(Effect(command_gain=.75), 6) / speed_after(Effect(), 6) - .75) < .01
    for name in ('soft_autopilot', 'drag'):
        speeds = [speed_after(e, .8) for e in (Effect(), *SHIFTS[name].effects)]
        assert speeds == sorted(speeds, reverse=True)


@pytest.mark.parametrize('name', ['thrust', 'mass'])
@pytest.mark.parametrize('strength', STRENGTHS)
def test_an_episode_does_not_begin_with_a_fall(name: str, strength: str) -> None:
    sim = world(find(name, strength), sim=STILL)
    before = sim.position
    sim.advance(2_000_000_000)
    assert np.abs(sim.position - before).max() < .05
    sim.command(np.array([0., 0, .8]), 0.0)
    plain = world(sim=STILL)
    plain.command(np.array([0., 0, .8]), 0.0)
    for made in (sim, plain):
        made.advance(300_000_000)
    assert sim.velocity_world[2] < plain.velocity_world[2]


def test_steady_wind_is_steady_and_gusts_are_as_large_as_they_say() -> None:
    steady = GustyWind(np.random.default_rng(0), 6.0)
    assert np.linalg.norm(steady.advance(1.0)) == pytest.approx(6.0)
    gusty = GustyWind(np.random.default_rng(0), 2.0, 5.0)
    air = np.array([gusty.advance(.5) for _ in range(6000)]) - gusty.mean
    assert 2 * air.std(0) == pytest.approx([5, 5, 1.5], rel=.1)
    kept = (air[1:] * air[:-1]).mean(0) / air.var(0)
    assert kept == pytest.approx(np.full(3, math.exp(-.5 / 1.5)), abs=.06)


@pytest.mark.parametrize('dt', [.1, .5])
def test_dryden_turbulence_has_the_standards_spectrum(dt: float) -> None:
    wind = DrydenWind(np.random.default_rng(1), 6.0)
    # MIL-F-8785C at 10 ft: sigma_w = 0.1 W20, sigma_u / sigma_w = L_w-independent 1.963
    assert wind.sigma == pytest.approx([1.178, 1.178, .6], abs=2e-3)
    assert wind.time * np.linalg.norm(wind.mean) == pytest.approx([23.05, 23.05, 3.048], abs=.02)
    along = wind.mean / np.linalg.norm(wind.mean)
    axes = np.stack([along, [-along[1], along[0], 0], [0, 0, 1]])
    n = 20_000
    air = np.array([wind.advance(dt) for _ in range(n)]) @ axes.T - axes @ wind.mean
    # the statistical error of a variance over a record of length n dt
    error = 4 * np.sqrt(4 * wind.time / (n * dt))
    assert (np.abs(air.std(0) / wind.sigma - 1) < error).all()
    for lag in (1, 5):
        t = lag * dt / wind.time
        wanted = np.exp(-t) * (1 - t / 2)
        wanted[0] = math.exp(-t[0])
        got = (air[lag:] * air[:-lag]).mean(0) / air.var(0)
        assert (np.abs(got - wanted) < error + .02).all()


def test_odometry_errs_as_it_should() -> None:
    def errors(effect: Effect) -> np.ndarray:
        sim, truth = world(effect, sim=STILL), []
        for _ in range(400):
            m, true = sim.motion(), world(sim=STILL).motion()
            truth.append([np.nan] * 4 if m is None else
                         [*(m.velocity - true.velocity), m.yaw_rate - true.yaw_rate])
            sim.time_ns += TICK_NS
        return np.array(truth)
    noise = errors(Effect(odometry_noise=.15))
    assert noise.std(0) == pytest.approx([.15, .15, .15, .05], rel=.12)
    bias = errors(Effect(odometry_bias=.2))
    assert np.ptp(bias, 0).max() < 1e-9
    assert np.linalg.norm(bias[0]) == pytest.approx(.2) and bias[0, 2] == 0
    out = np.isnan(errors(Effect(odometry_dropout=.5))[:, 0])
    assert .25 < out.mean() < .75
    assert (out.reshape(-1, 10) == out[::10, None]).all()  # half seconds as a whole


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown shift 'rain'; known: none, winter, .*wind_st"):
        find('rain')
    with pytest.raises(ConfigError, match="unknown strength 'huge'; known: weak, medium, strong"):
        find('noise:huge')
    with pytest.raises(ConfigError, match='unknown shift'):
        conditions(['noise', 'nosie'])
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
    log.write_text(whole[:-40])  # interrupted while it wrote
    seen.clear()
    assert fly(progress=lambda done, total: seen.append((done, total))) == first
    assert seen == [(11, 12), (12, 12)]
    # other weights, another seed or camera are other cells
    again = [Pilot('diver', False, diver, 'new'), Pilot('diver', True, diver)]
    run_suite(again, pairs[:1], 2, 3, 1, SMALL, log)
    assert len(log.read_text().splitlines()) == 6 + 2 + 1  # the line that was cut stays
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

    def loader(folder: str, backend: str, adaptation: bool) -> Callable[[], Stub]:
        asked.append((folder, backend, adaptation))
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
                 '--json', str(file)]) == 0
    report = json.loads(file.read_text())
    assert (report['shift'], report['drop'], report['camera'], report['camera_rate']) == (
        'wind_steady:weak', .1, '48x36', 10)
    assert stubs == [('', 'numba', True)]


@pytest.mark.parametrize(('arguments', 'said'), [
    (('--shift', 'rain'), "unknown shift 'rain'; known: none, winter"),
    (('--suite', 'shift', '--shifts', 'rain'), "unknown shift 'rain'"),
    (('--suite', 'shift', '--policies', 'a'), 'wants NAME=FOLDER'),
    (('--suite', 'shift', '--task', 'go'), 'not for a suite'),
    (('--adaptation', 'both'), 'need --suite shift'),
    (('--camera', 'big'), 'no size like 320x240'),
    (('--drop', '1'), 'a probability below 1'),
    (('--rate', '0'), 'outside')])
def test_wrong_arguments_are_one_line(arguments: tuple[str, ...], said: str,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['evaluate', *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count('\n') == 1


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
