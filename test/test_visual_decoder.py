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

"""A decoder that sees: against NumPy, against the dense decoder, and rolled back."""

import weakref

from bitnet_models import config_of, decoder_of, masters, some_ids
from edge_vla.checkpoints.packing import ternarise
from edge_vla.compression.cost import cache_bytes, DecoderShape, prefill_macs
from edge_vla.compression.expand_merge import ExpandMergeSettings
from edge_vla.compression.kv_pruning import KeyPruningSettings
from edge_vla.kernels import reference
from edge_vla.language.config import BitNetConfig
from edge_vla.language.visual_decoder import VisualDecoder
from hypothesis import given, settings, strategies as st
from lfm2_models import config_of as lfm2_config_of, decoder_of as lfm2_decoder_of
import numpy as np
import pytest

SHAPES = ['as shipped', 'no sharing', 'much sharing', 'odd rows']
KINDS = ['float32', 'float16', 'int8']
LAYERS = {'num_hidden_layers': 4}


def config_for(size: str = 'as shipped') -> BitNetConfig:
    return config_of(size, **LAYERS)


def pruned(rate: float = .7, layer: int = 2, gate: float = .9) -> KeyPruningSettings:
    return KeyPruningSettings(rate, layer, gate)


def merged(anchors: int = 9, layer: int = 1) -> ExpandMergeSettings:
    return ExpandMergeSettings(anchors=anchors, layer=layer)


