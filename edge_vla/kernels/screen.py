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
A sketch of the output head that tells which rows cannot be among the likeliest.

Every row v of the head is kept once more with two bits a column, l in {-3, -1, 1, 3}, after a
random rotation R: a quarter of the bytes of 8 bits, a third of those of 6. With
rho = <l, Rv> / (|l| |v|), the estimate <l, Rx> |v|^2 / <l, Rv> of a logit <v, x> is unbiased, and
its error is at most |v| |x| sqrt(1 / rho^2 - 1) times one coordinate of a point that is uniform on
the unit sphere of D - 1 dimensions (RaBitQ: Gao and Long, SIGMOD 2024, theorem 3.2; extended to
more bits in arXiv 2409.09913). By the bound of a cap, that coordinate exceeds
EPSILON / sqrt(D - 1) with a probability below exp(-EPSILON^2 / 2). Rx is brought to 8 bits with a
fixed random dither, so by Hoeffding's inequality what that adds exceeds KAPPA |v| / rho steps with
one below exp(-2 KAPPA^2). A row whose estimate and both bounds stay below the k-th best logit
found so far is not among the best k. What is drawn, rotation and dither, is drawn once and knows
nothing of x, so one of the k likeliest tokens is missed with a probability below 1.1e-9.

R is three rounds of random signs, a random permutation and Hadamard transforms of blocks, which is
as good as a uniform rotation in practice (Yu et al. 2016, "Orthogonal random features").
"""

import math

from edge_vla.kernels.vectors import LANES, vadd, vload, vmul, vsplat, vstore
from numba import njit
import numpy as np

EPSILON, KAPPA = 6.5, 3.3
ROUNDING = 1.001  # of both bounds: far more than float32 adds to any of this
ROUNDS = 3
LEAST_BLOCK = 64  # columns of a Hadamard transform: where D allows none, there is no sketch
COLUMNS = 256  # of a block of 64 bytes, as in '2bit' of ternary_layout
SCALES = 3  # float32 of each row: estimate, error by rotation, error by dither
_BEST_STEP = .9957  # of a uniform quantiser of four levels for a normal law


@njit(cache=True, nogil=True)
def block_of(width):
    """Return the columns of a Hadamard transform for rows of a width, 0 where there is none."""
    block = width & -width
    return block if block >= LEAST_BLOCK else 0


@njit(cache=True, nogil=True)
def padded_width(width):
    """Return the columns of a row of the sketch, of which four are in a byte."""
    return (width + COLUMNS - 1) // COLUMNS * COLUMNS


@njit(cache=True, nogil=True)
def rotate(x, signs, order, block, scratch):
    """
    Rotate a row at random, in place.

    Parameters
    ----------
    x : float32 [D], written
        The row.
    signs : float32 [ROUNDS, D]
        1 and -1.
    order : int32 [ROUNDS, D]
        Permutations.
    block : int
        As of `block_of`.
    scratch : float32 [D], written
        Overwritten.

    """
    norm = np.float32(1 / math.sqrt(block))
    for r in range(signs.shape[0]):
        for j in range(x.shape[0]):
            scratch[j] = x[order[r, j]] * signs[r, j]
        for start in range(0, x.shape[0], block):
            _hadamard(scratch[start:start + block])
        scale = vsplat(norm)
        for j in range(0, x.shape[0], LANES):
            vstore(x, j, vmul(vload(scratch, j), scale))


@njit(cache=True, nogil=True)
def _hadamard(x):
    """Transform 2^k columns, not normed."""
    h = 1
    while h < LANES:
        for i in range(0, x.shape[0], 2 * h):
            for j in range(i, i + h):
                a, b = x[j], x[j + h]
                x[j], x[j + h] = a + b, a - b
        h *= 2
    minus = vsplat(np.float32(-1))
    while h < x.shape[0]:
        for i in range(0, x.shape[0], 2 * h):
            for j in range(i, i + h, LANES):
                a, b = vload(x, j), vload(x, j + h)
                vstore(x, j, vadd(a, b))
                vstore(x, j + h, vadd(a, vmul(minus, b)))
        h *= 2


@njit(cache=True, nogil=True)
def sketch_rows(rows, signs, order, block, codes, scales):
    """
    Sketch some rows of a head.

    Parameters
    ----------
    rows : float32 [N, D], written
        As the head has them; left rotated.
    signs, order, block
        As for `rotate`.
    codes : uint8 [N, 64 * B], written
        (l + 3) / 2, four columns a byte, in blocks of 256 columns (see '2bit' in
        `ternary_layout`).
    scales : float32 [N, SCALES], written
        |v|^2 / <l, Rv>; |v| sqrt((1 / rho^2 - 1) / (D - 1)); |v| / rho.

    """
    d = rows.shape[1]
    scratch = np.empty(d, np.float32)
    for n in range(rows.shape[0]):
        x = rows[n]
        rotate(x, signs, order, block, scratch)
        square = 0.0
        for j in range(d):
            square += x[j] * x[j]
        codes[n, :] = 0
        scales[n, :] = 0
        if square == 0:
            continue
        # rotated columns follow a normal law, so its best step is the best here
        inverse = np.float32(math.sqrt(d / square) / _BEST_STEP)
        product, length = np.float32(0), np.float32(0)
        for first in range(0, d, 64):
            at, shift = first // COLUMNS * 64, np.uint8(2 * (first % COLUMNS // 64))
            for j in range(64):
                v = x[first + j]
                code = min(max(np.floor(v * inverse) + np.float32(2), np.float32(0)),
                           np.float32(3))
                level = code + code - np.float32(3)
                product += level * v
                length += level * level
                codes[n, at + j] |= np.uint8(code) << shift
        rho = product / math.sqrt(length * square)
        size = math.sqrt(square)
        scales[n, 0] = square / product
        scales[n, 1] = size * math.sqrt((1 / (rho * rho) - 1) / max(d - 1, 1))
        scales[n, 2] = size / rho


@njit(cache=True, nogil=True)
def quantise_probe(x, dither, codes):
    """
    Bring rotated activations to 8 bits.

    Parameters
    ----------
    x : float32 [D]
        Rotated.
    dither : float32 [D]
        At least 0 and less than 1.
    codes : int8 [>= D], written
        floor(x / step + dither).

    Returns
    -------
    tuple
        Step (float32), sum of the codes (int32), and length of `x` (float32).

    """
    top, square = np.float32(1e-30), 0.0
    for j in range(x.shape[0]):
        top = max(top, abs(x[j]))
        square += x[j] * x[j]
    step, total = top / np.float32(126), np.int32(0)
    for j in range(x.shape[0]):
        code = np.int32(math.floor(x[j] / step + dither[j]))
        codes[j] = code
        total += code
    return step, total, np.float32(math.sqrt(square))
