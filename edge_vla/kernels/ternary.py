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

"""Products of packed ternary weights and int8 activations: exact, for one token or many."""

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
    fill_tables,
    GROUP,
    LINE,
    LINES,
    panel_of,
    panels,
    scale_sums,
    table_tile,
    UNIT,
    UNIT_TABLES,
    WORD_TABLES,
)
from edge_vla.kernels.ternary_tiles import BLOCK, code_tile, many_registers, row_tile, unpack_row
from numba import njit
from numba.extending import overload
import numpy as np

FEW = 4  # tokens multiplied at once; of more, 2bit rows are worth unpacking
PAIR = 2  # ... while codes come from memory: tables of more do not stay in the nearest cache then
TOGETHER = 8  # tokens that codes are brought near for
MANY = 8 * WIDE  # tokens that codes are unpacked for
SCRATCH_ROWS = 6
SHORT = 10  # units that one thread reads as fast as two
PART = 40  # units that many tokens are multiplied with: filling their tables is 6 % of it


def scratch_bytes(packing: str, width: int) -> int:
    """Return the bytes of scratch that a thread needs for rows of `width` activations."""
    return TOGETHER * CHUNK_TABLES * LINE if packing == '5bit' else SCRATCH_ROWS * width


@njit(cache=True, nogil=True)
def items(isa, units, tokens, threads):
    """Return into how many pieces a product is best cut; `product` does any range of them."""
    return _items(isa, units, tokens, threads)


@njit(cache=True, nogil=True)
def product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
            scales, weight_scale, tokens, out, stride, scratch):
    """
    Compute pieces `first` to `last` of ``out[t, row] = W x[t] * weight_scale / scales[t]``.

    Parameters
    ----------
    isa : Isa
        Instruction set.
    packed : uint8 [N]
        All weights of the model.
    base, blocks, units : int
        First byte of the matrix, blocks of a unit, units.
    first, last, count : int
        Which of how many `items`.
    x : int8 [tokens * width]
        Quantised activations, zero above the matrix's columns.
    width : int
        Bytes from token to token.
    totals, scales : int32, float32 [tokens]
        Sum and scale of each token's activations.
    weight_scale : float
        Of the matrix.
    tokens : int
        How many.
    out : int32 (exact sums, unscaled) or float32 [tokens * stride], written
        Rows of the last unit that the matrix lacks are written too.
    stride : int
        From token to token in `out`.
    scratch : uint8 [scratch_bytes]
        Of this thread.

    """
    _product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
             scales, np.float32(weight_scale), tokens, out, stride, scratch)


# What they do for each kind of instruction set -----------------------------------------------

def _items(isa, units, tokens, threads):
    """Stand for `items`: numba chooses below."""


def _product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
             scales, weight_scale, tokens, out, stride, scratch):
    """Stand for `product`."""


def _choose(stand, by_tables, by_both, by_dots):
    """Let numba compile, for a stand-in, what the instruction set wants."""
    def choice(isa, *_: object):
        if isa.isa.packing == '2bit':
            return by_dots
        return by_tables if isa.isa.tables else by_both
    overload(stand, jit_options={'cache': True, 'nogil': True}, strict=False)(choice)


