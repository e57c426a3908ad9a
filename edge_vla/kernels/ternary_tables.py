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
The innermost loops of products with '5bit' matrices: sums looked up rather than multiplied.

A code names the trits of three columns of one row. Three activations have 27 such sums: they fill
a *table* of 32 int16, one vector register, in which one permutation (vpermw) finds the sums of 32
rows. Nothing is multiplied, and codes need no unpacking but two shifts: vpermw reads the lowest
five bits of a 16-bit *word* that holds three codes and, in its topmost bit, a part of another one.

Sources: T-MAC (arXiv 2407.00088) for sums of activations in tables instead of products; tables as
wide as a register, the codes' places and the sums in 16 bits were found by measurement, see
doc/benchmarks.md.
"""

from edge_vla.kernels.ternary_tiles import vpdpbusd
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    BYTES,
    call,
    data_pointer,
    every,
    F32X16,
    INT,
    INTS,
    LANES,
    load,
    LONG,
    pick_lanes,
    prefetch,
    SHORTS,
    splat,
    store,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LINES = 2  # vectors of 32 rows that share the loading of a table
GROUP = 32 * LINES  # rows
UNIT = 5  # words whose topmost bits are one more code
WORD_COLUMNS, UNIT_COLUMNS = 9, 48
WORD_TABLES, UNIT_TABLES = 3, 16
CHUNK = 5 * UNIT  # words whose sums fit into 16 bits: 80 tables, of at most 3 * 128 each
CHUNK_TABLES = 5 * UNIT_TABLES
PANEL = 20  # groups, at most, that lie together from their first to their last column
LINE = 64  # bytes of a table, and of a word of 32 rows
LATE = 8  # permutations that are made before what one found is added
TOGETHER = 8  # tokens that codes are brought near for


@njit(cache=True, nogil=True)
def panels(units):
    """Return how many panels the units of a matrix are cut into."""
    return (units + PANEL - 1) // PANEL


@njit(cache=True, nogil=True)
def panel_of(units, unit):
    """Return the first unit of the panel that a unit is in, and the first after it."""
    count = panels(units)
    panel = ((unit + 1) * count - 1) // units
    return panel * units // count, (panel + 1) * units // count


@njit(cache=True, nogil=True)
def place(units, words, unit, begin, wide):
    """Return the first byte of a unit in the chunk of some words that begins with one."""
    start, end = panel_of(units, unit)
    return (start * words + (end - start) * begin + (unit - start) * wide) * LINES * LINE


def row_bytes(units: int) -> int:
    """Return the bytes of a token's sums of units; those of others lie in other sets."""
    return units * GROUP * 4 + LINE


