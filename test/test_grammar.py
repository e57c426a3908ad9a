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

"""Grammars over tokens: exactly the language, whatever the vocabulary."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

from edge_vla.exceptions import CheckpointError
from edge_vla.language.constrained import readings, write, Written
from edge_vla.language.grammar import Allowed, Automaton, PLAN, plan_arcs
from edge_vla.language.plan import END, MAX_STEPS, next_words, parse, THEN
from hypothesis import assume, given, strategies as st
import numpy as np
import pytest

ALL_WORDS = sorted({w for said in ((), ('go',), ('go', 'red'), ('go', 'any', 'any'))
                    for w in next_words(said)} | {'any', 'near', 'box', THEN})
BYTES = [bytes([b]) for b in range(256)]
LETTERS = ['a', 'b', 'é', '無']  # of one, two and three bytes


def grammatical(words: Sequence[str]) -> bool:
    """Tell whether these are the words of a whole plan, by `next_words` alone."""
    said, steps = [], 0
    for word in (*words, END):
        if word not in next_words(said, steps):
            return False
        said, steps = ([], steps + 1) if word == THEN else ([*said, word], steps)
    return True


def one_step(said: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every beginning of a step, whole ones too."""
    yield said
    for word in next_words(said):
        if word not in (END, THEN):
            yield from one_step((*said, word))


@pytest.fixture(scope='module')
def plans() -> Automaton:
    return Automaton(PLAN, plan_arcs)


def test_the_words_that_may_follow_are_those_of_the_plan_grammar(plans: Automaton) -> None:
    """A word stands for all of its kind: shown here for every beginning of a step."""
    count = 0
    for said in one_step():
        for prefix, steps in (('', 0), ('hover then ' * (MAX_STEPS - 1), MAX_STEPS - 1)):
            state = plans.run((prefix + ' '.join(said)).encode())
            may = next_words(said, steps)
            assert (plans.run(b'\n', state) == plans.final) == (END in may)
            after = plans.run(b' ', state) if said else state
            for word in ALL_WORDS if count % 50 == 0 else (THEN, 'any', 'nearest'):
                end = plans.run(word.encode(), after) if after >= 0 else -1
                whole = end >= 0 and bool({10, 32} & plans.steps[end].keys())
                assert whole == (word in may), (said, word)
        count += 1
    assert count > 10000


@given(st.lists(st.sampled_from(ALL_WORDS), max_size=30))
def test_what_is_accepted_is_what_parses(plans: Automaton, words: list[str]) -> None:
    text = ' '.join(words).encode() + b'\n'
    assert (plans.run(text) == plans.final) == grammatical(words)


@given(st.data())
def test_every_plan_is_accepted(plans: Automaton, data: st.DataObject) -> None:
    words, said, steps = [], [], 0
    while not words or words[-1] != END:
        words.append(data.draw(st.sampled_from(next_words(said, steps))))
        said, steps = ([], steps + 1) if words[-1] == THEN else ([*said, words[-1]], steps)
    text = ' '.join(words[:-1])
    assert len(parse(words[:-1])) <= MAX_STEPS and len(text) + 1 <= plans.longest
    assert plans.run(text.encode() + b'\n') == plans.final
    assert plans.run(text.encode()) not in (-1, plans.final)


def test_the_longest_plan(plans: Automaton) -> None:
    step = 'orbit_right yellow any behind yellow pillar'
    assert plans.longest == len(' then '.join([step] * MAX_STEPS)) + 1


