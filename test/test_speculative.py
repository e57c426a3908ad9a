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

"""Speculative decoding: the same tokens, the same law, the same state; and when it pays."""

from collections.abc import Callable, Sequence
from itertools import product
import json
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any

from bitnet_models import config_of as bitnet_config, decoder_of as bitnet_decoder
from edge_vla.cli.main import main
from edge_vla.exceptions import ConfigError
from edge_vla.language.drafts import (
    Bridge,
    draft_for,
    IntersectionDraft,
    ModelDraft,
    TextDraft,
)
from edge_vla.language.generation import CachedIds, generate
from edge_vla.language.ngram import NGramDraft
from edge_vla.language.sampling import probabilities, Sampler, SamplingConfig
from edge_vla.language.speculative import (
    acceptance,
    agree,
    Draft,
    DraftLength,
    Proposal,
    residual,
    Speculation,
)
from hypothesis import given, settings, strategies as st
from lfm2_models import (
    config_of as lfm2_config,
    decoder_of as lfm2_decoder,
    weights_of,
    write_folder,
)
import numpy as np
import pytest

GREEDY = SamplingConfig()
LAWS = [SamplingConfig(temperature=1.0), SamplingConfig(temperature=.6, top_k=3),
        SamplingConfig(temperature=1.3, top_p=.8),
        SamplingConfig(temperature=.9, top_k=4, top_p=.9, repetition_penalty=1.7)]


class Words:
    """A tokenizer of given byte strings, longest first; single bytes may be missing."""

    def __init__(self, words: Sequence[bytes], special: Sequence[str] = ()) -> None:
        self.words = list(words)
        self.special = {name: len(words) + k for k, name in enumerate(special)}
        self.begin, self.size = None, len(words) + len(special)
        longest = sorted(set(words), key=len, reverse=True)
        self._cut = re.compile(b'|'.join(map(re.escape, longest)), re.S)

    def encode(self, text: str) -> list[int]:
        return [self.words.index(m.group()) for m in self._cut.finditer(text.encode())]

    def bytes_of(self, token: int) -> bytes:
        return self.words[token] if token < len(self.words) else b''


class Table:
    """A decoder whose logits depend on the last two tokens in a fixed random way."""

    def __init__(self, vocabulary: int, seed: int, tokenizer: Any = None, sharp: float = 1,
                 capacity: int = 10**6, like: 'Table | None' = None) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.normal(0, 2 * sharp, (vocabulary + 1, vocabulary + 1, vocabulary))
        if like is not None:  # nearly what another says
            self.table = like.table + .3 * self.table
        self.config = SimpleNamespace(vocab_size=vocabulary, eos_token_id=10**9)
        self.tokenizer, self.chat, self.held = tokenizer, None, []
        self.cache, self.capacity, self.appended = self, capacity, 0

    @property
    def length(self) -> int:
        return len(self.held)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= len(self.held)
        del self.held[length:]

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        out = []
        assert len(ids) and len(self.held) + len(ids) <= self.capacity
        for i in ids:
            self.held.append(i)
            self.appended += 1
            out.append(self.table[tuple([-1, *self.held][-2:])])
        return np.array(out)

    def forward(self, ids: Sequence[int]) -> np.ndarray:
        return self.logits(ids)[-1]


class Always(DraftLength):
    """Proposes as much as it may, whatever that costs."""

    def choose(self, chances: Sequence[float] | None = None) -> int:
        return self.most


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('edge_vla.language.speculative.DraftLength', Always)


ALPHABET = 'abcdeé無🚁 '
LETTERS = sorted({bytes([b]) for b in ALPHABET.encode()})
MINE = Words([*LETTERS, b'ab', b'cd', ' é'.encode(), '無'.encode(), '🚁'.encode()[:2]])
THEIRS = Words([b'abc', *reversed(LETTERS), b'bc', b'de', '無'.encode(), '🚁'.encode()], ['<s>'])
NOTHING = Words([b'XY', b'Z', b'Q'])  # no byte in common
TARGET = Table(MINE.size, 0, MINE)


