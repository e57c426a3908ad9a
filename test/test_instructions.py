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


"""The grammar of instructions and the rules that read them."""

import itertools
from pathlib import Path

from edge_vla.language.plan import (
    ANY,
    COLOURS,
    END,
    join,
    next_words,
    parse,
    Plan,
    RELATIONS,
    SHAPES,
    THEN,
    VERBS,
)
from edge_vla.sim import wording, wording_steps
from edge_vla.sim.instructions import (
    mentioned_objects,
    reference_plan,
    sample_instruction,
    sample_mission,
)
import numpy as np
import pytest

FLIGHTS = [v for v in VERBS if v != 'hover']
DATA = Path(__file__).parent / 'data' / 'instructions.txt'


def some(count: int, split: str, seed: int = 0, verbs: tuple[str, ...] = VERBS,
         typos: float = 0) -> list[tuple[str, Plan, Plan]]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        plan, other = (Plan(str(rng.choice(verbs)), str(rng.choice(COLOURS)),
                            str(rng.choice(SHAPES))) for _ in range(2))
        out.append((sample_instruction(rng, plan, split, other, typos), plan, other))
    return out


@pytest.mark.parametrize('split', ['train', 'held_out'])
def test_rules_read_the_grammar(split: str) -> None:
    """The two were written apart, so where they agree they are most likely right."""
    wrong = []
    for text, plan, _ in some(3000, split):
        got = reference_plan(text)
        if got is None or got.text() != plan.text():
            wrong.append((text, plan, got))
    assert len(wrong) < 75, wrong[:10]  # most hold a made-up verb


def test_one_seed_gives_one_set_of_instructions() -> None:
    assert some(50, 'train', 5) == some(50, 'train', 5)
    assert some(50, 'train', 5) != some(50, 'train', 6)


def test_the_grammar_is_broad() -> None:
    texts = {text for text, _, _ in some(3000, 'train', verbs=tuple(FLIGHTS))}
    assert len(texts) > 2950
    assert max(map(len, texts)) < 400


def test_nothing_held_out_is_trained_on() -> None:
    trained = [*wording.GO, *wording.SEARCH, *wording.ORBIT, *wording.STOP, *wording.CHAT,
               *wording.GO_STATEMENTS, *wording.SEARCH_STATEMENTS, *wording.ORBIT_STATEMENTS,
               *wording.ORBIT_ADJECTIVES]
    held = list(itertools.chain(*wording.HELD_OUT.values()))
    assert not set(trained) & set(held)
    ws = wording_steps
    for known, unknown in ((ws.JOIN, ws.JOIN_HELD), (ws.PAIRS, ws.PAIRS_HELD),
                           (ws.PAIRS_REVERSED, ws.PAIRS_REVERSED_HELD), (ws.LAND, ws.LAND_HELD),
                           (ws.LAND_STATEMENTS, ws.LAND_STATEMENTS_HELD), (ws.WAIT, ws.WAIT_HELD),
                           (ws.LAND_AT, ws.LAND_AT_HELD), (ws.THERE, ws.THERE_HELD),
                           (wording.STRANGE, wording.HELD_OUT['strange']),
                           (wording.THINGS, wording.HELD_OUT['things'])):
        assert not set(known) & set(unknown)
    for known, unknown in ((ws.ANCHORED, ws.ANCHORED_HELD), (ws.SUPERLATIVE, ws.SUPERLATIVE_HELD)):
        for relation, phrases in known.items():
            assert not set(phrases) & set(unknown[relation]) and unknown[relation]
    texts = ' '.join(text.lower() for text, _, _ in some(4000, 'train', typos=0))
    for word in ('steer', 'cruise', 'glide', 'scout', 'sweep', 'spy', 'revolve', 'whirl'):
        assert word not in texts, word


