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

"""How fast this machine reads memory: the limit of everything that decodes."""

from edge_vla.kernels.ternary_tiles import PREFETCH
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    CACHE_LINE,
    data_pointer,
    every,
    INTS,
    load,
    LONG,
    prefetch,
    reduce,
)
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def _read(typing, isa, array, lines):
    """Fold `lines` cache lines of each quarter of an array into one number."""
    def generate(context, builder, signature, args):
        _, array, lines = args
        isa, kind = signature.args[0].isa, signature.args[1]
        cells = [accumulator(builder, INTS) for _ in range(4)]
        start = data_pointer(context, builder, kind, array, LONG(0))
        size = builder.mul(lines, LONG(CACHE_LINE))
        with cgutils.for_range(builder, lines) as loop:
            at = builder.mul(loop.index, LONG(CACHE_LINE))
            for k, cell in enumerate(cells):
                here = advance(builder, advance(builder, start, builder.mul(size, LONG(k))), at)
                if ahead := isa.ahead(PREFETCH):
                    prefetch(builder, advance(builder, here, ahead), isa.locality)
                builder.store(builder.xor(load(builder, cell, INTS),
                                          load(builder, here, INTS)), cell)
        total = every(INTS, 0)
        for cell in cells:
            total = builder.xor(total, load(builder, cell, INTS))
        return reduce(builder, total, builder.xor)
    return types.int32(isa, array, types.int64), generate


@njit(cache=True, nogil=True)
def read_all(isa, array):
    """Read a uint8 array as fast as decoding could, four far streams; return a fold of it."""
    return _read(isa, array, array.shape[0] // (4 * CACHE_LINE))
