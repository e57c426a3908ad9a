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

AMX multiplies a *tile* of 16 tokens' activations with a tile of 16 rows' weights, 60 columns in 16
cycles. Codes are unpacked as for `ternary_dots`: a run of 32 rows is two tiles of 15 quads. Tiles
are loaded from memory only, and wait for what is still on its way there: while a run is unpacked,
the one before it is multiplied. Four tiles hold sums: of 64 rows and up to 16 tokens, where
unpacking takes longest, or of 32 rows and up to 32 tokens, where multiplying does.

Source: Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter 20 (AMX); the order
of loops was found by measurement, see doc/benchmarks.md.
"""

from typing import Any

from edge_vla.kernels.ternary_dots import (
    DIGITS,
    HALVES,
    in_order,
    RUN,
    run_codes,
    unpack_digit,
)
from edge_vla.kernels.ternary_tables import CHUNK, LINE, LINES, UNIT
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
QUADS = UNIT * DIGITS  # of a run: rows of a tile of weights
WORD = LINES * LINE  # bytes of a word of a unit
SLOT = QUADS * WORD * HALVES  # bytes of an unpacked run
AHEAD = 2 * UNIT * WORD  # bytes: two runs
NEAR = 2  # which cache holds what the next unit needs
SUMS = 4  # tiles; those of activations, one or two, and of weights come after them


def _emit(builder: ir.IRBuilder, name: str, *args: ir.Value) -> None:
    """Call an instruction of the matrix unit; which tile is a constant byte."""
    args = [BYTE(a) if isinstance(a, int) else a for a in args]
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    name = f'llvm.x86.{name}'
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def open_tiles(typing, tokens):
    """Give this thread tiles for some tokens, at most 2 * TOKENS, until `close_tiles`."""
    def generate(context, builder, signature, args):
        kind = ir.ArrayType(BYTE, 64)
        config = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, [1] + [0] * 63), config)  # palette 1
        config = builder.bitcast(config, BYTE.as_pointer())
        tokens, full = builder.trunc(args[0], BYTE), BYTE(TOKENS)
        two = builder.icmp_signed('>', tokens, full)
        first = builder.select(two, full, tokens)
        second = builder.select(two, builder.sub(tokens, full), tokens)
        columns = builder.select(two, SHORT(4 * QUADS), SHORT(LINE))
        for tile, (rows, wide) in enumerate(
                [(first, SHORT(LINE))] * 2 + [(second, SHORT(LINE))] * 2
                + [(first, SHORT(4 * QUADS)), (builder.select(two, second, BYTE(QUADS)), columns)]
                + [(BYTE(QUADS), SHORT(LINE))] * 2):
            store(builder, wide, advance(builder, config, 16 + 2 * tile))
            store(builder, rows, advance(builder, config, 48 + tile))
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


class _Tiles:
    """Emits what is done with tiles, for one or two groups of tokens."""

    def __init__(self, builder: ir.IRBuilder, groups: int, stride: ir.Value,
                 fresh: ir.Value) -> None:
        self.builder, self.groups, self.fresh = builder, groups, fresh
        self.parts = SUMS // groups  # tiles of 16 rows
        self.stride = builder.mul(stride, LONG(4))
        self.apart = builder.mul(self.stride, LONG(TOKENS))  # bytes from group to group

    def _sums(self, here: ir.Value) -> list[tuple[int, ir.Value]]:
        """Return the tiles of sums, and where they are kept between chunks."""
        return [(group * self.parts + part, advance(self.builder, advance(
            self.builder, here, part * LINE), self.builder.mul(self.apart, LONG(group))))
            for group in range(self.groups) for part in range(self.parts)]

    def begin(self, here: ir.Value) -> None:
        """Begin with zero, or with what earlier chunks gave."""
        with self.builder.if_else(self.fresh) as (zero, earlier):
            with zero:
                for tile, _ in self._sums(here):
                    _emit(self.builder, 'tilezero', tile)
            with earlier:
                for tile, at in self._sums(here):
                    _emit(self.builder, 'tileloadd64', tile, at, self.stride)

    def end(self, here: ir.Value) -> None:
        """Write the sums."""
        for tile, at in self._sums(here):
            _emit(self.builder, 'tilestored64', tile, at, self.stride)

    def load_activations(self, here: ir.Value) -> None:
        """Load a run of all tokens."""
        for group in range(self.groups):
            at = advance(self.builder, here, group * TOKENS * RUN)
            _emit(self.builder, 'tileloadd64', SUMS + group, at, LONG(RUN))

    def multiply(self, codes: ir.Value, part: int) -> None:
        """Add the product of the activations and a part of an unpacked run."""
        first = SUMS + self.groups
        weights = first + part % (8 - first)
        _emit(self.builder, 'tileloadd64', weights, advance(self.builder, codes, part * LINE),
              LONG(self.parts * LINE))
        for group in range(self.groups):
            _emit(self.builder, 'tdpbsud', group * self.parts + part, SUMS + group, weights)


def _multiplier(groups: int) -> Any:
    """Return `multiply_units` for up to so many groups of TOKENS, one or two."""
    lines = LINES // groups  # that share a pass
    size_of_slot = SLOT // groups

    def multiply(typing, packed, at, size, first, count, words, chunk, chunks, x, step, codes,
                 out, start, stride):
        def generate(context, builder, signature, args):
            packed, at, size, first, count, words, chunk, chunks, x, step, *others = args
            codes, out, start, stride = others
            kind = signature.args
            weights = data_pointer(context, builder, kind[0], packed, at)
            activations = data_pointer(context, builder, kind[8], x, LONG(0))
            scratch = data_pointer(context, builder, kind[10], codes, LONG(0))
            target = data_pointer(context, builder, kind[11], out, start)
            tiles = _Tiles(builder, groups, stride, builder.icmp_signed('==', chunk, LONG(0)))
            # which run was unpacked last and which before; the unit of sums; steps so far
            late = [cgutils.alloca_once_value(builder, LONG(-1)) for _ in range(groups)]
            current = cgutils.alloca_once_value(builder, LONG(-1))
            steps = cgutils.alloca_once_value(builder, LONG(0))

            def scaled(pointer: ir.Value, index: ir.Value, by: ir.Value | int) -> ir.Value:
                by = LONG(by) if isinstance(by, int) else by
                return advance(builder, pointer, builder.mul(index, by))

            def slot(back: int) -> ir.Value:
                number = builder.sub(builder.load(steps), LONG(back))
                return scaled(scratch, builder.and_(number, LONG(2 * groups - 1)), size_of_slot)

            def sums(number: ir.Value) -> ir.Value:
                return scaled(target, number, tiles.parts * LINE)

            def prepare() -> None:
                """Load what the run that is multiplied now needs."""
                index = builder.load(late[-1])
                with builder.if_then(builder.icmp_signed('==', index, LONG(0))):
                    number = builder.load(current)
                    with builder.if_then(builder.icmp_signed('>=', number, LONG(0))):
                        tiles.end(sums(number))
                    number = builder.add(number, LONG(1))
                    builder.store(number, current)
                    tiles.begin(sums(number))
                valid = builder.icmp_signed('>', index, LONG(0))
                tiles.load_activations(scaled(
                    activations, builder.select(valid, index, LONG(0)), step))

            def proceed(index: ir.Value) -> None:
                for earlier, later in zip(late[::-1], late[-2::-1], strict=False):
                    builder.store(builder.load(later), earlier)
                builder.store(index, late[0])
                builder.store(builder.add(builder.load(steps), LONG(1)), steps)

            def run(here: ir.Value, left: ir.Value, further: ir.Value) -> None:
                """Unpack a run and multiply an earlier one."""
                def read(k: int) -> list[ir.Value]:
                    inside = builder.icmp_signed('<', LONG(k), left)  # else any: it is times 0
                    word = advance(builder, here, builder.select(
                        inside, LONG(k * WORD), LONG(0)))
                    out = []
                    for line in range(lines):
                        address = advance(builder, word, line * LINE)
                        prefetch(builder, advance(builder, address, further), NEAR)
                        prefetch(builder, advance(builder, address, AHEAD))
                        out.append(load(builder, address, SHORTS))
                    return out

                prepare()
                for k, found in run_codes(builder, read, lines):
                    for d in range(DIGITS):
                        for part, code in enumerate(found):
                            store(builder, unpack_digit(builder, code, d), advance(
                                builder, slot(0), ((DIGITS * k + d) * tiles.parts + part) * LINE))
                    if k and k % groups == groups - 1:
                        tiles.multiply(slot(groups), (k - 1) // groups)

            with cgutils.for_range(builder, builder.mul(count, LONG(LINES // lines))) as loop:
                number = loop.index  # of the unit, or half of it
                unit = builder.add(first, builder.udiv(number, LONG(groups)))
                line = builder.urem(number, LONG(groups))
                with cgutils.for_range(builder, chunks) as loop:
                    begin = builder.mul(builder.add(chunk, loop.index), LONG(CHUNK))
                    left = builder.sub(words, begin)
                    wide = builder.select(builder.icmp_signed('<', left, LONG(CHUNK)), left,
                                          LONG(CHUNK))
                    place = builder.add(builder.mul(size, begin), builder.mul(unit, wide))
                    here = scaled(scaled(weights, place, WORD), line, LINE)
                    inside = builder.udiv(builder.add(wide, LONG(UNIT - 1)), LONG(UNIT))
                    with cgutils.for_range(builder, inside) as inner:
                        done = builder.mul(inner.index, LONG(UNIT))
                        run(scaled(here, done, WORD), builder.sub(wide, done),
                            builder.mul(wide, LONG(WORD)))
                        proceed(builder.add(builder.mul(loop.index, LONG(CHUNK // UNIT)),
                                            inner.index))
            for _ in range(groups):
                prepare()
                for part in range(tiles.parts):
                    tiles.multiply(slot(groups), part)
                proceed(LONG(-1))
            tiles.end(sums(builder.load(current)))
            return context.get_dummy_value()
        n = types.int64
        return types.void(packed, n, n, n, n, n, n, n, x, n, codes, out, n, n), generate
    multiply.__name__ = f'multiply_units_{groups}'
    multiply.__doc__ = """
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
        Their activations, see `ternary_dots.spread`: token after token, run after run.
    step : int
        From run to run.
    codes : uint8 [2 * SLOT]
        Scratch.
    out : int32 or float32 [L], changed
        Exact sums, in the order of tiles: see `settle_rows`.
    start, stride : int
        Where the first token's first row is, and from token to token.

    """
    return intrinsic(multiply)


multiply_units = _multiplier(1)  # up to TOKENS
multiply_units_wide = _multiplier(2)  # more, up to twice as many


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
