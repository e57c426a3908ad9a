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
The innermost loops of products of several tokens with '5bit' matrices on Intel's matrix unit.

AMX multiplies a *tile* of 16 activations' rows with a tile of weights: 16 tokens with 16 rows and
60 columns in as many cycles as one token. Codes are unpacked as for `ternary_dots`; a run has 15
quads of 64 rows, 4 tiles. A tile is loaded from memory only, and waits for what is still on its
way there: while a run is unpacked, the one before it is multiplied.

Source: Intel Architecture Instruction Set Extensions, chapter 3 (AMX), and by measurement that
the two halves take hardly longer than unpacking alone, see doc/benchmarks.md.
"""

from collections.abc import Callable

from edge_vla.kernels.ternary_dots import (
    DIGITS,
    HALVES,
    in_order,
    RUN,
    run_codes,
    unpack_digit,
)
from edge_vla.kernels.ternary_tables import LINE, LINES, UNIT
from edge_vla.kernels.vectors import (
    advance,
    BYTE,
    data_pointer,
    F32X16,
    INTS,
    load,
    LONG,
    prefetch,
    SHORT,
    SHORTS,
    splat,
    store,
)
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TOKENS = 16  # rows of a tile
PARTS = LINES * HALVES  # tiles of weights of a run, each for 16 rows
QUAD = PARTS * LINE  # bytes
SLOT = UNIT * DIGITS * QUAD  # bytes of an unpacked run
AHEAD = 2 * UNIT * LINES * LINE  # bytes: two runs, as long as the next cache takes
CELLS, ACTIVATIONS, WEIGHTS = 0, PARTS, PARTS + 1  # which tiles are for what, up to the eighth


def _emit(builder: ir.IRBuilder, name: str, *args: ir.Value) -> None:
    """Call an instruction of the matrix unit; which tile is a constant byte."""
    args = [BYTE(a) if isinstance(a, int) else a for a in args]
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    name = f'llvm.x86.{name}'
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def open_tiles(typing, tokens):
    """Give this thread tiles for some tokens, at most TOKENS, until `close_tiles`."""
    def generate(context, builder, signature, args):
        kind = ir.ArrayType(BYTE, 64)
        config = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, [1] + [0] * 63), config)  # palette 1
        config = builder.bitcast(config, BYTE.as_pointer())
        rows, quads = builder.trunc(args[0], BYTE), UNIT * DIGITS
        for tile in range(8):
            wide = 4 * quads if tile == ACTIVATIONS else LINE
            store(builder, SHORT(wide), advance(builder, config, 16 + 2 * tile))
            store(builder, BYTE(quads) if tile >= WEIGHTS else rows,
                  advance(builder, config, 48 + tile))
        _emit(builder, 'ldtilecfg', config)
        return context.get_dummy_value()
    return types.void(types.int64), generate


@intrinsic
def close_tiles(typing):
    """Give the tiles back; what a thread must keep of them costs the system time."""
    def generate(context, builder, signature, args):
        _emit(builder, 'tilerelease')
        return context.get_dummy_value()
    return types.void(), generate


class _Cells:
    """The four tiles of sums of 64 rows, and where they are kept between chunks."""

    def __init__(self, builder: ir.IRBuilder, stride: ir.Value, fresh: ir.Value) -> None:
        self.builder, self.fresh = builder, fresh
        self.stride = builder.mul(stride, LONG(4))

    def open(self, here: ir.Value) -> None:
        """Begin with zero, or with what an earlier chunk gave."""
        with self.builder.if_else(self.fresh) as (fresh, going_on):
            with fresh:
                for c in range(PARTS):
                    _emit(self.builder, 'tilezero', CELLS + c)
            with going_on:
                for c in range(PARTS):
                    _emit(self.builder, 'tileloadd64', CELLS + c,
                          advance(self.builder, here, c * LINE), self.stride)

    def close(self, here: ir.Value) -> None:
        """Write the sums."""
        for c in range(PARTS):
            _emit(self.builder, 'tilestored64', CELLS + c,
                  advance(self.builder, here, c * LINE), self.stride)


def _multiply(builder: ir.IRBuilder, codes: ir.Value, part: int) -> None:
    """Add the product of the activations and a part of an unpacked run."""
    weights = WEIGHTS + part % 3
    _emit(builder, 'tileloadd64', weights, advance(builder, codes, part * LINE), LONG(QUAD))
    _emit(builder, 'tdpbsud', CELLS + part, ACTIVATIONS, weights)


def _load_activations(builder: ir.IRBuilder, runs: ir.Value, index: ir.Value) -> None:
    """Load a run of activations of all tokens."""
    here = advance(builder, runs, builder.mul(index, LONG(TOKENS * RUN)))
    _emit(builder, 'tileloadd64', ACTIVATIONS, here, LONG(RUN))


@intrinsic
def panel_tiles(typing, packed, at, words, units, x, codes, out, start, stride, fresh):
    """
    Add what one or two chunks give for some units of a panel and the tokens of `open_tiles`.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    packed : uint8 [N]
        All weights.
    at : tuple of int
        First byte of the first unit in each chunk; they are read in turn.
    words, units : int
        Words of a row in each chunk, and how many units.
    x : uint8 [M]
        Activations, see `ternary_dots.spread`: a run of TOKENS tokens, run after run, that of each
        chunk in turn.
    codes : uint8 [2 * SLOT for each chunk]
        Scratch.
    out : int32 or float32 [L], changed
        Exact sums, in the order of tiles: see `settle_rows`.
    start, stride : int
        Where the first token's first row is, and from token to token.
    fresh : bool
        Overwrite rather than add.

    """
    def generate(context, builder, signature, args):
        packed, at, words, units, x, codes, out, start, stride, fresh = args
        kind = signature.args
        chunks = [data_pointer(context, builder, kind[0], packed, a)
                  for a in cgutils.unpack_tuple(builder, at)]
        runs = data_pointer(context, builder, kind[4], x, LONG(0))
        scratch = data_pointer(context, builder, kind[5], codes, LONG(0))
        target = data_pointer(context, builder, kind[6], out, start)
        cells = _Cells(builder, stride, fresh)
        count = builder.udiv(builder.add(words, LONG(UNIT - 1)), LONG(UNIT))
        last = builder.sub(count, LONG(1))

        def slot(number: ir.Value, chunk: int) -> ir.Value:
            odd = builder.and_(number, LONG(1))
            offset = builder.add(builder.mul(odd, LONG(SLOT * len(chunks))), LONG(SLOT * chunk))
            return advance(builder, scratch, offset)

        def load_activations(run: ir.Value, chunk: int) -> None:
            index = builder.add(builder.mul(run, LONG(len(chunks))), LONG(chunk))
            _load_activations(builder, runs, index)

        def reader(first: ir.Value, left: ir.Value) -> Callable[[int], list[ir.Value]]:
            def read(k: int) -> list[ir.Value]:
                inside = builder.icmp_signed('<', LONG(k), left)  # else any: it is multiplied by 0
                word = advance(builder, first, builder.select(
                    inside, LONG(k * LINES * LINE), LONG(0)))
                for line in range(LINES):
                    prefetch(builder, advance(builder, word, AHEAD + line * LINE))
                return [load(builder, advance(builder, word, line * LINE), SHORTS)
                        for line in range(LINES)]
            return read

        def rows(unit: ir.Value) -> ir.Value:
            return advance(builder, target, builder.mul(unit, LONG(PARTS * LINE)))

        with cgutils.for_range(builder, units) as outer, \
                cgutils.for_range(builder, count) as inner:
            unit, run = outer.index, inner.index
            begins = builder.icmp_signed('==', run, LONG(0))
            before = builder.select(begins, last, builder.sub(run, LONG(1)))
            number = builder.add(builder.mul(unit, count), run)
            done = builder.mul(run, LONG(UNIT))
            begin = builder.mul(builder.add(builder.mul(unit, words), done), LONG(LINES * LINE))
            for chunk, weights in enumerate(chunks):
                here, there = slot(number, chunk), slot(builder.add(number, LONG(1)), chunk)
                load_activations(before, chunk)
                read = reader(advance(builder, weights, begin), builder.sub(words, done))
                for k, found in run_codes(builder, read):
                    for d in range(DIGITS):
                        for part, code in enumerate(found):
                            store(builder, unpack_digit(builder, code, d), advance(
                                builder, here, (DIGITS * k + d) * QUAD + part * LINE))
                    if k:
                        _multiply(builder, there, k - 1)
            with builder.if_then(begins):
                with builder.if_then(builder.icmp_signed('>', unit, LONG(0))):
                    cells.close(rows(builder.sub(unit, LONG(1))))
                cells.open(rows(unit))
        final = builder.sub(builder.mul(units, count), LONG(1))
        for chunk in range(len(chunks)):
            load_activations(last, chunk)
            for part in range(PARTS):
                _multiply(builder, slot(final, chunk), part)
        cells.close(rows(builder.sub(units, LONG(1))))
        return context.get_dummy_value()
    return types.void(packed, at, types.int64, types.int64, x, codes, out, types.int64,
                      types.int64, types.boolean), generate


@intrinsic
def unit_tiles(typing, codes, words, x, at, step, groups, out, start, stride, fresh):
    """
    Add what a chunk gives for an unpacked unit and some groups of tokens.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    codes : uint8 [UNPACKED]
        See `ternary_dots.unpack_unit`.
    words : int
        Words of a row in the chunk.
    x : uint8 [M]
        Activations, see `ternary_dots.spread`: token after token, run after run.
    at, step : int
        Where the first token's first run is, and from run to run.
    groups : int
        How many groups of as many tokens as `open_tiles` was told.
    out : int32 or float32 [L], changed
        Exact sums, in the order of tiles: see `settle_rows`.
    start, stride : int
        Where the first token's first row is, and from token to token.
    fresh : bool
        Overwrite rather than add.

    """
    def generate(context, builder, signature, args):
        codes, words, x, at, step, groups, out, start, stride, fresh = args
        kind = signature.args
        quads = data_pointer(context, builder, kind[0], codes, LONG(0))
        runs = data_pointer(context, builder, kind[2], x, at)
        target = data_pointer(context, builder, kind[6], out, start)
        cells = _Cells(builder, stride, fresh)
        count = builder.udiv(builder.add(words, LONG(UNIT - 1)), LONG(UNIT))
        with cgutils.for_range(builder, groups) as loop:
            tokens = builder.mul(loop.index, LONG(TOKENS))
            rows = advance(builder, target, builder.mul(tokens, cells.stride))
            first = advance(builder, runs, builder.mul(tokens, LONG(RUN)))
            cells.open(rows)
            with cgutils.for_range(builder, count) as inner:
                here = advance(builder, first, builder.mul(inner.index, step))
                _emit(builder, 'tileloadd64', ACTIVATIONS, here, LONG(RUN))
                run = advance(builder, quads, builder.mul(inner.index, LONG(SLOT)))
                for part in range(PARTS):
                    _multiply(builder, run, part)
            cells.close(rows)
        return context.get_dummy_value()
    return types.void(codes, types.int64, x, types.int64, types.int64, types.int64, out,
                      types.int64, types.int64, types.boolean), generate


@intrinsic
def settle_rows(typing, out, start, units, total, factor):
    """
    Put the rows of tiles in order, in place, as the sums of trits and times `factor` if floats.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    out : int32 or float32 [L], changed
        Sums of (trit + 1) * x of some units of 64 rows, int32 whatever the type.
    start, units : int
        Where the first row is, and how many units.
    total : int
        Sum of the token's activations.
    factor : float32
        What a float is times.

    """
    def generate(context, builder, signature, args):
        out, start, units, total, factor = args
        kind = signature.args[0]
        target = data_pointer(context, builder, kind, out, start)
        less, times = splat(builder, total), splat(builder, factor)
        with cgutils.for_range(builder, builder.mul(units, LONG(LINES))) as loop:
            here = advance(builder, target, builder.mul(loop.index, LONG(HALVES * LINE)))
            pair = [load(builder, advance(builder, here, part * LINE), INTS)
                    for part in range(HALVES)]
            for part in range(HALVES):
                value = builder.sub(in_order(builder, pair, part), less)
                if kind.dtype == types.float32:
                    value = builder.fmul(builder.sitofp(value, F32X16), times)
                store(builder, value, advance(builder, here, part * LINE))
        return context.get_dummy_value()
    return types.void(out, types.int64, types.int64, types.int32, types.float32), generate
