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

"""Missions: which object a relation means, when a step is done, and what comes next."""

import math

from edge_vla.datatypes import Context, Motion
from edge_vla.language.plan import ANY, COLOURS, Plan, SHAPES, Step
from edge_vla.policy.mission import CIRCLE, HOLD_S, LAND_SPEED, Mission, PAUSE_S
from edge_vla.policy.resolver import (
    AMBIGUOUS,
    candidates,
    CHOSEN,
    FULL_TURN,
    MISSING,
    Resolver,
    TURN_RATE,
)
from edge_vla.policy.sightings import Sighting, sightings
from edge_vla.sim.judge import MissionJudge
from edge_vla.sim.missions import sample_relation, sample_two_steps, true_sightings
from edge_vla.sim.reference import reference_mission
from edge_vla.vision import layout
from hypothesis import given, strategies as st
import numpy as np
import pytest

DT = 1 / 30
RED_BOX = Sighting('red', 'box', 0.4, 4.0, 0.9)
GREEN_BOX = Sighting('green', 'box', -0.5, 6.0, 0.9)
PILLAR = Sighting('blue', 'pillar', 0.0, 5.0, 0.9)
SCENE = [RED_BOX, GREEN_BOX, PILLAR]


class FakeSight:
    """What the pilot sees, set by hand."""

    def __init__(self) -> None:
        self.features = np.zeros(layout.VISION_FEATURES, np.float32)
        self.target = (0.0, 0.0, 9.0)
        self.seen = np.zeros((len(COLOURS) * len(SHAPES), layout.TOKENS), np.float32)

    def show(self, colour: str, shape: str, token: int) -> None:
        """Let a token look like an object."""
        self.seen[COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape), token] = 0.9

    def recognise(self) -> np.ndarray:
        """Return what every token shows."""
        return self.seen

    def place(self, pair: int, tokens: np.ndarray) -> tuple[float, float, float]:
        """Return where a pair is."""
        x = layout.token_centres()[tokens[self.seen[pair, tokens].argmax()], 0]
        return -math.atan(x), 0.0, 4.0

    def located(self) -> tuple[float, float, float]:
        """Return where the target is."""
        return self.target


def mission(*plans: Plan) -> Mission:
    """Return a mission of certain steps."""
    steps = tuple(Step(p, p.vector(), 1.0) for p in plans)
    return Mission(Context(steps[0].vector, ', then '.join(p.text() for p in plans), 'x', 1.0,
                           steps))


def moving(velocity: tuple[float, ...] = (0.0, 0.0, 0.0), yaw_rate: float = 0.0) -> Motion:
    """Return a measured motion."""
    return Motion(0, np.array(velocity), yaw_rate, 0.0, 0.0)


@pytest.mark.parametrize(('plan', 'want'), [
    (Plan('go', ANY, 'box', 'left', 'blue', 'pillar'), [RED_BOX]),
    (Plan('go', ANY, 'box', 'right', 'blue', 'pillar'), [GREEN_BOX]),
    (Plan('go', ANY, 'box', 'near', 'blue', 'pillar'), [RED_BOX, GREEN_BOX]),
    (Plan('go', ANY, 'box', 'behind', 'blue', ANY), []),
    (Plan('go', ANY, 'box', 'front', ANY, 'pillar'), [RED_BOX]),
    (Plan('go', ANY, 'box', 'nearest'), [RED_BOX, GREEN_BOX]),
    (Plan('go', ANY, ANY, 'farthest'), [GREEN_BOX, PILLAR, RED_BOX]),
    (Plan('go', ANY, 'box', 'rightmost'), [GREEN_BOX, RED_BOX]),
    (Plan('go', 'red', ANY), [RED_BOX]),
    (Plan('go', ANY, 'cone', 'left', 'blue', 'pillar'), []),
])
def test_relations_pick_what_a_person_would(plan: Plan, want: list[Sighting]) -> None:
    assert candidates(plan, SCENE) == want


