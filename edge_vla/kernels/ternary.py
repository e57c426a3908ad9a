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


# What they do for each packing --------------------------------------------------------------

def _items(isa, units, tokens, threads):
    """Stand for `items`: numba chooses below by packing."""


def _product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
             scales, weight_scale, tokens, out, stride, scratch):
    """Stand for `product`."""


def _choose(stand, by_tables, by_dots):
    """Let numba compile, for a stand-in, what the instruction set's packing wants."""
    overload(stand, jit_options={'cache': True, 'nogil': True}, strict=False)(
        lambda isa, *_: by_tables if isa.isa.packing == '5bit' else by_dots)


def _table_items(isa, units, tokens, threads):
    """
    Return parts of the units, panels where they suffice, for tiles of up to TOGETHER tokens each.

    A panel is read in one run; what begins anew all the time reads half as fast, so threads do
    not share one that is short.
    """
    if tokens <= TOGETHER:
        return max(panels(units), min(units // SHORT, threads))
    return (tokens + TOGETHER - 1) // TOGETHER * ((units + PART - 1) // PART)


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
        count = wide // UNIT * UNIT_TABLES + wide % UNIT * WORD_TABLES
        for t in range(a, b):
            fill_tables(x, t * width + 3 * chunk * CHUNK_TABLES, count, tables,
                        (t - a) * CHUNK_TABLES * LINE)
        u = first
        while u < last:  # panel by panel
            start, end = panel_of(units, u)
            v = min(last, end)
            at = start * words + (end - start) * begin + (u - start) * wide
            t, few = a, PAIR
            while t < b:
                n = min(few, b - t)
                _table_chunk(isa, packed, base + at * LINES * LINE, wide, u, v,
                             tables[(t - a) * CHUNK_TABLES * LINE:], n, out, t * stride, stride,
                             chunk == 0)
                t, few = t + n, FEW
            u = v
    for t in range(a, b):
        scale_sums(out, t * stride + first * GROUP, (last - first) * GROUP,
                   weight_scale / scales[t])


@njit(cache=True, nogil=True)
def _table_chunk(isa, packed, base, words, first, last, tables, tokens, out, start, stride, fresh):
    """Add what a chunk gives for some units, at `base`, and up to FEW tokens."""
    q, r, s = CHUNK_TABLES * LINE, 2 * CHUNK_TABLES * LINE, 3 * CHUNK_TABLES * LINE
    for unit in range(first, last):
        at, to = base + (unit - first) * words * LINES * LINE, start + unit * GROUP
        if tokens == 1:
            table_tile(isa, packed, at, words, tables, (0,), out, (to,), fresh)
        elif tokens == 2:
            table_tile(isa, packed, at, words, tables, (0, q), out, (to, to + stride), fresh)
        elif tokens == 3:
            table_tile(isa, packed, at, words, tables, (0, q, r), out,
                       (to, to + stride, to + 2 * stride), fresh)
        else:
            table_tile(isa, packed, at, words, tables, (0, q, r, s), out,
                       (to, to + stride, to + 2 * stride, to + 3 * stride), fresh)


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


_choose(_items, _table_items, _dot_items)
_choose(_product, _table_product, _dot_product)
