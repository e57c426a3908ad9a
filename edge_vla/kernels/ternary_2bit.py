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
Products with '2bit' matrices.

Rows are multiplied as they are, or unpacked for many tokens; on the matrix unit for several.
"""

from edge_vla.kernels.isa import choose, has_amx, many_registers
from edge_vla.kernels.ternary_amx import TOKENS
from edge_vla.kernels.ternary_amx_rows import multiply_rows, ROWS, scratch_bytes
from edge_vla.kernels.ternary_tiles import BLOCK, code_tile, row_tile, unpack_row
from numba import njit

FEW = 4  # tokens multiplied at once; for more, rows are worth unpacking
PAIR = 2  # tokens that are multiplied sooner than their rows are laid out for the matrix unit
SCRATCH_ROWS = 6


def row_scratch_bytes(width: int) -> int:
    """Return the bytes of scratch that a thread needs for rows of `width` activations."""
    return max(SCRATCH_ROWS * width, scratch_bytes(width))


@njit(cache=True, nogil=True)
def at_once(isa):
    """Return how many tokens are multiplied at once; more are done no faster."""
    return TOKENS if has_amx(isa) else FEW


@njit(cache=True, nogil=True)
def row_items(isa, units, tokens, threads):
    """Return runs of rows: some streams for few tokens, unpacked rows for many."""
    rows = SCRATCH_ROWS if tokens > FEW else _streams(isa, tokens)
    return (units + rows - 1) // rows


@njit(cache=True, nogil=True)
def _streams(isa, tokens):
    """Return how many rows are multiplied at once, see below."""
    if tokens == 1:
        return len(_four(isa, 0, 0, 0))
    return len(_with_two(isa, 0, 0, 0)) if tokens == 2 else len(_with_more(isa, 0, 0, 0))


@njit(cache=True, nogil=True)
def row_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                scales, weight_scale, tokens, out, stride, scratch):
    """Compute pieces `first` to `last` of `count`, see `ternary.product`."""
    ws, end = weight_scale, units - 1
    if tokens <= FEW:
        streams, a = _streams(isa, tokens), ws / scales[0]
        far = (units + streams - 1) // streams
        b, c, d = a, a, a
        if tokens > 1:
            b, c, d = ws / scales[1], ws / scales[min(2, tokens - 1)], ws / scales[tokens - 1]
        if tokens == 1:
            for m in range(first, last):
                row_tile(isa, packed, base, blocks, _four(isa, m, far, end), x, (0,), (totals[0],),
                         (a,), out, (0,))
        elif tokens == 2:
            for m in range(first, last):
                row_tile(isa, packed, base, blocks, _with_two(isa, m, far, end), x, (0, width),
                         (totals[0], totals[1]), (a, b), out, (0, stride))
        elif tokens == 3:
            for m in range(first, last):
                row_tile(isa, packed, base, blocks, _with_more(isa, m, far, end), x,
                         (0, width, 2 * width), (totals[0], totals[1], totals[2]), (a, b, c), out,
                         (0, stride, 2 * stride))
        else:
            for m in range(first, last):
                row_tile(isa, packed, base, blocks, _with_more(isa, m, far, end), x,
                         (0, width, 2 * width, 3 * width),
                         (totals[0], totals[1], totals[2], totals[3]), (a, b, c, d), out,
                         (0, stride, 2 * stride, 3 * stride))
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


# Rows that are multiplied at once, far apart: as many as registers hold sums of ------------------

@njit(cache=True, nogil=True)
def _four(isa, m, far, end):
    return m, min(m + far, end), min(m + 2 * far, end), min(m + 3 * far, end)


@njit(cache=True, nogil=True)
def _two(isa, m, far, end):
    return m, min(m + far, end)


@njit(cache=True, nogil=True)
def _alone(isa, m, far, end):
    return (m,)


def _with_two(isa, m, far, end):
    """Return the rows that two tokens are multiplied with."""


def _with_more(isa, m, far, end):
    """Return the rows that three or four tokens are multiplied with."""


choose(_with_two, lambda isa: _four if isa.many_registers else _two)
choose(_with_more, lambda isa: _four if isa.many_registers else _alone)


# With a matrix unit; only there, for elsewhere its instructions cannot be compiled --------------

@njit(cache=True, nogil=True)
def amx_row_items(isa, units, tokens, threads):
    """Return groups of rows of a tile if there are more than a pair of tokens."""
    if tokens <= PAIR or units < ROWS:
        return row_items(isa, units, tokens, threads)
    return (units + ROWS - 1) // ROWS


@njit(cache=True, nogil=True)
def amx_row_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                    scales, weight_scale, tokens, out, stride, scratch):
    """Compute pieces `first` to `last` of `count`, see `ternary.product`."""
    if tokens <= PAIR or units < ROWS:
        row_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                    scales, weight_scale, tokens, out, stride, scratch)
    else:
        multiply_rows(packed, base, blocks, units, first, last, x, width, totals, scales,
                      weight_scale, tokens, out, stride, scratch)
