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


"""Every kernel of the BitNet layer against its NumPy oracle, and the traps of ternary products."""

from edge_vla.checkpoints.packing import pack
from edge_vla.kernels import reference, ternary
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SEEDS = st.integers(0, 2**32 - 1)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 67), st.integers(1, 131), st.integers(1, 6), SEEDS)
def test_products_are_exact(m: int, k: int, t: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    packed = pack(rng.integers(-1, 2, (m, k)).astype(np.int8))
    x = rng.integers(-128, 128, (t, k)).astype(np.int8)
    out = np.full((t, m), 7, np.int32)
    ternary.ternary_matmul(packed, x, out)
    np.testing.assert_array_equal(out, reference.ternary_matmul(packed, x, m))


@pytest.mark.parametrize('value', [127, -127, -128])
@pytest.mark.parametrize('trit', [1, -1])
def test_extreme_sums_do_not_wrap(trit: int, value: int) -> None:
    """16-bit lanes, as in other engines, overflow here: the width of 2B4T, all alike."""
    packed = pack(np.full((5, 6912), trit, np.int8))
    out = np.zeros((1, 5), np.int32)
    ternary.ternary_matmul(packed, np.full((1, 6912), value, np.int8), out)
    assert (out == 6912 * trit * value).all()


def test_a_product_writes_no_row_beyond_the_last() -> None:
    """Five rows are packed as eight; the three that do not exist must not be written."""
    memory = np.full((1, 8), 99, np.int32)
    ternary.ternary_matmul(pack(np.ones((5, 16), np.int8)), np.ones((1, 16), np.int8),
                           memory[:, :5])
    assert memory.tolist() == [[16] * 5 + [99] * 3]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([1e-20, 1e-3, 1, 1e4, 1e30]), SEEDS)
def test_quantisation(t: int, k: int, size: float, seed: int) -> None:
    x = normal(np.random.default_rng(seed), t, k) * np.float32(size)
    out, scale = np.zeros((t, k), np.int8), np.zeros(t, np.float32)
    ternary.quantise(x, out, scale)
    want, want_scale = reference.quantise(x)
    np.testing.assert_array_equal(scale, want_scale)
    np.testing.assert_array_equal(out, want)
    assert out.min() >= -127


def test_quantisation_rounds_ties_to_even_and_survives_zeros() -> None:
    x = np.array([[127, .5, 1.5, 2.5, -.5, -1.5], [0, 0, 0, 0, 0, 0]], np.float32)
    out, scale = np.zeros((2, 6), np.int8), np.zeros(2, np.float32)
    ternary.quantise(x, out, scale)
    assert out.tolist() == [[127, 0, 2, 2, 0, -2], [0] * 6]
    assert np.isfinite(scale).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 300), st.sampled_from([1e-6, 1.0, 1e6]), SEEDS)
def test_rms_norm(t: int, d: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, gain, out = normal(rng, t, d) * np.float32(size), normal(rng, d), normal(rng, t, d)
    ternary.rms_norm(x, gain, 1e-5, out)
    np.testing.assert_allclose(out, reference.rms_norm(x, gain, 1e-5), rtol=3e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 16), st.integers(0, 40), SEEDS)
def test_rope(t: int, heads: int, half: int, start: int, seed: int) -> None:
    x = normal(np.random.default_rng(seed), t, heads * 2 * half)
    angles = np.outer(np.arange(start + t), 500000.0 ** (-np.arange(half) / half))
    want = reference.rope(x, 500000.0, start, heads)
    ternary.rope(x, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32), start,
                 heads)
    np.testing.assert_allclose(x, want, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.sampled_from([(1, 1), (4, 2), (6, 2), (5, 1)]), st.integers(1, 16),
       st.integers(0, 20), SEEDS)
def test_attention(t: int, heads: tuple[int, int], half: int, start: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    many, few = heads
    q = normal(rng, t, many * 2 * half)
    keys, values = (normal(rng, start + t + 3, few * 2 * half) for _ in range(2))
    out, scores = np.zeros_like(q), np.zeros(start + t + 3, np.float32)
    want = reference.attend(q, keys, values, start, many, few)
    keys[start + t:] = np.nan  # what comes after must not be looked at
    ternary.attend(q, keys, values, start, many, few, scores, out)
    np.testing.assert_allclose(out, want, atol=5e-6)


def test_attention_survives_large_scores() -> None:
    q = np.full((1, 4), 300, np.float32)
    keys = np.array([[300] * 4, [-300] * 4], np.float32)
    values, out = np.array([[1] * 4, [5] * 4], np.float32), np.zeros((1, 4), np.float32)
    ternary.attend(q, keys, values, 1, 1, 1, np.zeros(2, np.float32), out)
    assert (out == 1).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 50), SEEDS)
def test_gated_relu2_add_and_rescale(t: int, f: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gate, up = normal(rng, t, f), normal(rng, t, f)
    want = reference.gated_relu2(gate, up)
    ternary.gated_relu2(gate, up)
    np.testing.assert_allclose(gate, want, rtol=1e-6)
    total = gate.astype(np.float64) + up
    ternary.add(gate, up)
    np.testing.assert_allclose(gate, total, rtol=1e-6, atol=1e-7)
    acc, scale = rng.integers(-10**6, 10**6, (t, f)).astype(np.int32), np.abs(normal(rng, t)) + 1
    ternary.rescale(acc, np.float32(.37), scale, up)
    np.testing.assert_allclose(up, acc * .37 / scale[:, None], rtol=1e-6)
