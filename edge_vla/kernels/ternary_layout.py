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
* '5bit', unit 3 rows, block 128 columns: the code of a column is c0 + 3 c1 + 9 c2 of its three
  rows. First a plane of low nibbles for the whole matrix: byte i (0..63) of a block holds column i
  in its low and column 64 + i in its high nibble. Then a plane of fifth bits: bit 4k + q of byte i
  (0..15) of a block is that of column 64k + 16q + i.
"""

from edge_vla.kernels.ternary_tiles import COLUMNS, ROWS
from numba import njit
import numpy as np

BLOCK_BYTES = {'5bit': 80, '2bit': 64}


def units_and_blocks(packing: str, rows: int, columns: int) -> tuple[int, int]:
    """Return how many units a matrix has, and how many blocks a unit has."""
    return -(-rows // ROWS[packing]), -(-columns // COLUMNS[packing])


def packed_size(packing: str, rows: int, columns: int) -> int:
    """Return the bytes of a packed matrix."""
    units, blocks = units_and_blocks(packing, rows, columns)
    return units * blocks * BLOCK_BYTES[packing]


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
def _pack5(trits, out):
    rows, columns = trits.shape
    units, blocks = (rows + 2) // 3, (columns + 127) // 128
    out[:] = 0
    plane = units * blocks * 64
    for u in range(units):
        for j in range(blocks * 128):
            code = 0
            for r in range(2, -1, -1):
                inside = 3 * u + r < rows and j < columns
                code = 3 * code + (trits[3 * u + r, j] + 1 if inside else 1)
            block, i = u * blocks + j // 128, j % 128
            out[block * 64 + i % 64] |= np.uint8((code & 15) << (4 * (i // 64)))
            bit = 4 * (i // 64) + i % 64 // 16
            out[plane + block * 16 + i % 16] |= np.uint8((code >> 4) << bit)


@njit(cache=True, nogil=True)
def _unpack5(packed, trits):
    rows, columns = trits.shape
    units, blocks = rows // 3, (columns + 127) // 128
    plane = units * blocks * 64
    good = True
    for u in range(units):
        for j in range(columns):
            block, i = u * blocks + j // 128, j % 128
            code = (packed[block * 64 + i % 64] >> np.uint8(4 * (i // 64))) & np.uint8(15)
            bit = 4 * (i // 64) + i % 64 // 16
            code |= ((packed[plane + block * 16 + i % 16] >> np.uint8(bit)) & np.uint8(1)) << 4
            good &= code < 27
            for r in range(3):
                trits[3 * u + r, j] = np.int8(code % 3) - 1
                code //= 3
    return good