@intrinsic
def fill_tables(typing, x, start, count, tables, at):
    """
    Write the tables of consecutive activations.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    x : int8 [N]
        Activations.
    start : int
        The first one.
    count : int
        How many tables, of three activations each; at least two.
    tables : uint8 [M], written
        ``LINE`` bytes a table: entry d0 + 3 d1 + 9 d2 is the sum of (d - 1) * x as int16; 27 to 31
        are never looked up.
    at : int
        First byte of the first table.

    """
    digits = [[*(e // 3 ** d % 3 - 1 for d in range(3)), 0] for e in range(32)]
    # vpackssdw takes four entries of the one and four of the other in turn
    halves = [[digits[e] for e in range(32) if e // 4 % 2 == h] for h in range(2)]

    def generate(context, builder, signature, args):
        x, start, count, tables, at = args
        source = data_pointer(context, builder, signature.args[0], x, start)
        target = data_pointer(context, builder, signature.args[3], tables, at)
        flip = ir.Constant(INT, -0x7f7f7f80)  # to unsigned bytes, 128 more; 0x80 in each

        def fill(table: ir.Value, three: ir.Value) -> None:
            x = builder.bitcast(splat(builder, builder.xor(three, flip), LANES), BYTES)
            sums = [vpdpbusd(builder, 512, ir.Constant(INTS, [-128 * sum(d) for d in half]), x,
                             ir.Constant(BYTES, [v for d in half for v in d]))
                    for half in halves]
            entries = call(builder, 'llvm.x86.avx512.packssdw.512', SHORTS, *sums)
            store(builder, entries, advance(builder, target, builder.mul(table, LONG(LINE))))

        last = builder.sub(count, LONG(1))
        with cgutils.for_range(builder, last) as loop:
            here = advance(builder, source, builder.mul(loop.index, LONG(3)))
            fill(loop.index, load(builder, here, INT))  # and one more, which counts nothing
        here = advance(builder, source, builder.sub(builder.mul(last, LONG(3)), LONG(1)))
        fill(last, builder.lshr(load(builder, here, INT), INT(8)))  # nothing is read beyond
        return context.get_dummy_value()
    return types.void(x, types.int64, types.int64, tables, types.int64), generate


def gather_bits(builder: ir.IRBuilder, extra: ir.Value, word: ir.Value) -> ir.Value:
    """Add the topmost bits of a word to those of the words before: five are one more code."""
    return call(builder, 'llvm.fshl.v32i16', SHORTS, extra, word, every(SHORTS, 1))


@intrinsic
def table_tile(typing, isa, packed, at, ahead, words, tables, places, sums, starts, fresh):
    """
    Add what a chunk of columns gives for a group of rows and up to four tokens.

    Or what up to four chunks give for one token, each with tables of its own.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    isa : Isa
        Instruction set.
    packed : uint8 [N]
        All weights.
    at : tuple of int
        First byte of the group in each chunk.
    ahead : int
        How many bytes after each line that is read there is the one asked for meanwhile, unless
        the CPU reads 'plain'.
    words : int
        Words of a row in a chunk: at most CHUNK.
    tables : uint8 [M]
        See `fill_tables`.
    places : tuple of int
        Where the first table of each chunk, or for each token, is.
    sums : uint8 [L], changed
        Exact int32 sums, for `scale_sums`.
    starts : tuple of int
        The byte of each token's first row of the group.
    fresh : bool
        Overwrite rather than add.

    """
    def generate(context, builder, signature, args):
        _, packed, at, ahead, words, tables, places, sums, starts, fresh = args
        isa, kind = signature.args[0].isa, signature.args
        chunks = [data_pointer(context, builder, kind[1], packed, a)
                  for a in cgutils.unpack_tuple(builder, at)]
        first = [data_pointer(context, builder, kind[5], tables, p)
                 for p in cgutils.unpack_tuple(builder, places)]
        starts = cgutils.unpack_tuple(builder, starts)
        cells = [[accumulator(builder, SHORTS) for _ in range(LINES)] for _ in first]
        # which tables each chunk is looked up in
        users = [range(len(first))] if len(chunks) == 1 else [[c] for c in range(len(chunks))]
        # Zen 5: what adds with saturation, which never happens, does not take the permutations'
        # places, and keeps out of their way if it comes later; left alone LLVM sorts them anew
        paced = isa.reading == 'run'
        late = []  # additions yet to be made

        def settle(most: int) -> None:
            """Make additions until only so many are left."""
            while len(late) > most:
                cell, found = late.pop(0)
                total = load(builder, cell, SHORTS)
                builder.store(call(builder, 'llvm.sadd.sat.v32i16', SHORTS, total, found)
                              if paced else builder.add(total, found), cell)

        def look_up(codes: list[ir.Value], here: list[ir.Value], table: int, user: int) -> None:
            if paced and user == users[0][0]:
                builder.fence('acq_rel', 'singlethread')
            entries = load(builder, advance(builder, here[user], table * LINE), SHORTS)
            for code, cell in zip(codes, cells[user], strict=True):
                found = call(builder, 'llvm.x86.avx512.permvar.hi.512', SHORTS, entries, code)
                late.append((cell, found))
                settle(LATE if paced else 0)

        def take(here: list[ir.Value], chunk: int, word: ir.Value, k: int) -> list[ir.Value]:
            """Look up the three codes of the k-th word from one, of every line; return them."""
            raw = []
            for line in range(LINES):
                address = advance(builder, advance(builder, chunks[chunk], word),
                                  (LINES * k + line) * LINE)
                if isa.reading != 'plain':
                    prefetch(builder, advance(builder, address, ahead), isa.locality)
                raw.append(load(builder, address, SHORTS))
            for d in range(WORD_TABLES):
                codes = [builder.lshr(r, every(SHORTS, 5 * d)) if d else r for r in raw]
                for user in users[chunk]:
                    look_up(codes, here, WORD_TABLES * k + d, user)
            return raw

        units = builder.udiv(words, LONG(UNIT))
        with cgutils.for_range(builder, units) as loop:
            word = builder.mul(loop.index, LONG(UNIT * LINES * LINE))
            here = [advance(builder, f, builder.mul(loop.index, LONG(UNIT_TABLES * LINE)))
                    for f in first]
            for chunk in range(len(chunks)):
                extra = [every(SHORTS, 0)] * LINES
                for k in range(UNIT):
                    raw = take(here, chunk, word, k)
                    extra = [gather_bits(builder, e, r) for e, r in zip(extra, raw, strict=True)]
                for user in users[chunk]:
                    look_up(extra, here, UNIT_TABLES - 1, user)
            settle(0)
        with cgutils.for_range(builder, builder.urem(words, LONG(UNIT))) as loop:
            word = builder.add(builder.mul(units, LONG(UNIT)), loop.index)
            table = builder.add(builder.mul(units, LONG(UNIT_TABLES)),
                                builder.mul(loop.index, LONG(WORD_TABLES)))
            here = [advance(builder, f, builder.mul(table, LONG(LINE))) for f in first]
            for chunk in range(len(chunks)):
                take(here, chunk, builder.mul(word, LONG(LINES * LINE)), 0)
            settle(0)

        anew = splat(builder, fresh)
        for t, start in enumerate(starts):
            target = data_pointer(context, builder, kind[7], sums, start)
            for k in range(2 * LINES):
                address = advance(builder, target, k * LANES * 4)
                total = builder.select(anew, every(INTS, 0), load(builder, address, INTS))
                for halves in cells if len(starts) == 1 else [cells[t]]:
                    values = load(builder, halves[k // 2], SHORTS)
                    values = pick_lanes(builder, values, k % 2 * LANES, LANES)
                    total = builder.add(total, builder.sext(values, INTS))
                store(builder, total, address)
        return context.get_dummy_value()
    return types.void(isa, packed, at, types.int64, types.int64, tables, places, sums, starts,
                      types.boolean), generate


@intrinsic
def scale_sums(typing, sums, start, out, first, count, factor):
    """
    Write int32 sums, as float32 times `factor` where `out` holds those, 16 at a time.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    sums : any array
        The sums; where they begin, and `start`, count in its elements.
    start : int
        The first one.
    out : int32 or float32 [L], written
        May be the same place.
    first, count : int
        Where they go, and how many.
    factor : float32
        See above.

    """
    def generate(context, builder, signature, args):
        sums, start, out, first, count, factor = args
        kinds = signature.args
        source = data_pointer(context, builder, kinds[0], sums, start)
        target = data_pointer(context, builder, kinds[2], out, first)
        with cgutils.for_range(builder, builder.udiv(count, LONG(LANES))) as loop:
            by = builder.mul(loop.index, LONG(LANES * 4))
            value = load(builder, advance(builder, source, by), INTS)
            if kinds[2].dtype == types.float32:
                value = builder.fmul(builder.sitofp(value, F32X16), splat(builder, factor))
            store(builder, value, advance(builder, target, by))
        return context.get_dummy_value()
    return types.void(sums, types.int64, out, types.int64, types.int64, types.float32), generate
