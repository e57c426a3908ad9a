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
The blocks in which GGUF files hold weights: ternary ones to trits, others to float32.

Layouts: ``ggml-common.h`` and ``ggml-quants.c`` of ggml; I2_S, which only bitnet.cpp has, from its
``ggml-bitnet-mad.cpp``. A half-precision number ``d`` scales the values of a block.
"""

from typing import NamedTuple

from edge_vla.checkpoints.safetensors import widen
from edge_vla.exceptions import CheckpointError
import numpy as np


class Block(NamedTuple):
    """A type of tensor: its name, and how many values fill how many bytes."""

    name: str
    values: int
    size: int


F32, F16, Q4_0, Q8_0, Q4_K, Q6_K, BF16, TQ1_0, TQ2_0, I2_S = 0, 1, 2, 8, 12, 14, 30, 34, 35, 36
BLOCKS = {
    F32: Block('F32', 1, 4), F16: Block('F16', 1, 2), BF16: Block('BF16', 1, 2),
    Q4_0: Block('Q4_0', 32, 18), Q8_0: Block('Q8_0', 32, 34), Q4_K: Block('Q4_K', 256, 144),
    Q6_K: Block('Q6_K', 256, 210), TQ1_0: Block('TQ1_0', 256, 54),
    TQ2_0: Block('TQ2_0', 256, 66), I2_S: Block('I2_S', 128, 32)}
PLAIN = (F32, F16, BF16)
TERNARY = (I2_S, TQ1_0, TQ2_0)
_UNREAD = {3: 'Q4_1', 6: 'Q5_0', 7: 'Q5_1', 9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K', 13: 'Q5_K',
           15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 20: 'IQ4_NL',
           21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64',
           28: 'F64', 29: 'IQ1_M', 39: 'MXFP4'}
_TAIL = 32  # bytes after an I2_S tensor: its scale, and padding


def byte_size(kind: int, count: int) -> int:
    """Return the bytes of `count` values, a whole number of blocks, of a type in BLOCKS."""
    block = BLOCKS[kind]
    return count // block.values * block.size + (_TAIL if kind == I2_S else 0)


def codes(kind: int, data: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the codes and scales of blocks of 32 as they are.

    Parameters
    ----------
    kind : int
        ggml's number of the type: Q4_0 or Q8_0.
    data : numpy.ndarray
        uint8, whole blocks.
    name : str
        The tensor, for messages.

    Returns
    -------
    tuple
        Codes uint8 [blocks, 32], too large by 8 (Q4_0) or 128 (Q8_0), and scales float16 [blocks].

    Raises
    ------
    CheckpointError
        The type is another.

    """
    if kind not in (Q4_0, Q8_0):
        raise CheckpointError(f'tensor {name!r} is of type {type_name(kind)}, expected '
                              f'{BLOCKS[Q4_0].name} or {BLOCKS[Q8_0].name}')
    blocks = data.reshape(-1, BLOCKS[kind].size)
    scales = np.ascontiguousarray(blocks[:, :2]).view('<f2')[:, 0]
    if kind == Q4_0:
        return _shifted(blocks[:, 2:], (0, 4), 15).reshape(-1, 32), scales
    return blocks[:, 2:] ^ np.uint8(128), scales


def _shifted(codes: np.ndarray, shifts: tuple[int, ...], mask: int) -> np.ndarray:
    """Return the fields [..., shift, byte] of the bytes [..., byte]."""
    return (codes[..., None, :] >> np.array(shifts, np.uint8)[:, None]) & np.uint8(mask)


def _halves(columns: np.ndarray) -> np.ndarray:
    """Return float32 [n, k] of the bytes [n, 2 * k] of half-precision numbers."""
    return np.ascontiguousarray(columns).view('<f2').astype(np.float32)


def _q4_0(b: np.ndarray) -> np.ndarray:
    q = _shifted(b[:, 2:], (0, 4), 15).reshape(-1, 32).astype(np.int8) - np.int8(8)
    return _halves(b[:, :2]) * q


def _q8_0(b: np.ndarray) -> np.ndarray:
    return _halves(b[:, :2]) * np.ascontiguousarray(b[:, 2:]).view(np.int8)


def _q4_k(b: np.ndarray) -> np.ndarray:
    # eight groups of 32, each with a six-bit scale and minimum
    low, high, rest = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scale = np.concatenate((low & 63, (rest & 15) | (low >> 6) << 4), axis=1)
    least = np.concatenate((high & 63, (rest >> 4) | (high >> 6) << 4), axis=1)
    q = _shifted(b[:, 16:].reshape(-1, 4, 32), (0, 4), 15).reshape(-1, 8, 32)
    return (_halves(b[:, :2]) * scale)[..., None] * q - (_halves(b[:, 2:4]) * least)[..., None]


