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

"""What the seeing head says of a target, and how the pilot flies by it."""

from itertools import product
import math

from edge_vla.compression.temporal import compress_clip
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Action, Motion, Observation
from edge_vla.evaluation.closed_loop import Flyer, Setting
from edge_vla.exceptions import InstructionError
from edge_vla.language.head import canonical
from edge_vla.language.plan import Plan
from edge_vla.language.seeing import ANSWER, END, QUESTION, SCHEMES, SeeingHead
from edge_vla.language.sight import describe, DISTANCES, Located, missing, Seen, side_of, SIDES
from edge_vla.pipeline import OPINION_NS, Pipeline, SHIPPED_MODEL
from edge_vla.policy.second_opinion import (
    DENIALS,
    LOST_S,
    PLACED,
    Pose,
    SecondOpinion,
    TURN_RATE,
)
from edge_vla.safety import SafetyGate
from edge_vla.sim.simulator import Simulator
from edge_vla.vision import layout
from hypothesis import given, strategies as st
import numpy as np
import pytest

DT = 1 / 30
RED = Plan('go', 'red', 'sphere')
NAME = ('red', 'sphere')
STILL = Motion(0, np.zeros(3), 0.0, 0.0, 0.0)


def located(seen: float, side: int = 2, distance: int = 1) -> Located:
    return Located(seen, np.eye(5)[side], np.eye(3)[distance])


class Eye:
    """A grounding head that has its target somewhere."""

    def __init__(self, bearing: float = 0.0, gap: float = 2.0, presence: float = 1.0) -> None:
        self.features = np.full(layout.VISION_FEATURES, .5, np.float32)
        self.features[0] = presence
        self._located = bearing, 0.0, gap

    def located(self) -> tuple[float, float, float]:
        """Return where."""
        return self._located


def ask(opinion: SecondOpinion, eye: Eye, said: Located) -> None:
    opinion.hear(opinion.sighted(RED, eye), [(NAME, said)])


def turn(opinion: SecondOpinion, angle: float) -> None:
    rate = math.copysign(.8, angle)
    for _ in range(round(abs(angle) / .8 / DT)):
        opinion.move(Motion(0, np.zeros(3), rate, 0.0, 0.0), np.zeros(4), DT)


# --- the head ---

@pytest.mark.parametrize('scheme', ['live', 'dycoke', 'team'])
def test_every_answer_is_scored_as_the_decoder_scores_it(scheme: str) -> None:
    """Side and distance have the odds that whole answers have, one after the other."""
    head = SeeingHead.load(SHIPPED_MODEL / 'seeing', scheme)
    rng = np.random.default_rng(1)
    still = rng.normal(0, 1, (1, layout.TOKENS, layout.CHANNELS))
    frames = (still + rng.normal(0, .02, (3, *still.shape[1:]))).astype(np.float32)
    view = compress_clip(frames, SCHEMES[scheme].temporal)
    got = head.locate('red', 'sphere', view)
    tokenizer, special = head._tokenizer, head._tokenizer.special
    asked = [special[QUESTION], *tokenizer.encode(canonical('where is the red sphere?')),
             special[ANSWER]]
    answers = [(*tokenizer.encode(canonical(text)), special[END]) for text in (
        *(describe(Seen('red', 'sphere', *p)) for p in product(SIDES, DISTANCES)),
        missing('red sphere'))]
    odds = []
    for answer in answers:
        head._open(view, asked)
        logits, log = head.decoder.forward(asked), 0.0
        for k, token in enumerate(answer):  # of what a legal answer may go on with
            legal = sorted({a[k] for a in answers if a[:k] == answer[:k]})
            x = logits[legal].astype(np.float64)
            log += x[legal.index(token)] - x.max() - math.log(np.exp(x - x.max()).sum())
            logits = head.decoder.forward([token])
        odds.append(log)
    odds = np.exp(odds)
    assert odds.sum() == pytest.approx(1, abs=1e-5)
    places = odds[:-1].reshape(5, 3)
    assert got.seen == pytest.approx(places.sum(), abs=1e-4)
    # every call is a step of DyCoke, which may choose its keys anew
    about = .01 if scheme == 'dycoke' else 1e-4
    np.testing.assert_allclose(got.sides, places.sum(1) / places.sum(), atol=about)
    np.testing.assert_allclose(got.distances, places.sum(0) / places.sum(), atol=about)
    with pytest.raises(InstructionError, match='no camera frame'):
        head.locate('red', 'sphere', type(view)(*(a[:0] for a in view)))


