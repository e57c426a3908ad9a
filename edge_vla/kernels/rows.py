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
What happens to one token between two products: norm, quantisation, gating, rotation.

A row is float32, padded with zeros to a multiple of 16. Every function does the same operations in
the same order for one token or many, so prefill equals decoding exactly.
"""

import math

from edge_vla.kernels.vectors import (
    LANES,
    vabs,
    vadd,
    vdiv,
    vexp,
    vfma,
    vload,
    vmax,
    vmul,
    vpick,
    vround,
    vsplat,
    vstore,
    vsum,
    vtop,
)
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def add_row(x, y, width):
    """``x += y``; float32 [width]."""
    for j in range(0, width, LANES):
        vstore(x, j, vadd(vload(x, j), vload(y, j)))


@njit(cache=True, nogil=True)
def norm_row(x, gain, size, eps, out):
    """
    RMSNorm: ``out = gain * (x / sqrt(mean(x^2) + eps))``.

    Parameters
    ----------
    x : float32 [W]
        A padded row.
    gain : float32 [W]
        Padded too.
    size : int
        Features before padding.
    eps : float
        Added to the mean square.
    out : float32 [W], written
        May be `x`.

    """
    total = vsplat(np.float32(0))
    for j in range(0, gain.shape[0], LANES):
        v = vload(x, j)
        total = vfma(v, v, total)
    mean = vsum(total) / np.float32(size)
    r = vsplat(np.float32(1) / np.float32(math.sqrt(mean + np.float32(eps))))
    for j in range(0, gain.shape[0], LANES):
        vstore(out, j, vmul(vload(gain, j), vmul(vload(x, j), r)))


@njit(cache=True, nogil=True)
def quantise_row(x, width, codes):
    """
    Absmax int8: ``codes = round(x * scale)``, scale = 127 / max|x|, ties to even.

    Parameters
    ----------
    x : float32 [>= width]
        A padded row.
    width : int
        Its length, a multiple of 16.
    codes : int8 [>= width], written
        The quantised row.

    Returns
    -------
    tuple
        Scale (float32) and sum of the codes (int32).

    """
    top = vsplat(np.float32(1e-5))
    total = vsplat(np.float32(0))  # of integers below 2^24: exact
    upper, more, pairs = top, total, width // (2 * LANES) * 2 * LANES  # no chain waits for itself
    for j in range(0, pairs, 2 * LANES):
        top = vmax(vabs(vload(x, j)), top)
        upper = vmax(vabs(vload(x, j + LANES)), upper)
    for j in range(pairs, width, LANES):
        top = vmax(vabs(vload(x, j)), top)
    scale = np.float32(127) / vtop(vmax(upper, top))
    s = vsplat(scale)
    for j in range(0, pairs, 2 * LANES):
        v, w = vround(vmul(vload(x, j), s)), vround(vmul(vload(x, j + LANES), s))
        vstore(codes, j, v)
        vstore(codes, j + LANES, w)
        total, more = vadd(total, v), vadd(more, w)
    for j in range(pairs, width, LANES):
        v = vround(vmul(vload(x, j), s))
        vstore(codes, j, v)
        total = vadd(total, v)
    return scale, np.int32(vsum(vadd(total, more)))


@njit(cache=True, nogil=True)
def quantise_row_16bit(x, width, high, low):
    """
    Absmax with 32512 steps, as ``256 high + low`` of two int8 rows.

    Two products with bytes cost a bandwidth-bound head nothing and make the activations exact to
    15 bits.

    Returns
    -------
    tuple
        x per step (float32), and the sums of `high` and of `low` (int32).

    """
    top = np.float32(1e-30)
    for j in range(width):
        top = max(top, abs(x[j]))
    step = top / np.float32(32512)
    high_total, low_total = np.int32(0), np.int32(0)
    for j in range(width):
        q = np.int32(np.rint(x[j] / step))
        h = (q + np.int32(128)) >> np.int32(8)
        high[j] = h
        low[j] = q - (h << np.int32(8))
        high_total += high[j]
        low_total += low[j]
    return step, high_total, low_total


@njit(cache=True, nogil=True)
def quantise_groups_row(x, width, group, offset, codes, factors, totals):
    """
    Absmax int8 of every group of columns.

    Parameters
    ----------
    x : float32 [>= width]
        A row.
    width : int
        Its length.
    group : int
        Columns of a group.
    offset : int
        What the codes of the rows it will meet are too large by.
    codes : int8 [G * group], written
        The quantised row; what is beyond `width` stays.
    factors : float32 [4 * G], written
        What a step of each group is, four times.
    totals : int32 [4 * G], written
        A quarter of the offset times each group's sum, four times.

    """
    for g in range((width + group - 1) // group):
        top, total = np.float32(1e-30), np.int32(0)
        for j in range(g * group, min((g + 1) * group, width)):
            top = max(top, abs(x[j]))
        step = top / np.float32(127)
        for j in range(g * group, min((g + 1) * group, width)):
            q = np.int32(np.rint(x[j] / step))
            codes[j] = q
            total += q
        for k in range(4 * g, 4 * g + 4):
            factors[k] = step
            totals[k] = total * (offset // 4)


@njit(cache=True, nogil=True)
def quantise_blocks_row(x, width, codes, steps, sums):
    """
    Absmax int8 of every 32 columns: ``x = step * codes`` (ggml's Q8_0, but for float32 steps).

    Parameters
    ----------
    x : float32 [>= width]
        A row.
    width : int
        Its length, a multiple of 32.
    codes : int8 [>= width], written
        The quantised row.
    steps : float32 [>= width / 32], written
        What a code of each block is worth.
    sums : int32 [>= width / 32], written
        -8 times the sum of each block's codes: what unsigned 4-bit weights are too large by.

    """
    for j in range(0, width, 2 * LANES):
        a, b = vload(x, j), vload(x, j + LANES)
        step = max(vtop(vmax(vabs(a), vabs(b))), np.float32(1e-30)) / np.float32(127)
        r = vsplat(np.float32(1) / step)
        a, b = vround(vmul(a, r)), vround(vmul(b, r))
        vstore(codes, j, a)
        vstore(codes, j + LANES, b)
        steps[j // (2 * LANES)] = step
        sums[j // (2 * LANES)] = np.int32(np.float32(-8) * vsum(vadd(a, b)))


@njit(cache=True, nogil=True)
def silu_gate_row(gate, up, width, out):
    """``out = gate / (1 + exp(-gate)) * up``; float32 [width], a multiple of 16."""
    one, minus = vsplat(np.float32(1)), vsplat(np.float32(-1))
    for j in range(0, width, LANES):
        g = vload(gate, j)
        # exp takes no positive number: above and below the line are times exp(min(gate, 0))
        small = vexp(vmul(minus, vabs(g)))
        above, below = vpick(g, one, small), vadd(one, small)
        vstore(out, j, vmul(vdiv(vmul(g, above), below), vload(up, j)))


@njit(cache=True, nogil=True)
def norm_heads(x, heads, gain, eps):
    """
    Norm every head by itself, in place (RMSNorm).

    Parameters
    ----------
    x : float32 [>= heads * H], written
        Queries or keys of a token.
    heads : int
        How many.
    gain : float32 [H]
        Of every head.
    eps : float
        Added to the mean square.

    """
    size = gain.shape[0]
    for h in range(heads):
        total = np.float32(0)
        for i in range(h * size, (h + 1) * size):
            total += x[i] * x[i]
        r = np.float32(1) / np.float32(math.sqrt(total / np.float32(size) + np.float32(eps)))
        for i in range(size):
            x[h * size + i] = gain[i] * (x[h * size + i] * r)


@njit(cache=True, nogil=True)
def gate_row(gate, up, width):
    """``gate = relu(gate)^2 * up``; float32 [width]."""
    zero = vsplat(np.float32(0))
    for j in range(0, width, LANES):
        g = vmax(vload(gate, j), zero)
        vstore(gate, j, vmul(vmul(g, g), vload(up, j)))


@njit(cache=True, nogil=True)
def rope_row(x, heads, cos, sin, out, stride):
    """
    Rotate the halves of every head by a position (half-split convention).

    Parameters
    ----------
    x : float32 [>= heads * 2 * F]
        Queries or keys of a token.
    heads : int
        Heads in the row.
    cos, sin : float32 [F]
        Of the position, for every frequency.
    out : float32 [>= heads * stride], written
        The rotated heads.
    stride : int
        From head to head in `out`.

    """
    half = cos.shape[0]
    minus = vsplat(np.float32(-1))
    for h in range(heads):
        a0, to = h * 2 * half, h * stride
        whole = half // LANES * LANES
        for i in range(0, whole, LANES):
            a, b, c, s = vload(x, a0 + i), vload(x, a0 + half + i), vload(cos, i), vload(sin, i)
            vstore(out, to + i, vadd(vmul(a, c), vmul(minus, vmul(b, s))))
            vstore(out, to + half + i, vadd(vmul(b, c), vmul(a, s)))
        for i in range(whole, half):
            p, q = x[a0 + i], x[a0 + half + i]
            out[to + i] = p * cos[i] - q * sin[i]
            out[to + half + i] = q * cos[i] + p * sin[i]


@njit(cache=True, nogil=True)
def copy_row(source, start, count, out, at):
    """Copy float32 ``source[start:start + count]`` to ``out[at:at + count]``."""
    whole = count // LANES * LANES
    for i in range(0, whole, LANES):
        vstore(out, at + i, vload(source, start + i))
    for i in range(whole, count):
        out[at + i] = source[start + i]
