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

"""Parts of products of several tokens with '5bit' matrices by multiplication."""

from edge_vla.kernels.ternary_dots import (
    dot_tile,
    RUN,
    spread,
    unpack_unit,
    UNPACKED,
    WIDE,
    wide_tile,
)
from edge_vla.kernels.ternary_tables import (
    CHUNK,
    CHUNK_TABLES,
    GROUP,
    LINE,
    LINES,
    place,
    scale_sums,
    TOGETHER,
    UNIT,
)
from numba import njit

FEW = 4  # tokens multiplied at once
MANY = 8 * WIDE  # tokens that codes are unpacked for
SCRATCH = UNPACKED + CHUNK // UNIT * MANY * RUN


@njit(cache=True, nogil=True)
def few(isa, packed, base, words, units, first, last, x, width, totals, scales,
        weight_scale, a, b, out, stride, scratch):
    """Multiply units of a panel with up to TOGETHER tokens, FEW at once while codes are near."""
    step = TOGETHER * RUN
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin, fresh = chunk * CHUNK, chunk == 0
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, (wide + UNIT - 1) // UNIT, scratch,
                   (t - a) * RUN, step)
        begins = base + place(units, words, first, begin, wide)
        for unit in range(first, last):
            for t in range(a, b, FEW):
                _dots_unit(packed, begins + (unit - first) * wide * LINES * LINE, wide,
                           scratch[(t - a) * RUN:], step, totals[t:], min(FEW, b - t), out,
                           t * stride + unit * GROUP, stride, fresh)
    for t in range(a, b):
        at = t * stride + first * GROUP
        scale_sums(out, at, out, at, (last - first) * GROUP, weight_scale / scales[t])


@njit(cache=True, nogil=True)
def _dots_unit(packed, at, words, runs, step, totals, tokens, out, a, stride, fresh):
    """Add what a chunk gives for a unit and up to FEW tokens."""
    b, c, d = a + stride, a + 2 * stride, a + 3 * stride
    if tokens == 1:
        dot_tile(packed, at, words, runs, step, (totals[0],), out, (a,), fresh)
    elif tokens == 2:
        dot_tile(packed, at, words, runs, step, (totals[0], totals[1]), out, (a, b), fresh)
    elif tokens == 3:
        dot_tile(packed, at, words, runs, step, (totals[0], totals[1], totals[2]), out, (a, b, c),
                 fresh)
    else:
        dot_tile(packed, at, words, runs, step, (totals[0], totals[1], totals[2], totals[3]), out,
                 (a, b, c, d), fresh)


@njit(cache=True, nogil=True)
def many(isa, packed, base, words, units, first, last, x, width, totals, scales,
         weight_scale, a, b, out, stride, scratch):
    """Unpack unit after unit and multiply it with tokens `a` to `b`, at most MANY."""
    runs, step = scratch[UNPACKED:], MANY * RUN
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, (wide + UNIT - 1) // UNIT, runs,
                   (t - a) * RUN, step)
        for unit in range(first, last):
            unpack_unit(packed, base + place(units, words, unit, begin, wide), wide, scratch)
            for t in range(a, b, WIDE):
                wide_tile(scratch, wide, runs, (t - a) * RUN, step, b - t, totals, t, out,
                          t * stride + unit * GROUP, stride, chunk == 0)
    for t in range(a, b):
        at = t * stride + first * GROUP
        scale_sums(out, at, out, at, (last - first) * GROUP, weight_scale / scales[t])