def looking_like(bearing: float, distance: float, **scores: float) -> Sighting:
    """Return a red thing that resembles several shapes, by log odds."""
    odds = np.full((len(COLOURS), len(SHAPES)), -9.0, np.float32)
    for shape, score in scores.items():
        odds[COLOURS.index('red'), SHAPES.index(shape)] = score
    best = SHAPES[odds[COLOURS.index('red')].argmax()]
    return Sighting('red', best, bearing, distance, .9, odds)


def test_a_relation_compares_at_least_two() -> None:
    sure = looking_like(0.0, 4.0, sphere=3.0, box=-4.0)
    doubtful = looking_like(0.5, 6.0, sphere=1.0, box=2.0)
    other = looking_like(-0.5, 3.0, sphere=-4.0, box=3.0)
    seen = [sure, doubtful, other]
    assert candidates(Plan('go', ANY, 'sphere', 'farthest'), seen) == [doubtful, sure]
    assert candidates(Plan('go', ANY, 'sphere', 'nearest'), [sure, other]) == [sure]
    assert candidates(Plan('go', ANY, 'sphere'), seen) == [sure]  # nothing is compared
    assert candidates(Plan('go', ANY, 'sphere'), [doubtful, other]) == [doubtful]
    assert candidates(Plan('go', ANY, 'box', 'leftmost'), seen) == [doubtful, other]
    assert candidates(Plan('go', 'blue', ANY, 'nearest'), seen) == []


def test_it_is_flown_to_by_what_it_was_called() -> None:
    doubtful = looking_like(0.5, 6.0, sphere=1.0, box=2.0)
    sure = looking_like(0.0, 4.0, sphere=3.0)
    r = Resolver(Plan('go', ANY, 'sphere', 'leftmost'))
    for _ in range(20):
        r.update([sure, doubtful], DT)
    assert r.status == CHOSEN and r.plan == Plan('go', 'red', 'sphere')
    assert doubtful.called(ANY, ANY) == doubtful.called('red', ANY) == ('red', 'box')
    assert RED_BOX.called('red', ANY) == ('red', 'box')


def test_of_those_of_one_name_any_will_do() -> None:
    r = Resolver(Plan('go', ANY, 'box'))
    for _ in range(20):
        r.update([RED_BOX, Sighting('red', 'box', -.6, 5.0, .8)], DT)
    assert r.status == CHOSEN and r.plan == Plan('go', 'red', 'box')


def test_a_choice_needs_several_frames_that_agree() -> None:
    r = Resolver(Plan('orbit_left', ANY, 'box', 'left', 'blue', 'pillar'))
    status = [r.update(SCENE, DT) for _ in range(20)]
    assert status[3] == 'looking' and status[-1] == CHOSEN
    assert r.plan == Plan('orbit_left', 'red', 'box')
    flicker = Resolver(Plan('go', ANY, 'box', 'nearest'))
    for k in range(7):
        flicker.update([GREEN_BOX] if k % 2 else [RED_BOX], DT)
    assert flicker.status == 'looking'


def test_two_that_fit_are_asked_about() -> None:
    r = Resolver(Plan('go', ANY, 'box'))
    for _ in range(30):
        r.update(SCENE, DT)
    assert r.status == AMBIGUOUS and r.turn == 0
    assert 'red box' in r.say and 'green box' in r.say
    for _ in range(80):  # one of them leaves the view for good: no longer open
        r.update([RED_BOX, PILLAR], DT)
    assert r.status == CHOSEN and r.plan == Plan('go', 'red', 'box')


def test_a_question_may_stand_for_long_and_names_nothing_twice() -> None:
    r = Resolver(Plan('go', ANY, 'box'))
    for _ in range(3000):
        r.update([*SCENE, Sighting('red', 'box', -.2, 5.0, .8)], DT)
    assert r.status == AMBIGUOUS and r.say.count('red box') == r.say.count('green box') == 1
    for _ in range(150):  # what is said after minutes counts as soon as after seconds
        r.update([RED_BOX, PILLAR], DT)
    assert r.status == CHOSEN and r.plan == Plan('go', 'red', 'box')