def test_bearing_and_gap_are_of_the_likely_answers() -> None:
    for k, side in enumerate(SIDES):
        assert side_of(located(1, k).bearing) == side
    assert [located(1, 2, k).gap for k in range(3)] == [.7, 2.0, 4.5]
    both = Located(1.0, np.array([0, .5, .5, 0, 0]), np.array([0, .5, .5]))
    assert both.bearing == pytest.approx(math.radians(8)) and both.gap == 3.25


# --- what is made of it ---

@given(st.floats(-3, 3), st.floats(.2, 9), st.floats(-5, 5), st.floats(-5, 5), st.floats(-9, 9))
def test_a_place_is_where_it_was_put(bearing: float, distance: float, x: float, y: float,
                                     heading: float) -> None:
    pose = Pose(x, y, heading)
    point = pose.point(bearing, distance)
    assert pose.bearing(point) == pytest.approx(bearing, abs=1e-6)
    assert pose.distance(point) == pytest.approx(distance)


def test_the_vehicle_is_followed() -> None:
    measured, told = SecondOpinion(), SecondOpinion()
    for _ in range(300):  # a circle of 1 m, once measured and once as commanded
        rate = 2 * math.pi / 10
        measured.move(Motion(0, np.array([rate, 0.0, 0.0]), rate, 0.0, 0.0), np.zeros(4), DT)
        told.move(None, np.array([rate, 0.0, 0.0, rate]), DT)
    for opinion in (measured, told):
        assert math.hypot(opinion.pose.x, opinion.pose.y) < .02
        assert opinion.pose.heading == pytest.approx(2 * math.pi)


@pytest.mark.parametrize('side', [0, 4])
def test_a_target_out_of_view_is_turned_to_where_the_head_saw_it(side: int) -> None:
    opinion, away = SecondOpinion(), Eye(presence=0.0)
    opinion.hear(opinion.sighted(RED, away), [(('blue', 'box'), located(0)),
                                              (NAME, located(.95, side))])
    command = np.array([.1, .2, .3, .8])
    assert opinion.steer(RED, command) is command  # it may only be hidden for a moment
    for _ in range(math.ceil(LOST_S / DT) + 1):
        opinion.condition(RED, away, DT)
    assert opinion.steer(Plan('go', 'blue', 'box'), command) is command
    wanted = TURN_RATE if side == 0 else -TURN_RATE
    assert opinion.steer(RED, command).tolist() == [.1, .2, .3, wanted]
    turn(opinion, math.copysign(math.radians(34), wanted))
    assert opinion.steer(RED, command) is command  # it is not there
    turn(opinion, -math.copysign(1.0, wanted))
    assert opinion.steer(RED, command) is command  # so the place is forgotten
    opinion.hear(opinion.sighted(RED, away), [(NAME, located(.95, side))])
    assert opinion.steer(RED, command) is command  # for good: the head is not believed again
    opinion.hear(opinion.sighted(RED, away), [(NAME, located(.95, 4 - side))])
    assert opinion.steer(RED, command)[3] == -wanted  # but elsewhere it is


def test_a_place_must_be_sure() -> None:
    opinion, away = SecondOpinion(), Eye(presence=0.0)
    opinion.hear(opinion.sighted(RED, away), [(NAME, located(.8, 0))])
    for _ in range(40):
        opinion.condition(RED, away, DT)
    command = np.zeros(4)
    assert opinion.steer(RED, command) is command


def test_what_is_in_view_is_left_to_the_policy() -> None:
    opinion, eye = SecondOpinion(), Eye()
    for _ in range(5):
        ask(opinion, eye, located(.95, 0))
        for _ in range(30):
            opinion.condition(RED, eye, DT)
            command = np.zeros(4)
            assert opinion.steer(RED, command) is command
    assert (eye.features == Eye().features).all() and not opinion.look_alike