@njit(cache=True, nogil=True)
def _parts(units, tokens, threads, tile):
    """
    Return parts of the units, panels where they suffice, for tiles of up to `tile` tokens each.

    A panel is read in one run; what begins anew all the time reads half as fast, so threads do
    not share one that is short.
    """
    if tokens <= TOGETHER:
        return max(panels(units), min(units // SHORT, threads))
    return (tokens + tile - 1) // tile * ((units + PART - 1) // PART)


def _table_items(isa, units, tokens, threads):
    return _parts(units, tokens, threads, TOGETHER)


def _table_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                   scales, weight_scale, tokens, out, stride, scratch):
    if tokens <= TOGETHER:
        u, end = first * units // count, last * units // count
        while u < end:  # panel by panel
            v = min(end, panel_of(units, u)[1])
            _table_part(isa, packed, base, blocks, units, u, v, x, width, scales, weight_scale, 0,
                        tokens, out, stride, scratch)
            u = v
        return
    tiles = (tokens + TOGETHER - 1) // TOGETHER
    parts = count // tiles
    for m in range(first, last):
        tile, part = m // parts, m % parts
        _table_part(isa, packed, base, blocks, units, part * units // parts,
                    (part + 1) * units // parts, x, width, scales, weight_scale,
                    tile * tokens // tiles, (tile + 1) * tokens // tiles, out, stride, scratch)


@njit(cache=True, nogil=True)
def _table_part(isa, packed, base, words, units, first, last, x, width, scales, weight_scale, a,
                b, out, stride, tables):
    """
    Compute units `first` to `last` for tokens `a` to `b`, a chunk of columns after another.

    Tables are filled in the nearest cache of the core that reads them.
    """
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            _fill_chunk(x, t * width, chunk, wide, tables, (t - a) * CHUNK_TABLES * LINE)
        u = first
        while u < last:  # panel by panel
            v = min(last, panel_of(units, u)[1])
            at = base + _place(units, words, u, begin, wide)
            t, few = a, PAIR
            while t < b:
                n, here = min(few, b - t), tables[(t - a) * CHUNK_TABLES * LINE:]
                for unit in range(u, v):
                    _table_unit(isa, packed, at + (unit - u) * wide * LINES * LINE, wide, here, n,
                                out, t * stride + unit * GROUP, stride, chunk == 0)
                t, few = t + n, FEW
            u = v
    for t in range(a, b):
        scale_sums(out, t * stride + first * GROUP, (last - first) * GROUP,
                   weight_scale / scales[t])


@njit(cache=True, nogil=True)
def _fill_chunk(x, start, chunk, wide, tables, at):
    """Write the tables of a chunk of some words, for a token whose activations start there."""
    fill_tables(x, start + 3 * chunk * CHUNK_TABLES,
                wide // UNIT * UNIT_TABLES + wide % UNIT * WORD_TABLES, tables, at)


@njit(cache=True, nogil=True)
def _place(units, words, unit, begin, wide):
    """Return the first byte of a unit in the chunk that begins with a word."""
    start, end = panel_of(units, unit)
    return (start * words + (end - start) * begin + (unit - start) * wide) * LINES * LINE


@njit(cache=True, nogil=True)
def _table_unit(isa, packed, at, words, tables, tokens, out, a, stride, fresh):
    """Add what a chunk gives for a unit and up to FEW tokens."""
    q, r, s = CHUNK_TABLES * LINE, 2 * CHUNK_TABLES * LINE, 3 * CHUNK_TABLES * LINE
    b, c, d = a + stride, a + 2 * stride, a + 3 * stride
    if tokens == 1:
        table_tile(isa, packed, (at,), words, tables, (0,), out, (a,), fresh)
    elif tokens == 2:
        table_tile(isa, packed, (at,), words, tables, (0, q), out, (a, b), fresh)
    elif tokens == 3:
        table_tile(isa, packed, (at,), words, tables, (0, q, r), out, (a, b, c), fresh)
    else:
        table_tile(isa, packed, (at,), words, tables, (0, q, r, s), out, (a, b, c, d), fresh)


def _both_items(isa, units, tokens, threads):
    return _parts(units, tokens, threads, MANY)


def _both_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                  scales, weight_scale, tokens, out, stride, scratch):
    if tokens <= TOGETHER:
        u, end = first * units // count, last * units // count
        while u < end:  # panel by panel
            v = min(end, panel_of(units, u)[1])
            if tokens == 1:
                _apart_part(isa, packed, base, blocks, units, u, v, x,
                            weight_scale / scales[0], out, scratch)
            else:
                _few_part(packed, base, blocks, units, u, v, x, width, totals, scales,
                          weight_scale, tokens, out, stride, scratch)
            u = v
        return
    tiles, groups = (tokens + MANY - 1) // MANY, (tokens + WIDE - 1) // WIDE
    parts = count // tiles
    for m in range(first, last):
        tile, part = m // parts, m % parts
        _many_part(packed, base, blocks, units, part * units // parts,
                   (part + 1) * units // parts, x, width, totals, scales, weight_scale,
                   tile * groups // tiles * WIDE,
                   min(tokens, (tile + 1) * groups // tiles * WIDE), out, stride, scratch)


@njit(cache=True, nogil=True)
def _apart_part(isa, packed, base, words, units, first, last, x, factor, out, tables):
    """Multiply units of a panel with one token, reading up to four chunks in turn."""
    q, r, s = CHUNK_TABLES * LINE, 2 * CHUNK_TABLES * LINE, 3 * CHUNK_TABLES * LINE
    chunk, whole = 0, words // CHUNK
    groups = (whole + 3) // 4
    while chunk * CHUNK < words:
        apart = 1
        if chunk < whole:
            apart, groups = (whole - chunk + groups - 1) // groups, groups - 1
        wide, step = min(CHUNK, words - chunk * CHUNK), 0
        for k in range(apart):
            _fill_chunk(x, 0, chunk + k, wide, tables, k * CHUNK_TABLES * LINE)
        at = base + _place(units, words, first, chunk * CHUNK, wide)
        if apart > 1:  # all chunks of the panel but the last one are as large
            step = base + _place(units, words, first, (chunk + 1) * CHUNK, wide) - at
        for unit in range(first, last):
            a = at + (unit - first) * wide * LINES * LINE
            b, c, d = a + step, a + 2 * step, a + 3 * step
            to, fresh = (unit * GROUP,), chunk == 0
            if apart == 4:
                table_tile(isa, packed, (a, b, c, d), wide, tables, (0, q, r, s), out, to, fresh)
            elif apart == 3:
                table_tile(isa, packed, (a, b, c), wide, tables, (0, q, r), out, to, fresh)
            elif apart == 2:
                table_tile(isa, packed, (a, b), wide, tables, (0, q), out, to, fresh)
            else:
                table_tile(isa, packed, (a,), wide, tables, (0,), out, to, fresh)
        chunk += apart
    scale_sums(out, first * GROUP, (last - first) * GROUP, factor)


@njit(cache=True, nogil=True)
def _few_part(packed, base, words, units, first, last, x, width, totals, scales, weight_scale,
              tokens, out, stride, runs):
    """Multiply units of a panel with up to TOGETHER tokens, FEW at once while codes are near."""
    step = TOGETHER * RUN
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin, fresh = chunk * CHUNK, chunk == 0
        wide = min(CHUNK, words - begin)
        for t in range(tokens):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, (wide + UNIT - 1) // UNIT, runs,
                   t * RUN, step)
        begins = base + _place(units, words, first, begin, wide)
        for unit in range(first, last):
            at = begins + (unit - first) * wide * LINES * LINE
            for t in range(0, tokens, FEW):
                few, here = min(FEW, tokens - t), runs[t * RUN:]
                a = t * stride + unit * GROUP
                b, c, d = a + stride, a + 2 * stride, a + 3 * stride
                if few == 1:
                    dot_tile(packed, at, wide, here, step, (totals[t],), out, (a,), fresh)
                elif few == 2:
                    dot_tile(packed, at, wide, here, step, (totals[t], totals[t + 1]), out, (a, b),
                             fresh)
                elif few == 3:
                    dot_tile(packed, at, wide, here, step,
                             (totals[t], totals[t + 1], totals[t + 2]), out, (a, b, c), fresh)
                else:
                    dot_tile(packed, at, wide, here, step,
                             (totals[t], totals[t + 1], totals[t + 2], totals[t + 3]), out,
                             (a, b, c, d), fresh)
    for t in range(tokens):
        scale_sums(out, t * stride + first * GROUP, (last - first) * GROUP,
                   weight_scale / scales[t])


@njit(cache=True, nogil=True)
def _many_part(packed, base, words, units, first, last, x, width, totals, scales, weight_scale,
               a, b, out, stride, scratch):
    """Unpack unit after unit and multiply it with tokens `a` to `b`, at most MANY."""
    runs, step = scratch[UNPACKED:], MANY * RUN
    for chunk in range((words + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        wide = min(CHUNK, words - begin)
        for t in range(a, b):
            spread(x, t * width + 3 * chunk * CHUNK_TABLES, (wide + UNIT - 1) // UNIT, runs,
                   (t - a) * RUN, step)
        for unit in range(first, last):
            unpack_unit(packed, base + _place(units, words, unit, begin, wide), wide, scratch)
            for t in range(a, b, WIDE):
                wide_tile(scratch, wide, runs, (t - a) * RUN, step, b - t, totals, t, out,
                          t * stride + unit * GROUP, stride, chunk == 0)
    for t in range(a, b):
        scale_sums(out, t * stride + first * GROUP, (last - first) * GROUP,
                   weight_scale / scales[t])


def _dot_items(isa, units, tokens, threads):
    """Return runs of rows: four streams for a token, two for few; unpacked rows for many."""
    if tokens > FEW:
        return (units + SCRATCH_ROWS - 1) // SCRATCH_ROWS
    streams = 4 if tokens == 1 else 2
    return (units + streams - 1) // streams


def _dot_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                 scales, weight_scale, tokens, out, stride, scratch):
    ws, end = weight_scale, units - 1
    if tokens == 1:
        far = (units + 3) // 4
        for m in range(first, last):
            row_tile(isa, packed, base, blocks,
                     (m, min(m + far, end), min(m + 2 * far, end), min(m + 3 * far, end)), x,
                     (0,), (totals[0],), (ws / scales[0],), out, (0,))
    elif tokens <= FEW:
        far = (units + 1) // 2
        for m in range(first, last):
            n = min(m + far, end)
            if tokens == 2:
                row_tile(isa, packed, base, blocks, (m, n), x, (0, width),
                         (totals[0], totals[1]), (ws / scales[0], ws / scales[1]), out,
                         (0, stride))
            elif tokens == 3:
                for u in (m, n):
                    row_tile(isa, packed, base, blocks, (u,), x, (0, width, 2 * width),
                             (totals[0], totals[1], totals[2]),
                             (ws / scales[0], ws / scales[1], ws / scales[2]), out,
                             (0, stride, 2 * stride))
            else:
                for u in (m, n):
                    row_tile(isa, packed, base, blocks, (u,), x,
                             (0, width, 2 * width, 3 * width),
                             (totals[0], totals[1], totals[2], totals[3]),
                             (ws / scales[0], ws / scales[1], ws / scales[2], ws / scales[3]),
                             out, (0, stride, 2 * stride, 3 * stride))
    else:
        line = blocks * BLOCK
        for m in range(first, last):
            r0 = m * SCRATCH_ROWS
            for k in range(SCRATCH_ROWS):
                unpack_row(isa, packed, base, blocks, min(r0 + k, end), scratch, k * line)
            # the last piece repeats the last row: written again, the same value
            r = (r0, min(r0 + 1, end), min(r0 + 2, end), min(r0 + 3, end), min(r0 + 4, end),
                 min(r0 + 5, end))
            for a in range(0, tokens, 4):
                b, c, d = min(a + 1, tokens - 1), min(a + 2, tokens - 1), min(a + 3, tokens - 1)
                places = (a * width, b * width, c * width, d * width)
                sums = (totals[a], totals[b], totals[c], totals[d])
                factors = (ws / scales[a], ws / scales[b], ws / scales[c], ws / scales[d])
                starts = (a * stride, b * stride, c * stride, d * stride)
                if many_registers(isa):
                    code_tile(isa, scratch, line, blocks, (0, 1, 2, 3, 4, 5), x, places, sums,
                              factors, r, out, starts)
                else:
                    for h in (0, 2):
                        p, s = (places[h], places[h + 1]), (sums[h], sums[h + 1])
                        f, o = (factors[h], factors[h + 1]), (starts[h], starts[h + 1])
                        code_tile(isa, scratch, line, blocks, (0, 1), x, p, s, f, (r[0], r[1]),
                                  out, o)
                        code_tile(isa, scratch, line, blocks, (2, 3), x, p, s, f, (r[2], r[3]),
                                  out, o)
                        code_tile(isa, scratch, line, blocks, (4, 5), x, p, s, f, (r[4], r[5]),
                                  out, o)


_choose(_items, _table_items, _both_items, _dot_items)
_choose(_product, _table_product, _both_product, _dot_product)
