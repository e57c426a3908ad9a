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

A block is 32 columns of a row with a scale d; a weight is d * (code - offset), offset 8 or 128.
There are three kinds:

* Q4_0 and Q8_0, ggml's, whose codes and float16 scales are kept as they are;
* INT4, for what is quantised here: 4-bit codes whose scale is step * s * |s|, with a byte s from
  -127 to 127 and a float32 step of the row. That is 4.25 bits a weight instead of 4.5, and no
  further from the weights: a scale is tried in several sizes anyway, so where exactly it lies
  hardly matters. The square keeps scales apart where one block of a row is much larger.

Rows are padded to a unit of 16, columns to a group of blocks: two of ggml's, four of INT4. A group
of a unit is

* for each of its blocks the 16 scales of the rows;
* for each of its blocks 64 bytes at a time, byte 4 r + i of row r. 4 bits: the q-th 64 bytes
  (q < 4) hold column 8 q + i in the low and 8 q + 4 + i in the high nibble. 8 bits: the q-th
  (q < 8) holds column 4 q + i.

So one vector holds four columns of 16 rows, the sums of the rows never cross lanes, and the scales
of a group fill 64 bytes. Groups of a unit follow each other, then the 16 steps of its rows if they
have some, then units.
"""

from typing import NamedTuple

from numba import njit
from numba.extending import register_jitable
import numpy as np

BLOCK = 32  # columns that share a scale
UNIT = 16  # rows that lie together
Q4_0, Q8_0, INT4 = 4, 8, 12  # kinds, as converted models have them
WIDEST = 4 * BLOCK  # columns of a group of any kind: what goes into products is padded to it
_SHRINK = (1.0, .96, .92, .88, .84, .8, .75)  # of the largest weight: what a scale is tried for


class Blocks(NamedTuple):
    """A quantised matrix of B blocks a row."""

    codes: np.ndarray  # uint8 [rows, B * 32]
    scales: np.ndarray  # float16 [rows, B]; of INT4 int8, the s of it
    steps: np.ndarray | None = None  # float32 [rows], of INT4


@register_jitable
def bits_of(kind):
    """Return the bits of a weight, without scales."""
    return 8 if kind == Q8_0 else 4


@register_jitable
def offset_of(kind):
    """Return the code of a weight of zero."""
    return 1 << (bits_of(kind) - 1)


@register_jitable
def group_blocks(kind):
    """Return how many blocks of a row are a group."""
    return 4 if kind == INT4 else 2


@register_jitable
def scale_bytes(kind):
    """Return the bytes of a scale: those of a group and its 16 rows fill 64."""
    return 64 // UNIT // group_blocks(kind)


@register_jitable
def group_bytes(kind):
    """Return the bytes of a group of a unit."""
    return 64 + group_blocks(kind) * 64 * bits_of(kind)


@register_jitable
def unit_bytes(kind, groups):
    """Return the bytes of a unit of some groups."""
    return groups * group_bytes(kind) + (4 * UNIT if kind == INT4 else 0)


def units_and_groups(kind: int, rows: int, columns: int) -> tuple[int, int]:
    """Return how many units a matrix has, and how many groups of blocks a unit has."""
    return -(-rows // UNIT), -(-columns // (group_blocks(kind) * BLOCK))


def packed_blocks_size(kind: int, rows: int, columns: int) -> int:
    """Return the bytes of a packed matrix."""
    units, groups = units_and_groups(kind, rows, columns)
    return units * unit_bytes(kind, groups)


def quantise_blocks(weights: np.ndarray, kind: int) -> Blocks:
    """
    Quantise float32 [rows, columns].

    Parameters
    ----------
    weights : float32 [rows, columns]
        Any; columns beyond the last whole block are taken for zero.
    kind : int
        Q4_0, Q8_0 or INT4. A scale of 4 bits is the best of some in the sense of least squares,
        and a step of INT4 such that the largest s of a row is 127.

    """
    rows, columns = weights.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :columns] = weights
    grouped = padded.reshape(rows, blocks, BLOCK)
    place = np.abs(grouped).argmax(2)[..., None]
    # of 4 bits the code furthest from zero is the negative one: it goes to the largest weight
    top = np.take_along_axis(grouped, place, 2)[..., 0]
    top = np.abs(top) / np.float32(127) if kind == Q8_0 else top / np.float32(-8)
    shrink = np.float32((1.0,) if kind == Q8_0 else _SHRINK)[:, None, None]
    if kind == INT4:
        steps = np.abs(top).max(1, initial=0) / np.float32(127 ** 2)
        with np.errstate(divide='ignore', invalid='ignore'):  # rows of zeros
            root = np.nan_to_num(np.sqrt(np.abs(top) * shrink / steps[:, None]))
        # no 0 where a weight is none: 1 leaves it the choice of both
        kept = (np.sign(top) * np.clip(np.rint(root), 1, 127)).astype(np.int8)
        tried = _squared(kept) * steps[:, None]
    else:
        steps, most = None, np.float32(65504)
        kept = np.clip(top * shrink, -most, most).astype(np.float16)
        tried = kept.astype(np.float32)
    codes, chosen = np.empty(grouped.shape, np.uint8), np.empty((rows, blocks), np.int64)
    _best_codes(grouped, tried, np.float32(offset_of(kind)), codes, chosen)
    return Blocks(codes.reshape(rows, -1), np.take_along_axis(kept, chosen[None], 0)[0], steps)


def dequantise_blocks(blocks: Blocks, kind: int) -> np.ndarray:
    """Return float32 [rows, B * 32]."""
    codes, scales, steps = blocks
    q = codes.reshape(*scales.shape, BLOCK).astype(np.float32) - np.float32(offset_of(kind))
    d = scales.astype(np.float32) if steps is None else _squared(scales) * steps[:, None]
    return (d[..., None] * q).reshape(codes.shape)


def _squared(scales: np.ndarray) -> np.ndarray:
    """Return s * |s| as float32."""
    s = scales.astype(np.float32)
    return s * np.abs(s)


@njit(cache=True, nogil=True)
def _best_codes(grouped, tried, offset, codes, chosen):
    """Choose for each block the tried scale [N, rows, blocks] of least squared error."""
    q = np.empty(grouped.shape[2], np.uint8)
    for row in range(grouped.shape[0]):
        for b in range(grouped.shape[1]):
            best = np.float32(np.inf)
            for k in range(tried.shape[0]):
                d, error = tried[k, row, b], np.float32(0)
                r = np.float32(1) / d if d != 0 else np.float32(0)
                for j in range(grouped.shape[2]):
                    v = np.float32(np.rint(grouped[row, b, j] * r)) + offset
                    v = min(max(v, np.float32(0)), np.float32(2) * offset - np.float32(1))
                    q[j] = np.uint8(v)
                    miss = d * (v - offset) - grouped[row, b, j]
                    error += miss * miss
                if k == 0 or error < best:  # of huge weights no error is finite
                    best, chosen[row, b] = error, k
                    codes[row, b] = q


def pack_blocks(blocks: Blocks, kind: int, out: np.ndarray) -> None:
    """
    Lay out a matrix for the products.

    Parameters
    ----------
    blocks : Blocks
        The matrix.
    kind : int
        Of its blocks.
    out : uint8 [packed_blocks_size], written
        The packed matrix.

    """
    steps = np.zeros(0) if blocks.steps is None else blocks.steps
    _pack(blocks.codes, np.ascontiguousarray(blocks.scales).view(np.uint8),
          np.ascontiguousarray(steps, np.float32).view(np.uint8), kind, out)


@njit(cache=True, nogil=True)
def _pack(codes, scales, steps, kind, out):
    """Do it, given the bytes of scales, [rows, B] times 2 or 1, and of steps."""
    bits, count, size = bits_of(kind), group_blocks(kind), scale_bytes(kind)
    rows, blocks = scales.shape[0], scales.shape[1] // size
    groups, units = (blocks + count - 1) // count, (rows + UNIT - 1) // UNIT
    line = unit_bytes(kind, groups)
    out[:units * line] = 0  # a scale of zero makes the padding zero
    for row in range(rows):
        unit, r = row // UNIT * line, row % UNIT
        for b in range(blocks):
            group = unit + b // count * group_bytes(kind)
            at = group + b % count * UNIT * size + size * r
            out[at:at + size] = scales[row, size * b:size * (b + 1)]
            at = group + 64 + b % count * (64 * bits) + 4 * r
            for j in range(BLOCK):
                code = codes[row, BLOCK * b + j]
                if bits == 8:
                    out[at + j // 4 * 64 + j % 4] = code
                else:
                    out[at + j // 8 * 64 + j % 4] |= code << np.uint8(j // 4 % 2 * 4)
        if steps.shape[0]:
            at = unit + groups * group_bytes(kind) + 4 * r
            out[at:at + 4] = steps[4 * row:4 * row + 4]

