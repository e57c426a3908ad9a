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
Ternary weights {-1, 0, +1} packed four to a byte, as Hugging Face stores BitNet.

A packed matrix is uint8 [ceil(out / 4), in]; with R packed rows, byte (r, j) holds the codes
(trit + 1) of rows r, r + R, r + 2R, r + 3R of column j, lowest bits first.
"""

import math

from edge_vla.exceptions import CheckpointError
import numpy as np


def ternarise(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """
    Return trits int8 and the scale mean|W| (absmean, BitNet b1.58 section 2).

    The arithmetic is that of transformers' ``WeightQuant``: multiply by the float32 reciprocal
    of the mean, round half to even.

    Parameters
    ----------
    weight : numpy.ndarray
        float32 [out, in].

    """
    # summed in float64: as close as can be to any order in which torch sums
    scale = np.maximum(np.float32(np.abs(weight).mean(dtype=np.float64)), np.float32(1e-5))
    levels = weight * (np.float32(1) / scale)
    np.clip(np.rint(levels, out=levels), -1, 1, out=levels)
    return levels.astype(np.int8), float(scale)


def pack(trits: np.ndarray) -> np.ndarray:
    """
    Pack int8 [out, in] of {-1, 0, 1} into uint8 [ceil(out / 4), in].

    Raises
    ------
    ValueError
        A value is not a trit.

    """
    if not np.isin(trits, (-1, 0, 1)).all():
        raise ValueError('only -1, 0 and 1 can be packed')
    out, columns = trits.shape
    rows = -(-out // 4)
    codes = np.zeros((4 * rows, columns), np.uint8)
    codes[:out] = trits + 1
    c = codes.reshape(4, rows, columns)
    return c[0] | c[1] << 2 | c[2] << 4 | c[3] << 6


def unpack(packed: np.ndarray, out: int) -> np.ndarray:
    """Unpack uint8 [ceil(out / 4), in] into int8 [out, in]."""
    trits = np.concatenate([((packed >> (2 * i)) & 3).astype(np.int8) - 1 for i in range(4)])
    return trits[:out]


def packed_shape(out: int, columns: int) -> tuple[int, int]:
    """Return the shape of a packed tensor."""
    return -(-out // 4), columns


def check_packed(packed: np.ndarray, out: int, columns: int, name: str) -> None:
    """
    Refuse a packed tensor of the wrong type, shape or content.

    Raises
    ------
    CheckpointError
        Names the tensor.

    """
    want = packed_shape(out, columns)
    if packed.dtype != np.uint8 or packed.shape != want:
        raise CheckpointError(f'tensor {name!r} is {packed.dtype} {list(packed.shape)}, expected '
                              f'packed uint8 {list(want)}')
    if (packed & (packed >> 1) & 0x55).any():
        raise CheckpointError(f'tensor {name!r} holds the code 3, which is no trit: the file is '
                              'corrupt')


def check_scale(scale: float, name: str) -> None:
    """
    Refuse a scale that is not a positive number.

    Raises
    ------
    CheckpointError
        Names the tensor.

    """
    if not (math.isfinite(scale) and scale > 0):
        raise CheckpointError(f'the scale of tensor {name!r} is {scale}, expected a positive '
                              'number: the file is corrupt')


def check_ternary(trits: np.ndarray, scale: float, name: str) -> None:
    """
    Refuse a ternary matrix whose weights are all zero or of a size that no layer has.

    Raises
    ------
    CheckpointError
        Names the tensor; a scale taken the wrong way round ends here.

    """
    check_scale(scale, name)
    size = scale * math.sqrt(np.count_nonzero(trits) / trits.size)
    if size == 0:
        raise CheckpointError(f'tensor {name!r} holds nothing but zeros: the file is corrupt')
    if not 1e-4 <= size <= 10:
        raise CheckpointError(
            f'the weights of tensor {name!r} would have the size {size:.3g}, which no trained '
            "layer has: check linear_class in config.json's quantization_config (autobitlinear "
            'multiplies by weight_scale, bitlinear divides by it)')


def check_shape(got: tuple[int, ...], want: tuple[int, ...], name: str) -> None:
    """
    Refuse a tensor of another shape.

    Raises
    ------
    CheckpointError
        Names the tensor.

    """
    if got != want:
        raise CheckpointError(f'tensor {name!r} has shape {list(got)}, expected {list(want)}: '
                              'it does not belong to this configuration')


def check_finite(values: np.ndarray, name: str) -> None:
    """
    Refuse a tensor with infinities or NaNs.

    Raises
    ------
    CheckpointError
        Names the tensor.

    """
    if not np.isfinite(values).all():
        raise CheckpointError(f'tensor {name!r} holds values that are not finite: the file is '
                              'corrupt')


def pack_channels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Ternarise a weight with one absmean scale per output channel and pack it.

    Parameters
    ----------
    weight : numpy.ndarray
        float32 [out, ...].

    Returns
    -------
    tuple
        uint8 [ceil(out / 4), inputs] and the scales, float32 [out].

    """
    flat = weight.reshape(len(weight), -1).astype(np.float32)
    scale = np.maximum(np.abs(flat).mean(1, keepdims=True, dtype=np.float32), np.float32(1e-5))
    trits = np.clip(np.rint(flat / scale), -1, 1).astype(np.int8)
    return pack(trits), scale[:, 0]
