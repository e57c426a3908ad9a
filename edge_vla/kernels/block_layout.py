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
How matrices of 4-bit and 8-bit blocks lie in memory for the products, and how they are made.

A block is 32 columns of a row with a float16 scale d; a weight is d * (code - offset), offset 8
or 128: ggml's Q4_0 and Q8_0, whose codes and scales are kept as they are. Rows are padded to a
unit of 16, columns to a pair of blocks. A pair of a unit is

* the 16 scales of the rows' first blocks, the 16 of their second ones, float16;
* for each of the two blocks 64 bytes at a time, byte 4 r + i of row r. 4 bits: the q-th 64 bytes
  (q < 4) hold column 8 q + i in the low and 8 q + 4 + i in the high nibble. 8 bits: the q-th
  (q < 8) holds column 4 q + i.

So one vector holds four columns of 16 rows, and the sums of the rows never cross lanes. Pairs of a
unit follow each other, then units.
"""

from numba import njit
import numpy as np

BLOCK = 32  # columns that share a scale
UNIT = 16  # rows that lie together
OFFSET = {4: 8, 8: 128}
_SHRINK = (1.0, .96, .92, .88, .84, .8, .75)  # of the largest weight: what a scale is tried for


def pair_bytes(bits: int) -> int:
    """Return the bytes of two blocks of a unit."""
    return 2 * UNIT * (2 + BLOCK * bits // 8)


def units_and_pairs(rows: int, columns: int) -> tuple[int, int]:
    """Return how many units a matrix has, and how many pairs of blocks a unit has."""
    return -(-rows // UNIT), -(-columns // (2 * BLOCK))


def packed_blocks_size(bits: int, rows: int, columns: int) -> int:
    """Return the bytes of a packed matrix."""
    units, pairs = units_and_pairs(rows, columns)
    return units * pairs * pair_bytes(bits)


def quantise_blocks(weights: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Quantise float32 [rows, columns].

    Parameters
    ----------
    weights : float32 [rows, columns]
        Any; columns beyond the last whole block are taken for zero.
    bits : int
        4 or 8.

    Returns
    -------
    tuple
        Codes uint8 [rows, B * 32] and scales float16 [rows, B] of B blocks. A scale of 4 bits is
        the best of some in the sense of least squares.

    """
    rows, columns = weights.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :columns] = weights
    grouped = padded.reshape(rows * blocks, BLOCK)
    place = np.abs(grouped).argmax(1)
    # of 4 bits the code furthest from zero is the negative one: it goes to the largest weight
    top = grouped[np.arange(len(grouped)), place] / np.float32(-8 if bits == 4 else 127)
    if bits == 8:
        top = np.abs(top)
    most = np.float32(65504)
    tried = np.stack([np.clip(top * np.float32(f), -most, most) for f in (
        _SHRINK if bits == 4 else (1.0,))]).astype(np.float16)
    codes, scales = np.empty(grouped.shape, np.uint8), np.empty(len(grouped), np.uint16)
    _best_codes(grouped, tried.astype(np.float32), tried.view(np.uint16), np.float32(OFFSET[bits]),
                codes, scales)
    return codes.reshape(rows, -1), scales.view(np.float16).reshape(rows, blocks)


def dequantise_blocks(codes: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """Return float32 [rows, B * 32] of uint8 codes of that shape and float16 scales [rows, B]."""
    q = codes.reshape(*scales.shape, BLOCK).astype(np.float32) - np.float32(OFFSET[bits])
    return (scales.astype(np.float32)[..., None] * q).reshape(codes.shape)


@njit(cache=True, nogil=True)
def _best_codes(grouped, tried, halves, offset, codes, scales):
    """Choose for each block the tried scale [N, blocks] of least squared error."""
    q = np.empty(grouped.shape[1], np.uint8)
    for b in range(grouped.shape[0]):
        best = np.float32(np.inf)
        for k in range(tried.shape[0]):
            d, error = tried[k, b], np.float32(0)
            r = np.float32(1) / d if d != 0 else np.float32(0)
            for j in range(grouped.shape[1]):
                v = np.float32(np.rint(grouped[b, j] * r)) + offset
                v = min(max(v, np.float32(0)), np.float32(2) * offset - np.float32(1))
                q[j] = np.uint8(v)
                miss = d * (v - offset) - grouped[b, j]
                error += miss * miss
            if error < best:
                best, scales[b] = error, halves[k, b]
                codes[b] = q


@njit(cache=True, nogil=True)
def pack_blocks(codes, scales, bits, out):
    """
    Lay out a matrix for the products.

    Parameters
    ----------
    codes : uint8 [rows, B * 32]
        Codes.
    scales : uint16 [rows, B]
        The bits of their float16 scales.
    bits : int
        4 or 8.
    out : uint8 [packed_blocks_size], written
        The packed matrix.

    """
    rows, blocks = scales.shape
    pairs = (blocks + 1) // 2
    size = 32 * (2 + 4 * bits)
    units = (rows + 15) // 16
    out[:units * pairs * size] = 0  # a scale of zero makes the padding zero
    for row in range(rows):
        for b in range(blocks):
            pair = ((row // 16) * pairs + b // 2) * size
            r = row % 16
            at = pair + b % 2 * 32 + 2 * r
            out[at], out[at + 1] = scales[row, b] & 255, scales[row, b] >> 8
            at = pair + 64 + b % 2 * (64 * bits) + 4 * r
            for j in range(32):
                code = codes[row, 32 * b + j]
                if bits == 8:
                    out[at + j // 4 * 64 + j % 4] = code
                else:
                    out[at + j // 8 * 64 + j % 4] |= code << np.uint8(j // 4 % 2 * 4)


@njit(cache=True, nogil=True)
def unpack_blocks(packed, bits, codes, scales):
    """Undo `pack_blocks`: write uint8 [rows, B * 32] and uint16 [rows, B]."""
    rows, blocks = scales.shape
    pairs = (blocks + 1) // 2
    size = 32 * (2 + 4 * bits)
    for row in range(rows):
        for b in range(blocks):
            pair = ((row // 16) * pairs + b // 2) * size
            r = row % 16
            at = pair + b % 2 * 32 + 2 * r
            scales[row, b] = np.uint16(packed[at]) | np.uint16(packed[at + 1]) << np.uint16(8)
            at = pair + 64 + b % 2 * (64 * bits) + 4 * r
            for j in range(32):
                if bits == 8:
                    codes[row, 32 * b + j] = packed[at + j // 4 * 64 + j % 4]
                else:
                    byte = packed[at + j // 8 * 64 + j % 4]
                    codes[row, 32 * b + j] = (byte >> np.uint8(j // 4 % 2 * 4)) & np.uint8(15)