def test_what_is_not_in_view_is_looked_for_and_then_given_up() -> None:
    r = Resolver(Plan('go', ANY, 'cone', 'near', 'blue', 'pillar'))
    r.update(SCENE, DT)
    assert r.turn == TURN_RATE
    for _ in range(math.ceil(FULL_TURN / TURN_RATE / DT) + 1):
        r.update(SCENE, DT)
    assert r.status == MISSING and r.turn == 0 and 'cannot see' in r.say
    m, sight = mission(Plan('go', ANY, 'cone')), FakeSight()
    assert m.direct(sight, np.ones(4), moving(), DT).tolist() == [0, 0, 0, TURN_RATE]


def test_a_turn_is_what_was_turned_and_seen() -> None:
    plan, frames = Plan('go', ANY, 'cone', 'nearest'), math.ceil(FULL_TURN / TURN_RATE / DT) + 2
    slow, dark, sight = mission(plan), mission(plan), FakeSight()
    for _ in range(frames):  # an autopilot that allows less; a camera that shows nothing
        slow.direct(sight, np.zeros(4), moving(yaw_rate=TURN_RATE / 2), DT)
        command = dark.direct(sight, np.zeros(4), moving(yaw_rate=TURN_RATE), DT, blank=True)
    assert 'looking for' in slow.say and 'looking for' in dark.say
    assert command.tolist() == [0, 0, 0, TURN_RATE]
    for _ in range(frames):
        slow.direct(sight, np.zeros(4), moving(yaw_rate=TURN_RATE / 2), DT)
        dark.direct(sight, np.zeros(4), moving(yaw_rate=TURN_RATE), DT)
    assert 'cannot see' in slow.say and 'cannot see' in dark.say
    assert not dark.direct(sight, np.zeros(4), moving(), DT, blank=True).any()


def test_sightings_come_from_the_tokens() -> None:
    sight = FakeSight()
    middle = layout.ROWS // 2 * layout.COLUMNS
    sight.show('red', 'cone', middle + 1)
    sight.show('white', 'box', middle + layout.COLUMNS - 2)
    sight.show('red', 'box', middle + 2)  # an edge that resembles something else
    sight.seen[0:4, middle + 2] *= .8
    left, right = sorted(sightings(sight), key=lambda s: -s.bearing)
    assert (left.colour, left.shape) == ('red', 'cone') and left.bearing > 0.4
    assert (right.colour, right.shape) == ('white', 'box') and right.bearing < -0.4
    assert left.distance == pytest.approx(4.0, rel=1e-5)


def test_objects_that_touch_fall_apart() -> None:
    sight = FakeSight()
    row = layout.ROWS // 2 * layout.COLUMNS
    for token in range(2, 9):  # a bridge of doubtful tokens between two sure ones
        sight.show('red', 'cone', row + token)
        sight.seen[:, row + token] *= .7 if 3 < token < 7 else 1
    left, right = sorted(sightings(sight), key=lambda s: -s.bearing)
    centres = layout.token_centres()[row:row + layout.COLUMNS, 0]
    assert left.bearing == pytest.approx(-math.atan((centres[2] + centres[3]) / 2), abs=1e-6)
    assert right.bearing == pytest.approx(-math.atan((centres[7] + centres[8]) / 2), abs=1e-6)
    sight.seen[:, row + 4:row + 7] = 0
    sight.seen[:, row + 3] = 0
    sight.seen[:, row + 2] *= .6  # too little to be an object
    assert [s.bearing < 0 for s in sightings(sight)] == [True]


