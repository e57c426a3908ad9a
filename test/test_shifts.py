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

import math

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Action, Command, Observation
from edge_vla.evaluation.closed_loop import evaluate, Flyer, Setting
from edge_vla.sim.scene import MAX_OBJECTS
from edge_vla.sim.shifts import Effect, find, SHIFTS, STRENGTHS
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.wind import DrydenWind, GustyWind
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
    ticks = 80 if name in ('odometry_dropout', 'blackout') else 12
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


@pytest.mark.parametrize('dark_s', [.5, 1.0, 2.0])
def test_a_blackout_comes_after_every_second_with_a_picture(dark_s: float) -> None:
    for seed in range(5):
        pictures = flight(Effect(blackout=dark_s), seed, 160)[0]
        dark = np.array([not p.any() for p in pictures])
        assert not dark[0]  # what is to be remembered is seen first
        changes = np.nonzero(np.diff(dark))[0] + 1
        spans = np.diff(changes) * TICK_NS * 1e-9
        assert len(changes) > 3 and changes[0] * TICK_NS <= 1_000_000_000
        assert spans[0::2] == pytest.approx(dark_s, abs=.06)
        assert spans[1::2] == pytest.approx(1.0, abs=.06)


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
