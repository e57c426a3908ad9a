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
The innermost loops of products of several tokens with '5bit' matrices, by multiplication.

Where a permutation of words costs two operations (Intel) and several tokens share the work, codes
are unpacked rather than looked up: vpmultishiftqb cuts a word of four rows into codes, vpermb
makes bytes of trits + 1 of them, and vpdpbusd multiplies a *quad* of four such bytes of 16 rows
with four activations. ``sum(code * x) - sum(x) = sum(trit * x)``, exact in int32.

A quad takes the d-th columns of the three codes of a word, and of the code in the topmost bits
for the last word of a run. So a run of 48 columns has 15 quads; `spread` puts activations in
their order.
"""

from collections.abc import Callable, Iterator
from functools import partial

from edge_vla.kernels.ternary_tables import (
    CHUNK,
    gather_bits,
    LINE,
    LINES,
    UNIT,
    UNIT_COLUMNS,
)
from edge_vla.kernels.ternary_tiles import join, PREFETCH, vpdpbusd
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    BYTE,
    BYTES,
    call,
    data_pointer,
    every,
    INT,
    INTS,
    LANES,
    load,
    LONG,
    prefetch,
    SHORTS,
    splat,
    store,
)
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

DIGITS = 3  # columns of a code
HALVES = 2  # vectors of 16 rows that a word of 32 rows is unpacked to
RUN = 64  # bytes of a run of activations: 15 quads, and 4 that nobody reads
QUADS = CHUNK * DIGITS  # of a chunk
WIDE = 6  # tokens multiplied at once with unpacked codes
UNPACKED = QUADS * LINES * HALVES * LINE  # bytes of the codes of a unit in a chunk
_FOURTH = ir.Constant(ir.VectorType(ir.IntType(1), 64), [0, 0, 0, 1] * LANES)


def _run_columns() -> list[int]:
    """Return which column of a run each byte of it is, RUN for none."""
    columns = []
    for k in range(UNIT):
        for d in range(DIGITS):
            last = 45 + d if k == UNIT - 1 else RUN
            columns += [9 * k + d, 9 * k + 3 + d, 9 * k + 6 + d, last]
    return columns + [RUN] * (RUN - len(columns))


def arrange(builder: ir.IRBuilder, pointer: ir.Value, columns: list[int]) -> ir.Value:
    """Load 48 activations, and nothing after them, in the order of quads."""
    parts = [load(builder, advance(builder, pointer, LANES * k), ir.VectorType(BYTE, LANES))
             for k in range(UNIT_COLUMNS // LANES)]
    order = ir.Constant(BYTES, [c % RUN for c in columns])
    used = ir.Constant(BYTES, [-1 if c < RUN else 0 for c in columns])
    found = call(builder, 'llvm.x86.avx512.permvar.qi.512', BYTES,
                 join(builder, [*parts, parts[-1]]), order)
    return builder.and_(found, used)


def spread_as(columns: list[int]) -> Callable:
    """Return what brings runs into an order: which column each of RUN bytes is, RUN for none."""
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
        def generate(context, builder, signature, args):
            x, start, count, out, at, stride = args
            source = data_pointer(context, builder, signature.args[0], x, start)
            target = data_pointer(context, builder, signature.args[3], out, at)
            with cgutils.for_range(builder, count) as loop:
                here = advance(builder, source, builder.mul(loop.index, LONG(UNIT_COLUMNS)))
                store(builder, arrange(builder, here, columns),
                      advance(builder, target, builder.mul(loop.index, stride)))
            return context.get_dummy_value()
        n = types.int64
        return types.void(x, n, n, out, n, n), generate
    return spread


spread = spread_as(_run_columns())


def _windows(builder: ir.IRBuilder, offsets: list[int], vector: ir.Value) -> ir.Value:
    """Cut bytes from the bits of every 64: which bit each of the eight begins with."""
    control = ir.Constant(BYTES, offsets * 8)
    found = call(builder, 'llvm.x86.avx512.pmultishift.qb.512', BYTES, control,
                 builder.bitcast(vector, BYTES))
    return builder.bitcast(found, BYTES)


def word_codes(builder: ir.IRBuilder, word: ir.Value, other: ir.Value | None = None, at: int = 0,
               ) -> list[ir.Value]:
    """
    Return the codes of a word of 32 rows, four bytes a row, as two vectors.

    The first has the even rows, the second the odd ones. A fourth byte is the code of
    another word that begins with bit `at`, or nothing of use; the topmost three bits of any are
    not either.
    """
    found = []
    for row in (0, 16):  # the bit that it begins with, and the one after next
        after = row + 32
        codes = _windows(builder, [row, row + 5, row + 10, row,
                                   after, after + 5, after + 10, after], word)
        if other is not None:  # a shift, for there is another place for it than for permutations
            by, fourth = 24 - row - at, builder.bitcast(other, INTS)
            fourth = (builder.shl(fourth, every(INTS, by)) if by > 0
                      else builder.lshr(fourth, every(INTS, -by)))
            codes = builder.select(_FOURTH, builder.bitcast(fourth, BYTES), codes)
        found.append(codes)
    return found


def unpack_digit(builder: ir.IRBuilder, codes: ir.Value, digit: int) -> ir.Value:
    """Return trit + 1 of one of the three columns of each code."""
    table = ir.Constant(BYTES, [i % 32 // 3 ** digit % 3 for i in range(64)])
    return call(builder, 'llvm.x86.avx512.permvar.qi.512', BYTES, table, codes)


def _run_codes(builder: ir.IRBuilder, read: Callable[[int], list[ir.Value]],
               ) -> Iterator[tuple[int, list[ir.Value]]]:
    """Read the words of a run, and yield which one it is and its codes, two vectors a line."""
    extra = [every(SHORTS, 0)] * LINES
    for k in range(UNIT):
        raw = read(k)
        extra = [gather_bits(builder, e, r) for e, r in zip(extra, raw, strict=True)]
        yield k, [codes for r, e in zip(raw, extra, strict=True)
                  for codes in word_codes(builder, r, e if k == UNIT - 1 else None)]


def _walk(builder: ir.IRBuilder, weights: ir.Value, words: ir.Value, ahead: bool,
          take: Callable[[ir.Value, ir.Value, int, list[ir.Value]], None]) -> None:
    """
    Go through the words of a unit in a chunk, asking for those a page ahead if told to.

    Calls ``take(run, skipped, k, codes)``: the word is the k-th after those skipped of a run, its
    codes are two vectors for each line.
    """
    def read(first: ir.Value, k: int) -> list[ir.Value]:
        out = []
        for line in range(LINES):
            here = advance(builder, advance(builder, weights, first), (LINES * k + line) * LINE)
            if ahead:
                prefetch(builder, advance(builder, here, PREFETCH))
            out.append(load(builder, here, SHORTS))
        return out

    runs = builder.udiv(words, LONG(UNIT))
    with cgutils.for_range(builder, runs) as loop:
        first = builder.mul(loop.index, LONG(UNIT * LINES * LINE))
        for k, codes in _run_codes(builder, partial(read, first)):
            take(loop.index, LONG(0), k, codes)
    with cgutils.for_range(builder, builder.urem(words, LONG(UNIT))) as loop:
        word = builder.add(builder.mul(runs, LONG(UNIT)), loop.index)
        take(runs, loop.index, 0, [codes for r in read(builder.mul(word, LONG(LINES * LINE)), 0)
                                   for codes in word_codes(builder, r)])


def _four(builder: ir.IRBuilder, run: ir.Value, by: int) -> ir.Value:
    """Load four activations into every lane."""
    return builder.bitcast(splat(builder, load(builder, advance(builder, run, by), INT)), BYTES)


def in_order(builder: ir.IRBuilder, pair: list[ir.Value], part: int) -> ir.Value:
    """Return the first or last 16 of 32 rows, which unpacking mixed in two vectors."""
    order = [8 * part + i // 2 + LANES * (i % 2) for i in range(LANES)]
    return builder.shuffle_vector(*pair, ir.Constant(INTS, order))


def _add_rows(builder: ir.IRBuilder, target: ir.Value, cells: list[ir.Value],
              before: Callable[[ir.Value], ir.Value]) -> None:
    """Write 64 rows: what was there `before`, and sums."""
    for line in range(LINES):
        pair = [load(builder, cell, INTS) for cell in cells[HALVES * line:HALVES * (line + 1)]]
        for part in range(HALVES):
            address = advance(builder, target, (HALVES * line + part) * LANES * 4)
            sums = in_order(builder, pair, part)
            store(builder, builder.add(sums, before(address)), address)


def _start(builder: ir.IRBuilder, fresh: ir.Value, total: ir.Value) -> Callable:
    """Return how to begin a sum: with -total if nothing was there before."""
    anew, first = splat(builder, fresh), splat(builder, builder.neg(total))
    return lambda address: builder.select(anew, first, load(builder, address, INTS))


@intrinsic
def dot_tile(typing, packed, at, words, x, stride, totals, out, starts, fresh):
    """
    Add what a chunk of columns gives for a group of rows and up to four tokens.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    packed : uint8 [N]
        All weights.
    at, words : int
        First byte of the group in the chunk, words of a row in it: at most CHUNK.
    x : uint8 [M]
        Activations, see `spread`: token after token, run after run.
    stride : int
        From run to run.
    totals : tuple of int32
        Sum of each token's activations.
    out : int32 or float32 [L], changed
        Exact int32 sums, whatever the type.
    starts : tuple of int
        Where each token's first row of the group is.
    fresh : bool
        Overwrite rather than add.

    """
    def generate(context, builder, signature, args):
        packed, at, words, x, stride, totals, out, starts, fresh = args
        kind = signature.args
        weights = data_pointer(context, builder, kind[0], packed, at)
        acts = data_pointer(context, builder, kind[3], x, LONG(0))
        starts = cgutils.unpack_tuple(builder, starts)
        sums = [[accumulator(builder, INTS) for _ in range(LINES * HALVES)] for _ in starts]

        def take(run: ir.Value, skipped: ir.Value, k: int, codes: list[ir.Value]) -> None:
            here = advance(builder, acts, builder.add(
                builder.mul(run, stride), builder.mul(skipped, LONG(4 * DIGITS))))
            for d in range(DIGITS):
                trits = [unpack_digit(builder, c, d) for c in codes]
                for t, cells in enumerate(sums):
                    four = _four(builder, here, RUN * t + 4 * (DIGITS * k + d))
                    for cell, trit in zip(cells, trits, strict=True):
                        builder.store(vpdpbusd(builder, 512, load(builder, cell, INTS), trit,
                                               four), cell)
        _walk(builder, weights, words, True, take)
        for start, cells, total in zip(starts, sums, cgutils.unpack_tuple(builder, totals),
                                       strict=True):
            _add_rows(builder, data_pointer(context, builder, kind[6], out, start), cells,
                      _start(builder, fresh, total))
        return context.get_dummy_value()
    return types.void(packed, types.int64, types.int64, x, types.int64, totals, out, starts,
                      types.boolean), generate


@intrinsic
def unpack_unit(typing, packed, at, words, codes):
    """Write the quads of a group of rows in a chunk: 256 bytes each, trits + 1."""
    def generate(context, builder, signature, args):
        packed, at, words, codes = args
        kind = signature.args
        weights = data_pointer(context, builder, kind[0], packed, at)
        target = data_pointer(context, builder, kind[3], codes, LONG(0))
        size = LINES * HALVES * LINE

        def take(run: ir.Value, skipped: ir.Value, k: int, found: list[ir.Value]) -> None:
            quad = builder.add(builder.mul(run, LONG(UNIT * DIGITS)),
                               builder.mul(skipped, LONG(DIGITS)))
            here = advance(builder, target, builder.mul(quad, LONG(size)))
            for d in range(DIGITS):
                for part, c in enumerate(found):
                    store(builder, unpack_digit(builder, c, d),
                          advance(builder, here, (DIGITS * k + d) * size + part * LINE))
        _walk(builder, weights, words, False, take)
        return context.get_dummy_value()
    return types.void(packed, types.int64, types.int64, codes), generate


@intrinsic
def wide_tile(typing, codes, words, x, at, stride, count, totals, first, out, start, step, fresh):
    """
    Add what a chunk of columns gives for an unpacked group of rows and up to WIDE tokens.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    codes : uint8 [UNPACKED]
        See `unpack_unit`.
    words : int
        Words of a row in the chunk.
    x : uint8 [M]
        Activations, see `spread`: token after token, run after run.
    at, stride : int
        Where the first token's first run is, and from run to run.
    count : int
        How many tokens; what is read of others counts nothing.
    totals : int32 [K]
        Sum of each token's activations.
    first : int
        The first token in `totals`.
    out : int32 or float32 [L], changed
        Exact int32 sums, whatever the type.
    start, step : int
        Where the first token's first row of the group is, and from token to token.
    fresh : bool
        Overwrite rather than add.

    """
    def generate(context, builder, signature, args):
        codes, words, x, at, stride, count, totals, first, out, start, step, fresh = args
        kind = signature.args
        quads = data_pointer(context, builder, kind[0], codes, LONG(0))
        acts = data_pointer(context, builder, kind[2], x, at)
        sums = [[accumulator(builder, INTS) for _ in range(LINES * HALVES)] for _ in range(WIDE)]

        def take(run: ir.Value, quad: ir.Value) -> None:
            """Multiply the three quads of a word, the first of which is that in a run."""
            here = advance(builder, acts, builder.add(builder.mul(run, stride),
                                                      builder.mul(quad, LONG(4))))
            number = builder.add(builder.mul(run, LONG(UNIT * DIGITS)), quad)
            source = advance(builder, quads, builder.mul(number, LONG(LINES * HALVES * LINE)))
            for d in range(DIGITS):
                trits = [load(builder, advance(builder, source, (LINES * HALVES * d + p) * LINE),
                              BYTES) for p in range(LINES * HALVES)]
                for t, cells in enumerate(sums):
                    four = _four(builder, here, RUN * t + 4 * d)
                    for cell, trit in zip(cells, trits, strict=True):
                        builder.store(vpdpbusd(builder, 512, load(builder, cell, INTS), trit,
                                               four), cell)
        runs, rest = builder.udiv(words, LONG(UNIT)), builder.urem(words, LONG(UNIT))
        with cgutils.for_range(builder, runs) as loop:
            for k in range(UNIT):
                take(loop.index, LONG(DIGITS * k))
        with cgutils.for_range(builder, rest) as loop:
            take(runs, builder.mul(loop.index, LONG(DIGITS)))
        for t, cells in enumerate(sums):
            with builder.if_then(builder.icmp_signed('<', LONG(t), count)):
                total = load(builder, data_pointer(
                    context, builder, kind[6], totals, builder.add(first, LONG(t))), INT)
                place = builder.add(start, builder.mul(step, LONG(t)))
                _add_rows(builder, data_pointer(context, builder, kind[8], out, place), cells,
                          _start(builder, fresh, total))
        return context.get_dummy_value()
    return types.void(codes, types.int64, x, types.int64, types.int64, types.int64, totals,
                      types.int64, out, types.int64, types.int64, types.boolean), generate
