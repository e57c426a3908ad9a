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

"""Expanding and merging the tokens of a frame, after TEAM-VLA."""

import tracemalloc

from edge_vla.compression.cost import cache_bytes, DecoderShape, prefill_macs, retained
from edge_vla.compression.expand_merge import (
    EPS,
    ExpandMergeSettings,
    TokenExpander,
    TokenMerger,
)
from edge_vla.kernels import reference
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SEEDS = st.integers(0, 999)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 5),
       st.integers(0, 4), SEEDS)
def test_seeds_are_the_best_of_each_word(rows: int, columns: int, channels: int, words: int,
                                         each: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, guides = normal(rng, rows * columns, channels), normal(rng, words, channels)
    expander = TokenExpander(rows, columns, ExpandMergeSettings(seeds=each))
    expander.choose(x, guides)
    want = np.zeros(rows * columns, bool)
    scores = np.round(reference.cosines(x, guides), 5)
    for column in scores.T:
        order = np.sort(column)[::-1]
        if each and (column >= order[min(each, len(order)) - 1]).sum() > each:
            return  # a tie in rounding: either may be taken
        want[np.argsort(-column)[:each]] = True
    np.testing.assert_array_equal(expander.seeds, want)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.integers(0, 4),
       st.floats(0, 1), st.floats(0, 1), SEEDS)