def test_a_resolved_relation_is_flown_by_name() -> None:
    m, sight = mission(Plan('go', ANY, 'cone', 'left', 'white', 'box')), FakeSight()
    assert m.vector.tolist() == Plan('hover').vector().tolist()
    sight.show('red', 'cone', 49)
    sight.show('white', 'box', 58)
    for _ in range(20):
        m.direct(sight, np.ones(4), moving(), DT)
    assert m.vector.tolist() == Plan('go', 'red', 'cone').vector().tolist()
    assert m.direct(sight, np.ones(4), moving(), DT).tolist() == [1, 1, 0, 1]  # not in view
    sight.features[0] = 1
    assert m.direct(sight, np.ones(4), moving(), DT).tolist() == [1, 1, 1, 1]


def test_go_is_done_after_a_hover_in_front() -> None:
    m, sight = mission(Plan('go', 'red', 'box'), Plan('orbit_left', 'blue', 'cone')), FakeSight()
    sight.features[0] = 1
    for _ in range(100):  # far away
        m.direct(sight, np.ones(4), moving(), DT)
    assert m.index == 0
    sight.target = (0.1, 0.0, 1.2)
    for _ in range(100):  # flying past
        m.direct(sight, np.ones(4), moving((1.0, 0.0, 0.0)), DT)
    assert m.index == 0
    for _ in range(math.ceil(HOLD_S / DT) + 1):
        m.direct(sight, np.ones(4), moving(), DT)
    assert m.index == 1 and m.text().startswith('step 2 of 2')
    assert m.vector.tolist() == Plan('orbit_left', 'blue', 'cone').vector().tolist()


@pytest.mark.parametrize(('verb', 'sign'), [('orbit_left', -1), ('orbit_right', 1)])
def test_an_orbit_is_done_after_one_turn_the_right_way(verb: str, sign: int) -> None:
    m, sight = mission(Plan(verb, 'red', 'box'), Plan('land')), FakeSight()
    sight.features[0], sight.target = 1, (0.0, 0.0, 1.2)
    for _ in range(math.ceil(CIRCLE / 0.5 / DT) + 1):
        m.direct(sight, np.ones(4), moving(yaw_rate=-sign * 0.5), DT)
    assert m.index == 0
    for _ in range(2 * math.ceil(CIRCLE / 0.5 / DT) + 2):
        m.direct(sight, np.ones(4), moving(yaw_rate=sign * 0.5), DT)
    assert m.index == 1


def test_turning_towards_a_target_is_not_circling() -> None:
    m, sight = mission(Plan('orbit_right', 'red', 'box'), Plan('land')), FakeSight()
    sight.features[0] = 1
    for _ in range(20):  # the nose swings to and fro and the target stays where it is
        for k in range(30):
            turned = 0.7 * math.sin(2 * math.pi * k / 30)
            sight.target = (-turned, 0.0, 1.2)
            rate = 0.7 * 2 * math.pi / 30 / DT * math.cos(2 * math.pi * (k - .5) / 30)
            m.direct(sight, np.ones(4), moving(yaw_rate=rate), DT)
    assert m.index == 0 and abs(m._swept) < 0.2
    sight.target = (0.0, 0.0, 1.2)  # a turn out of sight of it counts when it is seen again
    for k in range(math.ceil((CIRCLE + 0.2) / 0.5 / DT) + 8):
        sight.features[0] = k % 8 == 0
        m.direct(sight, np.ones(4), moving(yaw_rate=0.5), DT)
    assert m.index == 1


def test_landing_sinks_until_it_stands() -> None:
    m, sight = mission(Plan('land')), FakeSight()
    for _ in range(90):
        command = m.direct(sight, np.ones(4), moving((0.0, 0.0, -LAND_SPEED)), DT)
        assert command.tolist() == [0, 0, -LAND_SPEED, 0]
    for _ in range(40):
        command = m.direct(sight, np.ones(4), moving(), DT)
    assert command.tolist() == [0, 0, 0, 0] and m.say == 'landed'


