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

from edge_vla.kernels.ternary_tiles import code_tile, trait, unit_tile, unpack_unit
from numba import njit
import numpy as np

FEW = 4  # tokens multiplied straight from packed bytes; more are worth unpacking for
SCRATCH_ROWS = 6


@njit(cache=True, nogil=True)
def items(isa, units, tokens):
    """Return how many pieces of work a product has; `product` does any range of them."""
    if tokens > FEW:
        step = SCRATCH_ROWS // trait(isa, 0)
        return (units + step - 1) // step
    streams = 4 if tokens == 1 and trait(isa, 0) == 1 else 2
    return (units + streams - 1) // streams


@njit(cache=True, nogil=True)
def product(isa, packed, base, blocks, units, first, last, x, width, totals, scales,
            weight_scale, tokens, out, stride, codes):
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
    first, last : int
        Which of `items`.
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
    codes : uint8
        Scratch: SCRATCH_ROWS unpacked rows.

    """
    ws = np.float32(weight_scale)
    end = units - 1
    if tokens == 1 and trait(isa, 0) == 3:  # two planes each: four streams again
        far = (units + 1) // 2
        for m in range(first, last):
            unit_tile(isa, packed, base, blocks, units, (m, min(m + far, end)), x, (0,),
                      (totals[0],), (ws / scales[0],), out, (0,))
    elif tokens == 1:
        far = (units + 3) // 4
        for m in range(first, last):
            unit_tile(isa, packed, base, blocks, units,
                      (m, min(m + far, end), min(m + 2 * far, end), min(m + 3 * far, end)), x,
                      (0,), (totals[0],), (ws / scales[0],), out, (0,))
    elif tokens <= FEW:
        far = (units + 1) // 2
        for m in range(first, last):
            n = min(m + far, end)
            if tokens == 2:
                unit_tile(isa, packed, base, blocks, units, (m, n), x, (0, width),
                          (totals[0], totals[1]), (ws / scales[0], ws / scales[1]), out,
                          (0, stride))
            elif tokens == 3:
                for u in (m, n):
                    unit_tile(isa, packed, base, blocks, units, (u,), x, (0, width, 2 * width),
                              (totals[0], totals[1], totals[2]),
                              (ws / scales[0], ws / scales[1], ws / scales[2]), out,
                              (0, stride, 2 * stride))
            else:
                for u in (m, n):
                    unit_tile(isa, packed, base, blocks, units, (u,), x,
                              (0, width, 2 * width, 3 * width),
                              (totals[0], totals[1], totals[2], totals[3]),
                              (ws / scales[0], ws / scales[1], ws / scales[2], ws / scales[3]),
                              out, (0, stride, 2 * stride, 3 * stride))
    else:
        rows = trait(isa, 0)
        line = blocks * trait(isa, 1)
        step = SCRATCH_ROWS // rows
        for m in range(first, last):
            for k in range(step):
                unpack_unit(isa, packed, base, blocks, units, min(m * step + k, end), codes,
                            k * rows * line, line)
            # the last piece repeats its last unit: written twice, the same value
            r0 = m * SCRATCH_ROWS
            top = units * rows - 1
            if rows == 3:
                l3 = min(r0 + 3, top - 2)
                r = (r0, r0 + 1, r0 + 2, l3, l3 + 1, l3 + 2)
            else:
                r = (r0, min(r0 + 1, top), min(r0 + 2, top), min(r0 + 3, top),
                     min(r0 + 4, top), min(r0 + 5, top))
            for a in range(0, tokens, 4):
                b, c, d = min(a + 1, tokens - 1), min(a + 2, tokens - 1), min(a + 3, tokens - 1)
                places = (a * width, b * width, c * width, d * width)
                sums = (totals[a], totals[b], totals[c], totals[d])
                factors = (ws / scales[a], ws / scales[b], ws / scales[c], ws / scales[d])
                starts = (a * stride, b * stride, c * stride, d * stride)
                if trait(isa, 2) == 1:
                    code_tile(isa, codes, line, blocks, (0, 1, 2, 3, 4, 5), x, places, sums,
                              factors, r, out, starts)
                else:
                    for h in (0, 2):
                        p, s = (places[h], places[h + 1]), (sums[h], sums[h + 1])
                        f, o = (factors[h], factors[h + 1]), (starts[h], starts[h + 1])
                        code_tile(isa, codes, line, blocks, (0, 1), x, p, s, f, (r[0], r[1]),
                                  out, o)
                        code_tile(isa, codes, line, blocks, (2, 3), x, p, s, f, (r[2], r[3]),
                                  out, o)
                        code_tile(isa, codes, line, blocks, (4, 5), x, p, s, f, (r[4], r[5]),
                                  out, o)