def test_a_look_alike_is_kept_from_the_policy() -> None:
    opinion = SecondOpinion()
    for k in range(DENIALS):
        opinion.condition(RED, eye := Eye(), DT)
        assert not opinion.look_alike and eye.features[0] == 1, k
        ask(opinion, eye, located(.02))
    opinion.condition(RED, eye := Eye(.1, 2.3), DT)
    assert opinion.look_alike and not eye.features[:PLACED].any()
    assert (eye.features[PLACED:] == .5).all()  # obstacles stay
    opinion.condition(RED, eye := Eye(.6, 5.0), DT)  # another thing, elsewhere
    assert not opinion.look_alike and eye.features[0] == 1
    turn(opinion, -math.pi / 2)
    opinion.condition(RED, eye := Eye(math.pi / 2), DT)  # the same, seen from another heading
    assert opinion.look_alike


def test_who_finds_nothing_better_in_one_turn_takes_the_look_alike() -> None:
    opinion = SecondOpinion()
    for _ in range(DENIALS):
        ask(opinion, Eye(), located(.02))
    turn(opinion, 2 * math.pi + .1)
    opinion.condition(RED, eye := Eye(), DT)
    assert not opinion.look_alike and eye.features[0] == 1
    for _ in range(2 * DENIALS):  # and is not stopped again
        ask(opinion, Eye(), located(.02))
    opinion.condition(RED, eye := Eye(), DT)
    assert not opinion.look_alike


@pytest.mark.parametrize(('eyes', 'said'), [
    ((Eye(), Eye()), (.05, .3)), ((Eye(), Eye(1.0)), (.05, .05)), ((Eye(), Eye(0, 6)), (.05, .05)),
    ((Eye(), Eye(presence=.2)), (.05, .05)), ((Eye(), Eye(-.5, 4.0)), (.05, .05))])
def test_doubt_is_not_denial(eyes: tuple[Eye, ...], said: tuple[float, ...]) -> None:
    """The head must be sure, twice in a row, of one thing, that it is near enough to tell."""
    opinion = SecondOpinion()
    for eye, seen in zip(eyes, said, strict=True):
        ask(opinion, eye, located(seen))
    opinion.condition(RED, eye := Eye(), DT)
    assert not opinion.look_alike and eye.features[0] == 1


def test_a_head_that_changes_its_mind_is_heard() -> None:
    opinion = SecondOpinion()
    for _ in range(DENIALS):
        ask(opinion, Eye(), located(.02))
    ask(opinion, Eye(), located(.95))
    opinion.condition(RED, Eye(), DT)
    assert not opinion.look_alike


@pytest.mark.parametrize(('verb', 'speed'), [('orbit_left', 0.0), ('go', .5)])
def test_nothing_is_denied_in_motion(verb: str, speed: float) -> None:
    opinion, plan = SecondOpinion(), Plan(verb, *NAME)
    opinion.move(Motion(0, np.array([speed, 0.0, 0.0]), 0.0, 0.0, 0.0), np.zeros(4), DT)
    for _ in range(2 * DENIALS):
        opinion.hear(opinion.sighted(plan, Eye()), [(NAME, located(.02))])
    opinion.condition(plan, eye := Eye(), DT)
    assert not opinion.look_alike and eye.features[0] == 1


# --- in the pipeline ---

def fly(pipeline: Pipeline, frames: int, instruction: str, think: bool = True) -> list[Action]:
    sim = Simulator(SimConfig(seed=4, instruction='red sphere'),
                    CameraConfig(width=160, height=120))
    gate, out = SafetyGate(), []
    pipeline.reset()
    for _ in range(frames):
        out.append(pipeline.step(Observation(sim.frame(), instruction, sim.motion())))
        command = gate.filter(out[-1])
        if think:
            pipeline.sent(command)
        sim.command(np.array(command.velocity), command.yaw_rate)
        sim.advance(33_333_333)
    return out


@pytest.fixture(scope='module')
def pilot() -> Pipeline:
    return Pipeline.load(PipelineConfig())