@pytest.mark.parametrize(('text', 'want'), [
    ('fly to the red sphere', ('go', 'red', 'sphere')),
    ('orbit the blue box to the left', ('orbit_left', 'blue', 'box')),
    ('find the yellow cone and hover in front of it', ('search', 'yellow', 'cone')),
    ('circle the white pillar clockwise', ('orbit_left', 'white', 'pillar')),
    ('circle the white pillar counter-clockwise', ('orbit_right', 'white', 'pillar')),
    ('circle the white pillar anticlockwise', ('orbit_right', 'white', 'pillar')),
    ('circle the white pillar keeping it on your right', ('orbit_left', 'white', 'pillar')),
    ('circle the white pillar with it on your left', ('orbit_right', 'white', 'pillar')),
    ('orbit the green cone', ('orbit_left', 'green', 'cone')),
    ('go to the crimson ball, not the navy crate', ('go', 'red', 'sphere')),
    ('not the navy crate, go to the crimson ball', ('go', 'red', 'sphere')),
    ('ignore the navy crate and go to the crimson ball', ('go', 'red', 'sphere')),
    ('go to the navy crate, no, the crimson ball', ('go', 'red', 'sphere')),
    ('go to the crimson ball next to the navy crate', ('go', 'red', 'sphere')),
    ('the red one, the sphere: fly there', ('go', 'red', 'sphere')),
    ('stop at the red sphere', ('go', 'red', 'sphere')),
    ('fly to the round column that is dark red', ('go', 'red', 'pillar')),
    ('fly to the red sphere right now', ('go', 'red', 'sphere')),
    ('stop going to the red sphere', ('hover',)),
    ('do not go to the red sphere', ('hover',)),
    ('no need to search for the red sphere', ('hover',)),
    ('what colour is the red sphere', ('hover',)),
    ('go to the red car', ('hover',)),
    ('sing a song', ('hover',)), ('stop', ('hover',)), ('', ('hover',))])
def test_rules(text: str, want: tuple[str, ...]) -> None:
    assert reference_plan(text) == Plan(*want)
    assert reference_plan(text.upper() + '.') == Plan(*want)


@pytest.mark.parametrize('text', [
    'go to the ball', 'orbit the red one', 'find the crate', 'land', 'land near the red sphere',
    'go to the red sphere, then to the blue box'])
def test_what_the_rules_cannot_say_is_left_open(text: str) -> None:
    assert reference_plan(text) is None


def test_what_is_named_in_part_names_no_object() -> None:
    rng = np.random.default_rng(0)
    for verb in FLIGHTS:
        for k in range(50):
            plan = Plan(verb, 'blue', ANY) if k % 2 else Plan(verb, ANY, 'cone')
            assert not mentioned_objects(sample_instruction(rng, plan))


@pytest.mark.parametrize('split', ['train', 'held_out'])
@pytest.mark.parametrize('relation', RELATIONS[1:])
def test_a_relation_names_its_anchor_and_its_side(relation: str, split: str) -> None:
    rng = np.random.default_rng(1)
    for verb in ('go', 'orbit_left', 'search'):
        for _ in range(40):
            plan = Plan(verb, ANY, 'cone', relation, 'blue', 'box')
            text = sample_instruction(rng, plan, split, typos=0).lower()
            if relation in RELATIONS[1:6]:
                assert ('blue', 'box') in mentioned_objects(text), text
            else:
                assert not any(f'{c} ' in text for c in COLOURS), text
            for side in ('left', 'right'):
                if relation.startswith(side):
                    assert side in text


def test_a_fully_named_object_needs_no_relation() -> None:
    one, two = (sample_instruction(np.random.default_rng(4), Plan('go', 'red', 'box', *rest))
                for rest in ((), ('left', 'blue', 'cone')))
    assert one == two


def test_every_object_is_mentioned_the_meant_one_first() -> None:
    text = 'Ignore the navy crate and fly to the crimson ball near the navy crate'
    assert mentioned_objects(text) == [('red', 'sphere'), ('blue', 'box')]
    assert mentioned_objects('hover') == []
    first = [mentioned_objects(text)[:1] == [(plan.colour, plan.shape)] for text, plan, _ in
             some(1000, 'held_out', verbs=tuple(FLIGHTS))]
    assert np.mean(first) > .985


def test_a_third_mentions_another_object() -> None:
    named = [len(mentioned_objects(text)) > 1 for text, plan, other in
             some(1500, 'train', verbs=('go', 'search')) if
             (plan.colour, plan.shape) != (other.colour, other.shape)]
    assert .2 < np.mean(named) < .36


def test_typos_change_one_word() -> None:
    clean, typed = (some(300, 'train', 3, ('go',), typos) for typos in (0, 1))
    assert np.mean([a[0] != b[0] for a, b in zip(clean, typed, strict=True)]) > .9


