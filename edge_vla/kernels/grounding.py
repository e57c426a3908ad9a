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
Grounding: score every token against the context and pool what the policy needs.

Where the ground resembles the target, scores are lowered and one place is chosen before anything
is pooled (`ground_level`, `focus`): the policy flies to the centre of what it is shown. Training
does neither, so that every token gets its gradient.
"""

import math

from numba import njit
import numpy as np

USUAL = np.float32(-4)  # ground scores at most about this where it resembles nothing asked for
MOST = np.float32(5)  # what all scores are lowered by at most
SEEN = np.float32(.3)  # probability from which a token belongs to a place


@njit(cache=True, nogil=True)
def ground_level(score, first, scratch):
    """
    Return by how much the ground looks like what is asked for, 0 where it does not.

    Ground of the target's colour raises the scores of all of it; the median of the lower half of
    the picture tells by how much, for no object that is flown to covers half of that.

    Parameters
    ----------
    score : float32 [T]
        Of every token, before the logistic function.
    first : int
        The first token of the lower half.
    scratch : float32 [T], written
        Scratch.

    """
    n = score.shape[0] - first
    half = n // 2
    for t in range(n):  # insertion sort: short and free of allocations
        s = score[first + t]
        k = t
        while k > 0 and scratch[k - 1] > s:
            scratch[k] = scratch[k - 1]
            k -= 1
        scratch[k] = s
    return min(max(scratch[half] - USUAL, np.float32(0)), MOST)


@njit(cache=True, nogil=True)
def focus(p, columns, mark):
    """
    Keep the one place where the target most likely is.

    Tokens above `SEEN` that touch, at a side or a corner, are one place. The one with the largest
    sum of squared probability stays, the tokens of the others become 0: half-way between the
    target and what resembles it there is neither.

    Parameters
    ----------
    p : float32 [T], changed
        Probability that a token shows the target.
    columns : int
        Token columns.
    mark : int16 [T], written
        Scratch.

    """
    tokens = p.shape[0]
    rows = tokens // columns
    for t in range(tokens):
        mark[t] = -1
    best = -1
    most = np.float32(0)
    for start in range(tokens):
        if p[start] <= SEEN or mark[start] >= 0:
            continue
        mass = np.float32(0)
        mark[start] = start
        grown = True
        while grown:  # a sweep over so few tokens is cheaper than a queue
            grown = False
            for t in range(start, tokens):
                if p[t] <= SEEN or mark[t] >= 0:
                    continue
                u, v = t // columns, t % columns
                for a in range(max(u - 1, 0), min(u + 2, rows)):
                    for b in range(max(v - 1, 0), min(v + 2, columns)):
                        if mark[a * columns + b] == start:
                            mark[t] = start
                            grown = True
        for t in range(start, tokens):
            if mark[t] == start:
                mass += p[t] * p[t]
        if mass > most:
            most, best = mass, start
    for t in range(tokens):
        if mark[t] >= 0 and mark[t] != best:
            p[t] = np.float32(0)


@njit(cache=True, nogil=True)
def pool(p, values, near, centres, rows, band, out):
    """
    Pool what the policy needs of the tokens that show the target.

    Parameters
    ----------
    p : float32 [T]
        Probability that a token shows it.
    values, near, centres, rows, band, out
        As of `ground`.

    """
    tokens = p.shape[0]
    v = values.shape[1]
    columns = tokens // rows
    zero = np.float32(0)
    one = np.float32(1)
    presence = zero
    total = zero
    square = zero
    for t in range(tokens):
        presence = max(presence, p[t])
        total += p[t]
        square += p[t] * p[t]
    for j in range(out.shape[0]):
        out[j] = zero
    norm = one / (square + np.float32(1e-3))
    for t in range(tokens):
        w = p[t] * p[t] * norm
        out[1] += w * centres[t, 0]
        out[2] += w * centres[t, 1]
        for j in range(v):
            out[5 + j] += w * values[t, j]
    for t in range(tokens):
        out[3] += p[t] * p[t] * norm * abs(centres[t, 0] - out[1])
    out[0] = presence
    out[1] *= presence
    out[2] *= presence
    out[4] = total / np.float32(tokens)
    for j in range(v):
        out[5 + j] *= presence
    profile = 8 + v
    for t in range(tokens):
        k = profile + t % columns + (0 if t // columns < band else columns)
        out[k] = max(out[k], near[t])


@njit(cache=True, nogil=True)
def ground(hidden, scale, shift, score_w, score_b, values, near, centres, rows, band, p, mark,
           scratch, out):
    """
    Score tokens and pool them.

    Parameters
    ----------
    hidden : float32 [T, G]
        Tokens after the hidden layer, before modulation.
    scale, shift : float32 [G]
        FiLM modulation by the context, ``relu(hidden * (1 + scale) + shift)``.
    score_w, score_b : float32 [G], float
        The scoring layer.
    values : float32 [T, V]
        What is pooled of every token.
    near : float32 [T]
        Nearness of the nearest surface, rectified.
    centres : float32 [T, 2]
        Image coordinates of the tokens.
    rows, band : int
        Token rows, and rows of the upper obstacle band.
    p : float32 [T], written
        Probability that a token shows the target; see `focus`.
    mark, scratch : int16 [T], float32 [T], written
        Scratch.
    out : float32 [5 + V + 3 + 2 T / rows], written
        Presence, x, y, spread, area, values; three places left for the located target; the
        largest nearness per column in the upper and in the lower band.

    """
    tokens, g = hidden.shape
    columns = tokens // rows
    zero = np.float32(0)
    one = np.float32(1)
    for t in range(tokens):
        s = np.float32(score_b)
        for j in range(g):
            s += max(hidden[t, j] * (one + scale[j]) + shift[j], zero) * score_w[j]
        p[t] = s
    level = ground_level(p, columns * (rows // 2), scratch)
    for t in range(tokens):
        p[t] = one / (one + np.float32(math.exp(level - p[t])))
    if level > 0:
        focus(p, columns, mark)
    pool(p, values, near, centres, rows, band, out)


@njit(cache=True, nogil=True)
def score_queries(hidden, modulation, score_w, score_b, p):
    """
    Score every token against many contexts at once, as `ground` does against one.

    Parameters
    ----------
    hidden : float32 [T, G]
        Tokens after the hidden layer, before modulation.
    modulation : float32 [Q, 2 G]
        FiLM scale and shift of every context.
    score_w, score_b : float32 [G], float
        The scoring layer.
    p : float32 [Q, T], written
        Probability that a token shows what a context asks for.

    """
    one = np.float32(1)
    zero = np.float32(0)
    tokens, g = hidden.shape
    for q in range(p.shape[0]):
        m = modulation[q]
        for t in range(tokens):
            s = np.float32(score_b)
            for j in range(g):
                s += max(hidden[t, j] * (one + m[j]) + m[g + j], zero) * score_w[j]
            p[q, t] = one / (one + np.float32(math.exp(-s)))
