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

"""Pruning of visual keys while decoding: what is chosen, when, and what attention then gives."""

from edge_vla.compression.kv_pruning import CompactCache, KeyPruningSettings, KeySelector
from edge_vla.kernels import reference
from edge_vla.kernels.attention import attend, write_token
from edge_vla.kernels.kv_cache import add_attention
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SEEDS = st.integers(0, 999)
KINDS = [np.float32, np.uint16, np.int8]
SIZE, HEADS = 32, 2  # of a head; key-value heads


class Full:
    """A full cache of some layers, and the keys and values that were put into it."""

    def __init__(self, rng: np.random.Generator, layers: int, length: int, capacity: int,
                 kind: type) -> None:
        self.layers, self.length, self.capacity = layers, length, capacity
        places = layers * HEADS * capacity
        self.arrays = (np.zeros(places * SIZE, kind), np.zeros(places * SIZE, kind),
                       np.zeros(places, np.float32), np.zeros(places, np.float32))
        self.keys, self.values = rng.normal(0, 1, (2, layers * HEADS, length, SIZE)).astype('f')
        for head in range(layers * HEADS):
            for p in range(length):
                write_token(*self.arrays, head, capacity, p, SIZE,
                            self.keys[head, p].copy(), self.values[head, p].copy())


def attention(arrays: tuple, head: int, capacity: int, length: int, queries: np.ndarray
              ) -> tuple[np.ndarray, np.ndarray]:
    """Return what four queries [4, SIZE] mix, and the scratch with their scores."""
    out, scores = np.zeros(4 * SIZE, np.float32), np.zeros(4 * capacity, np.float32)
    at = tuple(range(0, 4 * SIZE, SIZE))
    attend(*arrays, head, capacity, length, SIZE, SIZE ** -.5, queries.reshape(-1), at, scores,
           tuple(k * capacity for k in range(4)), out, np.zeros(0, np.float32))
    return out.reshape(4, SIZE), scores


