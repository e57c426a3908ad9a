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
How products with '5bit' matrices are cut into parts, whichever way those are computed.

A part is some units and some tokens, all columns. Of one token it is a panel, which is read in
one run; several may share what it costs to fill tables, many what it costs to read and unpack.
"""

from edge_vla.kernels import (
    ternary_by_amx as by_amx,
    ternary_by_dots as by_dots,
    ternary_by_tables as by_tables,
)
from edge_vla.kernels.isa import choose, constant
from edge_vla.kernels.ternary_amx import TOKENS
from edge_vla.kernels.ternary_dots import WIDE
from edge_vla.kernels.ternary_tables import panel_of, panels, TOGETHER
from numba import njit

SCRATCH = max(by_tables.SCRATCH, by_dots.SCRATCH, by_amx.SCRATCH)  # bytes
SHORT = 10  # units that one thread reads as fast as two
few_units = constant(lambda isa: by_tables.UNITS if isa.tables and isa.reading == 'run' else 0,
                     'few_units', 'Return up to how many units of several panels a part of few '
                     'tokens has; 0: it ends with a panel.')
many_units = constant(lambda isa: by_tables.UNITS if isa.tables else by_amx.UNITS, 'many_units',
                      'Return how many units a part of many tokens has at most.')


@njit(cache=True, nogil=True)
def packed_items(isa, units, tokens, threads):
    """
    Return parts of the units, panels where they suffice, for every tile of many tokens.

    What begins anew all the time reads half as fast, so threads do not share a panel that is
    short.
    """
    few, many, _ = _sizes(isa)
    if tokens <= few:
        return max(panels(units), min(units // SHORT, threads))
    return (tokens + many - 1) // many * ((units + many_units(isa) - 1) // many_units(isa))


@njit(cache=True, nogil=True)
def packed_product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                   scales, weight_scale, tokens, out, stride, scratch):
    """Compute pieces `first` to `last` of `count`, see `ternary.product`."""
    few, many, wide = _sizes(isa)
    if tokens <= few:
        u, end = first * units // count, last * units // count
        while u < end:
            v = panel_of(units, u)[1]
            while tokens > 1 and v < end and panel_of(units, v)[1] - u <= few_units(isa):
                v = panel_of(units, v)[1]
            v = min(end, v)
            if tokens == 1:
                _one(isa, packed, base, blocks, units, u, v, x, width, totals, scales,
                     weight_scale, 0, 1, out, stride, scratch)
            else:
                _few(isa, packed, base, blocks, units, u, v, x, width, totals, scales,
                     weight_scale, 0, tokens, out, stride, scratch)
            u = v
        return
    tiles, groups = (tokens + many - 1) // many, (tokens + wide - 1) // wide
    parts = count // tiles
    for m in range(first, last):  # tile after tile, while a part's weights are near
        part, tile = m // tiles, m % tiles
        _many(isa, packed, base, blocks, units, part * units // parts, (part + 1) * units // parts,
              x, width, totals, scales, weight_scale, tile * groups // tiles * wide,
              min(tokens, (tile + 1) * groups // tiles * wide), out, stride, scratch)


# What they do on each kind of CPU -------------------------------------------------------------

def _sizes(isa):
    """Return how many tokens are few, how many share a tile of many, and what divides those."""


def _one(isa, packed, base, words, units, first, last, x, width, totals, scales, weight_scale,
         a, b, out, stride, scratch):
    """Multiply units `first` to `last` of a panel with the only token."""


def _few(isa, packed, base, words, units, first, last, x, width, totals, scales, weight_scale,
         a, b, out, stride, scratch):
    """Multiply units, of one panel where `few_units` is 0, with tokens `a` to `b`."""


def _many(isa, packed, base, words, units, first, last, x, width, totals, scales, weight_scale,
          a, b, out, stride, scratch):
    """Multiply units `first` to `last` with tokens `a` to `b`."""


def _choose(stand, tables, amx, dots):
    """Let numba compile, for a stand-in, what suits the CPU."""
    choose(stand, lambda isa: tables if isa.tables else amx if isa.amx else dots)


_choose(_sizes, lambda isa: (TOGETHER, TOGETHER, 1), lambda isa: (TOKENS, TOKENS, TOKENS),
        lambda isa: (TOGETHER, by_dots.MANY, WIDE))
_choose(_one, by_tables.part, by_tables.one_apart, by_tables.one_apart)
_choose(_few, by_tables.part, by_amx.part, by_dots.few)
_choose(_many, by_tables.part, by_amx.part, by_dots.many)
