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
Parts of products with '5bit' matrices by tables, see `ternary_tables`.

A part's sums stay with the thread until they are whole: where threads add to neighbouring rows of
one array, what one fetches ahead is taken from another.
"""

from edge_vla.kernels.isa import constant, FAR
from edge_vla.kernels.ternary_tables import (
    CHUNK,
    CHUNK_TABLES,
    fill_tables,
    GROUP,
    LINE,
    LINES,
    panel_of,
    place,
    row_bytes,
    scale_sums,
    table_tile,
    TOGETHER,
    UNIT,
    UNIT_TABLES,
    WORD_TABLES,
)
from edge_vla.kernels.vectors import fetch
from numba import njit

UNITS = 54  # at most, for which tables are filled once: filling them is 3 % of it
ROW = row_bytes(UNITS)
AHEAD = 40 * LINE  # bytes: what is asked for while a line is read, if places are read in turn
FEW = 4  # tokens multiplied at once
# ... while codes come from memory: tables of more do not stay in a nearest cache of 32 KB then
at_first = constant(lambda isa: FEW if isa.reading == 'run' else 2, 'at_first',
                    'Return how many tokens are multiplied first; Zen 5 keeps 48 KB near.')
SUMS = TOGETHER * CHUNK_TABLES * LINE  # where sums begin in the scratch, after tables
SCRATCH = SUMS + TOGETHER * ROW


@njit(cache=True, nogil=True)
def part(isa, packed, base, words, units, first, last, x, width, totals, scales,
         weight_scale, a, b, out, stride, scratch):
    """
    Multiply units `first` to `last`, at most UNITS, with tokens `a` to `b`, at most TOGETHER.

    A chunk of columns after another, whose tables are filled in the nearest cache of the core
    that reads them.
    """
    sums = scratch[SUMS:]
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            _fill_chunk(x, t * width, chunk, wide, scratch, (t - a) * CHUNK_TABLES * LINE)
        u = first
        while u < last:  # panel by panel
            v = min(last, panel_of(units, u)[1])
            at = base + place(units, words, u, begin, wide)
            next_at, next_size = read_next(units, words, first, v, last, begin + wide)
            t, few = a, at_first(isa)
            while t < b:
                n, here = min(few, b - t), scratch[(t - a) * CHUNK_TABLES * LINE:]
                _table_units(isa, packed, at, v - u, base + next_at, next_size, wide, here, n,
                             sums, (t - a) * ROW + (u - first) * GROUP * 4, chunk == 0)
                t, few = t + n, FEW
            u = v
    for t in range(a, b):
        scale_sums(sums, (t - a) * ROW, out, t * stride + first * GROUP, (last - first) * GROUP,
                   weight_scale / scales[t])


@njit(cache=True, nogil=True)
def read_next(units, words, first, unit, last, begin):
    """Return where what follows a panel of a chunk begins, and how many bytes a unit has there."""
    if unit < last:  # the next panel, of the same chunk
        begin = (begin - 1) // CHUNK * CHUNK
    elif begin < words:  # the next chunk
        unit = first
    else:  # another part
        begin = 0
    wide = min(CHUNK, words - begin)
    return place(units, words, unit, begin, wide), wide * LINES * LINE


@njit(cache=True, nogil=True)
def _fill_chunk(x, start, chunk, wide, tables, at):
    """Write the tables of a chunk of some words, for a token whose activations start there."""
    fill_tables(x, start + 3 * chunk * CHUNK_TABLES,
                wide // UNIT * UNIT_TABLES + wide % UNIT * WORD_TABLES, tables, at)


@njit(cache=True, nogil=True)
def _table_units(isa, packed, at, units, next_at, next_size, words, tables, tokens, sums, a,
                 fresh):
    """
    Add what a chunk gives for some units and up to FEW tokens.

    Meanwhile the unit is asked for that is read some units later, the first of which after these
    begins at `next_at`; see `read_next`. For one token that is nearly always as far ahead, and
    cheaper to say.
    """
    q, r, s = CHUNK_TABLES * LINE, 2 * CHUNK_TABLES * LINE, 3 * CHUNK_TABLES * LINE
    size = words * LINES * LINE
    later = (FAR + size - 1) // size
    for unit in range(units):
        here, ahead = at + unit * size, later * size
        if unit + later >= units:
            ahead = next_at + (unit + later - units) * next_size - here
        b, c, d = a + ROW, a + 2 * ROW, a + 3 * ROW
        if tokens == 1:
            table_tile(isa, packed, (here,), FAR, words, tables, (0,), sums, (a,), fresh)
        elif tokens == 2:
            table_tile(isa, packed, (here,), ahead, words, tables, (0, q), sums, (a, b), fresh)
        elif tokens == 3:
            table_tile(isa, packed, (here,), ahead, words, tables, (0, q, r), sums, (a, b, c),
                       fresh)
        else:
            table_tile(isa, packed, (here,), ahead, words, tables, (0, q, r, s), sums,
                       (a, b, c, d), fresh)
        a += GROUP * 4


@njit(cache=True, nogil=True)
def one_apart(isa, packed, base, words, units, first, last, x, width, totals, scales,
              weight_scale, a, b, out, stride, scratch):
    """Multiply units of a panel with the only token, reading up to four chunks in turn."""
    sums = scratch[SUMS:]
    q, r, s = CHUNK_TABLES * LINE, 2 * CHUNK_TABLES * LINE, 3 * CHUNK_TABLES * LINE
    chunk, whole = 0, words // CHUNK
    groups = (whole + 3) // 4
    while chunk * CHUNK < words:
        apart = 1
        if chunk < whole:
            apart, groups = (whole - chunk + groups - 1) // groups, groups - 1
        wide, step = min(CHUNK, words - chunk * CHUNK), 0
        at = base + place(units, words, first, chunk * CHUNK, wide)
        if apart > 1:  # all chunks of the panel but the last one are as large
            step = base + place(units, words, first, (chunk + 1) * CHUNK, wide) - at
        for k in range(apart):  # memory need not wait for tables
            fetch(packed, at + k * step, AHEAD)
            _fill_chunk(x, 0, chunk + k, wide, scratch, k * CHUNK_TABLES * LINE)
        for unit in range(first, last):
            e = at + (unit - first) * wide * LINES * LINE
            f, g, h = e + step, e + 2 * step, e + 3 * step
            to, fresh = ((unit - first) * GROUP * 4,), chunk == 0
            if apart == 4:
                table_tile(isa, packed, (e, f, g, h), AHEAD, wide, scratch, (0, q, r, s), sums, to,
                           fresh)
            elif apart == 3:
                table_tile(isa, packed, (e, f, g), AHEAD, wide, scratch, (0, q, r), sums, to,
                           fresh)
            elif apart == 2:
                table_tile(isa, packed, (e, f), AHEAD, wide, scratch, (0, q), sums, to, fresh)
            else:
                table_tile(isa, packed, (e,), AHEAD, wide, scratch, (0,), sums, to, fresh)
        chunk += apart
    scale_sums(sums, 0, out, first * GROUP, (last - first) * GROUP, weight_scale / scales[0])
