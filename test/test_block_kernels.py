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

"""Products of 4-bit and 8-bit blocks against NumPy, on every instruction set of this CPU."""

from bitnet_models import runnable_isas
from edge_vla.kernels import reference, rows
from edge_vla.kernels.block_layout import (
    bits_of,
    BLOCK,
    Blocks,
    dequantise_blocks,
    INT4,
    offset_of,
    pack_blocks,
    packed_blocks_size,
    Q4_0,
    Q8_0,
    quantise_blocks,
    UNIT,
    units_and_groups,
    WIDEST,
)
from edge_vla.kernels.blocks import block_items, block_product
from edge_vla.kernels.isa import Isa
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SHAPES = [(1, 1), (16, 64), (17, 32), (33, 100), (130, 416), (64, 1024), (5, 65)]
KINDS = {Q4_0: 'Q4_0', Q8_0: 'Q8_0', INT4: 'INT4'}
every_isa = pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)
every_kind = pytest.mark.parametrize('kind', KINDS, ids=KINDS.get)


def some_blocks(kind: int, shape: tuple[int, int], seed: int = 0) -> Blocks:
    """Return random codes of every value and random scales, some of them zero or negative."""
    rng = np.random.default_rng(seed)
    blocks = -(-shape[1] // BLOCK)
    codes = rng.integers(0, 1 << bits_of(kind), (shape[0], blocks * BLOCK)).astype(np.uint8)
    zero = rng.random((shape[0], blocks)) < .1
    if kind == INT4:
        scales = rng.integers(-127, 128, zero.shape).astype(np.int8)
        scales[zero] = 0
        return Blocks(codes, scales, rng.normal(0, 2e-4, shape[0]).astype(np.float32))
    scales = rng.normal(0, 1, zero.shape).astype(np.float16)
    scales[zero] = 0
    return Blocks(codes, scales)


def packed(kind: int, blocks: Blocks) -> np.ndarray:
    out = np.full(packed_blocks_size(kind, *blocks.codes.shape), 255, np.uint8)
    pack_blocks(blocks, kind, out)
    return out


def unpacked(kind: int, rows: int, columns: int, body: np.ndarray) -> Blocks:
    """Read a packed matrix as doc/reference/checkpoint_format.md has it."""
    (units, groups), count, bits = units_and_groups(kind, rows, columns), (
        4 if kind == INT4 else 2), bits_of(kind)
    lines = body.reshape(units, -1)
    inside = lines[:, :groups * (64 + 64 * bits * count)].reshape(units, groups, -1)
    scales = np.ascontiguousarray(inside[..., :64]).view(np.int8 if kind == INT4 else np.float16)
    scales = scales.reshape(units, groups, count, UNIT).transpose(0, 3, 1, 2)
    raw = inside[..., 64:].reshape(units, groups, count, bits, UNIT, 4)
    if bits == 4:
        raw = np.stack([raw & 15, raw >> 4], 4)
    codes = np.moveaxis(raw, -2, 1)
    steps = np.ascontiguousarray(lines[:, groups * (64 + 64 * bits * count):]).view(np.float32)
    b = -(-columns // BLOCK)
    return Blocks(codes.reshape(units * UNIT, -1)[:rows, :b * BLOCK],
                  scales.reshape(units * UNIT, -1)[:rows, :b],
                  steps.reshape(-1)[:rows] if kind == INT4 else None)


def quantised(x: np.ndarray, wide: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantise tokens as the decoder does: codes, steps and sums, flat."""
    codes = np.full((len(x), wide), 99, np.int8)
    steps, sums = np.empty((len(x), wide // 32), np.float32), np.empty((len(x), wide // 32),
                                                                       np.int32)
    for t, row in enumerate(x):
        rows.quantise_blocks_row(row, wide, codes[t], steps[t], sums[t])
    return codes, steps, sums


def product(isa: Isa, kind: int, shape: tuple[int, int], weights: np.ndarray, x: np.ndarray,
            cuts: tuple[float, ...] = ()) -> np.ndarray:
    """Multiply, the pieces of work cut into several calls."""
    (units, groups), tokens = units_and_groups(kind, *shape), len(x)
    wide, stride = x.shape[1], units * UNIT + 7
    codes, steps, sums = quantised(x, wide)
    out = np.full(tokens * stride, np.nan, np.float32)
    count = block_items(units, tokens)
    places = [0, *sorted(int(c * count) for c in cuts), count]
    body = np.concatenate([np.full(64, 77, np.uint8), weights])
    for first, last in zip(places, places[1:], strict=False):
        block_product(isa, body, 64, kind, units, groups, first, last, codes.reshape(-1), wide,
                      steps.reshape(-1), sums.reshape(-1), wide // 32, tokens, out, stride)
    return out.reshape(tokens, stride)[:, :shape[0]]


def some_tokens(shape: tuple[int, int], tokens: int) -> np.ndarray:
    x = np.zeros((tokens, -(-shape[1] // WIDEST) * WIDEST), np.float32)
    x[:, :shape[1]] = np.random.default_rng(tokens).normal(0, 1, (tokens, shape[1]))
    return x


@every_isa
@every_kind
@pytest.mark.parametrize('shape', SHAPES)
def test_products_equal_numpy(isa: Isa, kind: int, shape: tuple[int, int]) -> None:
    blocks = some_blocks(kind, shape)
    weights, exact = packed(kind, blocks), dequantise_blocks(blocks, kind)
    scales = blocks.scales
    if kind == INT4:
        scales = scales.astype(np.float64) * np.abs(scales) * blocks.steps[:, None]
    for tokens in (1, 2, 3, 4, 5, 9):
        x = some_tokens(shape, tokens)
        q, steps, sums = quantised(x, x.shape[1])
        whole = q.reshape(tokens, -1, 32)
        np.testing.assert_array_equal(sums, -8 * whole.sum(-1, dtype=np.int32))
        seen = (whole * steps[..., None].astype(np.float64)).reshape(tokens, -1)
        np.testing.assert_allclose(seen, x, atol=np.abs(x).max() / 250)
        width = exact.shape[1]
        want = reference.block_matmul(blocks.codes, scales, offset_of(kind), q[:, :width],
                                      steps[:, :width // 32])
        size = np.abs(seen[:, :width]) @ np.abs(exact.T)
        got = product(isa, kind, shape, weights, x)
        assert (np.abs(got - want) <= 1e-6 * size + 1e-30).all()


@every_isa
@every_kind
def test_all_ways_of_dividing_give_the_same_floats(isa: Isa, kind: int) -> None:
    """Many tokens or one, one call or several, this instruction set or another."""
    shape = (130, 416)
    weights, x = packed(kind, some_blocks(kind, shape)), some_tokens(shape, 11)
    want = product(runnable_isas()[-1], kind, shape, weights, x)
    for tokens in (1, 2, 3, 4, 7, 11):
        parts = [product(isa, kind, shape, weights, x[k:k + tokens], (.3, .31, .9))
                 for k in range(0, 11, tokens)]
        np.testing.assert_array_equal(np.concatenate(parts), want)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 300), kind=st.sampled_from([*KINDS]),
       seed=st.integers(0, 99))
def test_packing_loses_nothing(rows: int, columns: int, kind: int, seed: int) -> None:
    blocks = some_blocks(kind, (rows, columns), seed)
    again = unpacked(kind, rows, columns, packed(kind, blocks))
    for name, want in blocks._asdict().items():
        np.testing.assert_array_equal(getattr(again, name), want, name)


@pytest.mark.parametrize(('kind', 'worst'), [(Q4_0, .085), (Q8_0, .006), (INT4, .085)])
def test_quantised_weights_are_close(kind: int, worst: float) -> None:
    """No further than ggml's own quantiser, and exact where that is possible."""
    x = np.random.default_rng(0).normal(0, 3, (50, 320)).astype(np.float32)
    x[7] = 0
    error = dequantise_blocks(quantise_blocks(x, kind), kind) - x
    assert np.sqrt((error ** 2).mean()) < worst * 3
    np.testing.assert_array_equal(error[7], 0)
    gguf = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    ggml = gguf.GGMLQuantizationType[f'Q{bits_of(kind)}_0']
    theirs = gguf.quants.dequantize(gguf.quants.quantize(x, ggml), ggml) - x
    assert (error ** 2).sum() <= (theirs ** 2).sum() * 1.0001


@pytest.mark.parametrize(('law', 'most'), [('normal', 1.01), ('heavy', 1.01), ('outliers', 1.01),
                                           ('one of 100', 1.06), ('one of 1000', 1.6),
                                           ('sizes', 1.01)])
def test_scales_of_a_byte_cost_next_to_nothing(law: str, most: float) -> None:
    """Also where blocks of a row differ in size, and weights are a few that stick out."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (64, 2048))
    if law == 'heavy':
        x = rng.standard_t(4, x.shape)
    elif law == 'outliers':
        x[rng.random(x.shape) < 5e-4] *= 30
    elif law.startswith('one'):
        x[:, 700] = float(law[7:])
    elif law == 'sizes':
        x *= np.exp(rng.normal(0, .7, (64, 64))).repeat(32, 1)
    small, usual = (((dequantise_blocks(quantise_blocks(x.astype(np.float32), kind), kind) - x)
                     [:, :640] ** 2).mean() for kind in (INT4, Q4_0))  # beside what sticks out
    assert small < usual * most, small / usual


@every_kind
def test_what_blocks_can_hold_is_kept_exactly(kind: int) -> None:
    codes, scales, steps = some_blocks(kind, (9, 96))
    if kind == Q8_0:
        codes = np.maximum(codes, 1)  # -128 is never made
    codes[:, ::32] = 0 if bits_of(kind) == 4 else 1  # so that the scale can be seen
    if kind == INT4:
        scales[:, 0] = 127  # so that the step can be seen
    exact = dequantise_blocks(Blocks(codes, np.abs(scales), steps), kind)
    again = dequantise_blocks(quantise_blocks(exact, kind), kind)
    np.testing.assert_allclose(again, exact, rtol={Q4_0: 0, INT4: 1e-6, Q8_0: 2e-3}[kind],
                               atol=1e-7)


@pytest.mark.parametrize('value', [1e-42, 1e-30, 1e-7, 6e4, 3e6, 1e20, 3e38])
def test_extreme_weights_stay_finite(value: float) -> None:
    for kind in KINDS:
        blocks = quantise_blocks(np.full((1, 32), value, np.float32), kind)
        assert np.isfinite(blocks.scales).all()
        assert abs(dequantise_blocks(blocks, kind)).max() <= value * 1.1 + 1e-7


@pytest.mark.parametrize('size', [16, 48, 320])
def test_silu_gate_equals_numpy(size: int) -> None:
    rng = np.random.default_rng(size)
    gate, up = (rng.normal(0, 30, size).astype(np.float32) for _ in range(2))
    gate[:4] = [0, -200, 200, -87.5]
    out = np.empty(size, np.float32)
    rows.silu_gate_row(gate, up, size, out)
    want = reference.gated_silu(gate, up)
    np.testing.assert_allclose(out, want, rtol=1e-6, atol=1e-30)


def test_head_norms_equal_numpy() -> None:
    x = np.random.default_rng(0).normal(0, 1, 70).astype(np.float32)
    gain = np.linspace(.5, 2, 10).astype(np.float32)
    want = reference.rms_norm(x[:60].reshape(6, 10), gain, 1e-5).reshape(-1)
    tail = x[60:].copy()
    rows.norm_heads(x, 6, gain, 1e-5)
    np.testing.assert_allclose(x[:60], want, rtol=2e-6)
    np.testing.assert_array_equal(x[60:], tail)
