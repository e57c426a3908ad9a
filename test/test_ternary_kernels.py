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

"""Ternary products on every instruction set against NumPy, and the ways they are packed."""

from bitnet_models import runnable_isas
from edge_vla.kernels import reference
from edge_vla.kernels.isa import best_isa, Isa, ISAS
from edge_vla.kernels.ternary import items, product, SCRATCH_ROWS
from edge_vla.kernels.ternary_layout import (
    pack_matrix,
    packed_size,
    units_and_blocks,
    unpack_matrix,
)
from edge_vla.kernels.ternary_tiles import COLUMNS, ROWS
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SEEDS = st.integers(0, 2**32 - 1)
RUNNABLE = runnable_isas()
every_isa = pytest.mark.parametrize('isa', RUNNABLE, ids=lambda isa: isa.name)


def packed(packing: str, trits: np.ndarray, base: int = 0) -> np.ndarray:
    """Pack a matrix at some place of a larger array whose other bytes are no trits."""
    size = packed_size(packing, *trits.shape)
    out = np.full(base + size + 64, 255, np.uint8)
    pack_matrix(packing, trits, out[base:base + size])
    return out


def multiply(isa: Isa, trits: np.ndarray, x: np.ndarray, base: int = 0, parts: int = 1,
             dtype: type = np.int32, scale: float = 1.0) -> np.ndarray:
    """Run the kernel over all pieces, `parts` at a time, in backward order."""
    (rows, columns), tokens = trits.shape, len(x)
    units, blocks = units_and_blocks(isa.packing, rows, columns)
    width = blocks * COLUMNS[isa.packing]
    codes = np.zeros((tokens, width), np.int8)
    codes[:, :columns] = x
    stride = units * ROWS[isa.packing] + 3
    out = np.full(tokens * stride, 77, dtype)
    count = items(isa, units, tokens)
    edges = np.linspace(0, count, parts + 1).astype(int)
    for first, last in reversed(list(zip(edges[:-1], edges[1:], strict=True))):
        product(isa, packed(isa.packing, trits, base), base, blocks, units, first, last,
                codes.reshape(-1), width, x.sum(1, dtype=np.int32),
                np.full(tokens, 2, np.float32), np.float32(scale), tokens, out, stride,
                np.zeros(SCRATCH_ROWS * width, np.uint8))
    out = out.reshape(tokens, stride)
    assert (out[:, units * ROWS[isa.packing]:] == 77).all(), 'wrote beyond the last unit'
    return out[:, :rows]


@every_isa
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.sampled_from([1, 63, 64, 128, 129, 256, 300, 513]),
       st.integers(1, 13), st.integers(1, 3), SEEDS)
def test_products_are_exact(isa: Isa, rows: int, columns: int, tokens: int, parts: int,
                            seed: int) -> None:
    rng = np.random.default_rng(seed)
    trits = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    x = rng.integers(-128, 128, (tokens, columns)).astype(np.int8)
    got = multiply(isa, trits, x, base=int(rng.integers(0, 70)), parts=parts)
    np.testing.assert_array_equal(got, reference.ternary_matmul(trits, x))


@every_isa
@pytest.mark.parametrize('tokens', [1, 2, 3, 4, 7])
@pytest.mark.parametrize('value', [127, -127, -128])
@pytest.mark.parametrize('trit', [1, -1, 0])
def test_extreme_sums_do_not_wrap(isa: Isa, trit: int, value: int, tokens: int) -> None:
    """16-bit lanes, as in other engines, overflow here: the width of 2B4T, all alike."""
    x = np.full((tokens, 6912), value, np.int8)
    assert (multiply(isa, np.full((5, 6912), trit, np.int8), x) == 6912 * trit * value).all()


@every_isa
def test_alternating_signs_and_single_weights(isa: Isa) -> None:
    """Each column on its own, so that no two errors can cancel."""
    columns = 2 * COLUMNS[isa.packing] + 5
    x = (np.arange(columns) % 251 - 125).astype(np.int8)[None]
    trits = np.eye(columns, dtype=np.int8)
    np.testing.assert_array_equal(multiply(isa, trits, x)[0], x[0])
    np.testing.assert_array_equal(multiply(isa, -trits, x)[0], -x[0].astype(np.int32))


@every_isa
def test_scaled_products(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    trits = rng.integers(-1, 2, (9, 200)).astype(np.int8)
    for tokens in (1, 3, 6):
        x = rng.integers(-127, 128, (tokens, 200)).astype(np.int8)
        want = reference.ternary_matmul(trits, x) * (np.float32(.37) / np.float32(2))
        got = multiply(isa, trits, x, dtype=np.float32, scale=.37)
        np.testing.assert_array_equal(got, want.astype(np.float32))


@pytest.mark.parametrize('packing', ['5bit', '2bit'])
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 13), st.integers(1, 600), SEEDS)
def test_packings_round_trip(packing: str, rows: int, columns: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (rows, columns)).astype(np.int8)
    got = unpack_matrix(packing, packed(packing, trits), rows, columns)
    np.testing.assert_array_equal(got, trits)


@pytest.mark.parametrize(('packing', 'shape', 'bits'), [('5bit', (3, 128), 5 / 3),
                                                        ('2bit', (1, 256), 2)])
def test_a_packing_is_as_dense_as_it_says(packing: str, shape: tuple[int, int],
                                          bits: float) -> None:
    assert packed_size(packing, *shape) * 8 == bits * shape[0] * shape[1]


def test_the_five_bits_of_three_trits_lie_where_the_format_says() -> None:
    """Worked by hand: column 70 of rows (+1, 0, -1) is code 2 + 3 + 0 = 5, of (1, 1, 1) 26."""
    trits = np.zeros((6, 128), np.int8)
    trits[:3, 70], trits[3:, 1] = (1, 0, -1), 1
    out = packed('5bit', trits)[:160]
    zero = 1 + 3 + 9
    assert out[6] == zero | 5 << 4 and out[64 + 1] == (26 & 15) | zero << 4 and out[0] == 0xdd
    # fifth bits: of 26 and of no other code here; second unit, byte 1, bit 0
    assert out[128 + 16 + 1] == 1 and out[128:].sum() == 1


@pytest.mark.parametrize('packing', ['5bit', '2bit'])
def test_codes_that_are_no_trits_are_noticed(packing: str) -> None:
    out = packed(packing, np.zeros((3, 256), np.int8))
    out[5] = 255
    if packing == '5bit':  # 31 needs the fifth bit too
        out[2 * 64 + 5] = 255
    with pytest.raises(ValueError, match='no trits'):
        unpack_matrix(packing, out, 3, 256)


def test_the_instruction_set_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_isa().name in ISAS
    monkeypatch.setenv('EDGE_VLA_ISA', 'portable')
    assert best_isa().name == 'portable'
    assert best_isa('2bit').name == 'portable'
    with pytest.raises(ValueError, match='5bit'):
        best_isa('5bit')
    monkeypatch.setenv('EDGE_VLA_ISA', 'mmx')
    with pytest.raises(ValueError, match='mmx'):
        best_isa()