@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2), SEEDS)
def test_with_all_keys_attention_is_dense_bit_for_bit(kind: type, length: int, first: int,
                                                      seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = Full(rng, 3, length, 80, kind)
    selector = KeySelector(80, KeyPruningSettings(pruning_rate=0))
    visual = np.flatnonzero(rng.random(length) < .7)
    selector.begin(visual)
    assert not selector.update(rng.random(len(visual)).astype('f'))
    slots = selector.slots(length)
    np.testing.assert_array_equal(slots, np.arange(length))
    compact = CompactCache(3 - first, HEADS, SIZE, length, kind)
    compact.copy_from(full.arrays, 80, first, slots)
    for head in range(compact.layers * HEADS):
        q = rng.normal(0, 1, (4, SIZE)).astype('f')
        want = attention(full.arrays, first * HEADS + head, 80, length, q)[0]
        got = attention(compact.arrays, head, compact.capacity, length, q)[0]
        np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize(('kind', 'close'), zip(KINDS, (2e-6, 2e-3, 3e-2), strict=True))
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 70), st.floats(0, 1), SEEDS)
def test_attention_over_what_is_kept(kind: type, close: float, length: int, rate: float,
                                     seed: int) -> None:
    """As plain attention over those keys; and after it, over one more token."""
    rng = np.random.default_rng(seed)
    full = Full(rng, 2, length, 80, kind)
    selector = KeySelector(80, KeyPruningSettings(rate))
    visual = np.arange(length // 4, length - length // 5)
    selector.begin(visual)
    selector.update(rng.random(len(visual)).astype('f'))
    slots = selector.slots(length)
    assert len(slots) == length - len(visual) + selector.budget
    compact = CompactCache(1, HEADS, SIZE, len(slots) + 1, kind)
    compact.copy_from(full.arrays, 80, 1, slots)
    for head in range(HEADS):
        q, k, v = rng.normal(0, 1, (3, 4, SIZE)).astype('f')
        keys, values = full.keys[HEADS + head][slots], full.values[HEADS + head][slots]
        for _ in range(2):
            want = [reference.attend(row[None], keys, values, len(keys) - 1, 1, 1)[0] for row in q]
            got = attention(compact.arrays, head, compact.capacity, len(keys), q)[0]
            np.testing.assert_allclose(got, want, atol=close * np.abs(values).max())
            keys, values = np.vstack([keys, k[:1]]), np.vstack([values, v[:1]])
            write_token(*compact.arrays, head, compact.capacity, compact.length, SIZE,
                        k[0].copy(), v[0].copy())


def test_keys_that_were_left_out_come_back() -> None:
    rng = np.random.default_rng(0)
    full = Full(rng, 1, 40, 48, np.float32)
    selector = KeySelector(48, KeyPruningSettings(.75))
    selector.begin(np.arange(4, 36))
    compact = CompactCache(1, HEADS, SIZE, 48, np.float32)
    for hot in (range(0, 8), range(20, 28), range(0, 8)):
        looked = np.full(32, .001, np.float32)
        looked[list(hot)] = .1
        assert selector.update(looked)
        slots = selector.slots(40)
        assert list(slots) == [0, 1, 2, 3, *(4 + h for h in hot), 36, 37, 38, 39]
        compact.copy_from(full.arrays, 48, 0, slots)
        q = rng.normal(0, 1, (4, SIZE)).astype('f')
        want = [reference.attend(r[None], full.keys[0][slots], full.values[0][slots], 15, 1, 1)[0]
                for r in q]
        np.testing.assert_allclose(attention(compact.arrays, 0, compact.capacity, 16, q)[0], want,
                                   atol=1e-5)
        assert selector.mass == pytest.approx(.8 / .824)
    assert selector.choices == 3


def test_the_choice_stays_while_attention_does() -> None:
    """As in the paper; the published code falls back to the full cache instead."""
    selector = KeySelector(64, KeyPruningSettings(.7, gate=.9))
    selector.begin(np.arange(10, 30))
    a = np.linspace(1, 2, 20).astype('f')
    assert selector.update(a)
    first = selector.slots(40).copy()
    assert len(first) == 20 + 6
    assert not selector.update(a + np.float32(.05)) and selector.choices == 1
    np.testing.assert_array_equal(selector.slots(40), first)
    assert list(selector.slots(43)) == [*first, 40, 41, 42]  # new tokens are always attended to
    assert selector.update(np.eye(20, dtype='f')[3])
    assert 13 in selector.slots(40) and selector.mass == 1
    # each step is compared with the last one, not with that of the choice
    b = np.eye(20, dtype='f')[3]
    for _ in range(40):
        b = b * np.float32(.85) + np.eye(20, dtype='f')[7] * np.float32(.15)
        assert not selector.update(b)
    assert 13 in selector.slots(40) and selector.mass < .02


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 90), st.floats(0, 1), SEEDS)
def test_the_top_keys_are_kept(keys: int, rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    visual = np.sort(rng.choice(100, keys, replace=False))
    selector = KeySelector(100, KeyPruningSettings(rate))
    selector.begin(visual)
    np.testing.assert_array_equal(selector.slots(100), np.arange(100))  # all, before a choice
    looked = rng.permutation(keys).astype('f')
    selector.update(looked)
    want = min(keys, max(1, int((1 - rate) * keys)))
    best = visual[np.argsort(-looked)[:want]]
    gone = np.setdiff1d(np.arange(100), selector.slots(100))
    np.testing.assert_array_equal(gone, np.setdiff1d(visual, best))
    assert 0 <= selector.mass <= 1
    again = KeySelector(100, KeyPruningSettings(rate))
    again.begin(visual)
    again.update(looked)
    np.testing.assert_array_equal(again.slots(100), selector.slots(100))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(0, 59), SEEDS)
def test_a_dominating_key_is_always_kept(keys: int, which: int, seed: int) -> None:
    looked = np.random.default_rng(seed).random(keys).astype('f') * np.float32(.001)
    looked[which % keys] = 1
    selector = KeySelector(64, KeyPruningSettings(1.))
    selector.begin(np.arange(keys))
    selector.update(looked)
    assert selector.attended[which % keys]


@pytest.mark.parametrize(('k', 'p', 'retained'), [
    (.7, .7, .1425), (.5, .7, .1875), (.3, .7, .2325), (.7, .9, .0475), (.9, .9, .0325)])
def test_both_stages_retain_what_the_paper_says(k: float, p: float, retained: float) -> None:
    """32 frames of 196 tokens; the counts are whole numbers, hence the tolerance."""
    tokens = 8 * (196 + 3 * int((1 - k) * 196))
    assert KeyPruningSettings(p).budget(tokens) / 6272 == pytest.approx(retained, abs=.0015)


