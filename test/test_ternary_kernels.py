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

from itertools import pairwise
import os
from pathlib import Path
import subprocess
import sys

from bitnet_models import runnable_isas
from edge_vla.kernels import isa as isas, reference
from edge_vla.kernels.isa import available, best_isa, Isa, ISAS
from edge_vla.kernels.ternary import items, product, scratch_bytes
from edge_vla.kernels.ternary_by_tables import read_next
from edge_vla.kernels.ternary_layout import (
    COLUMNS,
    pack_matrix,
    packed_size,
    ROWS,
    units_and_blocks,
    unpack_matrix,
)
from edge_vla.kernels.ternary_tables import CHUNK, LINE, LINES, panel_of, place
from hypothesis import given, settings, strategies as st
import llvmlite.binding as llvm
from numba import njit
import numpy as np
import pytest

SEEDS = st.integers(0, 2**32 - 1)
RUNNABLE = list(dict.fromkeys([*available(), *runnable_isas()]))  # both packings on AMX
every_isa = pytest.mark.parametrize('isa', RUNNABLE, ids=lambda isa: isa.name)


def packed(packing: str, trits: np.ndarray, base: int = 0) -> np.ndarray:
    """Pack a matrix at some place of a larger array whose other bytes are no trits."""
    size = packed_size(packing, *trits.shape)
    out = np.full(base + size + 64, 255, np.uint8)
    pack_matrix(packing, trits, out[base:base + size])
    return out


