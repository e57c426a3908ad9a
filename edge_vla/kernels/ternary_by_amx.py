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

from edge_vla.kernels.ternary_amx import (
    close_tiles,
    open_tiles,
    panel_tiles,
    settle_rows,
    SLOT,
    TOKENS,
    unit_tiles,
)
from edge_vla.kernels.ternary_dots import RUN, spread, unpack_unit, UNPACKED
from edge_vla.kernels.ternary_tables import CHUNK, CHUNK_TABLES, GROUP, place, UNIT
from numba import njit

MANY = 8 * TOKENS  # tokens that codes are unpacked for
_CHUNK_RUNS = CHUNK // UNIT
_FEW_CODES = 2 * 2 * SLOT  # of two runs of two chunks
SCRATCH = max(_FEW_CODES + 2 * _CHUNK_RUNS * TOKENS * RUN, UNPACKED + _CHUNK_RUNS * MANY * RUN)


@njit(cache=True, nogil=True)
def few(isa, packed, base, words, units, first, last, x, width, totals, scales,
        weight_scale, a, b, out, stride, scratch):
    """Multiply units of a panel with up to TOKENS tokens, reading two chunks in turn."""
    runs, step, chunk, whole = scratch[_FEW_CODES:], TOKENS * RUN, 0, words // CHUNK
    to = a * stride + first * GROUP
    open_tiles(b - a)
    while chunk * CHUNK < words:
        both = min(2, max(1, whole - chunk))
        wide = min(CHUNK, words - chunk * CHUNK)
        for k in range(both):
            for t in range(a, b):
                spread(x, t * width + 3 * (chunk + k) * CHUNK_TABLES, (wide + UNIT - 1) // UNIT,
                       runs, k * step + (t - a) * RUN, both * step)
        at = base + place(units, words, first, chunk * CHUNK, wide)
        if both == 2:
            far = base + place(units, words, first, (chunk + 1) * CHUNK, wide)
            panel_tiles(packed, (at, far), wide, last - first, runs, scratch, out, to, stride,
                        chunk == 0)
        else:
            panel_tiles(packed, (at,), wide, last - first, runs, scratch, out, to, stride,
                        chunk == 0)
        chunk += both
    close_tiles()
    _settle(units, first, last, totals, scales, weight_scale, a, b, out, stride)


@njit(cache=True, nogil=True)
def many(isa, packed, base, words, units, first, last, x, width, totals, scales,
         weight_scale, a, b, out, stride, scratch):
    """Unpack unit after unit and multiply it with tokens `a` to `b`, at most MANY."""
    runs, step = scratch[UNPACKED:], MANY * RUN
    groups, rest = (b - a) // TOKENS, (b - a) % TOKENS
    open_tiles(TOKENS)
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin, fresh = chunk * CHUNK, chunk == 0
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, (wide + UNIT - 1) // UNIT, runs,
                   (t - a) * RUN, step)
        for unit in range(first, last):
            unpack_unit(packed, base + place(units, words, unit, begin, wide), wide, scratch)
            to = a * stride + unit * GROUP
            unit_tiles(scratch, wide, runs, 0, step, groups, out, to, stride, fresh)
            if rest:
                open_tiles(rest)
                unit_tiles(scratch, wide, runs, groups * TOKENS * RUN, step, 1, out,
                           to + groups * TOKENS * stride, stride, fresh)
                open_tiles(TOKENS)
    close_tiles()
    _settle(units, first, last, totals, scales, weight_scale, a, b, out, stride)


@njit(cache=True, nogil=True)
def _settle(units, first, last, totals, scales, weight_scale, a, b, out, stride):
    """Make products of the sums that tiles left."""
    for t in range(a, b):
        settle_rows(out, t * stride + first * GROUP, last - first, totals[t],
                    weight_scale / scales[t])
