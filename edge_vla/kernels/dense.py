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
Convolutions and dense layers in float32, channels last.

The innermost loop runs over output channels, so it vectorises without reordering any sum: the
result is the same on every CPU. No fastmath, no fused multiply-add.
"""

from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def normalise_patches(image, size, out):
    """
    Cut an image into square patches and scale bytes to ±1.

    Parameters
    ----------
    image : uint8 [H, W, 3]
        RGB.
    size : int
        Side of a patch, px; divides H and W.
    out : float32 [H // size * W // size, size * size * 3], written
        Row, column, channel order inside a patch.

    """
    rows, columns = image.shape[0] // size, image.shape[1] // size
    scale = np.float32(1 / 127.5)
    one = np.float32(1)
    for r in range(rows):
        for c in range(columns):
            k = 0
            for y in range(r * size, (r + 1) * size):
                for x in range(c * size, (c + 1) * size):
                    for ch in range(3):
                        out[r * columns + c, k] = np.float32(image[y, x, ch]) * scale - one
                        k += 1


@njit(cache=True, nogil=True)
def dense(x, weight, bias, relu, out):
    """
    Affine map of every row: ``out = x @ weight + bias``, optionally rectified.

    Parameters
    ----------
    x : float32 [N, K]
        Rows.
    weight : float32 [K, M]
        Input by output.
    bias : float32 [M]
        Added to every row.
    relu : bool
        Whether to rectify.
    out : float32 [N, M], written
        The result.

    """
    zero = np.float32(0)
    for i in range(x.shape[0]):
        row = out[i]
        for j in range(row.shape[0]):
            row[j] = bias[j]
        for k in range(x.shape[1]):
            a = x[i, k]
            w = weight[k]
            for j in range(row.shape[0]):
                row[j] += a * w[j]
        if relu:
            for j in range(row.shape[0]):
                row[j] = max(row[j], zero)


@njit(cache=True, nogil=True)
def convolve3x3(x, weight, bias, stride, residual, out):
    """
    Rectified 3x3 convolution with zero padding of one.

    Parameters
    ----------
    x : float32 [H, W, K]
        Channels last.
    weight : float32 [3, 3, K, M]
        Row, column, input, output.
    bias : float32 [M]
        Added everywhere.
    stride : int
        1 or 2.
    residual : bool
        Add the input to the output (needs stride 1 and K == M).
    out : float32 [ceil(H / stride), ceil(W / stride), M], written
        The result.

    """
    height, width, channels = x.shape
    m = out.shape[2]
    zero = np.float32(0)
    for oy in range(out.shape[0]):
        for ox in range(out.shape[1]):
            acc = out[oy, ox]
            for j in range(m):
                acc[j] = bias[j]
            for ky in range(3):
                y = oy * stride + ky - 1
                if y < 0 or y >= height:
                    continue
                for kx in range(3):
                    xx = ox * stride + kx - 1
                    if xx < 0 or xx >= width:
                        continue
                    for k in range(channels):
                        a = x[y, xx, k]
                        if a == zero:  # rectified inputs are often zero
                            continue
                        w = weight[ky, kx, k]
                        for j in range(m):
                            acc[j] += a * w[j]
            for j in range(m):
                acc[j] = max(acc[j], zero)
                if residual:
                    acc[j] += x[oy, ox, j]
