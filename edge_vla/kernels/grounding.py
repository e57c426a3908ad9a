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

"""Grounding: score every token against the context and pool what the policy needs."""

import math

from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def ground(hidden, scale, shift, score_w, score_b, values, near, centres, rows, band, p, out):
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
        Probability that a token shows the target.
    out : float32 [5 + V + 3 + 2 T / rows], written
        Presence, x, y, spread, area, values; three places left for the located target; the
        largest nearness per column in the upper and in the lower band.

    """
    tokens, g = hidden.shape
    v = values.shape[1]
    columns = tokens // rows
    zero = np.float32(0)
    one = np.float32(1)
    presence = zero
    total = zero
    square = zero
    for t in range(tokens):
        s = np.float32(score_b)
        for j in range(g):
            s += max(hidden[t, j] * (one + scale[j]) + shift[j], zero) * score_w[j]
        q = one / (one + np.float32(math.exp(-s)))
        p[t] = q
        presence = max(presence, q)
        total += q
        square += q * q
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
