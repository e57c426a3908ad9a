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

from edge_vla.language.plan import COLOURS, Plan, SHAPES, VERBS
from edge_vla.sim import wording
from edge_vla.sim.instructions import (
    mentioned_objects,
    reference_plan,
    sample_instruction,
    sample_vague,
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


@pytest.mark.parametrize('text', ['go to the ball', 'orbit the red one', 'find the crate'])
def test_what_names_no_object_is_left_open(text: str) -> None:
    assert reference_plan(text) is None


def test_vague_instructions_name_no_object() -> None:
    rng = np.random.default_rng(0)
    for verb in FLIGHTS:
        for _ in range(50):
            assert not mentioned_objects(sample_vague(rng, Plan(verb, 'blue', 'cone')))


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
    with pytest.raises(ValueError, match='split'):
        sample_instruction(np.random.default_rng(0), Plan('go'), 'test')


def test_sentences_written_by_hand_name_real_plans() -> None:
    """The data the language head is judged on holds no slip of the pen."""
    rows = [line.split('\t') for line in DATA.read_text().splitlines() if line[:1] not in '#']
    assert len(rows) >= 150
    for want, text in rows:
        plan = Plan(*want.split())
        assert plan.verb in VERBS and plan.colour in COLOURS and plan.shape in SHAPES
        assert text.strip()
    assert {want.split()[0] for want, _ in rows} == set(VERBS)