def test_the_head_is_asked_once_a_second_and_heard_later(pilot: Pipeline,
                                                         monkeypatch) -> None:  # noqa: ANN001
    asked, heard, k = [], [], [0]
    monkeypatch.setattr(pilot.seeing, 'locate', lambda *a: asked.append((k[0], a[:2])) or located(
        .9))
    monkeypatch.setattr(pilot.opinion, 'hear', lambda *a: heard.append(k[0]))
    step = pilot.step
    monkeypatch.setattr(pilot, 'step', lambda o: (step(o), k.__setitem__(0, k[0] + 1))[0])
    fly(pilot, 95, 'fly to the red sphere, then circle the blue box')
    names = [('red', 'sphere'), ('blue', 'box')]
    assert [name for _, name in asked] == names * 4
    frames = [frame for frame, _ in asked[::2]]
    assert frames[0] == 1 and set(np.diff(frames)) <= {30, 31}
    assert len(heard) == 3 and all(  # the last word is still to come
        OPINION_NS <= (h - a + 1) * 33_333_333 < OPINION_NS + 2 * 33_333_333
        for h, a in zip(heard, frames, strict=False))


def test_flights_repeat_bit_for_bit(pilot: Pipeline) -> None:
    first, second = (fly(pilot, 70, 'fly to the red sphere') for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.velocity == b.velocity).all() and a.yaw_rate == b.yaw_rate


def test_a_flight_depends_on_the_head(pilot: Pipeline, monkeypatch) -> None:  # noqa: ANN001
    """What the head denies is not flown to; one that agrees changes nothing."""
    flights = {}
    for said in ('nobody', 'yes', 'no'):
        monkeypatch.setattr(pilot.seeing, 'locate',
                            lambda *a, s=said: located(.95 if s == 'yes' else .01))
        flights[said] = fly(pilot, 330, 'fly to the red sphere', said != 'nobody')
    same = [(a.velocity == b.velocity).all()
            for a, b in zip(flights['nobody'], flights['yes'], strict=True)]
    assert all(same)
    seen = [a.info['target_visible'] for a in flights['no']]
    assert min(seen[:60]) > .5 and 0 in seen[60:]
    turned = [abs(a.yaw_rate) for a, v in zip(flights['no'], seen, strict=True) if v == 0]
    assert max(turned) > .5  # it looks on


def test_without_a_head_or_a_period_nobody_is_asked(pilot: Pipeline) -> None:
    for config in (PipelineConfig(seeing=False), PipelineConfig(opinion_period=0.0)):
        other = Pipeline.load(config)
        actions = fly(other, 45, 'fly to the red sphere')
        assert other.look is None
        plain = fly(pilot, 45, 'fly to the red sphere', think=False)
        assert all((a.velocity == b.velocity).all() for a, b in zip(actions, plain, strict=True))


def test_what_was_said_in_another_flight_is_not_heard(pilot: Pipeline) -> None:
    fly(pilot, 5, 'fly to the red sphere')
    assert len(pilot._said) == 1
    pilot.reset()
    fly(pilot, 12, 'fly to the red sphere')
    assert not pilot._said  # the old word is gone and the new one was heard


def test_what_was_read_in_another_flight_is_not_shown() -> None:
    pilot = Pipeline.load(PipelineConfig(tokens='team'))
    first = fly(pilot, 3, 'fly to the red sphere')
    fly(pilot, 3, 'fly to the blue box')
    again = fly(pilot, 3, 'fly to the red sphere')
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.info['kept'], b.info['kept'])


@pytest.mark.parametrize('scheme', SCHEMES)
def test_an_episode_flies_with_every_scheme(scheme: str) -> None:
    pilot, kept = Pipeline.load(PipelineConfig(tokens=scheme)), set()
    flyer = Flyer(pilot, Setting(camera=CameraConfig(width=96, height=72)))
    episode = flyer.fly(11, 0, watch=lambda action: kept.update(action.info['kept'].ravel()))
    assert episode.status == 'success'
    assert kept == {'full': {1}, 'team': {0, 1, 2, 3}}.get(scheme, {0, 1})