def multiply(isa: Isa, trits: np.ndarray, x: np.ndarray, base: int = 0, parts: int = 1,
             dtype: type = np.int32, scale: float = 1.0, threads: int = 2) -> np.ndarray:
    """Run the kernel over all pieces, `parts` at a time, in backward order."""
    (rows, columns), tokens = trits.shape, len(x)
    units, blocks = units_and_blocks(isa.packing, rows, columns)
    width = -(-columns // COLUMNS[isa.packing]) * COLUMNS[isa.packing]
    codes = np.zeros((tokens, width), np.int8)
    codes[:, :columns] = x
    stride = units * ROWS[isa.packing] + 3
    out = np.full(tokens * stride, 77, dtype)
    count = items(isa, units, tokens, threads)
    weights, room = packed(isa.packing, trits, base), scratch_bytes(isa.packing, width)
    scratch = np.full(room + 4096, 99, np.uint8)
    edges = np.linspace(0, count, parts + 1).astype(int)
    for first, last in reversed(list(zip(edges[:-1], edges[1:], strict=True))):
        product(isa, weights, base, blocks, units, first, last, count, codes.reshape(-1), width,
                x.sum(1, dtype=np.int32), np.full(tokens, 2, np.float32), np.float32(scale),
                tokens, out, stride, scratch)
    out = out.reshape(tokens, stride)
    assert (out[:, units * ROWS[isa.packing]:] == 77).all(), 'wrote beyond the last unit'
    assert (scratch[room:] == 99).all(), 'wrote beyond its scratch'
    return out[:, :rows]


@every_isa
@settings(max_examples=40, deadline=None)
@given(st.one_of(st.integers(1, 150), st.sampled_from([640, 1280, 1281, 2561])),
       st.sampled_from([1, 9, 10, 36, 37, 47, 48, 63, 64, 129, 240, 241, 256, 300, 513, 720,
                        1009]),
       st.one_of(st.integers(1, 13), st.sampled_from([48, 49, 101])), st.integers(1, 3), SEEDS)
def test_products_are_exact(isa: Isa, rows: int, columns: int, tokens: int, parts: int,
                            seed: int) -> None:
    rng = np.random.default_rng(seed)
    trits = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    x = rng.integers(-128, 128, (tokens, columns)).astype(np.int8)
    got = multiply(isa, trits, x, base=int(rng.integers(0, 70)), parts=parts)
    np.testing.assert_array_equal(got, reference.ternary_matmul(trits, x))


@every_isa
@pytest.mark.parametrize('rows', [1920, 2624, 6976])
@pytest.mark.parametrize('tokens', [1, 2, 4, 7, 9])
def test_pieces_begin_and_end_in_the_middle_of_panels(isa: Isa, rows: int, tokens: int) -> None:
    rng = np.random.default_rng(rows + tokens)
    trits = rng.integers(-1, 2, (rows, 300)).astype(np.int8)
    x = rng.integers(-128, 128, (tokens, 300)).astype(np.int8)
    want = reference.ternary_matmul(trits, x)
    for threads in (1, 2, 3, 4, 7, 16):
        for parts in (1, threads, 5 * threads):
            np.testing.assert_array_equal(
                multiply(isa, trits, x, parts=parts, threads=threads), want)


@every_isa
@pytest.mark.parametrize('tokens', [1, 2, 3, 4, 7, 50])
@pytest.mark.parametrize('value', [127, -127, -128])
@pytest.mark.parametrize('trit', [1, -1, 0])
def test_extreme_sums_do_not_wrap(isa: Isa, trit: int, value: int, tokens: int) -> None:
    """16-bit lanes, as in other engines, overflow here: the width of 2B4T, all alike."""
    x = np.full((tokens, 6912), value, np.int8)
    assert (multiply(isa, np.full((5, 6912), trit, np.int8), x) == 6912 * trit * value).all()


@every_isa
def test_alternating_signs_and_single_weights(isa: Isa) -> None:
    """Each column on its own, so that no two errors can cancel."""
    columns = 517
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
@given(st.one_of(st.integers(1, 13), st.integers(60, 270)), st.integers(1, 600), SEEDS)
def test_packings_round_trip(packing: str, rows: int, columns: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (rows, columns)).astype(np.int8)
    got = unpack_matrix(packing, packed(packing, trits), rows, columns)
    np.testing.assert_array_equal(got, trits)


@pytest.mark.parametrize(('packing', 'shape', 'bits'), [
    ('5bit', (64, 48), 5 / 3), ('5bit', (2560, 2560), 1.66875), ('2bit', (1, 256), 2)])
def test_a_packing_is_as_dense_as_it_says(packing: str, shape: tuple[int, int],
                                          bits: float) -> None:
    assert packed_size(packing, *shape) * 8 == bits * shape[0] * shape[1]


def test_the_five_bits_of_three_trits_lie_where_the_format_says() -> None:
    """Worked by hand: of 67 rows and 250 columns, 27 words: 25 in a chunk, then 2."""
    trits = np.zeros((67, 250), np.int8)
    trits[65, 0:3] = 1, 0, -1  # code 2 + 3 + 0 = 5
    trits[1, 48 + 15:48 + 18] = 1  # 26: column 15 of the second run, in its word 1, bits 10 to 14
    trits[1, 48 + 45] = -1  # 12: the fifth code of the second run is spread over its words' bit 15
    trits[66, 249] = -1  # column 0 of word 1 of the second chunk: 0 + 3 + 9 = 12
    out = packed('5bit', trits).view(np.uint16)
    zero = 13 * (1 + 32 + 1024)
    # 13 is 0b01101: bit 15 of words 1, 2 and 4 of a run, as all of it is zero trits
    assert [out[64 * k] for k in range(5)] == [zero | b << 15 for b in (0, 1, 1, 0, 1)]
    assert out[64 * 25 + 1] == 5 | 13 << 5 | 13 << 10  # the second unit follows the first
    assert out[64 * 6 + 1] == 13 | 13 << 5 | 26 << 10 | 1 << 15
    assert [out[64 * (5 + k) + 1] >> 15 for k in range(5)] == [0, 1, 1, 0, 0]  # 12
    second = 2 * 64 * 25  # the second chunk follows both units
    assert out[second] == zero and out[second + 2 * 64 + 64 + 2] == 12 | 13 << 5 | 13 << 10
    assert packed_size('5bit', 67, 250) == 2 * 64 * 27 * 2


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 120), st.data())
def test_what_follows_a_panel_of_a_chunk_is_what_is_read_next(units: int, words: int,
                                                              data: st.DataObject) -> None:
    first = data.draw(st.integers(0, units - 1))
    last = data.draw(st.integers(first + 1, units))
    stretches = []  # in the order of `part`: first byte, bytes of a unit, what follows
    for begin in range(0, words, CHUNK):
        wide, u = min(CHUNK, words - begin), first
        while u < last:
            v = min(last, panel_of(units, u)[1])
            stretches.append((place(units, words, u, begin, wide), wide * LINES * LINE,
                              read_next(units, words, first, v, last, begin + wide)))
            u = v
    for (_, _, follows), (start, size, _) in pairwise(stretches):
        assert follows == (start, size)
    # another part, or what comes after the matrix
    assert stretches[-1][2][0] == place(units, words, last, 0, min(CHUNK, words))