def test_who_never_sank_has_not_landed() -> None:
    m, sight = mission(Plan('land')), FakeSight()
    for v in (0.0, .05, -.05) * 60:  # somebody else holds it in the air, and then lets go
        command = m.direct(sight, np.ones(4), moving((0.0, 0.0, v)), DT)
        assert command.tolist() == [0, 0, -LAND_SPEED, 0]


def test_a_pause_ends_by_itself_and_the_last_step_never() -> None:
    m, sight = mission(Plan('hover'), Plan('hover')), FakeSight()
    for _ in range(math.ceil(3 * PAUSE_S / DT)):
        assert not m.direct(sight, np.ones(4), None, DT).any()  # whatever the policy wants
    assert m.index == 1


@given(st.integers(0, 10_000))
def test_relations_that_are_asked_for_are_clear(seed: int) -> None:
    scene, plan, meant = sample_relation(np.random.default_rng(seed), 'meadow')
    seen = true_sightings(scene)
    found = candidates(plan, seen)
    assert (found[0].colour, found[0].shape) == (meant.colour, meant.shape)
    if plan.relation == 'none':
        assert len(found) == 1
    assert not plan.resolved and meant.resolved


def test_two_steps_are_judged_in_order() -> None:
    scene, plans = sample_two_steps(np.random.default_rng(3), 'meadow')
    a = scene.find(plans[0].colour, plans[0].shape)
    assert a is not None
    at = scene.objects[a].position
    judge = MissionJudge(scene, [Plan('go', plans[0].colour, plans[0].shape), Plan('land')],
                         scene.start[:3], float(scene.start[3]), 0)
    bearing = math.atan2(at[1], at[0])
    spot = at - (scene.objects[a].radius + 1.2) * np.array([math.cos(bearing),
                                                           math.sin(bearing), 0])
    for k in range(1, 60):
        verdict = judge.update(k * 33_000_000, spot, np.zeros(3), bearing)
    assert judge.step == 1 and verdict.status == 'running' and verdict.progress == 0.5
    low = spot * (1, 1, 0) + (0, 0, 0.2)
    verdict = judge.update(60 * 33_000_000, low, np.array([0, 0, -0.4]), bearing)
    assert verdict.status == 'success' and verdict.progress == 1


@pytest.mark.parametrize('asked_on_the_ground', [False, True])
def test_who_has_landed_has_not_crashed_until_it_flew_again(asked_on_the_ground: bool) -> None:
    scene, _ = sample_two_steps(np.random.default_rng(3), 'meadow')
    target = scene.objects[0]
    plans = [Plan('land'), Plan('go', target.colour, target.shape)][asked_on_the_ground:]
    start = scene.start[:3] * (1, 1, 0) + (0, 0, .08) if asked_on_the_ground else scene.start[:3]
    judge = MissionJudge(scene, plans, start, float(scene.start[3]), 0)
    heights = [.2, .1, .08, .08, .3, 1.0, .1]
    status = [judge.update(k * 100_000_000, scene.start[:3] * (1, 1, 0) + (0, 0, z), np.zeros(3),
                           0.0).status for k, z in enumerate(heights, 1)]
    assert status == ['running'] * 6 + ['collision'] and judge.step == len(plans) - 1


@pytest.mark.parametrize(('text', 'want'), [
    ('fly to the red sphere, then orbit the green box to the left',
     [Plan('go', 'red', 'sphere'), Plan('orbit_left', 'green', 'box')]),
    ('Go to the red ball. Then land', [Plan('go', 'red', 'sphere'), Plan('land')]),
    ('circle the blue cone clockwise; after that find the white box, finally land',
     [Plan('orbit_left', 'blue', 'cone'), Plan('search', 'white', 'box'), Plan('land')]),
    ('fly to the red sphere', [Plan('go', 'red', 'sphere')]),
    ('go to the red sphere, then circle it', []),
    ('land', [Plan('land')]),
])
def test_rules_read_plain_missions(text: str, want: list[Plan]) -> None:
    assert reference_mission(text) == want
