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
Cosines between tokens.

Sums run over 16 lanes in one written-down order, so a token has a cosine of exactly 1 with
itself, and every CPU chooses the same tokens.
"""

import math

from edge_vla.kernels.vectors import LANES, vfma, vload, vsplat, vsum
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def dot(x, i, y, j):
    """Return the product of row `i` of x and row `j` of y, float32 [., C], contiguous."""
    width = x.shape[1]
    whole = width - width % LANES
    total = vsplat(np.float32(0))
    for k in range(0, whole, LANES):
        total = vfma(vload(x, i * width + k), vload(y, j * width + k), total)
    s = vsum(total)
    for k in range(whole, width):
        s += x[i, k] * y[j, k]
    return s


@njit(cache=True, nogil=True)
def cosine(product, square, other):
    """
    Return a cosine in [-1, 1] from a product and two squared lengths, float32.

    Two tokens of no length are equal (1), one of them has nothing in common with any other (0).
    What is not a number counts as -1: such a token is never taken for another.
    """
    if square == 0 or other == 0:
        return np.float32(1) if square == other else np.float32(0)
    c = np.float64(product) / math.sqrt(np.float64(square) * np.float64(other))
    if not -np.inf < c < np.inf:
        return np.float32(-1)
    return np.float32(min(1., max(-1., c))) + np.float32(0)  # there is one zero


@njit(cache=True, nogil=True)
def squared_lengths(x, out):
    """Write the squared length of each row of x, float32 [N, C], to float32 [N]."""
    for i in range(x.shape[0]):
        out[i] = dot(x, i, x, i)


@njit(cache=True, nogil=True)
def compare_rows(x, reference, reference_squares, squares, out):
    """
    Cosine of every token with the one at the same position of another frame.

    Parameters
    ----------
    x, reference : float32 [N, C]
        Tokens of both frames, contiguous.
    reference_squares : float32 [N]
        Squared lengths of the reference.
    squares : float32 [N], written
        Squared lengths of x.
    out : float32 [N], written
        The cosines.

    Returns
    -------
    float
        Their mean, 1 if there are none.

    """
    n, width = x.shape
    whole = width - width % LANES
    mean = 0.
    for i in range(n):
        at = i * width
        product, square = vsplat(np.float32(0)), vsplat(np.float32(0))
        for k in range(at, at + whole, LANES):
            v = vload(x, k)
            product = vfma(v, vload(reference, k), product)
            square = vfma(v, v, square)
        p, s = vsum(product), vsum(square)
        for k in range(whole, width):
            p += x[i, k] * reference[i, k]
            s += x[i, k] * x[i, k]
        squares[i] = s
        out[i] = cosine(p, s, reference_squares[i])
        mean += out[i]
    return mean / n if n else 1.


@njit(cache=True, nogil=True)
def compare_with_all(x, squares, y, j, out):
    """
    Cosine of every token with one other vector.

    Parameters
    ----------
    x, y : float32 [N, C] and [M, C]
        Contiguous.
    squares : float32 [N]
        Squared lengths of x.
    j : int
        The row of y.
    out : float32 [N], written
        The cosines.

    """
    square = dot(y, j, y, j)
    for i in range(x.shape[0]):
        out[i] = cosine(dot(x, i, y, j), squares[i], square)
