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

"""Parts of products of several tokens with '5bit' matrices on the matrix unit."""

from edge_vla.kernels import ternary_amx_few as few
from edge_vla.kernels.ternary_amx import (
    close_tiles,
    multiply_units,
    open_tiles,
    settle_rows,
    SLOT,
    SLOTS,
    TOKENS,
)
from edge_vla.kernels.ternary_amx_codes import spread
from edge_vla.kernels.ternary_dots import RUN
from edge_vla.kernels.ternary_tables import (
    CHUNK,
    CHUNK_TABLES,
    GROUP,
    LINE,
    panel_of,
    place,
    row_bytes,
    UNIT,
)
from numba import njit
import numpy as np

UNITS = 40  # at most, multiplied with many tokens at once
ROW = row_bytes(UNITS)
CHUNKS = 4  # whose activations stay in the nearest cache beside what else is needed
CODES = SLOTS * SLOT
SUMS = CODES + CHUNKS * CHUNK // UNIT * TOKENS * RUN
FEW_WALK = few.SLOTS * few.SLOT  # ... and what few tokens have in scratch
FEW_ACTIVE = FEW_WALK + (few.WALK * 8 + LINE - 1) // LINE * LINE
FEW_SUMS = FEW_ACTIVE + few.FEW * few.ACTIVE + LINE
SCRATCH = max(SUMS + TOKENS * ROW, FEW_SUMS + few.FEW * UNITS * GROUP * 4)


@njit(cache=True, nogil=True)
def part(isa, packed, base, words, units, first, last, x, width, totals, scales,
         weight_scale, a, b, out, stride, scratch):
    """Multiply units `first` to `last`, at most UNITS, with tokens `a` to `b`, at most TOKENS."""
    if b - a <= few.FEW:
        few.open_few(b - a)
        _few(packed, base, words, units, first, last, x, width, a, b, scratch)
        start, row, step = FEW_SUMS, GROUP * 4, (b - a) * GROUP * 4
    else:
        open_tiles(b - a)
        _many(packed, base, words, units, first, last, x, width, a, b, scratch)
        start, row, step = SUMS, ROW, GROUP * 4
    close_tiles()
    for t in range(a, b):
        settle_rows(scratch, start + (t - a) * row, step, out, t * stride + first * GROUP,
                    last - first, totals[t], weight_scale / scales[t])


@njit(cache=True, nogil=True)
def _few(packed, base, words, units, first, last, x, width, a, b, scratch):
    """Write the sums of up to few.FEW tokens."""
    walk = scratch[FEW_WALK:FEW_ACTIVE].view(np.int64)
    active = scratch[FEW_ACTIVE:FEW_ACTIVE + (b - a) * few.ACTIVE + few.BOTH]
    chunks = (words + CHUNK - 1) // CHUNK
    groups = (chunks + few.PLACES - 1) // few.PLACES
    for g in range(groups):
        u = first
        while u < last:  # panel by panel
            start, end = panel_of(units, u)
            v = min(last, end)
            pairs = few.lay_out(x, a, b, width, words, g * chunks // groups,
                                (g + 1) * chunks // groups, end - start, active, walk)
            few.multiply_few(packed, base + place(units, words, start, 0, words), u - start,
                             v - u, walk, pairs, active, b - a, scratch, g == 0, scratch,
                             FEW_SUMS + (u - first) * (b - a) * GROUP * 4)
            u = v


@njit(cache=True, nogil=True)
def _many(packed, base, words, units, first, last, x, width, a, b, scratch):
    """Write the sums of more."""
    runs, step, chunks = scratch[CODES:SUMS], (b - a) * RUN, (words + CHUNK - 1) // CHUNK
    groups = (chunks + CHUNKS - 1) // CHUNKS
    for g in range(groups):
        chunk, after = g * chunks // groups, (g + 1) * chunks // groups
        count = (min(words, after * CHUNK) - chunk * CHUNK + UNIT - 1) // UNIT
        for t in range(a, b):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, count, runs, (t - a) * RUN, step)
        u = first
        while u < last:
            start, end = panel_of(units, u)
            v = min(last, end)
            multiply_units(packed, base + place(units, words, start, 0, words), end - start,
                           u - start, v - u, words, chunk, after - chunk, runs, step, scratch,
                           scratch, SUMS + (u - first) * GROUP * 4, ROW)
            u = v
