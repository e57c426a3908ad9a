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

"""
How ternary matrices lie in memory for the products: '5bit' and '2bit'.

Rows are padded to a unit and columns to a block with trit 0. Let c = trit + 1.

* '2bit', unit 1 row, block 256 columns: byte i (0..63) of a block holds columns i, 64 + i,
  128 + i and 192 + i, lowest bits first. Blocks follow each other, then units.
* '5bit', unit 64 rows, block 9 columns: the code of three neighbouring columns of a row is
  c0 + 3 c1 + 9 c2. Columns come in runs of 48: bits 0-4, 5-9 and 10-14 of word k (0..4, 16 bits,
  little-endian) of a run are the codes of columns 9 k, 9 k + 3 and 9 k + 6 and the two after each;
  bit 15 is bit 4 - k of the code of column 45. A last run of less than 37 columns has only the
  words it needs, their bit 15 zero. The U units are cut into P = ceil(U / 20) panels, the p-th
  from unit floor(p U / P), the columns into chunks of 25 words. Panels follow each other, in a
  panel the chunks, in a chunk the units, in a unit the words; a word of a unit is that of its 64
  rows, one by one.
"""

from edge_vla.kernels.ternary_tables import (
    CHUNK,
    GROUP,
    LINE,
    LINES,
    panel_of,
    UNIT,
    UNIT_COLUMNS,
    WORD_COLUMNS,
)
from edge_vla.kernels.ternary_tiles import BLOCK
from numba import njit
import numpy as np

ROWS = {'5bit': GROUP, '2bit': 1}  # rows of a unit
COLUMNS = {'5bit': UNIT_COLUMNS, '2bit': BLOCK}  # activations are padded to a multiple
_BLOCK_BYTES = {'5bit': LINES * LINE, '2bit': 64}


def units_and_blocks(packing: str, rows: int, columns: int) -> tuple[int, int]:
    """Return how many units a matrix has, and how many blocks a unit has."""
    units = -(-rows // ROWS[packing])
    return units, -(-columns // BLOCK) if packing == '2bit' else _words(columns)


def packed_size(packing: str, rows: int, columns: int) -> int:
    """Return the bytes of a packed matrix."""
    units, blocks = units_and_blocks(packing, rows, columns)
    return units * blocks * _BLOCK_BYTES[packing]


def pack_matrix(packing: str, trits: np.ndarray, out: np.ndarray) -> None:
    """
    Pack int8 [rows, columns] of {-1, 0, 1}.

    Parameters
    ----------
    packing : str
        '5bit' or '2bit'.
    trits : int8 [rows, columns]
        The weights.
    out : uint8 [packed_size], written
        The packed matrix.

    """
    (_pack5 if packing == '5bit' else _pack2)(trits, out)


def unpack_matrix(packing: str, packed: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """
    Unpack to int8 [rows, columns].

    Raises
    ------
    ValueError
        A code stands for no trits.

    """
    units, _ = units_and_blocks(packing, rows, columns)
    trits = np.empty((units * ROWS[packing], columns), np.int8)
    if not (_unpack5 if packing == '5bit' else _unpack2)(packed, trits):
        raise ValueError('a code stands for no trits')
    return trits[:rows]


@njit(cache=True, nogil=True)
def _pack2(trits, out):
    out[:] = 0x55
    blocks = (trits.shape[1] + 255) // 256
    for row in range(trits.shape[0]):
        for j in range(trits.shape[1]):
            at = (row * blocks + j // 256) * 64 + j % 64
            shift = 2 * (j % 256 // 64)
            out[at] ^= (np.uint8(trits[row, j] + 1) ^ np.uint8(1)) << np.uint8(shift)


@njit(cache=True, nogil=True)
def _unpack2(packed, trits):
    blocks = (trits.shape[1] + 255) // 256
    good = True
    for row in range(trits.shape[0]):
        for j in range(trits.shape[1]):
            byte = packed[(row * blocks + j // 256) * 64 + j % 64]
            code = (byte >> np.uint8(2 * (j % 256 // 64))) & np.uint8(3)
            good &= code < 3
            trits[row, j] = np.int8(code) - 1
    return good


@njit(cache=True, nogil=True)
def _code(trits, row, column):
    """Return the code of three columns of a row; what is outside is 0."""
    code = 0
    for j in range(column + 2, column - 1, -1):
        inside = row < trits.shape[0] and j < trits.shape[1]
        code = 3 * code + (trits[row, j] + 1 if inside else 1)
    return code


@njit(cache=True, nogil=True)
def _place(row, word, units, words):
    """Return the first byte of a word of a row."""
    unit, begin = row // GROUP, word // CHUNK * CHUNK
    first, end = panel_of(units, unit)
    at = first * words + (end - first) * begin + (unit - first) * min(CHUNK, words - begin)
    return (at + word - begin) * LINES * LINE + 2 * (row % GROUP)


@njit(cache=True, nogil=True)
def _words(columns):
    """Return the words of a row; see the top."""
    runs, rest = columns // UNIT_COLUMNS, columns % UNIT_COLUMNS
    return UNIT * runs + min(UNIT, (rest + WORD_COLUMNS - 1) // WORD_COLUMNS)


@njit(cache=True, nogil=True)
def _pack5(trits, out):
    rows, columns = trits.shape
    units, words = (rows + GROUP - 1) // GROUP, _words(columns)
    for row in range(units * GROUP):
        for run in range((words + UNIT - 1) // UNIT):
            j = run * UNIT_COLUMNS
            here = min(UNIT, words - run * UNIT)
            extra = _code(trits, row, j + UNIT * WORD_COLUMNS) if here == UNIT else 0
            for k in range(here):
                word = (extra >> (UNIT - 1 - k) & 1) << 15
                for d in range(3):
                    word |= _code(trits, row, j + WORD_COLUMNS * k + 3 * d) << 5 * d
                at = _place(row, run * UNIT + k, units, words)
                out[at], out[at + 1] = word & 255, word >> 8


@njit(cache=True, nogil=True)
def _unpack_code(code, row, column, trits):
    """Write three trits, those inside; tell whether it is a code."""
    good = code < 27
    for j in range(column, column + 3):
        trit = code % 3 - 1
        code //= 3
        if j < trits.shape[1]:
            trits[row, j] = trit
    return good


@njit(cache=True, nogil=True)
def _unpack5(packed, trits):
    rows, columns = trits.shape
    units, words = rows // GROUP, _words(columns)
    good = True
    for row in range(rows):
        for run in range((words + UNIT - 1) // UNIT):
            j = run * UNIT_COLUMNS
            here, extra = min(UNIT, words - run * UNIT), 0
            for k in range(here):
                at = _place(row, run * UNIT + k, units, words)
                word = np.int64(packed[at]) | np.int64(packed[at + 1]) << 8
                extra = extra << 1 | word >> 15
                for d in range(3):
                    good &= _unpack_code(word >> 5 * d & 31, row, j + WORD_COLUMNS * k + 3 * d,
                                         trits)
            if here == UNIT:
                good &= _unpack_code(extra, row, j + UNIT * WORD_COLUMNS, trits)
    return good
