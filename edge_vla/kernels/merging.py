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

"""Joining tokens: into another, and softly into anchors."""

import math

from edge_vla.kernels.similarity import compare_with_all, dot
from edge_vla.kernels.vectors import LANES, vadd, vexp, vfma, vload, vmul, vsplat, vstore
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def scale_add(x, i, y, j, a, b):
    """``x[i] = a * x[i] + b * y[j]``; float32 [., C], contiguous, a and b float32."""
    width = x.shape[1]
    whole = width - width % LANES
    va, vb = vsplat(a), vsplat(b)
    for k in range(0, whole, LANES):
        vstore(x, i * width + k, vfma(vload(y, j * width + k), vb,
                                      vmul(vload(x, i * width + k), va)))
    for k in range(whole, width):
        x[i, k] = a * x[i, k] + b * y[j, k]


@njit(cache=True, nogil=True)
def best_cosine(x, squares, y, scratch, out):
    """
    Write for every token the largest cosine with any of some other vectors.

    Parameters
    ----------
    x, y : float32 [N, C] and [M, C]
        Contiguous; M is at least 1.
    squares : float32 [N]
        Squared lengths of x.
    scratch : float32 [N], written
        Scratch.
    out : float32 [N], written
        The cosines.

    """
    out[:] = np.float32(-1)
    for j in range(y.shape[0]):
        compare_with_all(x, squares, y, j, scratch)
        for i in range(x.shape[0]):
            out[i] = max(out[i], scratch[i])


@njit(cache=True, nogil=True)
def merge_into_anchors(x, squares, sizes, marks, eps, weights, out, out_sizes):
    """
    Share every token that is no anchor among all anchors (TEAM-VLA's soft bipartite merging).

    A token t gives anchor i the share softmax_i(RMSNorm(s_i) . RMSNorm(t) / sqrt(C)); an anchor
    becomes the mean of itself and what it got, weighted by sizes.

    Parameters
    ----------
    x : float32 [N, C]
        Tokens, contiguous.
    squares : float32 [N]
        Their squared lengths.
    sizes : float32 [N]
        How many tokens each stands for.
    marks : uint8 [N]
        1 for anchors, S of them, at least 1.
    eps : float
        Of the RMSNorm.
    weights : float32 [>= S rounded up to 16], written
        Scratch.
    out : float32 [S, C], written
        The anchors in their order.
    out_sizes : float32 [S], written
        Their sizes; no mass is lost: sum(out_sizes) = sum(sizes), and so with tokens.

    """
    n, width = x.shape
    count = 0
    for i in range(n):
        if marks[i]:
            out[count, :] = x[i] * sizes[i]
            out_sizes[count] = sizes[i]
            count += 1
    for t in range(n):
        if marks[t]:
            continue
        norm = _inverse_rms(squares[t], width, eps) / np.float32(math.sqrt(width))
        a, top = 0, np.float32(-np.inf)
        for i in range(n):
            if marks[i]:
                weights[a] = dot(x, i, x, t) * norm * _inverse_rms(squares[i], width, eps)
                top = max(top, weights[a])
                a += 1
        for k in range(count, weights.shape[0]):
            weights[k] = -np.inf
        lowest = vsplat(-top)
        total = 0.
        for k in range(0, count, LANES):
            vstore(weights, k, vexp(vadd(vload(weights, k), lowest)))
        for a in range(count):
            total += weights[a]
        for a in range(count):
            share = np.float32(weights[a] / total) * sizes[t]
            scale_add(out, a, x, t, np.float32(1), share)
            out_sizes[a] += share
    for a in range(count):
        for k in range(width):
            out[a, k] /= out_sizes[a]


@njit(cache=True, nogil=True)
def _inverse_rms(square, width, eps):
    return np.float32(1 / math.sqrt(np.float64(square) / width + eps))