def _q6_k(b: np.ndarray) -> np.ndarray:
    # two halves of 128: four low bits from 64 bytes, two high bits from 32; 16 values a scale
    low = _shifted(b[:, :128].reshape(-1, 2, 64), (0, 4), 15).reshape(-1, 2, 4, 32)
    high = _shifted(b[:, 128:192].reshape(-1, 2, 32), (0, 2, 4, 6), 3)
    q = (low | high << 4).astype(np.int8) - np.int8(32)
    scale = _halves(b[:, 208:]) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return scale[..., None] * q.reshape(-1, 16, 16)


def _tq1_0(b: np.ndarray) -> np.ndarray:
    # a byte holds five base-3 digits as a fraction of 256: times 3^n mod 256, then times 3
    codes = []
    for part, digits in ((b[:, :32], 5), (b[:, 32:48], 5), (b[:, 48:52], 4)):
        powers = np.array([3 ** n for n in range(digits)], np.uint8)[:, None]
        fraction = (part[:, None, :] * powers).astype(np.uint16)
        codes.append((fraction * np.uint16(3) >> 8).reshape(len(b), -1))
    return np.concatenate(codes, axis=1)


def _tq2_0(b: np.ndarray) -> np.ndarray:
    return _shifted(b[:, :64].reshape(-1, 2, 32), (0, 2, 4, 6), 3).reshape(-1, 256)


_FLOATS = {Q4_0: _q4_0, Q8_0: _q8_0, Q4_K: _q4_k, Q6_K: _q6_k}
_CODES = {TQ1_0: _tq1_0, TQ2_0: _tq2_0}


def floats(kind: int, data: np.ndarray, name: str) -> np.ndarray:
    """
    Decode blocks into float32.

    Parameters
    ----------
    kind : int
        ggml's number of the type.
    data : numpy.ndarray
        uint8, whole blocks.
    name : str
        The tensor, for messages.

    Raises
    ------
    CheckpointError
        The type is ternary or unknown.

    """
    if kind == BF16:
        return widen(data.view('<u2'))
    if kind in PLAIN:
        return data.view('<f4' if kind == F32 else '<f2').astype(np.float32)
    if kind not in _FLOATS:
        raise CheckpointError(f'tensor {name!r} is of type {type_name(kind)}, expected one of '
                              f'{", ".join(BLOCKS[k].name for k in (*PLAIN, *_FLOATS))}')
    return _FLOATS[kind](data.reshape(-1, BLOCKS[kind].size)).reshape(-1)


def trits(kind: int, data: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """
    Decode a ternary tensor into int8 {-1, 0, 1} and the scale of the whole.

    Parameters
    ----------
    kind : int
        One of TERNARY.
    data : numpy.ndarray
        uint8, the whole tensor.
    name : str
        The tensor, for messages.

    Raises
    ------
    CheckpointError
        Corrupt, or its blocks have different scales.

    """
    if kind == I2_S:
        # Groups of 32 values, the first in the highest bits. bitnet.cpp built for ARM expects
        # blocks of 64 instead, but published files never have them, and nothing tells them apart.
        scale = float(data[-_TAIL:][:4].view('<f4')[0])
        codes = _shifted(data[:-_TAIL].reshape(-1, 32), (6, 4, 2, 0), 3)
    else:
        blocks = data.reshape(-1, BLOCKS[kind].size)
        codes = _CODES[kind](blocks)
        d = _halves(blocks[:, -2:])[:, 0]
    if (codes == 3).any():
        raise CheckpointError(f'tensor {name!r} holds the code 3, which is no trit: the file is '
                              'corrupt')
    values = codes.astype(np.int8)
    values -= 1
    if kind != I2_S:
        scale = _one_scale(values, d, name)
    return values.reshape(-1), scale


def _one_scale(values: np.ndarray, d: np.ndarray, name: str) -> float:
    """Return the scale of all blocks; one without weights says nothing about it."""
    if not np.isfinite(d).all():
        raise CheckpointError(f'a scale of tensor {name!r} is not finite: the file is corrupt')
    values[d == 0] = 0
    scales = np.unique(d[values.any(axis=1)])
    if len(scales) > 1:
        raise CheckpointError(
            f'the blocks of tensor {name!r} have {len(scales)} different scales: BitNet b1.58 has '
            'one a tensor, so this model was not trained as one')
    return float(scales[0]) if len(scales) else 1.0


def type_name(kind: int) -> str:
    """Return how ggml calls a type, or its number."""
    return BLOCKS[kind].name if kind in BLOCKS else _UNREAD.get(kind, f'number {kind}')