class View:
    """A random view: 30 tokens of 45 places."""

    def __init__(self, config: BitNetConfig, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rows = rng.normal(0, 1, (30, config.hidden_size)).astype('f')
        self.positions = np.sort(rng.choice(45, 30, replace=False))
        self.sizes = rng.integers(1, 9, 30).astype('f')

    def shown_to(self, seeing: VisualDecoder, **how: object) -> object:
        return seeing.look(self.rows, self.positions, self.sizes, span=45, **how)


class Oracle:
    """A BitNet in NumPy, token sets and positions of each layer given."""

    def __init__(self, config: BitNetConfig, weights: dict[str, np.ndarray]) -> None:
        self.config, self.weights = config, weights
        self.keys = [np.zeros((0, config.kv_size)) for _ in range(config.num_hidden_layers)]
        self.values = list(self.keys)
        self.bias = [np.zeros(0) for _ in self.keys]
        self.attention = np.zeros(0)

    def embed(self, ids: list[int]) -> np.ndarray:
        return self.weights['model.embed_tokens.weight'][ids].astype(np.float64)

    def _product(self, i: int, name: str, x: np.ndarray) -> np.ndarray:
        trits, scale = ternarise(self.weights[f'model.layers.{i}.{name}.weight'])
        codes, steps = reference.quantise(x.astype('f'))
        return reference.ternary_matmul(trits, codes) / steps[:, None].astype(float) * scale

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return reference.rms_norm(x, self.weights[name + '.weight'], self.config.rms_norm_eps)

    def _turn(self, x: np.ndarray, positions: np.ndarray, heads: int) -> np.ndarray:
        return np.concatenate([reference.rope(row[None], self.config.rope_theta, int(p), heads)
                               for row, p in zip(x, positions, strict=True)])

    def layer(self, i: int, x: np.ndarray, positions: np.ndarray, bias: np.ndarray | float = 0,
              see: np.ndarray | None = None, forget: bool = False) -> np.ndarray:
        """Take tokens through a layer; `see` tells which of the keys before may be seen."""
        c, n = self.config, len(x)
        y = self._norm(f'model.layers.{i}.input_layernorm', x)
        q = self._turn(self._product(i, 'self_attn.q_proj', y), positions, c.num_attention_heads)
        keys = np.vstack([self.keys[i], self._turn(
            self._product(i, 'self_attn.k_proj', y), positions, c.num_key_value_heads)])
        values = np.vstack([self.values[i], self._product(i, 'self_attn.v_proj', y)])
        biases = np.concatenate([self.bias[i], np.broadcast_to(bias, n)])
        before = len(keys) - n
        if not forget:
            self.keys[i], self.values[i], self.bias[i] = keys, values, biases
        mask = np.arange(len(keys))[None] > before + np.arange(n)[:, None]
        if see is not None:
            mask[:, :before] |= ~see
        out, group = [], c.num_attention_heads // c.num_key_value_heads
        self.attention = np.zeros(len(keys))
        for h in range(c.num_attention_heads):
            mine = slice(h * c.head_dim, (h + 1) * c.head_dim)
            theirs = slice(h // group * c.head_dim, (h // group + 1) * c.head_dim)
            logits = q[:, mine] @ keys[:, theirs].T / np.sqrt(c.head_dim) + biases
            logits[mask] = -np.inf
            weight = np.exp(logits - logits.max(1, keepdims=True))
            weight /= weight.sum(1, keepdims=True)
            self.attention += weight[-1] / c.num_attention_heads
            out.append(weight @ values[:, theirs])
        mixed = self._norm(f'model.layers.{i}.self_attn.attn_sub_norm', np.hstack(out))
        x = x + self._product(i, 'self_attn.o_proj', mixed)
        y = self._norm(f'model.layers.{i}.post_attention_layernorm', x)
        y = reference.gated_relu2(self._product(i, 'mlp.gate_proj', y),
                                  self._product(i, 'mlp.up_proj', y))
        y = self._norm(f'model.layers.{i}.mlp.ffn_sub_norm', y)
        return x + self._product(i, 'mlp.down_proj', y)

    def head(self, x: np.ndarray) -> np.ndarray:
        return self._norm('model.norm', x) @ self.weights['model.embed_tokens.weight'].T


def nearly_all_equal(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """As in test_decoder: at least half have no activation that is rounded the other way."""
    errors = [np.abs(got - want).max() / np.abs(want).max() for got, want in pairs]
    assert sum(e < 2e-5 for e in errors) >= len(errors) / 2, errors
    assert max(errors) < 5e-2, errors


@pytest.mark.parametrize('size', SHAPES)
def test_positions_and_sizes_against_numpy(size: str) -> None:
    config = config_for(size)
    weights, pairs = masters(config), []
    seeing = VisualDecoder(decoder_of(config, weights))
    for seed in range(6):
        view, oracle = View(config, seed), Oracle(config, weights)
        before, ids = some_ids(config, 3, seed), some_ids(config, 5, seed + 9)
        view.shown_to(seeing, before=before)
        got = seeing.logits(ids)
        x = np.vstack([oracle.embed(before), view.rows, oracle.embed(ids)])
        at = np.concatenate([np.arange(3), 3 + view.positions, 48 + np.arange(5)])
        bias = np.concatenate([np.zeros(3), np.log(view.sizes), np.zeros(5)])
        for i in range(4):
            x = oracle.layer(i, x, at, bias)
        pairs.append((got, oracle.head(x[-5:])))
    nearly_all_equal(pairs)


@pytest.mark.parametrize('size', SHAPES)
def test_pruned_keys_against_numpy(size: str) -> None:
    """Three steps, each of which chooses anew."""
    config = config_for(size)
    weights, pairs = masters(config), []
    seeing = VisualDecoder(decoder_of(config, weights), pruned(.75, 2, 1.))
    for seed in range(6):
        view, oracle = View(config, seed), Oracle(config, weights)
        view.shown_to(seeing)
        steps = []
        x = view.rows.astype(float)
        for i in range(4):
            x = oracle.layer(i, x, view.positions, np.log(view.sizes))
        length = 30
        for count in (4, 1, 2):
            ids = some_ids(config, count, seed + 7 * count)
            got = seeing.logits(ids)
            x, see = oracle.embed(ids), None
            for i in range(4):
                x = oracle.layer(i, x, 15 + length + np.arange(count), see=see)
                if i == 1:
                    see = np.ones(length, bool)
                    see[np.argsort(-oracle.attention[:30])[7:30]] = False
            length += count
            steps.append((got, oracle.head(x)))
        pairs.append(tuple(np.vstack(some) for some in zip(*steps, strict=True)))
    nearly_all_equal(pairs)
    assert seeing.attended == [30, 30, 7, 7] and seeing.held == [30] * 4


@pytest.mark.parametrize('layer', [0, 1, 3])
def test_merged_tokens_against_numpy(layer: int) -> None:
    config = config_for()
    weights, pairs = masters(config), []
    seeing = VisualDecoder(decoder_of(config, weights), merging=merged(9, layer))
    for seed in range(6):
        view, oracle = View(config, seed), Oracle(config, weights)
        before, guides = some_ids(config, 3, seed), some_ids(config, 2, seed + 20)
        ids = some_ids(config, 4, seed + 9)
        seeing.look(view.rows, view.positions, before=before, span=45, guides=guides)
        got = seeing.logits(ids)
        x = np.vstack([oracle.embed(before), view.rows])
        at, words = np.concatenate([np.arange(3), 3 + view.positions]), oracle.embed(guides)
        for i in range(4):
            if i == layer:
                guide = np.vstack([x[:3], words])
                best = reference.cosines(x[3:], guide).max(1)
                kept = np.sort(np.argsort(-best)[:9])
                rest = np.setdiff1d(np.arange(30), kept)
                merged_rows, _ = reference.soft_merge(x[3:][kept], x[3:][rest], 1e-6)
                x, at = np.vstack([x[:3], merged_rows]), np.append(at[:3], at[3:][kept])
            x = oracle.layer(i, x, at)
            if i < layer:
                words = oracle.layer(i, words, 48 + np.arange(2), forget=True)
        x = oracle.embed(ids)
        for i in range(4):
            x = oracle.layer(i, x, 48 + np.arange(4))
        pairs.append((got, oracle.head(x)))
    nearly_all_equal(pairs)
    assert seeing.held == [30] * layer + [9] * (4 - layer)


@pytest.mark.parametrize('kv', KINDS)
@pytest.mark.parametrize('size', SHAPES)
def test_a_view_of_words_is_text(size: str, kv: str) -> None:
    """Bit for bit what the decoder says of the same ids."""
    config = config_for(size)
    weights, ids = masters(config), some_ids(config, 40)
    decoder = decoder_of(config, weights, kv=kv)
    want = decoder.logits(ids)
    rows = np.stack([weights['model.embed_tokens.weight'][i] for i in ids[4:30]])
    for sizes in (None, np.ones(26, 'f')):
        seeing = VisualDecoder(decoder)
        seeing.look(rows, np.arange(26), sizes, before=ids[:4])
        np.testing.assert_array_equal(seeing.logits(ids[30:]), want[30:])
    np.testing.assert_array_equal(decoder.logits(ids[:3]), decoder_of(
        config, weights, kv=kv).logits([*ids, *ids[:3]])[40:])  # whose own cache was not touched


@pytest.mark.parametrize('kv', KINDS)
@pytest.mark.parametrize('how', [
    (pruned(0), None, False), (pruned(0), None, True), (None, merged(30), False),
    (None, merged(99, 0), False), (pruned(0, 3), merged(30, 2), True)])
def test_what_drops_nothing_is_dense(how: tuple, kv: str) -> None:
    config = config_for('much sharing')
    decoder, view = decoder_of(config, kv=kv), View(config_for('much sharing'))
    ids, guides = some_ids(config, 9), some_ids(config, 3, 1)
    dense, seeing = VisualDecoder(decoder), VisualDecoder(decoder, *how)
    view.shown_to(dense)
    view.shown_to(seeing, guides=guides)
    for k in (0, 5, 6):
        np.testing.assert_array_equal(seeing.logits(ids[k:k + 3]), dense.logits(ids[k:k + 3]))
    assert seeing.held == seeing.attended == [30] * 4
    assert seeing.cache_bytes == dense.cache_bytes


@pytest.mark.parametrize('how', [
    (None, None, False), (pruned(), None, False), (pruned(), None, True),
    (pruned(.5, 3), merged(), False), (pruned(.5, 3), merged(), True)])
def test_chunks_and_threads_give_the_same_floats(how: tuple) -> None:
    config = config_for()
    view, want = View(config), None
    ids, guides = some_ids(config, 9), some_ids(config, 5, 1)
    for chunk, threads in ((64, 1), (1, 1), (7, 2), (30, 1)):
        decoder = decoder_of(config, chunk=chunk, threads=threads)
        seeing = VisualDecoder(decoder, *how)
        for words in (guides, ()):  # the second view finds the caches full
            view.shown_to(seeing, before=ids[:2], guides=words)
            got = np.vstack([seeing.logits(ids[2:]), seeing.logits([3]), seeing.logits([4])])
        want = got if want is None else want
        np.testing.assert_array_equal(got, want)
        decoder.close()


def test_a_subset_of_the_vocabulary() -> None:
    config = config_for()
    seeing, view = VisualDecoder(decoder_of(config), pruned()), View(config)
    mark = view.shown_to(seeing)
    want = seeing.logits([5, 6])
    seeing.rewind(mark)
    np.testing.assert_array_equal(seeing.forward([5, 6], [7, 0, 7]), want[1, [7, 0, 7]])


@pytest.mark.parametrize('kv', KINDS)
@pytest.mark.parametrize('how', [
    (None, None, False), (pruned(.7, 2, .99), None, False), (pruned(.7, 1, 1.), None, False),
    (pruned(), None, True), (None, merged(), False), (pruned(.5, 3, 1.), merged(), False)])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_rolling_back_is_exact(how: tuple, kv: str, data: st.DataObject) -> None:
    """Whatever was asked in between, what follows a mark is what followed it first."""
    config = config_for()
    words = st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=4), min_size=1,
                     max_size=3)
    first, then, other = (data.draw(words) for _ in range(3))
    view, guides = View(config, data.draw(st.integers(0, 99))), [1, 2]
    decoder = _DECODERS.setdefault(kv, decoder_of(config, kv=kv))
    seeing = VisualDecoder(decoder, *how)
    start = view.shown_to(seeing, guides=guides)
    said = [seeing.logits(ids) for ids in first]
    mark, bytes_then = seeing.mark(), seeing.cache_bytes
    want = [seeing.logits(ids) for ids in then]
    for _ in range(2):
        seeing.rewind(mark)
        for ids in other:
            seeing.logits(ids)
        seeing.rewind(mark)
        for ids, logits in zip(then, want, strict=True):
            np.testing.assert_array_equal(seeing.logits(ids), logits)
    seeing.rewind(mark)
    assert seeing.cache_bytes == bytes_then
    seeing.rewind(start)
    for ids, logits in zip(first, said, strict=True):
        np.testing.assert_array_equal(seeing.logits(ids), logits)
    for ids, logits in zip(then, want, strict=True):
        np.testing.assert_array_equal(seeing.logits(ids), logits)


_DECODERS: dict = {}


@pytest.mark.parametrize('kv', KINDS)
def test_eviction_by_the_question_is_its_choice(kv: str) -> None:
    """Bit for bit what pruning says that chooses by the same words and never again."""
    config, ids = config_for(), [9, 8, 7, 6]
    decoder, view = decoder_of(config, kv=kv), View(config)
    stays = VisualDecoder(decoder, pruned(.6, 2, -1.))
    evicted = VisualDecoder(decoder, pruned(.6), evict=True)
    view.shown_to(stays)
    view.shown_to(evicted, guides=ids)
    for step in (ids, [5], [4, 3]):
        np.testing.assert_array_equal(evicted.logits(step), stays.logits(step))


def test_eviction_frees_memory() -> None:
    config = config_for()
    decoder, view = decoder_of(config), View(config)
    dense, prunes = VisualDecoder(decoder), VisualDecoder(decoder, pruned(.75))
    seeing = VisualDecoder(decoder, pruned(.75), evict=True)
    full = weakref.ref(seeing._full)
    mark = view.shown_to(seeing)
    assert full() is None and seeing._full is None
    kept = seeing._kept.arrays
    assert len(kept.keys) == 2 * 2 * 80 * 32  # layers, heads, 96 - 30 + 7 slots padded, size
    view.shown_to(dense)
    view.shown_to(prunes)
    assert seeing.held == seeing.attended == [30, 30, 7, 7] and prunes.held == [30] * 4
    for other in (dense, prunes, seeing):
        other.forward([1, 2])
    shape, place = DecoderShape(4, 128, 320, 64), 4 * 2 * 2  # scales of keys and values, 2 heads
    assert dense.cache_bytes == cache_bytes(shape, 32, 4) + 4 * 32 * place
    assert seeing.cache_bytes == cache_bytes(shape, [32, 32, 9, 9], 4) + 82 * place
    assert prunes.cache_bytes == dense.cache_bytes + 2 * 9 * (2 * 64 * 4 + place)
    seeing.rewind(mark)
    assert len(view.shown_to(seeing).lengths) == 2 and seeing.held == [30, 30, 7, 7]  # once more


def test_what_eviction_costs_grows_with_what_is_given_up() -> None:
    config, errors = config_for(), []
    decoder = decoder_of(config)
    dense = VisualDecoder(decoder)
    for rate in (.1, .3, .7, .9):
        seeing = VisualDecoder(decoder, pruned(rate), evict=True)
        errors.append(0)
        for seed in range(6):
            view, ids = View(config, seed), some_ids(config, 8, seed)
            for other in (dense, seeing):
                view.shown_to(other, guides=[5, 6])
            want = dense.logits(ids)
            errors[-1] += np.sqrt(((seeing.logits(ids) - want) ** 2).mean() / want.var()) / 6
    assert errors == sorted(errors)
    assert 0 < errors[0] < .05 and errors[1] < .1 and errors[2] < .3  # random weights


def test_what_is_multiplied_is_counted() -> None:
    config, shape = config_for(), DecoderShape(4, 128, 320, 64)
    decoder, view, ids = decoder_of(config), View(config), [1, 2, 3]
    seeing = VisualDecoder(decoder)
    view.shown_to(seeing, before=ids, guides=ids)  # which nobody asks for
    assert seeing.prefill_macs == prefill_macs(shape, 33)
    seeing = VisualDecoder(decoder, pruned(.5, 3), merged(9, 1))
    view.shown_to(seeing, before=ids, guides=ids)
    assert seeing.prefill_macs == prefill_macs(shape, [36, 12, 12, 12])
    assert seeing.attended == [30, 9, 9, 9]
    seeing.forward([1])
    assert seeing.attended == [30, 9, 9, 4]
    seeing = VisualDecoder(decoder, pruned(.5, 3), merged(9, 1), evict=True)
    view.shown_to(seeing, before=ids, guides=ids)
    assert seeing.prefill_macs == prefill_macs(shape, [36, 15, 15, 12])
    assert seeing.held == [30, 9, 9, 4]


def test_a_view_of_nothing_is_text() -> None:
    config, ids = config_for(), [1, 2, 3]
    decoder = decoder_of(config)
    want = decoder.logits(ids)
    nothing = np.zeros((0, 128), 'f'), np.zeros(0, np.int64)
    for how in ((), (pruned(),), (pruned(), None, True), (None, merged())):
        seeing = VisualDecoder(decoder, *how)
        np.testing.assert_array_equal(seeing.logits(ids), want)
        seeing.look(*nothing, before=ids[:1])
        np.testing.assert_array_equal(seeing.logits(ids[1:]), want[1:])


def test_other_decoders_and_settings_are_refused() -> None:
    decoder = decoder_of(config_for())
    for how, says in (((pruned(layer=4),), 'pruning begins at layer 4'),
                      ((None, merged(layer=4)), 'merging begins at layer 4'),
                      ((pruned(), merged(layer=2)), 'merge first'),
                      ((None, None, True), 'evict')):
        with pytest.raises(ValueError, match=says):
            VisualDecoder(decoder, *how)
    with pytest.raises(ValueError, match='BitNet'):
        VisualDecoder(lfm2_decoder_of(lfm2_config_of('tiny')))


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    config = config_for()
    seeing, view = VisualDecoder(decoder_of(config), pruned(), merged()), View(config)
    mark = view.shown_to(seeing, before=[1])
    want = seeing.logits([1, 2])
    rows, at, sizes = view.rows, view.positions, view.sizes
    bad = rows.copy()
    bad[3, 3] = np.nan
    for args, how, says in (
            ((rows[:, :5], at), {}, 'rows'), ((bad, at), {}, 'finite'),
            ((rows, at[:3]), {}, 'positions'), ((rows, at - 9), {}, 'positions'),
            ((rows, at.astype('f')), {}, 'positions'), ((rows, at, sizes * 0), {}, 'sizes'),
            ((rows, at, sizes[:3]), {}, 'sizes'), ((rows, at), {}, 'guides'),
            ((rows, at), {'before': [300]}, 'ids'), ((rows, at), {'span': 2, 'before': [1]},
                                                     'span'),
            ((rows, at), {'before': [1] * 70}, 'cache of 96'),
            ((rows, at + 60), {'before': [1]}, '96 there are')):
        with pytest.raises(ValueError, match=says):
            seeing.look(*args, **how)
    for ids, says in (([300], 'ids'), ([], 'no tokens'), ([1] * 99, 'cache of 96'),
                      ([1] * 60, '96 there are')):
        with pytest.raises(ValueError, match=says):
            seeing.forward(ids)
    seeing.rewind(mark)
    np.testing.assert_array_equal(seeing.logits([1, 2]), want)
    ahead = seeing.mark()
    seeing.rewind(mark)
    with pytest.raises(ValueError, match='mark'):
        seeing.rewind(ahead)
    view.shown_to(seeing, before=[1])
    with pytest.raises(ValueError, match='mark'):
        seeing.rewind(mark)