@pytest.mark.parametrize('packing', ['5bit', '2bit'])
def test_codes_that_are_no_trits_are_noticed(packing: str) -> None:
    out = packed(packing, np.zeros((3, 256), np.int8))
    out[4] = 255
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


@pytest.mark.parametrize(('cpu', 'tables', 'ahead', 'places'), [
    ('znver4', True, 0, 1), ('znver5', True, isas.FAR, 1), ('znver12', True, isas.FAR, 1),
    ('emeraldrapids', False, 77, 4), ('generic', False, 77, 4)])
def test_memory_is_read_as_the_cpu_likes_it(cpu: str, tables: bool, ahead: int, places: int,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isas.numba.config, 'CPU_NAME', cpu)
    found = isas.available()
    monkeypatch.undo()  # what is compiled here is for this CPU
    ask = njit(lambda isa: (isas.places(isa), isas.places(isas.unasked(isa))))
    for isa in found:
        assert (isa.tables, isa.ahead(77), ask(isa)) == (tables, ahead, (places, 1))


def test_without_the_systems_leave_the_matrix_unit_is_not_used(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isas, 'features', lambda: {'amx-int8', *ISAS['avx512vbmi'].needs, 'avx2',
                                                   *ISAS['avx512vnni'].needs})
    for leave in (True, False):
        monkeypatch.setattr(isas, '_may_use_amx', lambda leave=leave: leave)
        assert {isa.name for isa in isas.available() if isa.amx} == (
            {'avx512vbmi', 'avx512vnni'} if leave else set())
    monkeypatch.setattr(isas, 'features', lambda: set(ISAS['avx512vbmi'].needs))
    monkeypatch.setattr(isas, '_may_use_amx', lambda: pytest.fail('asked without need'))
    assert not isas.available()[0].amx


@pytest.mark.parametrize('packing', ['2bit', '5bit'])
def test_a_cpu_without_the_matrix_unit_compiles_none_of_its_instructions(
        packing: str, tmp_path: Path) -> None:
    """Where LLVM cannot select an instruction it ends the process, so it has one of its own."""
    program = f"""
import numpy as np
from edge_vla.kernels.isa import available
from edge_vla.kernels.ternary import items, product, scratch_bytes
isa = next((isa for isa in available() if isa.packing == '{packing}'), None)
if isa is not None:
    assert not isa.amx
    one = np.zeros(20, np.float32)
    count = items(isa, 20, 20, 1)
    product(isa, np.zeros(65536, np.uint8), 0, 1, 20, 0, count, count,
            np.zeros(20 * 256, np.int8), 256, np.zeros(20, np.int32), one + 1, np.float32(1), 20,
            np.zeros(20 * 1280, np.float32), 1280, np.zeros(scratch_bytes('{packing}', 256),
                                                            np.uint8))
"""
    features = ','.join(f'{"-" if name.startswith("amx") or not present else "+"}{name}'
                        for name, present in llvm.get_host_cpu_features().items())
    environment = os.environ | {'NUMBA_CPU_NAME': llvm.get_host_cpu_name(),
                                'NUMBA_CPU_FEATURES': features, 'NUMBA_CACHE_DIR': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', program], env=environment, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
