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
def convolve3x3(x, weight, bias, stride, residual, where, out):
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
    where : uint8 [ceil(H / stride), ceil(W / stride)]
        0 leaves the output as it is.
    out : float32 [ceil(H / stride), ceil(W / stride), M], written
        The result.

    """
    height, width, channels = x.shape
    m = out.shape[2]
    zero = np.float32(0)
    for oy in range(out.shape[0]):
        for ox in range(out.shape[1]):
            if where[oy, ox] == 0:
                continue
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


@njit(cache=True, nogil=True)
def take_changes(image, size, threshold, seen, changed):
    """
    Bring what was seen up to date, patch by patch, where it changed.

    Parameters
    ----------
    image : uint8 [H, W, 3]
        The new frame.
    size : int
        Side of a patch, px; divides H and W.
    threshold : float
        A patch that differs by no more than this on average, of 255, is left as it was; below 0
        all are taken.
    seen : uint8 [H, W, 3], changed
        What the features are of.
    changed : uint8 [H // size, W // size], written
        1 where a patch was taken.

    """
    most = threshold * size * size * 3
    for r in range(changed.shape[0]):
        for c in range(changed.shape[1]):
            total = 0
            for y in range(r * size, (r + 1) * size):
                for x in range(c * size, (c + 1) * size):
                    for ch in range(3):
                        total += abs(np.int64(image[y, x, ch]) - np.int64(seen[y, x, ch]))
            changed[r, c] = total > most
            if changed[r, c]:
                for y in range(r * size, (r + 1) * size):
                    for x in range(c * size, (c + 1) * size):
                        for ch in range(3):
                            seen[y, x, ch] = image[y, x, ch]


@njit(cache=True, nogil=True)
def spread(marks, before, after, out):
    """
    Mark every cell that depends on a marked one: from `before` cells before it to `after` after.

    Parameters
    ----------
    marks : uint8 [R, C]
        What changed.
    before, after : int
        How far a cell looks, in rows and in columns.
    out : uint8 [R, C], written
        What that changes.

    """
    rows, columns = marks.shape
    for r in range(rows):
        for c in range(columns):
            hit = 0
            for y in range(max(0, r - before), min(rows, r + after + 1)):
                for x in range(max(0, c - before), min(columns, c + after + 1)):
                    hit |= marks[y, x]
            out[r, c] = hit