@pytest.mark.parametrize('kind', KINDS)
def test_attention_is_read_from_the_scores(kind: type) -> None:
    rng = np.random.default_rng(1)
    full = Full(rng, 1, 37, 48, kind)
    slots, out = np.arange(5, 30), np.zeros(25, np.float32)
    want = np.zeros(25)
    for head in range(HEADS):
        q = rng.normal(0, 2, (4, SIZE)).astype('f')
        scores = attention(full.arrays, head, 48, 37, q)[1]
        for k in range(4):
            add_attention(scores, k * 48, full.arrays[3], head, 48, slots, np.float32(1 / 8), out)
        logits = q.astype(np.float64) @ full.keys[head].T / np.sqrt(SIZE)
        weight = np.exp(logits - logits.max(1, keepdims=True))
        want += (weight / weight.sum(1, keepdims=True)).mean(0)[5:30] / HEADS
    np.testing.assert_allclose(out, want, atol=3e-2 if kind is np.int8 else 2e-3)


@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), SEEDS)
def test_eviction_moves_the_rest_together(kind: type, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = Full(rng, 2, length, 64, kind)
    cache = CompactCache(2, HEADS, SIZE, 64, kind)
    cache.copy_from(full.arrays, 64, 0, np.arange(length))
    stay = np.flatnonzero(rng.random(length) < .4)
    direct = CompactCache(2, HEADS, SIZE, len(stay), kind)
    direct.copy_from(full.arrays, 64, 0, stay)
    cache.evict(stay)
    assert cache.length == direct.length == len(stay)
    if len(stay):
        for head in range(2 * HEADS):
            q = rng.normal(0, 1, (4, SIZE)).astype('f')
            a = attention(cache.arrays, head, cache.capacity, len(stay), q)[0]
            b = attention(direct.arrays, head, direct.capacity, len(stay), q)[0]
            np.testing.assert_array_equal(a, b)
    again = np.flatnonzero(rng.random(len(stay)) < .5)  # and once more
    cache.evict(again)
    assert cache.length == len(again)


def test_eviction_frees_memory() -> None:
    full = CompactCache(10, 5, 128, 3000, np.int8)
    kept = CompactCache(10, 5, 128, KeyPruningSettings(.7).budget(3000), np.int8)
    assert full.nbytes == 10 * 5 * 3008 * (2 * 128 + 8)
    assert kept.nbytes < .31 * full.nbytes


@pytest.mark.parametrize(('values', 'says'), [
    ({'pruning_rate': -.1}, 'pruning_rate'), ({'pruning_rate': 2}, 'pruning_rate'),
    ({'pruning_rate': np.nan}, 'pruning_rate'), ({'layer': 0}, 'layer'), ({'gate': 1.1}, 'gate'),
    ({'gate': np.nan}, 'gate')])
def test_settings_out_of_range(values: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        KeyPruningSettings(**values)


@pytest.mark.parametrize('slots', [[3, 3], [5, 4], [-1, 2], [0, 16], [.5, 1.], [[1, 2]]])
def test_wrong_slots_are_refused(slots: list) -> None:
    selector, cache = KeySelector(16), CompactCache(1, 1, 16, 16, np.float32)
    with pytest.raises(ValueError, match='ascend'):
        selector.begin(np.array(slots))
    with pytest.raises(ValueError, match='ascend'):
        cache.copy_from(cache.arrays, 16, 0, np.array(slots))
    with pytest.raises(ValueError, match='ascend'):
        cache.evict(np.array(slots))


@pytest.mark.parametrize('looked', [
    np.ones(3, 'f'), np.ones(4), np.full(4, np.nan, 'f'), np.full(4, np.inf, 'f'),
    -np.ones(4, 'f'), np.ones((1, 4), 'f')])
def test_wrong_attention_is_refused(looked: np.ndarray) -> None:
    selector = KeySelector(16)
    selector.begin(np.arange(4))
    with pytest.raises(ValueError, match='attention must be'):
        selector.update(looked)
    assert selector.choices == 0


def test_what_does_not_fit_is_refused() -> None:
    full = CompactCache(2, 1, 16, 32, np.float32)
    small = CompactCache(1, 1, 16, 16, np.float32)
    with pytest.raises(ValueError, match='do not fit'):
        small.copy_from(full.arrays, 32, 0, np.arange(17))
    with pytest.raises(ValueError, match='cannot take layers 2 to 3'):
        small.copy_from(full.arrays, 32, 2, np.arange(3))
    with pytest.raises(ValueError, match='int8 from a cache .* float32'):
        CompactCache(1, 1, 16, 16, np.int8).copy_from(full.arrays, 32, 0, np.arange(3))
    with pytest.raises(ValueError, match='another size'):
        CompactCache(1, 1, 32, 16, np.float32).copy_from(full.arrays, 32, 0, np.arange(3))
    with pytest.raises(ValueError, match='multiple of 16'):
        CompactCache(1, 1, 20, 16, np.float32)
