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

AMX multiplies a *tile* of up to 16 tokens' activations with a tile of 16 rows' weights, up to 64
columns, in 16 cycles, however many tokens there are. Codes are unpacked to quads, see
`ternary_amx_codes`: a run of 32 rows is two tiles of twelve. Tiles are loaded from memory only,
and wait for what is still on its way there: while a run is unpacked, the one two before it is
multiplied. Up to eight tokens have a way of their own, see `ternary_amx_few`.

Four of the eight tiles are used: two of sums, one of activations, one of weights. The CPU renames
tiles, out of a store that it seems to share between the threads of a core: with all eight, as the
manual has it, a product takes three times as long while a neighbour is busy, with four half as
long again, and alone as long (measured; doc/benchmarks.md).

Source: Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter on AMX.
"""

from collections.abc import Iterable, Sequence

from edge_vla.kernels.ternary_amx_codes import QUADS, run_codes
from edge_vla.kernels.ternary_dots import DIGITS, HALVES, in_order, RUN, unpack_digit
from edge_vla.kernels.ternary_tables import CHUNK, GROUP, LINE, LINES, UNIT
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

TOKENS = 16  # rows of a tile of activations
WORD = LINES * LINE  # bytes of a word of a unit
LAG = 2  # runs between unpacking and multiplying
SLOTS = 2 * LAG  # a power of two above LAG
SLOT = QUADS * HALVES * LINE  # bytes of an unpacked run of 32 rows
SUMS, ACTIVATIONS, WEIGHTS = range(HALVES), HALVES, HALVES + 1  # tiles
AHEAD = 2 * UNIT * WORD  # bytes: two runs of a unit
FURTHER = CHUNK * WORD  # ... and the next unit
NEAREST, NEAR = 3, 2  # caches


def emit_tile(builder: ir.IRBuilder, name: str, *args: ir.Value) -> None:
    """Call an instruction of the matrix unit; which tile is a constant byte."""
    args = [BYTE(a) if isinstance(a, int) else a for a in args]
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    name = f'llvm.x86.{name}'
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def configure(builder: ir.IRBuilder, tiles: list[tuple[ir.Value, ir.Value]]) -> None:
    """Give this thread tiles of so many rows and bytes a row, until `close_tiles`."""
    kind = ir.ArrayType(BYTE, 64)
    config = cgutils.alloca_once(builder, kind)
    builder.store(ir.Constant(kind, [1] + [0] * 63), config)  # palette 1
    config = builder.bitcast(config, BYTE.as_pointer())
    for tile, (rows, wide) in enumerate(tiles):
        store(builder, builder.trunc(wide, SHORT), advance(builder, config, 16 + 2 * tile))
        store(builder, builder.trunc(rows, BYTE), advance(builder, config, 48 + tile))
    emit_tile(builder, 'ldtilecfg', config)


@intrinsic
def open_tiles(typing, tokens):
    """Give this thread tiles for some tokens, at most TOKENS."""
    def generate(context, builder, signature, args):
        sums, activations = (args[0], LONG(LINE)), (args[0], LONG(4 * QUADS))
        configure(builder, [sums] * HALVES + [activations, (LONG(QUADS), LONG(LINE))])
        return context.get_dummy_value()
    return types.void(types.int64), generate


@intrinsic
def close_tiles(typing):
    """Give the tiles back; what a thread must keep of them costs the system time."""
    def generate(context, builder, signature, args):
        emit_tile(builder, 'tilerelease')
        return context.get_dummy_value()
    return types.void(), generate


class TileSums:
    """
    Emits how sums are kept in tiles until those of other rows begin.

    Parameters
    ----------
    builder : IRBuilder
        Where to emit.
    target, size, stride
        Where the first ones go, how far it is to the next ones, and from row to row of tiles.
    fresh
        Whether they are to begin with zero.

    """

    def __init__(self, builder: ir.IRBuilder, target: ir.Value, size: ir.Value, stride: ir.Value,
                 fresh: ir.Value) -> None:
        self._builder, self._target, self._size, self._stride, self._fresh = (
            builder, target, size, stride, fresh)
        self._number = cgutils.alloca_once_value(builder, LONG(-1))

    def _places(self) -> list[tuple[int, ir.Value]]:
        b = self._builder
        here = advance(b, self._target, b.mul(b.load(self._number), self._size))
        return [(tile, advance(b, here, tile * LINE)) for tile in SUMS]

    def follow(self, step: ir.Value) -> ir.Value:
        """
        Begin others if this is the first step of some rows, number 0.

        Returns the number, and 0 for what is multiplied before there is any: below 0.
        """
        b = self._builder
        with b.if_then(b.icmp_signed('==', step, LONG(0))):
            self._begin()
        return b.select(b.icmp_signed('>', step, LONG(0)), step, LONG(0))

    def _begin(self) -> None:
        """Write those that there are, and begin the next ones."""
        b = self._builder
        with b.if_then(b.icmp_signed('>=', b.load(self._number), LONG(0))):
            self.end()
        b.store(b.add(b.load(self._number), LONG(1)), self._number)
        with b.if_else(self._fresh) as (zero, earlier):
            with zero:
                for tile in SUMS:
                    emit_tile(b, 'tilezero', tile)
            with earlier:
                for tile, place in self._places():
                    emit_tile(b, 'tileloadd64', tile, place, self._stride)

    def end(self) -> None:
        """Write the last ones."""
        for tile, place in self._places():
            emit_tile(self._builder, 'tilestored64', tile, place, self._stride)


def add_half(builder: ir.IRBuilder, codes: ir.Value, half: int) -> None:
    """Add the product of the activations and the unpacked codes of 16 rows of a line."""
    here = advance(builder, codes, half * LINE)
    emit_tile(builder, 'tileloadd64', WEIGHTS, here, LONG(HALVES * LINE))
    emit_tile(builder, 'tdpbsud', SUMS[half], ACTIVATIONS, WEIGHTS)


def store_digits(builder: ir.IRBuilder, codes: list[ir.Value], target: ir.Value,
                 rows: Iterable[int]) -> None:
    """Unpack codes of either half of a line, each digit to a row of tiles of weights."""
    for digit, row in enumerate(rows):
        for half, code in enumerate(codes):
            store(builder, unpack_digit(builder, code, digit),
                  advance(builder, target, (row * HALVES + half) * LINE))


class _Pass:
    """
    Emits what is done run by run: one is unpacked while one before it is multiplied.

    Parameters
    ----------
    builder : IRBuilder
        Where to emit.
    activations, step
        Bytes of a run, see `ternary_dots.spread`, and from run to run.
    scratch
        For unpacked runs.
    sums : TileSums
        Of 32 rows at a time.

    """

    def __init__(self, builder: ir.IRBuilder, activations: ir.Value, step: ir.Value,
                 scratch: ir.Value, sums: TileSums) -> None:
        self.builder, self.activations, self.step, self.scratch, self.sums = (
            builder, activations, step, scratch, sums)
        self.steps, *self.late = (  # `late`: the runs unpacked last, latest first
            cgutils.alloca_once_value(builder, LONG(v)) for v in [0, *[-1] * LAG])

    def at(self, pointer: ir.Value, index: ir.Value, by: ir.Value | int) -> ir.Value:
        """Return an address some steps further."""
        by = LONG(by) if isinstance(by, int) else by
        return advance(self.builder, pointer, self.builder.mul(index, by))

    def slot(self, back: int = 0) -> ir.Value:
        """Return where the run of some steps back is unpacked to."""
        number = self.builder.sub(self.builder.load(self.steps), LONG(back))
        return self.at(self.scratch, self.builder.and_(number, LONG(SLOTS - 1)), SLOT)

    def prepare(self) -> None:
        """Load what the run that is multiplied now needs."""
        run = self.sums.follow(self.builder.load(self.late[-1]))
        here = self.at(self.activations, run, self.step)
        emit_tile(self.builder, 'tileloadd64', ACTIVATIONS, here, LONG(RUN))

    def multiply(self, half: int) -> None:
        """Add the product of the activations and 16 rows."""
        add_half(self.builder, self.slot(LAG), half)

    def proceed(self, run: ir.Value) -> None:
        """Remember which run was unpacked."""
        for earlier, later in zip(self.late[:0:-1], self.late[-2::-1], strict=True):
            self.builder.store(self.builder.load(later), earlier)
        self.builder.store(run, self.late[0])
        self.builder.store(self.builder.add(self.builder.load(self.steps), LONG(1)), self.steps)

    def unpack(self, words: list[ir.Value]) -> None:
        """Unpack a run, and multiply an earlier one meanwhile."""
        for f, found in enumerate(run_codes(self.builder, words)):
            store_digits(self.builder, found, self.slot(), range(DIGITS * f, DIGITS * (f + 1)))
            if f % 2:
                self.multiply(f // 2)


def read_words(builder: ir.IRBuilder, here: ir.Value, lines: Sequence[int], left: ir.Value,
               ask: Sequence[tuple[int, int]]) -> list[list[ir.Value]]:
    """
    Load some lines of the words of a run, as many as are left; others may be any.

    Meanwhile what is some bytes after each word is brought into some cache: see `ask`.
    """
    words = [[] for _ in lines]
    for k in range(UNIT):
        inside = builder.icmp_signed('<', LONG(k), left)
        word = advance(builder, here, builder.select(inside, LONG(k * WORD), LONG(0)))
        for after, level in ask:
            prefetch(builder, advance(builder, word, after), level)
        for found, line in zip(words, lines, strict=True):
            found.append(load(builder, advance(builder, word, line * LINE), SHORTS))
    return words


@intrinsic
def multiply_units(typing, packed, at, size, first, count, words, chunk, chunks, x, step,
                   codes, sums, start, stride):
    """
    Multiply some units of a panel with the tokens of `open_tiles`.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    packed : uint8 [N]
        All weights.
    at, size : int
        First byte of the panel, and how many units it has.
    first, count : int
        The first unit, counted in the panel, and how many.
    words : int
        Words of a row.
    chunk, chunks : int
        Which chunk of columns, and how many from there; sums begin with the first one.
    x : uint8 [M]
        Their activations, see `ternary_amx_codes.spread`: token after token, run after run.
    step : int
        From run to run.
    codes : uint8 [SLOTS * SLOT]
        Scratch.
    sums : uint8 [L], changed
        Exact int32 sums, in the order of tiles: see `settle_rows`.
    start, stride : int
        Where the first unit's are, and from row to row of tiles.

    """
    def generate(context, builder, signature, args):
        packed, at, size, first, count, words, chunk, chunks, x, step, *others = args
        codes, sums, start, stride = others
        kind = signature.args
        weights = data_pointer(context, builder, kind[0], packed, at)
        total = TileSums(builder, data_pointer(context, builder, kind[11], sums, start),
                     LONG(HALVES * LINE), stride, builder.icmp_signed('==', chunk, LONG(0)))
        tiles = _Pass(builder, data_pointer(context, builder, kind[8], x, LONG(0)), step,
                      data_pointer(context, builder, kind[10], codes, LONG(0)), total)

        def go_through(unit: ir.Value, line: int) -> None:
            # the first line has both brought into the nearest cache, the second the next unit near
            ask = [(other * LINE + (FURTHER if line else AHEAD), NEAR if line else NEAREST)
                   for other in range(LINES)]
            with cgutils.for_range(builder, chunks) as loop:
                begin = builder.mul(builder.add(chunk, loop.index), LONG(CHUNK))
                left = builder.sub(words, begin)
                wide = builder.select(builder.icmp_signed('<', left, LONG(CHUNK)), left,
                                      LONG(CHUNK))
                place = builder.add(builder.mul(size, begin), builder.mul(unit, wide))
                here = tiles.at(weights, place, WORD)
                runs = builder.udiv(builder.add(wide, LONG(UNIT - 1)), LONG(UNIT))
                earlier = builder.mul(loop.index, LONG(CHUNK // UNIT))
                with cgutils.for_range(builder, runs) as inner:
                    done = builder.mul(inner.index, LONG(UNIT))
                    tiles.prepare()
                    tiles.unpack(*read_words(builder, tiles.at(here, done, WORD), [line],
                                             builder.sub(wide, done), ask))
                    tiles.proceed(builder.add(earlier, inner.index))

        with cgutils.for_range(builder, count) as loop:
            for line in range(LINES):
                go_through(builder.add(first, loop.index), line)
        for _ in range(LAG):
            tiles.prepare()
            for half in SUMS:
                tiles.multiply(half)
            tiles.proceed(LONG(-1))
        total.end()
        return context.get_dummy_value()
    n = types.int64
    return types.void(packed, n, n, n, n, n, n, n, x, n, codes, sums, n, n), generate


@intrinsic
def settle_rows(typing, sums, start, step, out, at, units, total, factor):
    """
    Write sums of trits in the order of rows, and times `factor` if they are to be floats.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    sums : uint8 [N]
        Of `multiply_units` or `multiply_few`: int32, of (trit + 1) * x.
    start, step : int
        Where those of a token are, and from unit to unit.
    out : int32 or float32 [L], written
        Result.
    at, units : int
        Where its first row is, and how many units of 64 rows.
    total : int
        Sum of the token's activations.
    factor : float32
        What a float is times.

    """
    def generate(context, builder, signature, args):
        sums, start, step, out, at, units, total, factor = args
        kind = signature.args
        source = data_pointer(context, builder, kind[0], sums, start)
        target = data_pointer(context, builder, kind[3], out, at)
        less, times = splat(builder, total), splat(builder, factor)
        with cgutils.for_range(builder, units) as loop:
            here = advance(builder, source, builder.mul(loop.index, step))
            there = advance(builder, target, builder.mul(loop.index, LONG(GROUP * 4)))
            for line in range(LINES):
                places = [(HALVES * line + part) * LINE for part in range(HALVES)]
                pair = [load(builder, advance(builder, here, by), INTS) for by in places]
                for part, by in enumerate(places):
                    value = builder.sub(in_order(builder, pair, part), less)
                    if kind[3].dtype == types.float32:
                        value = builder.fmul(builder.sitofp(value, F32X16), times)
                    store(builder, value, advance(builder, there, by))
        return context.get_dummy_value()
    n = types.int64
    return types.void(sums, n, n, out, n, n, types.int32, types.float32), generate