def test_an_unknown_split_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match='split'):
        sample_instruction(rng, Plan('go'), 'test')
    with pytest.raises(ValueError, match='split'):
        sample_mission(rng, [Plan('go')] * 2, 'test')
    for count in (0, 1, 5):
        with pytest.raises(ValueError, match='2 to 4 steps'):
            sample_mission(rng, [Plan('go')] * count)


@pytest.mark.parametrize('split', ['train', 'held_out'])
@pytest.mark.parametrize('count', [2, 3, 4])
def test_missions_name_every_object(split: str, count: int) -> None:
    """In the order of flight, unless what comes last is said first."""
    rng = np.random.default_rng(count)
    ordered = complete = 0
    for _ in range(300):
        pairs = rng.choice(len(COLOURS) * len(SHAPES), count, replace=False)
        objects = [(COLOURS[k // 4], SHAPES[k % 4]) for k in pairs]
        plans = [Plan(str(rng.choice(FLIGHTS)), *o) for o in objects]
        text = sample_mission(rng, plans, split, 0)
        assert len(text) <= 400
        ordered += mentioned_objects(text) == objects
        complete += set(mentioned_objects(text)) == set(objects)
    assert complete > 290 and ordered > (190 if count == 2 else 230)


def test_the_same_object_becomes_it() -> None:
    rng = np.random.default_rng(0)
    plans = [Plan('go', 'red', 'sphere'), Plan('orbit_left', 'red', 'sphere'), Plan('land')]
    texts = [sample_mission(rng, plans, typos=0).lower() for _ in range(100)]
    assert .3 < np.mean([' it' in text for text in texts]) < .9
    assert len(set(texts)) == 100


def test_the_grammar_of_plans() -> None:
    plans = [Plan('go', ANY, 'box', 'left', 'blue', ANY), Plan('hover'),
             Plan('search', 'red', 'cone'), Plan('orbit_left', ANY, ANY, 'nearest')]
    words = join(plans).split()
    assert parse(words) == plans
    said: list[str] = []
    steps = 0
    for word in (*words, END):
        assert word in next_words(said, steps)
        said, steps = ([], steps + 1) if word == THEN else ([*said, word], steps)
    assert next_words(['land'], 3) == (END,) and THEN in next_words(['land'], 2)
    assert next_words(['unknown']) == (END,)
    assert 'none' not in next_words(['go', ANY, ANY]) and END not in next_words(['go', ANY, ANY])
    assert set(next_words(['go', 'red', 'box'])) == {END, THEN}
    assert ANY not in next_words(['go', ANY, 'box', 'left', ANY])


@pytest.mark.parametrize(('plan', 'text', 'resolved'), [
    (Plan('go', 'red', 'sphere'), 'go to the red sphere', True),
    (Plan('go', ANY, 'box', 'left', 'blue', 'pillar'),
     'go to the box left of the blue pillar', False),
    (Plan('orbit_right', 'red', ANY), 'orbit the red object to the right', False),
    (Plan('search', ANY, 'cone', 'nearest'), 'search for the nearest cone and go to it', False),
    (Plan('go', ANY, ANY, 'front', ANY, 'box'), 'go to the object in front of the box', False),
    (Plan('land'), 'land', True), (Plan('hover'), 'hover', True),
    (Plan('unknown'), 'I did not understand', True)])
def test_plans_in_words_and_vectors(plan: Plan, text: str, resolved: bool) -> None:
    assert plan.text() == text and plan.resolved is resolved
    vector = plan.vector()
    named = 0 if plan.verb not in FLIGHTS else (plan.colour != ANY) + (plan.shape != ANY)
    assert vector.sum() == 1 + named
    if plan.verb not in FLIGHTS:
        np.testing.assert_array_equal(vector, Plan('hover').vector())


def test_sentences_written_by_hand_name_real_plans() -> None:
    """The data the language head is judged on holds no slip of the pen."""
    rows = [line.split('\t') for line in DATA.read_text().splitlines() if line[:1] not in '#']
    assert len(rows) >= 210
    verbs = set()
    for want, text in rows:
        said: list[str] = []
        steps = 0
        for word in (*want.split(), END):
            assert word in next_words(said, steps), want
            said, steps = ([], steps + 1) if word == THEN else ([*said, word], steps)
        verbs |= {plan.verb for plan in parse(want.split())}
        assert text.strip()
    assert verbs == {*VERBS, 'land', 'unknown'}
