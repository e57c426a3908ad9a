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

"""Growing a mask of salient patches on a grid, and drawing some of the rest."""

from edge_vla.kernels.selection import mark_largest, uniform
from edge_vla.kernels.similarity import compare_with_all
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def mark_salient(x, squares, guides, count, scores, chosen, marks):
    """
    Mark the patches most similar to each guide, together.

    Parameters
    ----------
    x, guides : float32 [N, C] and [G, C]
        Patches, and what they are looked at for; contiguous.
    squares : float32 [N]
        Squared lengths of the patches.
    count : int
        How many for each guide, at most N.
    scores, chosen : float32 [N] and uint8 [N], written
        Scratch.
    marks : uint8 [N], written
        1 for those.

    """
    marks[:] = 0
    for g in range(guides.shape[0]):
        compare_with_all(x, squares, guides, g, scores)
        mark_largest(scores, count, chosen)
        for i in range(marks.shape[0]):
            marks[i] |= chosen[i]


@njit(cache=True, nogil=True)
def expand(seeds, rows, columns, box, threshold, probability, seed, density, marks):
    """
    Grow a mask where it is dense, and at random where it is sparse.

    The density F of a cell is the number of seeds in the box around it. All of the box around a
    cell with F > threshold is taken; of the boxes around the other cells with F > 0 every cell
    is taken with the given probability, drawn once a cell.

    Parameters
    ----------
    seeds : uint8 [rows * columns]
        The mask.
    rows, columns : int
        The grid.
    box : int
        Side of the box, odd.
    threshold : int
        Seeds in a box that are not yet dense.
    probability : float
        0 to 1.
    seed : uint64
        Of the draws.
    density : int64 [rows * columns], written
        F.
    marks : uint8 [rows * columns], written
        The seeds and what grew.

    """
    reach = box // 2
    for y in range(rows):
        for x in range(columns):
            n = 0
            for v in range(max(0, y - reach), min(rows, y + reach + 1)):
                for u in range(max(0, x - reach), min(columns, x + reach + 1)):
                    n += seeds[v * columns + u]
            density[y * columns + x] = n
    for y in range(rows):
        for x in range(columns):
            dense, sparse = False, False
            for v in range(max(0, y - reach), min(rows, y + reach + 1)):
                for u in range(max(0, x - reach), min(columns, x + reach + 1)):
                    f = density[v * columns + u]
                    dense |= f > threshold
                    sparse |= 0 < f <= threshold
            i = y * columns + x
            drawn = sparse and uniform(seed, np.uint64(i)) < probability
            marks[i] = seeds[i] or dense or drawn


@njit(cache=True, nogil=True)
def draw_rest(marks, count, seed, drawn):
    """
    Draw some of what is not marked, each set of that size being as likely (Knuth's algorithm S).

    Parameters
    ----------
    marks : uint8 [N]
        What is there.
    count : int
        How many to draw, at most the unmarked ones.
    seed : uint64
        Of the draws.
    drawn : uint8 [N], written
        1 for what was drawn.

    """
    left = 0
    for i in range(marks.shape[0]):
        left += marks[i] == 0
    for i in range(marks.shape[0]):
        drawn[i] = 0
        if marks[i] == 0:
            if uniform(seed, np.uint64(i)) * left < count:
                drawn[i] = 1
                count -= 1
            left -= 1
