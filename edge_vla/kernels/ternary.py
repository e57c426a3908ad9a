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

from edge_vla.kernels.isa import choose
from edge_vla.kernels.ternary_2bit import (
    amx_row_items,
    amx_row_product,
    row_items,
    row_product,
    row_scratch_bytes,
)
from edge_vla.kernels.ternary_5bit import packed_items, packed_product, SCRATCH
from numba import njit
import numpy as np


def scratch_bytes(packing: str, width: int) -> int:
    """Return the bytes of scratch that a thread needs for rows of `width` activations."""
    return SCRATCH if packing == '5bit' else row_scratch_bytes(width)


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
    if first < last:  # else nothing need be prepared
        _product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
                 scales, np.float32(weight_scale), tokens, out, stride, scratch)


# What they do for each packing ---------------------------------------------------------------

def _items(isa, units, tokens, threads):
    """Stand for `items`: numba chooses below."""


def _product(isa, packed, base, blocks, units, first, last, count, x, width, totals,
             scales, weight_scale, tokens, out, stride, scratch):
    """Stand for `product`."""


choose(_items, lambda isa: packed_items if isa.packing == '5bit' else (
    amx_row_items if isa.amx else row_items))
choose(_product, lambda isa: packed_product if isa.packing == '5bit' else (
    amx_row_product if isa.amx else row_product))