def test_the_mask_grows_as_described(rows: int, columns: int, box: int, threshold: int,
                                     probability: float, context: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = rows * columns
    s = ExpandMergeSettings(1, box, threshold, probability, context)
    expander = TokenExpander(rows, columns, s)
    x, guides = normal(rng, n, 8), normal(rng, 4, 8)
    kept = expander.choose(x, guides, seed)
    mask = expander.seeds.reshape(rows, columns)
    density = reference.box_counts(mask, box // 2)
    np.testing.assert_array_equal(expander.density, density.reshape(-1))
    sure = (mask > 0) | (reference.box_counts(density > threshold, box // 2) > 0)
    maybe = reference.box_counts(density > 0, box // 2) > 0
    grown = expander.expanded.reshape(rows, columns) > 0
    assert (grown[sure]).all() and not grown[~maybe].any()
    if probability == 0:
        np.testing.assert_array_equal(grown, sure)
    if probability == 1 or threshold == 0:
        np.testing.assert_array_equal(grown, maybe)
    # of the rest exactly the share is drawn, and never what is there already
    assert expander.context.sum() == int(context * (n - grown.sum()))
    assert not (expander.context & expander.expanded).any()
    np.testing.assert_array_equal(kept, np.flatnonzero(expander.expanded | expander.context))
    np.testing.assert_array_equal(kept, TokenExpander(rows, columns, s).choose(x, guides, seed))


def test_draws_follow_their_probability_and_the_seed() -> None:
    rng = np.random.default_rng(0)
    x, guides = normal(rng, 256, 16), normal(rng, 1, 16)
    expander = TokenExpander(16, 16, ExpandMergeSettings(1, 3, 1, .5, .1))
    counts, masks = np.zeros(256), set()
    for seed in range(400):
        expander.choose(x, guides, seed)
        counts += expander.expanded
        masks.add(expander.expanded.tobytes() + expander.context.tobytes())
    seed = int(np.flatnonzero(expander.seeds)[0])
    around = np.flatnonzero((counts > 0) & (np.arange(256) != seed))
    assert counts[seed] == 400 and len(around) >= 8 and len(masks) > 380
    assert (np.abs(counts[around] - 200) < 60).all()  # six standard deviations
    state = np.random.get_state()[1].copy()
    first = expander.choose(x, guides, 12).copy()
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(5)
    np.testing.assert_array_equal(first, expander.choose(x, guides, 12))
    expander.choose(x, guides, -3), expander.choose(x, guides, 2 ** 80)  # any integer will do


def test_context_draws_every_patch_as_often() -> None:
    expander = TokenExpander(5, 8, ExpandMergeSettings(context=.25))
    x, counts = normal(np.random.default_rng(0), 40, 4), np.zeros(40)
    for seed in range(2000):
        kept = expander.choose(x, np.zeros((0, 4), np.float32), seed)
        assert len(kept) == 10
        counts[kept] += 1
    assert ((counts - 500) ** 2 / 375).sum() < 100  # about chi-squared with 39 degrees


def test_everything_and_the_least() -> None:
    x = normal(np.random.default_rng(1), 12, 8)
    every = TokenExpander(3, 4, ExpandMergeSettings(context=1.))
    np.testing.assert_array_equal(every.choose(x, x[:1]), np.arange(12))
    least = TokenExpander(3, 4, ExpandMergeSettings(2, 1, 0, 0, 0))
    assert list(least.choose(x, x[[5]]))[0:] == sorted(np.argsort(
        -reference.cosines(x, x[[5]])[:, 0])[:2])
    assert len(TokenExpander(3, 4, ExpandMergeSettings(0, context=0)).choose(x, x)) == 0
    assert list(TokenExpander(1, 1).choose(x[:1], x[:1])) == [0]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 70), st.integers(1, 50), st.integers(1, 5),
       st.booleans(), SEEDS)
def test_merging(tokens: int, channels: int, anchors: int, guides: int, weighted: bool,
                 seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, guide = normal(rng, tokens, channels), normal(rng, guides, channels)
    sizes = rng.integers(1, 9, tokens).astype(np.float32) if weighted else np.ones(tokens, 'f')
    merger = TokenMerger(60, channels, ExpandMergeSettings(anchors=anchors))
    out, merged, kept = merger.merge(x, guide, sizes if weighted else None)
    count = min(anchors, tokens)
    assert out.shape == (count, channels) and merged.shape == kept.shape == (count,)
    assert (np.diff(kept) > 0).all()
    # no mass is lost: sum s_i = |T|, sum (1 + s_i) S'_i = sum S + sum T
    assert merged.sum() == pytest.approx(sizes.sum(), rel=1e-5)
    assert (merged >= sizes[kept]).all()
    np.testing.assert_allclose((out.astype(np.float64) * merged[:, None]).sum(0),
                               (x.astype(np.float64) * sizes[:, None]).sum(0),
                               atol=1e-5 * sizes.sum())
    if count == tokens:
        np.testing.assert_array_equal(out.view(np.uint32), x.view(np.uint32))
        return
    best = reference.cosines(x, guide).max(1)
    rest = np.setdiff1d(np.arange(tokens), kept)
    assert best[kept].min() >= best[rest].max() - 1e-5
    if not weighted:
        want, got = reference.soft_merge(x[kept], x[rest], EPS)
        np.testing.assert_allclose(out, want, atol=2e-5)
        np.testing.assert_allclose(merged - 1, got, atol=2e-5)


def test_a_token_of_size_n_merges_like_n_tokens() -> None:
    rng = np.random.default_rng(2)
    anchors, other, guide = normal(rng, 3, 12), normal(rng, 1, 12), normal(rng, 1, 12)
    anchors += 10 * guide
    once = TokenMerger(9, 12, ExpandMergeSettings(anchors=3)).merge(
        np.vstack([anchors, other]), guide, np.array([1, 1, 1, 5], 'f'))
    often = TokenMerger(9, 12, ExpandMergeSettings(anchors=3)).merge(
        np.vstack([anchors, *[other] * 5]), guide)
    np.testing.assert_allclose(once[0], often[0], atol=1e-5)
    np.testing.assert_allclose(once[1], often[1], atol=1e-5)


def test_equal_tokens_stay_what_they_are() -> None:
    x = np.tile(normal(np.random.default_rng(0), 1, 24), (40, 1))
    out, sizes, kept = TokenMerger(40, 24, ExpandMergeSettings(anchors=10)).merge(x, x[:1])
    np.testing.assert_allclose(out, x[:10], atol=1e-6)
    np.testing.assert_allclose(sizes, 4, atol=1e-5)
    np.testing.assert_array_equal(kept, np.arange(10))  # of equal ones the first


def test_large_and_zero_hidden_states() -> None:
    x = np.zeros((6, 16), np.float32)
    x[0], x[1], x[3] = 1e4, -1e4, np.linspace(-300, 300, 16)
    out, sizes, _ = TokenMerger(6, 16, ExpandMergeSettings(anchors=2)).merge(x, x[:2])
    assert np.isfinite(out).all() and sizes.sum() == pytest.approx(6)


def test_any_memory_layout_gives_the_same() -> None:
    rng = np.random.default_rng(3)
    x, guides = normal(rng, 30, 20), normal(rng, 4, 20)
    fx, fg = np.asfortranarray(x), np.asfortranarray(guides)
    fx.setflags(write=False)
    s = ExpandMergeSettings(anchors=7)
    np.testing.assert_array_equal(TokenExpander(5, 6, s).choose(x, guides, 1),
                                  TokenExpander(5, 6, s).choose(fx, fg, 1))
    for a, b in zip(TokenMerger(30, 20, s).merge(x, guides),
                    TokenMerger(30, 20, s).merge(fx, fg), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_allocated_per_frame() -> None:
    x = normal(np.random.default_rng(4), 256, 64)
    expander, merger = TokenExpander(16, 16), TokenMerger(256, 64)
    expander.choose(x, x[:5]), merger.merge(x, x[:5])
    tracemalloc.start()
    for seed in range(20):
        expander.choose(x, x[:5], seed), merger.merge(x, x[:5])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6144  # the tokens are 64 kB


@pytest.mark.parametrize(('values', 'says'), [
    ({'box': 2}, 'odd'), ({'box': 0}, 'odd'), ({'seeds': -1}, 'seeds'),
    ({'anchors': 0}, 'anchors'), ({'threshold': -1}, 'threshold'),
    ({'probability': 1.1}, 'probability'),
    ({'context': -.1}, 'context'), ({'context': np.nan}, 'context')])
def test_settings_out_of_range(values: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ExpandMergeSettings(**values)


def test_what_does_not_fit_is_refused() -> None:
    x = np.zeros((12, 8), np.float32)
    expander, merger = TokenExpander(3, 4), TokenMerger(12, 8, ExpandMergeSettings(anchors=4))
    for tokens, guides, says in ((x[:11], x, r'\[12, any\]'), (x, x[:, :7], 'guides'),
                                 (x.astype(float), x, 'float64'), (x, x[0], 'guides')):
        with pytest.raises(ValueError, match=says):
            expander.choose(tokens, guides)
    for tokens, guides, sizes, says in (
            (x[:, :7], x, None, 'tokens'), (np.vstack([x, x]), x, None, 'room for 12'),
            (x, x[:0], None, 'no guides'), (x, x, np.ones(11, 'f'), 'sizes'),
            (x, x, np.zeros(12, 'f'), 'above 0'), (x, x, np.full(12, np.nan, 'f'), 'above 0')):
        with pytest.raises(ValueError, match=says):
            merger.merge(tokens, guides, sizes)
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(ValueError, match='not finite'):
            merger.merge(np.where(np.arange(12)[:, None] == 3, np.float32(bad), x), x)
    with pytest.raises(ValueError, match='no patches'):
        TokenExpander(0, 4)
    with pytest.raises(ValueError, match='at least 1'):
        TokenMerger(0, 4)


def test_cost_agrees_with_the_tables() -> None:
    """LLaVA-OneVision 7B in DyCoke's table, which left the last window as it was."""
    qwen7b = DecoderShape(28, 3584, 18944, 3584, 2)
    text = 100
    assert prefill_macs(qwen7b, 6272 + text) / 1e12 == pytest.approx(41.4, rel=.01)
    assert prefill_macs(qwen7b, 3098 + text) / 1e12 == pytest.approx(17.9, rel=.06)
    team = [196] * 16 + [80] * 16
    llama7b = DecoderShape(32, 4096, 11008, 4096, 2)
    assert prefill_macs(llama7b, team) / prefill_macs(llama7b, 512) < .4
    assert retained(.7, .7) == pytest.approx(.1425) and retained(0, 0) == 1
    bitnet = DecoderShape(30, 2560, 6912, 640)
    assert cache_bytes(bitnet, 10, 2) == 768_000  # 76.8 kB per token
    assert cache_bytes(bitnet, [10] * 3 + [3] * 27) == 2 * 640 * (30 + 81)
    with pytest.raises(ValueError, match='2 numbers'):
        prefill_macs(bitnet, [1, 2])
