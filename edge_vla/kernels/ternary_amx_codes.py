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
How the matrix unit sees a run of 48 columns of '5bit' rows: twelve *quads* of four columns.

Five words of a row have three codes each, and one more in their topmost bits. Four times four
codes of a row are put next to each other: those of the first three words each with one of the
fourth, those of the fifth with the one of the topmost bits. A quad is the d-th columns of four
such codes, as trits + 1, and a row of a tile of weights.

`ternary_dots` has fifteen quads, of three codes and nothing, but for the last word. That is one
permutation less a word, but everything that is unpacked is stored, and loaded as tiles.
"""

from collections.abc import Iterator

from edge_vla.kernels.ternary_dots import DIGITS, gather_bits, word_codes
from edge_vla.kernels.ternary_tables import UNIT_COLUMNS
from edge_vla.kernels.ternary_tiles import join
from edge_vla.kernels.vectors import (
    advance,
    BYTE,
    BYTES,
    call,
    data_pointer,
    every,
    LANES,
    load,
    LONG,
    SHORTS,
    store,
)
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FOURS = 4  # times four codes of a run
QUADS = FOURS * DIGITS
RUN = 64  # bytes of a run of activations: 12 quads, and 16 that nobody reads


def run_columns() -> list[int]:
    """Return which column of a run each byte of its quads is."""
    codes = [*([3 * f, 3 * f + 1, 3 * f + 2, 9 + f] for f in range(3)), [12, 13, 14, 15]]
    return [3 * code + d for four in codes for d in range(DIGITS) for code in four]


def run_codes(builder: ir.IRBuilder, words: list[ir.Value]) -> Iterator[list[ir.Value]]:
    """Yield four codes of each of 32 rows, see `word_codes`, four times."""
    extra = every(SHORTS, 0)
    for word in words:
        extra = gather_bits(builder, extra, word)
    for f in range(FOURS - 1):
        yield word_codes(builder, words[f], words[3], 5 * f)
    yield word_codes(builder, words[4], extra)


@intrinsic
def spread(typing, x, start, count, out, at, stride):
    """
    Write runs of 48 activations in the order of quads.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    x : int8 [N]
        Activations.
    start, count : int
        The first one, and how many runs.
    out : uint8 [M], written
        RUN bytes a run.
    at, stride : int
        Where the first run goes, and how far it is from run to run.

    """
    columns = run_columns()
    order = columns + [0] * (RUN - len(columns))

    def generate(context, builder, signature, args):
        x, start, count, out, at, stride = args
        source = data_pointer(context, builder, signature.args[0], x, start)
        target = data_pointer(context, builder, signature.args[3], out, at)
        with cgutils.for_range(builder, count) as loop:
            here = advance(builder, source, builder.mul(loop.index, LONG(UNIT_COLUMNS)))
            parts = [load(builder, advance(builder, here, LANES * k), ir.VectorType(BYTE, LANES))
                     for k in range(UNIT_COLUMNS // LANES)]
            run = call(builder, 'llvm.x86.avx512.permvar.qi.512', BYTES,
                       join(builder, [*parts, parts[-1]]), ir.Constant(BYTES, order))
            store(builder, run, advance(builder, target, builder.mul(loop.index, stride)))
        return context.get_dummy_value()
    n = types.int64
    return types.void(x, n, n, out, n, n), generate