Graph = list[list[tuple[bytes, int | None]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a grammar: for every state some words and later states; None, after '.', is the end."""
    count = draw(st.integers(1, 3))
    word = st.text(st.sampled_from(LETTERS), min_size=1, max_size=2).map(str.encode)
    return [[*draw(st.lists(st.tuples(word, st.integers(k + 1, count - 1)), max_size=3)
                   if k + 1 < count else st.just([])),
             *((w + b'.', None) for w in draw(st.lists(word, min_size=k + 1 == count,
                                                       max_size=2)))]
            for k in range(count)]


def texts_of(graph: Graph, state: int | None = 0) -> set[bytes]:
    if state is None:
        return {b''}
    return {word + rest for word, after in graph[state] for rest in texts_of(graph, after)}


def spellings(text: bytes, vocabulary: list[bytes]) -> Iterator[tuple[int, ...]]:
    if not text:
        yield ()
    for token, data in enumerate(vocabulary):
        if data and text.startswith(data):
            yield from ((token, *rest) for rest in spellings(text[len(data):], vocabulary))


def sentences(allowed: Allowed, state: int = 0) -> Iterator[tuple[int, ...]]:
    if state == allowed.final:
        yield ()
        return
    tokens, after = allowed.next(state)
    for token, then in zip(tokens.tolist(), after, strict=True):
        yield from ((token, *rest) for rest in sentences(allowed, then))


@given(graphs(), st.data())
def test_any_vocabulary_spells_exactly_the_language(graph: Graph, data: st.DataObject) -> None:
    language = texts_of(graph)
    assume(0 < len(language) <= 40)
    cuts = st.sampled_from(sorted(language)).flatmap(lambda t: st.tuples(
        st.integers(0, len(t) - 1), st.integers(1, 9)).map(lambda c: t[c[0]:c[0] + c[1]]))
    vocabulary = data.draw(st.lists(st.one_of(
        cuts, cuts, st.sampled_from(BYTES), st.just(b''), st.binary(max_size=3)), max_size=12))
    if data.draw(st.booleans()):
        vocabulary += [bytes([b]) for b in sorted({b for t in language for b in t})]
    want = [s for text in language for s in spellings(text, vocabulary)]
    assume(len(want) <= 3000)
    automaton = Automaton(0, lambda state: graph[state])
    assert {t for t in language if automaton.run(t) == automaton.final} == language
    if not want:
        with pytest.raises(CheckpointError, match='cannot spell'):
            Allowed(automaton, vocabulary)
        return
    assert sorted(sentences(Allowed(automaton, vocabulary))) == sorted(want)


def test_grammars_that_never_end_or_end_twice_are_refused() -> None:
    with pytest.raises(ValueError, match='longest'):
        Automaton(0, lambda state: [(b'a', 0), (b'.', None)])
    with pytest.raises(ValueError, match='beginning of another'):
        Automaton(0, lambda state: [(b'a', None), (b'ab', None)])


def words_of(text: bytes) -> tuple[str, ...]:
    assert text.endswith(b'\n')
    return tuple(text.decode().split())


@cache
def cut_anyhow(kind: int) -> tuple[list[bytes], Allowed]:
    """Return bytes, and but for kind 0 pieces of plans that end anywhere."""
    rng = np.random.default_rng(kind)
    text = b'go any box left blue any then orbit_left any any nearest then hover\n'
    vocabulary = BYTES + [text[i:i + n] for i, n in rng.integers(1, len(text), (80 * kind, 2))]
    return vocabulary, Allowed(Automaton(PLAN, plan_arcs), vocabulary)


class Model:
    """Says of the last token what a function says; takes nothing back, for nothing is guessed."""

    def __init__(self, forward: Callable[[list[int], np.ndarray], np.ndarray]) -> None:
        self._forward = forward

    def logits(self, ids: list[int], tokens: np.ndarray) -> np.ndarray:
        return np.tile(self._forward(ids, tokens), (len(ids), 1))

    def take_back(self, count: int) -> None:
        assert count == 0


@given(st.integers(0, 2**32), st.booleans(), st.integers(0, 2))
def test_any_model_writes_a_plan_greedily_or_by_chance(
        seed: int, by_chance: bool, kind: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary, allowed = cut_anyhow(kind)
    scale = float(rng.choice([.1, 3, 50]))

    def forward(new: list[int], tokens: np.ndarray) -> np.ndarray:
        assert new and len(tokens) > 1
        return rng.normal(0, scale, len(tokens)).astype(np.float32)

    written = write(Model(forward), [0], allowed, *(
        [lambda law: int(rng.choice(len(law), p=law))] if by_chance else []))
    assert b''.join(vocabulary[t] for t in written.ids) == written.text
    words = words_of(written.text)
    assert grammatical(words) and parse(words)
    assert np.logaddexp.reduce([x for _, x in written.beginnings]) == pytest.approx(0, abs=1e-6)
    spoken = list(readings(written))
    assert tuple(word for word, _ in spoken) == (*words, END)
    for word, choice in spoken:
        assert sum(choice.values()) == pytest.approx(1) and choice[word] > 0
        assert min(choice.values()) >= 0


def test_with_a_token_for_each_word_the_probabilities_are_the_softmax(plans: Automaton) -> None:
    vocabulary = [b'\n', *(w.encode() for w in next_words(())),
                  *(b' ' + w.encode() for w in ALL_WORDS)]
    rng, seen = np.random.default_rng(3), []

    def forward(new: list[int], tokens: np.ndarray) -> np.ndarray:
        logits = rng.normal(0, 2, len(vocabulary)).astype(np.float32)
        seen.append({vocabulary[t]: float(logits[t]) for t in tokens})
        return logits[tokens]

    spoken = list(readings(write(Model(forward), [0], Allowed(plans, vocabulary))))
    assert len(spoken) > 3
    for (_, choice), logits in zip((s for s in spoken if len(s[1]) > 1), seen, strict=True):
        x = np.exp(list(logits.values()))
        want = {(t.decode().strip() or END): p for t, p in zip(logits, x / x.sum(), strict=True)}
        for first in ('near', 'left', 'right'):  # may go on: nearest, leftmost, rightmost
            for law in (choice, want):
                law[first] = sum(p for word, p in law.items() if word.startswith(first))
                law |= {word: 0 for word in law if word.startswith(first) and word != first}
        assert choice == pytest.approx(want)


def test_the_pieces_of_a_word_are_added_up(plans: Automaton) -> None:
    """Every way of spelling counts, and what is open is shared."""
    def log(**p: float) -> list[tuple[bytes, float]]:
        return [(k.replace('_then', ' then').encode(), float(np.log(v))) for k, v in p.items()]
    beginnings = log(go=.1, orb=.2, orbit_l=.1, se=.05, search=.05, land_then=.1, h=.1)
    beginnings += [(b'hover\n', float(np.log(.3)))]
    spoken = list(readings(Written(b'hover\n', (), beginnings)))
    assert [word for word, _ in spoken] == ['hover', END]
    assert spoken[0][1] == pytest.approx({
        'go': .1, 'orbit_left': .2, 'orbit_right': .1, 'search': .1, 'hover': .4, 'land': .1,
        'unknown': 0})
    assert spoken[1][1] == pytest.approx({END: 1, THEN: 0})
    near = [(b'go any box nearest\n', float(np.log(.5))), (b'go any box near', float(np.log(.3))),
            (b'go any box near red', float(np.log(.2)))]
    choice = list(readings(Written(near[0][0], (), near)))[3][1]
    assert (choice['nearest'], choice['near']) == pytest.approx((.65, .35))


def test_what_can_go_on_in_one_way_only_is_not_asked(plans: Automaton) -> None:
    asked: list[list[int]] = []

    def forward(new: list[int], tokens: np.ndarray) -> np.ndarray:
        asked.append(list(new))
        return np.isin(tokens, list(b'l\n')).astype(np.float32)

    written = write(Model(forward), [7, 8], Allowed(plans, BYTES))
    assert written.text == b'land\n'
    assert asked == [[7, 8], list(b'land')]  # the end, or more


def test_logits_that_are_no_numbers_are_refused(plans: Automaton) -> None:
    with pytest.raises(CheckpointError, match='NaN'):
        write(Model(lambda new, tokens: np.full(len(tokens), np.nan)), [0],
              Allowed(plans, BYTES))


def test_the_end_of_a_turn_ends_a_plan(plans: Automaton) -> None:
    vocabulary = [b for b in BYTES if b != b'\n'] + [b'\n', b'\n']
    tokens, _ = Allowed(plans, vocabulary).next(plans.run(b'land'))
    assert sorted(tokens.tolist()) == [ord(' ') - 1, 255, 256]
