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

from edge_vla.exceptions import CheckpointError
import numpy as np


def ternarise(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """
    Return trits int8 and the scale mean|W| (absmean, BitNet b1.58 section 2).

    Parameters
    ----------
    weight : numpy.ndarray
        float32 [out, in].

    """
    scale = max(float(np.abs(weight).mean(dtype=np.float32)), 1e-5)
    return np.clip(np.rint(weight / np.float32(scale)), -1, 1).astype(np.int8), scale


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


def check_packed(packed: np.ndarray, out: int, columns: int, name: str) -> None:
    """
    Refuse a packed tensor of the wrong type, shape or content.

    Raises
    ------
    CheckpointError
        Names the tensor.

    """
    want = (-(-out // 4), columns)
    if packed.dtype != np.uint8 or packed.shape != want:
        raise CheckpointError(f'tensor {name!r} is {packed.dtype} {list(packed.shape)}, expected '
                              f'packed uint8 {list(want)}')
    if (packed & (packed >> 1) & 0x55).any():
        raise CheckpointError(f'tensor {name!r} holds the code 3, which is no trit: the file is '
                              'corrupt')
