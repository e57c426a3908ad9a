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
Up to eight tokens on the matrix unit: both lines of a unit of '5bit' rows at once.

A run of 48 columns has twelve quads of each line, see `ternary_amx_codes`. A tile of weights takes
eight quads of the second line and, below them, eight of the first, so a pair of runs fills three
tiles for 16 rows of either line. Each token has two rows of a tile of activations, one whose first
half is zero and one whose second half is. So two tiles of sums hold 64 rows for all tokens, and
a unit is read once, in up to four chunks in turn: a core reads faster that way.

In memory the activations of tokens and zeros take turns, and rows of tiles overlap.
"""

from edge_vla.kernels.ternary_amx import (
    ACTIVATIONS,
    add_half,
    AHEAD,
    configure,
    emit_tile,
    NEAREST,
    read_words,
    store_digits,
    TileSums,
    TOKENS,
    WORD,
)
from edge_vla.kernels.ternary_amx_codes import COLUMNS, FOURS, QUADS, run_codes
from edge_vla.kernels.ternary_dots import arrange, DIGITS, HALVES
from edge_vla.kernels.ternary_tables import CHUNK, LINE, LINES, UNIT, UNIT_COLUMNS
from edge_vla.kernels.vectors import advance, data_pointer, INTS, LANES, load, LONG, store
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

FEW = TOKENS // LINES  # tokens
PLACES = 4  # chunks in turn
RUNS = PLACES * CHUNK // UNIT  # at most, of those
PAIR = 2  # runs
ROWS = 16  # quads of a tile of weights
HALF = ROWS // LINES  # ... and of either line
STEPS = PAIR * QUADS // HALF  # tiles of a pair, for 16 rows of either line
BOTH = LINE // 2  # bytes from row to row of a tile of activations
ACTIVE = (RUNS + 1) // PAIR * STEPS * LINE  # bytes of a token's activations, and zeros
SLOT = STEPS * ROWS * HALVES * LINE  # bytes of an unpacked pair
SLOTS = 2  # one is unpacked, one multiplied
WALK = 3 * (RUNS + 1)  # numbers that say in which order runs are read
_DUE = [1, 4, 6, 9, 12, 14]  # after which of the fours of codes of a pair to multiply


@intrinsic
def open_few(typing, tokens):
    """Give this thread tiles for some tokens, at most FEW, until `close_tiles`."""
    def generate(context, builder, signature, args):
        rows = builder.mul(args[0], LONG(LINES))
        configure(builder, [(rows, LONG(LINE))] * (HALVES + 1) + [(LONG(ROWS), LONG(LINE))])
        return context.get_dummy_value()
    return types.void(types.int64), generate


@intrinsic
def _spread_run(typing, x, start, out, at, second, stride):
    """Write the activations of the first or second run of a pair for the steps it has part in."""
    def generate(context, builder, signature, args):
        x, start, out, at, second, stride = args
        found = arrange(builder, data_pointer(context, builder, signature.args[0], x, start),
                        COLUMNS)
        target = data_pointer(context, builder, signature.args[2], out, at)
        parts = [builder.shuffle_vector(found, found, ir.Constant(INTS, [*range(a, a + LANES)]))
                 for a in range(0, UNIT_COLUMNS, LANES)]
        with builder.if_else(builder.icmp_signed('==', second, LONG(0))) as branches:
            for branch, before in zip(branches, (0, len(parts)), strict=True):
                with branch:
                    for k, part in enumerate(parts, before):
                        step = advance(builder, target, builder.mul(stride, LONG(k // 2)))
                        store(builder, part, advance(builder, step, k % 2 * LANES))
        return context.get_dummy_value()
    n = types.int64
    return types.void(x, n, out, n, n, n), generate


@njit(cache=True, nogil=True)
def lay_out(x, a, b, width, words, chunk, after, size, out, walk):
    """
    Write the activations of some chunks, and in which order their runs are read.

    Parameters
    ----------
    x : int8 [N]
        Activations.
    a, b, width : int
        Which tokens, and bytes from one to the next.
    words : int
        Words of a row.
    chunk, after : int
        The first chunk, and the one after the last; at most PLACES.
    size : int
        Units of the panel.
    out : uint8 [(b - a) * ACTIVE + BOTH], written
        Step after step, token after token.
    walk : int64 [WALK], written
        Of each run, where it is in the panel's first unit, how far it is to that of the next one,
        and its words.

    Returns
    -------
    int
        How many pairs of runs there are; the second one of the last may count nothing.

    """
    out[:] = 0
    stride, run = (b - a) * LINE, 0
    for done in range(0, CHUNK, UNIT):
        for c in range(chunk, after):
            wide = min(CHUNK, words - c * CHUNK)
            if done < wide:
                walk[3 * run] = (c * CHUNK * size + done) * WORD
                walk[3 * run + 1] = wide * WORD
                walk[3 * run + 2] = wide - done
                start = (c * CHUNK + done) // UNIT * UNIT_COLUMNS
                for t in range(a, b):
                    _spread_run(x, t * width + start, out, run // PAIR * STEPS * stride
                                + (t - a) * LINE + BOTH, run % PAIR, stride)
                run += 1
    for k in range(3):
        walk[3 * run + k] = walk[3 * run + k - 3]
    return (run + 1) // PAIR


class _Pairs:
    """
    Emits what is done pair by pair: one is unpacked while the one before it is multiplied.

    Parameters
    ----------
    builder : IRBuilder
        Where to emit.
    activations, stride
        See `lay_out`, and bytes from step to step.
    slots
        For unpacked pairs.
    sums : TileSums
        Of 64 rows at a time.

    """

    def __init__(self, builder: ir.IRBuilder, activations: ir.Value, stride: ir.Value,
                 slots: ir.Value, sums: TileSums) -> None:
        self.builder, self.activations, self.stride, self.slots, self.sums = (
            builder, activations, stride, slots, sums)
        self.late = cgutils.alloca_once_value(builder, LONG(-1))  # the pair unpacked last
        self.turn = cgutils.alloca_once_value(builder, LONG(0))

    def begin(self) -> None:
        """Find where this pair is unpacked to, and what is multiplied with the one before it."""
        b, turn = self.builder, self.builder.load(self.turn)
        late = self.sums.follow(b.load(self.late))
        self.here = advance(b, self.activations, b.mul(late, b.mul(self.stride, LONG(STEPS))))
        self.new, self.old = (advance(b, self.slots, b.mul(which, LONG(SLOT)))
                              for which in (turn, b.xor(turn, LONG(1))))

    def multiply(self, number: int) -> None:
        """Add the product of a step and 16 rows of either line."""
        b, (step, half) = self.builder, divmod(number, HALVES)
        if half == 0:
            here = advance(b, self.here, b.mul(self.stride, LONG(step)))
            emit_tile(b, 'tileloadd64', ACTIVATIONS, here, LONG(BOTH))
        add_half(b, advance(b, self.old, step * ROWS * HALVES * LINE), half)

    def unpack(self, run: int, line: int, words: list[ir.Value]) -> None:
        """Unpack a line of a run of the pair, and multiply what is due meanwhile."""
        for f, found in enumerate(run_codes(self.builder, words)):
            quads = (run * QUADS + DIGITS * f + d for d in range(DIGITS))
            rows = (q // HALF * ROWS + (LINES - 1 - line) * HALF + q % HALF for q in quads)
            store_digits(self.builder, found, self.new, rows)
            done = (run * LINES + line) * FOURS + f
            if done in _DUE:
                self.multiply(_DUE.index(done))

    def proceed(self, pair: ir.Value) -> None:
        """Remember which pair was unpacked."""
        self.builder.store(pair, self.late)
        self.builder.store(self.builder.xor(self.builder.load(self.turn), LONG(1)), self.turn)


@intrinsic
def multiply_few(typing, packed, at, first, count, walk, pairs, x, tokens, codes, fresh, sums,
                 start):
    """
    Multiply some units of a panel with the tokens of `open_few`.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    packed : uint8 [N]
        All weights.
    at : int
        First byte of the panel.
    first, count : int
        The first unit, counted in the panel, and how many.
    walk, pairs, x
        See `lay_out`.
    tokens : int
        As `open_few` was told.
    codes : uint8 [SLOTS * SLOT]
        Scratch.
    fresh : bool
        Whether sums begin with zero.
    sums : uint8 [L], changed
        Exact int32 sums of 64 rows, unit after unit, token after token: see `settle_rows`.
    start : int
        Where the first unit's are.

    """
    def generate(context, builder, signature, args):
        packed, at, first, count, walk, pairs, x, tokens, codes, fresh, sums, start = args
        kind = signature.args
        weights = data_pointer(context, builder, kind[0], packed, at)
        total = TileSums(builder, data_pointer(context, builder, kind[10], sums, start),
                     builder.mul(tokens, LONG(LINES * HALVES * LINE)), LONG(HALVES * LINE), fresh)
        tiles = _Pairs(builder, data_pointer(context, builder, kind[6], x, LONG(0)),
                       builder.mul(tokens, LONG(LINE)),
                       data_pointer(context, builder, kind[8], codes, LONG(0)), total)
        ask = [(line * LINE + AHEAD, NEAREST) for line in range(LINES)]

        def take(unit: ir.Value, pair: ir.Value, run: int) -> None:
            number = builder.add(builder.mul(pair, LONG(3 * PAIR)), LONG(3 * run))
            place, step, left = (
                load(builder, data_pointer(context, builder, kind[4], walk,
                                           builder.add(number, LONG(k))), LONG) for k in range(3))
            here = advance(builder, weights, builder.add(place, builder.mul(unit, step)))
            for line, words in enumerate(read_words(builder, here, range(LINES), left, ask)):
                tiles.unpack(run, line, words)

        with cgutils.for_range(builder, count) as loop:
            unit = builder.add(first, loop.index)
            with cgutils.for_range(builder, pairs) as inner:
                tiles.begin()
                for run in range(PAIR):
                    take(unit, inner.index, run)
                tiles.proceed(inner.index)
        tiles.begin()
        for number in range(len(_DUE)):
            tiles.multiply(number)
        total.end()
        return context.get_dummy_value()
    n = types.int64
    return types.void(packed, n, n, n, walk, n, x, n, codes, types.boolean, sums, n), generate