def drafts(target: Any = TARGET) -> dict[str, Callable[[], Draft]]:
    """Return every kind, good and bad ones."""
    size = target.config.vocab_size

    def bridged(kind: Any, words: Words, *more: int) -> Callable[[], Draft]:
        return lambda: kind(Table(words.size, 5, words), Bridge(MINE, words, size, words.size),
                            *more)
    return {
        'n-gram': NGramDraft, 'one gram': lambda: NGramDraft(1),
        'good model': lambda: ModelDraft(Table(size, 1, like=target), size),
        'bad model': lambda: ModelDraft(Table(size, 2), size),
        'short cache': lambda: ModelDraft(Table(size, 1, like=target, capacity=9), size),
        'text': bridged(TextDraft, THEIRS), 'text of bytes': bridged(TextDraft, Words(LETTERS)),
        'intersection': bridged(IntersectionDraft, THEIRS, size),
        'disjoint text': bridged(TextDraft, NOTHING),
        'disjoint law': bridged(IntersectionDraft, NOTHING, size)}


@pytest.mark.usefixtures('eager')
@pytest.mark.parametrize('kind', drafts())
def test_greedy_tokens_are_those_of_plain_decoding(kind: str) -> None:
    """A thousand prompts, of which many end inside a character."""
    rng, draft, kept = np.random.default_rng(4), drafts()[kind](), 0
    for _ in range(1000):
        text = ''.join(rng.choice(list(ALPHABET), rng.integers(1, 9)))
        prompt = MINE.encode(text)
        prompt = prompt[:rng.integers(1, len(prompt) + 1)]
        most = int(rng.integers(1, 16))
        plain = generate(TARGET, prompt, max_tokens=most)
        held = list(TARGET.held)
        fast = generate(TARGET, prompt, max_tokens=most, draft=draft)
        assert (fast.ids, fast.text, fast.finish) == (plain.ids, plain.text, plain.finish)
        assert TARGET.held == held
        kept += fast.kept_tokens
    assert (kept > 0) == (not kind.startswith('disjoint'))


@pytest.mark.usefixtures('eager')
@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize('kind', ['n-gram', 'text'])
def test_what_is_proposed_without_chance_keeps_the_random_numbers(
        kind: str, law: SamplingConfig) -> None:
    for seed in range(20):
        sampling = SamplingConfig(law.temperature, law.top_k, law.top_p, law.repetition_penalty,
                                  seed)
        plain, fast = (generate(TARGET, [1, 2, 1], max_tokens=30, sampling=sampling, draft=draft)
                       for draft in (None, drafts()[kind]()))
        assert fast.ids == plain.ids


