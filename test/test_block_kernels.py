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
    BLOCK,
    dequantise_blocks,
    OFFSET,
    pack_blocks,
    packed_blocks_size,
    quantise_blocks,
    UNIT,
    units_and_pairs,
    unpack_blocks,
)
from edge_vla.kernels.blocks import block_items, block_product
from edge_vla.kernels.isa import Isa
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SHAPES = [(1, 1), (16, 64), (17, 32), (33, 100), (130, 416), (64, 1024), (5, 65)]
every_isa = pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)


def some_blocks(bits: int, shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random codes of every value and random scales, some of them zero or negative."""
    rng = np.random.default_rng(seed)
    blocks = -(-shape[1] // BLOCK)
    codes = rng.integers(0, 1 << bits, (shape[0], blocks * BLOCK)).astype(np.uint8)
    scales = rng.normal(0, 1, (shape[0], blocks)).astype(np.float16)
    scales[rng.random(scales.shape) < .1] = 0
    return codes, scales


def packed(bits: int, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    out = np.full(packed_blocks_size(bits, *codes.shape), 255, np.uint8)
    pack_blocks(codes, scales.view(np.uint16), bits, out)
    return out


def quantised(x: np.ndarray, wide: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantise tokens as the decoder does: codes, steps and sums, flat."""
    codes = np.full((len(x), wide), 99, np.int8)
    steps, sums = np.empty((len(x), wide // 32), np.float32), np.empty((len(x), wide // 32),
                                                                       np.int32)
    for t, row in enumerate(x):
        rows.quantise_blocks_row(row, wide, codes[t], steps[t], sums[t])
    return codes, steps, sums


def product(isa: Isa, bits: int, shape: tuple[int, int], weights: np.ndarray, x: np.ndarray,
            cuts: tuple[float, ...] = ()) -> np.ndarray:
    """Multiply, the pieces of work cut into several calls."""
    (units, pairs), tokens = units_and_pairs(*shape), len(x)
    wide, stride = pairs * 2 * BLOCK, units * UNIT + 7
    codes, steps, sums = quantised(x, wide)
    out = np.full(tokens * stride, np.nan, np.float32)
    count = block_items(units, tokens)
    places = [0, *sorted(int(c * count) for c in cuts), count]
    body = np.concatenate([np.full(64, 77, np.uint8), weights])
    for first, last in zip(places, places[1:], strict=False):
        block_product(isa, body, 64, bits, units, pairs, first, last, codes.reshape(-1), wide,
                      steps.reshape(-1), sums.reshape(-1), wide // 32, tokens, out, stride)
    return out.reshape(tokens, stride)[:, :shape[0]]


def some_tokens(shape: tuple[int, int], tokens: int) -> np.ndarray:
    x = np.zeros((tokens, units_and_pairs(*shape)[1] * 2 * BLOCK), np.float32)
    x[:, :shape[1]] = np.random.default_rng(tokens).normal(0, 1, (tokens, shape[1]))
    return x


@every_isa
@pytest.mark.parametrize('bits', [4, 8])
@pytest.mark.parametrize('shape', SHAPES)
def test_products_equal_numpy(isa: Isa, bits: int, shape: tuple[int, int]) -> None:
    codes, scales = some_blocks(bits, shape)
    weights, exact = packed(bits, codes, scales), dequantise_blocks(codes, scales, bits)
    for tokens in (1, 2, 3, 4, 5, 9):
        x = some_tokens(shape, tokens)
        q, steps, sums = quantised(x, x.shape[1])
        whole = q.reshape(tokens, -1, 32)
        np.testing.assert_array_equal(sums, -8 * whole.sum(-1, dtype=np.int32))
        seen = (whole * steps[..., None].astype(np.float64)).reshape(tokens, -1)
        np.testing.assert_allclose(seen, x, atol=np.abs(x).max() / 250)
        width = codes.shape[1]
        want = reference.block_matmul(codes, scales, OFFSET[bits], q[:, :width],
                                      steps[:, :width // 32])
        size = np.abs(seen[:, :exact.shape[1]]) @ np.abs(exact.T)
        got = product(isa, bits, shape, weights, x)
        assert (np.abs(got - want) <= 1e-6 * size + 1e-30).all()


@every_isa
@pytest.mark.parametrize('bits', [4, 8])
def test_all_ways_of_dividing_give_the_same_floats(isa: Isa, bits: int) -> None:
    """Many tokens or one, one call or several, this instruction set or another."""
    shape = (130, 416)
    weights, x = packed(bits, *some_blocks(bits, shape)), some_tokens(shape, 11)
    want = product(runnable_isas()[-1], bits, shape, weights, x)
    for tokens in (1, 2, 3, 4, 7, 11):
        parts = [product(isa, bits, shape, weights, x[k:k + tokens], (.3, .31, .9))
                 for k in range(0, 11, tokens)]
        np.testing.assert_array_equal(np.concatenate(parts), want)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 200), bits=st.sampled_from([4, 8]),
       seed=st.integers(0, 99))
def test_packing_loses_nothing(rows: int, columns: int, bits: int, seed: int) -> None:
    codes, scales = some_blocks(bits, (rows, columns), seed)
    got, halves = np.empty_like(codes), np.empty(scales.shape, np.uint16)
    unpack_blocks(packed(bits, codes, scales), bits, got, halves)
    np.testing.assert_array_equal(got, codes)
    np.testing.assert_array_equal(halves.view(np.float16), scales)


@pytest.mark.parametrize(('bits', 'worst'), [(4, .085), (8, .006)])
def test_quantised_weights_are_close(bits: int, worst: float) -> None:
    """No further than ggml's own quantiser, and exact where that is possible."""
    x = np.random.default_rng(0).normal(0, 3, (50, 320)).astype(np.float32)
    x[7] = 0
    codes, scales = quantise_blocks(x, bits)
    error = dequantise_blocks(codes, scales, bits) - x
    assert np.sqrt((error ** 2).mean()) < worst * 3
    np.testing.assert_array_equal(error[7], 0)
    gguf = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    kind = gguf.GGMLQuantizationType[f'Q{bits}_0']
    theirs = gguf.quants.dequantize(gguf.quants.quantize(x, kind), kind) - x
    assert (error ** 2).sum() <= (theirs ** 2).sum() * 1.0001


@pytest.mark.parametrize('bits', [4, 8])
def test_what_blocks_can_hold_is_kept_exactly(bits: int) -> None:
    codes, scales = some_blocks(bits, (9, 96))
    if bits == 8:
        codes = np.maximum(codes, 1)  # -128 is never made
    codes[:, ::32] = 0 if bits == 4 else 1  # so that the scale can be seen
    scales = np.abs(scales)
    exact = dequantise_blocks(codes, scales, bits)
    again = dequantise_blocks(*quantise_blocks(exact, bits), bits)
    np.testing.assert_allclose(again, exact, rtol=2e-3 if bits == 8 else 0, atol=1e-7)
    assert OFFSET[bits] == 1 << bits - 1


@pytest.mark.parametrize('value', [1e-30, 1e-7, 6e4, 3e6])
def test_extreme_weights_stay_finite(value: float) -> None:
    for bits in (4, 8):
        codes, scales = quantise_blocks(np.full((1, 32), value, np.float32), bits)
        assert np.isfinite(scales).all()
        assert abs(dequantise_blocks(codes, scales, bits)).max() <= value * 1.1 + 1e-7


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
