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
Kernels of a BitNet b1.58 layer: ternary products, quantisation, norms, RoPE, attention.

Sums over features run in a fixed order, so n tokens at once give exactly what n single tokens
give, on every CPU. Ternary products are exact integers.
"""

import math

from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def rms_norm(x, gain, eps, out):  # noqa: ANN001, ANN201
    """``out = gain * x / sqrt(mean(x^2) + eps)`` for every row; float32 [T, D]."""
    for t in range(x.shape[0]):
        total = np.float32(0)
        for j in range(x.shape[1]):
            total += x[t, j] * x[t, j]
        mean = total / np.float32(x.shape[1])
        r = np.float32(1) / np.float32(math.sqrt(mean + np.float32(eps)))
        for j in range(x.shape[1]):
            out[t, j] = gain[j] * (x[t, j] * r)


@njit(cache=True, nogil=True)
def quantise(x, out, scale):  # noqa: ANN001, ANN201
    """
    Absmax int8 quantisation of every row: ``out = round(x * scale)``, ties to even.

    Parameters
    ----------
    x : float32 [T, K]
        Activations.
    out : int8 [T, K], written
        Their codes.
    scale : float32 [T], written
        127 / max|x|.

    """
    for t in range(x.shape[0]):
        top = np.float32(1e-5)
        for k in range(x.shape[1]):
            top = max(top, abs(x[t, k]))
        s = np.float32(127) / top
        scale[t] = s
        for k in range(x.shape[1]):
            out[t, k] = np.int8(np.rint(x[t, k] * s))


@njit(cache=True, nogil=True)
def ternary_matmul(packed, x, out):  # noqa: ANN001, ANN201
    """
    Exact product of packed ternary weights and int8 activations.

    Parameters
    ----------
    packed : uint8 [ceil(M / 4), K]
        See checkpoints.packing.
    x : int8 [T, K]
        Quantised activations.
    out : int32 [T, M], written
        The product.

    Notes
    -----
    Codes are trit + 1, so sum(code * x) - sum(x) = sum(trit * x). Accumulating in int32 cannot
    overflow below K = 2^23.

    """
    rows, columns = packed.shape
    m = out.shape[1]
    for t in range(x.shape[0]):
        total = np.int32(0)
        for k in range(columns):
            total += np.int32(x[t, k])
        for r in range(rows):
            a = np.int32(0)
            b = np.int32(0)
            c = np.int32(0)
            d = np.int32(0)
            for k in range(columns):
                w = np.int32(packed[r, k])
                v = np.int32(x[t, k])
                a += (w & np.int32(3)) * v
                b += ((w >> np.int32(2)) & np.int32(3)) * v
                c += ((w >> np.int32(4)) & np.int32(3)) * v
                d += (w >> np.int32(6)) * v
            out[t, r] = a - total
            if r + rows < m:
                out[t, r + rows] = b - total
            if r + 2 * rows < m:
                out[t, r + 2 * rows] = c - total
            if r + 3 * rows < m:
                out[t, r + 3 * rows] = d - total


@njit(cache=True, nogil=True)
def rescale(acc, weight_scale, scale, out):  # noqa: ANN001, ANN201
    """``out = acc * weight_scale / scale`` per row; int32 [T, M] to float32 [T, M]."""
    for t in range(acc.shape[0]):
        s = np.float32(weight_scale) / scale[t]
        for j in range(acc.shape[1]):
            out[t, j] = np.float32(acc[t, j]) * s


@njit(cache=True, nogil=True)
def add(x, y):  # noqa: ANN001, ANN201
    """``x += y``; float32 [T, D]."""
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[t, j] += y[t, j]


@njit(cache=True, nogil=True)
def gated_relu2(gate, up):  # noqa: ANN001, ANN201
    """``gate = relu(gate)^2 * up``; float32 [T, F]."""
    for t in range(gate.shape[0]):
        for j in range(gate.shape[1]):
            g = max(gate[t, j], np.float32(0))
            gate[t, j] = g * g * up[t, j]


@njit(cache=True, nogil=True)
def rope(x, cos, sin, start, heads):  # noqa: ANN001, ANN201
    """
    Rotate the halves of every head by its position (half-split convention), in place.

    Parameters
    ----------
    x : float32 [T, heads * H], changed
        Queries or keys.
    cos, sin : float32 [P, H / 2]
        Of every position and frequency.
    start : int
        Position of the first row.
    heads : int
        Heads in a row.

    """
    half = cos.shape[1]
    for t in range(x.shape[0]):
        for h in range(heads):
            base = h * 2 * half
            for i in range(half):
                a = x[t, base + i]
                b = x[t, base + half + i]
                c = cos[start + t, i]
                s = sin[start + t, i]
                x[t, base + i] = a * c - b * s
                x[t, base + half + i] = b * c + a * s


@njit(cache=True, nogil=True)
def attend(q, keys, values, start, heads, kv_heads, scores, out):  # noqa: ANN001, ANN201
    """
    Causal grouped-query attention over a cache that already holds the new keys and values.

    Parameters
    ----------
    q : float32 [T, heads * H]
        Queries, rotated.
    keys, values : float32 [P, kv_heads * H]
        The cache.
    start : int
        Position of the first row of `q`.
    heads, kv_heads : int
        Heads of queries, and of keys and values.
    scores : float32 [P], written
        Scratch.
    out : float32 [T, heads * H], written
        The mixed values.

    """
    size = q.shape[1] // heads
    group = heads // kv_heads
    norm = np.float32(1 / math.sqrt(size))
    for t in range(q.shape[0]):
        length = start + t + 1
        for h in range(heads):
            base = h * size
            kv = (h // group) * size
            top = np.float32(-np.inf)
            for p in range(length):
                dot = np.float32(0)
                for i in range(size):
                    dot += q[t, base + i] * keys[p, kv + i]
                scores[p] = dot * norm
                top = max(top, scores[p])
            total = np.float32(0)
            for p in range(length):
                scores[p] = np.float32(math.exp(scores[p] - top))
                total += scores[p]
            for i in range(size):
                out[t, base + i] = np.float32(0)
            for p in range(length):
                w = scores[p] / total
                for i in range(size):
                    out[t, base + i] += w * values[p, kv + i]