def some_law(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a law some of whose probabilities are zero."""
    p = rng.exponential(1, size) * (rng.random(size) < .7)
    p[rng.integers(size)] += 1e-3
    return p / p.sum()


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 16), seed=st.integers(0, 10**6))
def test_the_law_of_one_token_is_exact(size: int, seed: int) -> None:
    """Kept tokens and what comes instead of the others add up to the model's law."""
    rng = np.random.default_rng(seed)
    p, q = some_law(rng, size), some_law(rng, size)
    keep = np.array([acceptance(p, q, x) for x in range(size)])
    out = q * keep + (1 - (q * keep).sum()) * residual(p, q)
    np.testing.assert_allclose(out, p, atol=1e-12, rtol=0)
    np.testing.assert_allclose((q * keep).sum(), np.minimum(p, q).sum(), atol=1e-12)


def law_of(target: Table, prompt: list[int], law: SamplingConfig, length: int) -> np.ndarray:
    """Return the law of the next tokens in plain decoding, by enumeration."""
    v = target.config.vocab_size
    out = np.zeros((v,) * length)
    for ids in product(range(v), repeat=length):
        seen, chance = list(prompt), 1.0
        for i in ids:
            chance *= probabilities(target.table[tuple([-1, *seen][-2:])], seen, law)[i]
            seen.append(i)
        out[ids] = chance
    return out


class Listed:
    """A sampler whose choices are given, and which counts what they are worth."""

    def __init__(self, config: SamplingConfig, choices: list[int]) -> None:
        self.config, self.choices, self.chance = config, list(choices), 1.0

    def __call__(self, logits: np.ndarray, ids: Sequence[int]) -> int:
        return self.draw(probabilities(logits, ids, self.config))

    def draw(self, weights: np.ndarray) -> int:
        token = self.choices.pop(0) if self.choices else 0
        self.chance *= weights[token] / weights.sum()
        return token


@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize('seed', range(3))
def test_the_law_of_a_round_is_exact(law: SamplingConfig, seed: int,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every way a round of two proposed tokens can go, weighed by its probability.

    What a round leaves open of three tokens is plain decoding.
    """
    v, prompt = 4, [1, 2]
    target, draft = Table(v, seed), Table(v, seed + 50)
    plain = law_of(target, prompt, law, 3)
    out = np.zeros_like(plain)
    wanted: list[bool] = []

    def chosen(p: np.ndarray, q: np.ndarray, token: int) -> float:
        a = acceptance(p, q, token)
        keep = wanted.pop(0)
        weigh[0] *= a if keep else 1 - a
        return 2.0 if keep else -1.0
    monkeypatch.setattr('edge_vla.language.speculative.acceptance', chosen)
    for x in product(range(v), repeat=2):
        laws, seen, drawn = [], list(prompt), 1.0
        for i in x:
            laws.append(probabilities(draft.table[tuple(seen[-2:])], seen, law))
            drawn *= laws[-1][i]
            seen.append(i)
        rows = [target.table[tuple([*prompt, *x][k:k + 2])] for k in range(3)]
        for decisions, choice in product(([False], [True, False], [True, True]), range(v)):
            wanted, weigh = list(decisions), [drawn]
            sampler = Listed(law, [choice])
            sampler.uniform = lambda: 0.0  # type: ignore[attr-defined]
            tokens = agree(Proposal(list(x), laws), np.array(rows), prompt, sampler)
            chance = weigh[0] * sampler.chance
            if chance == 0:
                continue
            for rest in product(range(v), repeat=3 - len(tokens)):
                seen, more = [*prompt, *tokens], 1.0
                for i in rest:
                    more *= probabilities(target.table[tuple(seen[-2:])], seen, law)[i]
                    seen.append(i)
                out[tuple(seen[2:])] += chance * more
    np.testing.assert_allclose(out, plain, atol=1e-12, rtol=0)


def chi_square(counts: np.ndarray, law: np.ndarray) -> float:
    """Return by how many standard deviations the statistic is too large; rare cells are one."""
    want = law * counts.sum()
    rare = want < 5
    assert counts[law == 0].sum() == 0
    want = np.append(want[~rare], want[rare].sum())
    got = np.append(counts[~rare], counts[rare].sum())
    got, want = got[want > 0], want[want > 0]
    free = max(1, len(want) - 1)
    return float((((got - want) ** 2 / want).sum() - free) / np.sqrt(2 * free))


SMALL, OTHER = Words([b'a', b'b', b'c', b'ab']), Words([b'c', b'a', b'x', b'a', b'b'])


@pytest.mark.timeout(7200)  # with a million samples
@pytest.mark.usefixtures('eager')
@pytest.mark.parametrize('law', LAWS[1:])
@pytest.mark.parametrize('kind', ['model', 'intersection', 'text', 'n-gram', 'disjoint'])
def test_sampled_tokens_follow_the_law(kind: str, law: SamplingConfig, samples: int) -> None:
    """Generation as a whole, three tokens after the first, against enumeration."""
    target = Table(4, 3, SMALL, .5)
    bridge = Bridge(SMALL, OTHER, 4, 5)
    draft = {'model': lambda: ModelDraft(Table(4, 9, sharp=.5), 4),
             'intersection': lambda: IntersectionDraft(Table(5, 9, OTHER, .5), bridge, 4),
             'text': lambda: TextDraft(Table(5, 9, OTHER), bridge), 'n-gram': NGramDraft,
             'disjoint': lambda: IntersectionDraft(Table(3, 9, NOTHING), Bridge(
                 SMALL, NOTHING, 4, 3), 4)}[kind]()
    sampler = Sampler(law)
    prompt = [0, 1, 0]
    want, counts = law_of(target, prompt, law, 3), np.zeros((4, 4, 4))
    for _ in range(samples):
        target.truncate(0)
        target.forward(prompt[:-1])
        ids, speculation = list(prompt), Speculation(target, draft, sampler)
        while len(ids) < 6:
            ids += speculation.step(ids[-1:], ids, 6 - len(ids))
            assert target.held == ids[:-1]
        counts[tuple(ids[3:6])] += 1
    assert chi_square(counts, want) < 5


@pytest.mark.usefixtures('eager')
@pytest.mark.parametrize('kind', ['model', 'intersection'])
def test_texts_of_many_seeds_follow_the_law(kind: str) -> None:
    """A new draft for every text, as a command makes one."""
    target, bridge = Table(4, 3, SMALL, .5), Bridge(SMALL, OTHER, 4, 5)
    small, other = Table(4, 9, sharp=.5), Table(5, 9, OTHER, .5)
    law, prompt = SamplingConfig(temperature=1.0), [0, 1, 0]
    want, counts = law_of(target, prompt, law, 3), np.zeros((4, 4, 4))
    for seed in range(8000):
        for table in (target, small, other):
            table.truncate(0)
        target.forward(prompt[:-1])
        draft = ModelDraft(small, 4) if kind == 'model' else IntersectionDraft(other, bridge, 4)
        sampler = Sampler(SamplingConfig(temperature=1.0, seed=seed))
        ids, speculation = list(prompt), Speculation(target, draft, sampler)
        while len(ids) < 6:
            ids += speculation.step(ids[-1:], ids, 6 - len(ids))
        counts[tuple(ids[3:6])] += 1
    assert chi_square(counts, want) < 5


def test_a_damaged_draft_proposes_nothing() -> None:
    target, small = Table(4, 3, SMALL, .5), Table(4, 9)
    small.table[:] = np.nan
    done = [generate(target, [0, 1], max_tokens=9, draft=draft).ids
            for draft in (None, ModelDraft(small, 4)) if not target.truncate(0)]
    assert done[0] == done[1]


@pytest.mark.parametrize('clock', [0.0, float('nan'), float('inf')])
def test_a_clock_that_stands_or_is_broken_changes_no_text(clock: float) -> None:
    target = Table(4, 3, SMALL, .5)
    plain, drafts_made = generate(target, [0, 1], max_tokens=60).ids, (
        NGramDraft(), ModelDraft(Table(4, 3, SMALL, .5), 4), ModelDraft(Table(4, 9), 4))
    for draft in drafts_made:
        target.truncate(0)
        target.forward([0])
        ids = [0, 1]
        speculation = Speculation(target, draft, Sampler(SamplingConfig()), clock=lambda: clock)
        while len(ids) < 62:
            ids += speculation.step(ids[-1:], ids, 62 - len(ids))
        assert tuple(ids[2:]) == plain


def test_a_long_text_is_not_learned_anew_for_every_token() -> None:
    learned = 0

    class Counting(NGramDraft):
        def _learn(self, ids: list[int], at: int) -> None:
            nonlocal learned
            learned += 1
            super()._learn(ids, at)
    draft = Counting(memory=300)
    ids = np.random.default_rng(0).integers(0, 10**6, 3000).tolist()
    for n in range(2000, 3000):
        draft.propose(ids[:n], 4, SamplingConfig())
    assert learned < 40_000
    assert len(draft._after) + len(draft._next) < 20_000
    for k in range(20):  # others are forgotten as before
        draft.propose([10**6 + k, *ids[k:k + 60]], 4, SamplingConfig())
    assert len(draft._after) + len(draft._next) < 800


def test_chi_square_notices_a_wrong_law() -> None:
    rng, law = np.random.default_rng(0), np.full(64, 1 / 64)
    wrong = np.where(np.arange(64) < 8, 1.4, 1) / 67.2
    assert chi_square(rng.multinomial(6000, law), law) < 5
    assert chi_square(rng.multinomial(6000, wrong), law) > 5


def test_tokens_of_the_same_bytes_are_added_up() -> None:
    bridge = Bridge(SMALL, OTHER, 4, 5)
    np.testing.assert_array_equal(bridge.table, [2, 0, -1, 0, 1])
    draft = IntersectionDraft(Table(5, 1, OTHER), bridge, 4)
    logits = np.log([.1, .2, .4, .1, .2])
    law = draft.law(logits, [], SamplingConfig(temperature=1.0))
    np.testing.assert_allclose(law, np.array([.3, .2, .1, 0]) / .6, atol=1e-15)
    shared = IntersectionDraft(Table(3, 1, NOTHING), Bridge(SMALL, NOTHING, 4, 3), 4)
    assert shared.law(np.zeros(3), [], SamplingConfig(temperature=1.0)) is None


@settings(max_examples=200, deadline=None)
@given(text=st.text(ALPHABET, max_size=12), new=st.text(ALPHABET, max_size=6),
       lost=st.integers(0, 3), shorter=st.integers(0, 2))
def test_text_is_cut_into_tokens_that_spell_it(text: str, new: str, lost: int,
                                               shorter: int) -> None:
    """Whatever of the new text is whole characters comes out of the tokens, and nothing else."""
    bridge = Bridge(MINE, THEIRS, MINE.size, THEIRS.size)
    ids = MINE.encode(text)
    ids = ids[:len(ids) - shorter] if shorter else ids
    data = new.encode()[:len(new.encode()) - lost] if lost else new.encode()
    spelled = b''.join(map(MINE.bytes_of, bridge.cut(ids, data)))
    assert data.startswith(spelled) or not shorter and data == spelled
    if not shorter and not lost:
        assert spelled == data
    carried = bridge.carried(ids)
    if not shorter and text.isascii():
        assert b''.join(map(THEIRS.bytes_of, carried)) == text.encode()


def test_special_tokens_are_carried_by_name_and_never_proposed() -> None:
    mine, theirs = Words([b'a', b'b'], ['<s>', '<e>']), Words([b'b', b'a'], ['<e>', '<x>'])
    bridge = Bridge(mine, theirs, 4, 4)
    np.testing.assert_array_equal(bridge.table, [1, 0, -1, -1])
    assert bridge.carried([2, 0, 3, 1]) == [1, 2, 0]


PAIRS = {
    'BitNet drafts for LFM2': (lambda: lfm2_decoder(lfm2_config('both kinds', vocab_size=50)),
                               lambda: bitnet_decoder(bitnet_config('no sharing'))),
    'LFM2 drafts for BitNet': (lambda: bitnet_decoder(bitnet_config('no sharing')),
                               lambda: lfm2_decoder(lfm2_config('many taps', vocab_size=50))),
    'LFM2 drafts for itself': (lambda: lfm2_decoder(lfm2_config('both kinds', vocab_size=50)),
                               lambda: lfm2_decoder(lfm2_config('both kinds', vocab_size=50)))}


@pytest.mark.usefixtures('eager')
@pytest.mark.parametrize('pair', PAIRS)
def test_real_models_say_the_same_and_are_left_in_the_same_state(pair: str) -> None:
    plain, fast = PAIRS[pair][0](), PAIRS[pair][0]()
    other = PAIRS[pair][1]()
    rng, kept = np.random.default_rng(1), 0
    for sampling in (GREEDY, SamplingConfig(temperature=.7, top_k=9)):
        for kind in ('model', 'n-gram'):
            draft = NGramDraft() if kind == 'n-gram' else draft_for(fast, other, sampling)
            for _ in range(4):
                prompt = rng.integers(0, 50, rng.integers(1, 12)).tolist()
                got = fast.generate(prompt, max_tokens=24, sampling=sampling, draft=draft)
                kept += got.kept_tokens
                if kind == 'n-gram' or sampling is GREEDY:
                    want = plain.generate(prompt, max_tokens=24, sampling=sampling)
                    assert got.ids == want.ids and got.finish == want.finish
                whole = [*prompt, *got.ids]
                assert fast.cache.length == len(whole) - 1
                plain.cache.truncate(0)
                np.testing.assert_array_equal(plain.logits(whole[:-1] + [3, 4])[-2:],
                                              fast.logits([3, 4]))
    assert kept > 0


@pytest.mark.usefixtures('eager')
def test_a_model_that_drafts_for_itself_is_always_right() -> None:
    twin = Table(MINE.size, 0, MINE)
    for sampling in (GREEDY, *LAWS):
        done = generate(TARGET, [1, 2], max_tokens=60, sampling=sampling,
                        draft=ModelDraft(twin, MINE.size))
        assert done.kept_tokens == done.drafted_tokens > 40


@pytest.mark.usefixtures('eager')
def test_the_end_of_a_text_and_of_the_cache_inside_a_round() -> None:
    target = Table(MINE.size, 0, MINE)
    twin = Table(MINE.size, 0, MINE)
    free = generate(target, [1, 2], max_tokens=40).ids
    for k in range(1, 20):
        target.config.eos_token_id = free[k]
        cached = CachedIds()
        done = generate(target, [1, 2], max_tokens=40, draft=ModelDraft(twin, MINE.size),
                        cached=cached)
        assert done.ids == free[:free.index(free[k]) + 1] and done.finish == 'end of text'
        assert target.held == cached.ids == [1, 2, *done.ids[:-1]]
        again = generate(target, [1, 2, *done.ids, 3], max_tokens=1, cached=cached)
        assert again.reused_tokens == 2 + len(done.ids) - 1
    target.config.eos_token_id = 10**9
    for capacity in range(2, 14):
        target.capacity = capacity
        done = generate(target, [1, 2], max_tokens=40, draft=ModelDraft(twin, MINE.size))
        assert done.finish == 'context full' and done.ids == free[:capacity - 1]
    target.capacity = 10**6
    for most in range(1, 14):
        done = generate(target, [1, 2], max_tokens=most, draft=ModelDraft(twin, MINE.size))
        assert done.ids == free[:most] and done.finish == 'length'
    text = generate(target, [1, 2], max_tokens=40).text
    plain, fast = (generate(target, [1, 2], max_tokens=40, stop=[text[5:7]], draft=draft)
                   for draft in (None, ModelDraft(twin, MINE.size)))
    assert (fast.text, fast.ids, fast.finish) == (plain.text, plain.ids, 'stop string')


def test_n_grams_are_the_longest_and_latest() -> None:
    def after(ids: list[int], count: int = 3) -> list[int]:
        proposal = NGramDraft().propose(ids, count, GREEDY)
        assert len(proposal.chances) == len(proposal.ids)
        assert all(0 < c < 1 for c in proposal.chances)
        return proposal.ids
    assert after([1, 2, 3]) == [] and after([7]) == [] and after([]) == []
    assert after([1, 2, 3, 9, 1, 2]) == [3, 9, 1]
    assert after([1, 2, 3, 5, 2, 4, 1, 2]) == [3, 5, 2]  # two tokens before one that is later
    assert after([5, 1, 6, 5, 2, 5]) == [2, 5, 2]  # the later of two
    assert after([5, 1, 9, 5, 1, 8, 5, 2, 5], 1) == [1]  # the more frequent one
    assert after([8, 8], 4) == [8, 8, 8, 8]  # goes on repeating


def test_n_grams_remember_earlier_texts_and_count_on() -> None:
    draft, steps = NGramDraft(), [9, 8, 1, 5, 9, 8, 2, 6, 9, 8, 3, 7, 9, 8, 4]
    draft.propose(steps, 1, GREEDY)
    assert draft.propose([0, 9], 1, GREEDY).ids == [8]
    other = [0, 9, 8, 1, 4, 4, 9, 8]
    assert draft.propose(other, 1, GREEDY).ids == [2]  # 8 was followed by 1 the time before
    assert draft.propose([*other, 2, 4, 9, 8], 1, GREEDY).ids == [3]
    assert NGramDraft().propose(other, 1, GREEDY).ids == [1]
    few = NGramDraft(memory=10)
    few.propose(steps, 1, GREEDY)
    few.propose([0], 1, GREEDY)  # too much is remembered: all is forgotten
    assert few.propose([0, 9], 1, GREEDY).ids == []


@given(st.lists(st.integers(0, 3), min_size=30, max_size=200), st.integers(0, 2**31))
def test_chances_of_n_grams_are_what_is_right(some: list[int], seed: int) -> None:
    rng, draft, said, sure, right = np.random.default_rng(seed), NGramDraft(), 0, 0.0, 0
    text = some[:1]
    for token in (some + list(rng.permutation(some)) + some)[1:]:
        proposal = draft.propose(text, 1, GREEDY)
        if proposal.ids:
            said, sure = said + 1, sure + proposal.chances[0]
            right += proposal.ids[0] == token
        text = [*text, int(token)]
    assert abs(sure - right) < 4 + 4 * np.sqrt(said)


def test_drafts_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match='vocabulary|tokens'):
        ModelDraft(Table(5, 0), 6)
    target = Table(MINE.size, 0, MINE)
    assert isinstance(draft_for(target, Table(MINE.size, 1, MINE), GREEDY), ModelDraft)
    assert isinstance(draft_for(target, Table(THEIRS.size, 1, THEIRS), GREEDY), TextDraft)
    assert isinstance(draft_for(target, Table(THEIRS.size, 1, THEIRS), LAWS[0]),
                      IntersectionDraft)
    with pytest.raises(ConfigError):
        draft_for(Table(5, 0), Table(6, 0), GREEDY)


def test_the_command_takes_drafts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = lfm2_config('both kinds')
    folder = write_folder(tmp_path / 'a', config, weights_of(config))
    other = write_folder(tmp_path / 'b', config, weights_of(config, 8))
    outs = []
    for more in ([], ['--draft', 'ngram'], ['--draft', str(other)], ['--draft', str(folder)]):
        assert main(['generate', '--model', str(folder), '--ids', '4 5 4', '--max-tokens', '20',
                     *more]) == 0
        out, err = capsys.readouterr()
        outs.append(out)
        assert ('proposed tokens kept' in err) == bool(more)
    assert len(set(outs)) == 1


def test_the_bench_measures_every_kind_of_draft(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('tokenizers', reason="needs 'edge_vla[language]'")
    path = tmp_path / 'a.json'
    assert main(['bench', 'speculation', '--shape', 'shipped', '--rounds', '1', '--json',
                 str(path)]) == 0
    report = json.loads(path.read_text())
    rows, plans = report['results'], report['plans']
    assert plans['instructions'] == 8 and plans['right'] > .5
    assert {row['kind'] for row in rows} == {'n-gram', 'n-gram, remembering', 'same vocabulary',
                                             'text (SLEM)', 'intersection (TLI)'}
    agree = {row['agreement']: row['kept'] for row in rows if row['kind'] == 'same vocabulary'}
    assert agree[0.0] == 0  # a draft that is always wrong
    assert all(row['least'] > 0 for row in rows)
    assert 'n-gram' in capsys.readouterr().out
