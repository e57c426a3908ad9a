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
Products of matrices of 4-bit and 8-bit blocks, or of float32, with activations.

Activations have 8 bits with a scale for each 32 columns (`rows.quantise_blocks_row`), so a block's
sum is an exact integer; blocks are added in float32, in the order of the columns, whatever the
number of tokens, threads and the instruction set. The layout is that of `block_layout`.
"""

from collections.abc import Callable
from typing import Any

from edge_vla.kernels.block_layout import (
    bits_of,
    BLOCK,
    group_blocks,
    group_bytes,
    INT4,
    Q4_0,
    Q8_0,
    scale_bytes,
    UNIT,
    unit_bytes,
)
from edge_vla.kernels.compiling import inlined
from edge_vla.kernels.head import float_logit
from edge_vla.kernels.isa import constant, Isa
from edge_vla.kernels.ternary_tiles import emit_dots
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    BYTE,
    BYTES,
    CACHE_LINE,
    call,
    data_pointer,
    every,
    F32X16,
    FLOAT,
    HALF,
    INT,
    INTS,
    LANES,
    load,
    LONG,
    prefetch_all,
    splat,
    store,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

AHEAD = 2560  # bytes: what is asked for while some blocks are read
FEW = 4  # tokens multiplied at once
RUN = 4  # blocks of a unit before some of the next: Intel reads runs of 20 to 30 lines fastest


one_by_one = constant(lambda isa: isa.reading == 'run', 'one_by_one',
                      'Tell whether few tokens read one unit after another.')


def _tile(kind: int) -> Any:
    bits, count, size = bits_of(kind), group_blocks(kind), group_bytes(kind)

    def operation(typing, isa, packed, units, to, groups, x, places, steps, sums, about, out,
                  starts):
        def generate(context, builder, signature, args):
            _, packed, units, to, groups, x, places, steps, sums, about, out, starts = args
            isa, given = signature.args[0].isa, signature.args
            rows = [data_pointer(context, builder, given[1], packed, u)
                    for u in cgutils.unpack_tuple(builder, units)]
            tokens = [tuple(data_pointer(context, builder, given[k], args[k], at)
                            for k, at in ((5, place), (7, a), (8, a)))
                      for place, a in zip(cgutils.unpack_tuple(builder, places),
                                          cgutils.unpack_tuple(builder, about), strict=True)]
            cells = [[accumulator(builder, F32X16) for _ in rows] for _ in tokens]

            # measured: one token reads faster in long steps, several in short ones
            parts = 1 if len(tokens) == 1 else count // 2  # of a group
            many = count // parts  # blocks of a part

            def take(step: ir.Value, some: list[int]) -> None:
                """Multiply a part of a group of some units."""
                group, part = builder.udiv(step, LONG(parts)), builder.urem(step, LONG(parts))
                here = [advance(builder, rows[u], builder.mul(group, LONG(size))) for u in some]
                if ahead := isa.ahead(AHEAD):
                    asked = -(-size // (parts * CACHE_LINE)) * CACHE_LINE
                    by = builder.add(builder.mul(part, LONG(asked)), LONG(ahead))
                    for place in here:
                        prefetch_all(builder, advance(builder, place, by), asked, isa.locality)

                def add(b: ir.Value) -> None:
                    block = builder.add(builder.mul(part, LONG(many)), b)
                    scales = builder.mul(block, LONG(UNIT * scale_bytes(kind)))
                    codes = builder.add(builder.mul(block, LONG(64 * bits)), LONG(64))
                    at = builder.add(builder.mul(step, LONG(many)), b)
                    _add_block(builder, isa, kind, [
                        (advance(builder, place, scales), advance(builder, place, codes))
                        for place in here], at, tokens, [[cell[u] for u in some]
                                                         for cell in cells])
                if len(tokens) > 2:
                    with cgutils.for_range(builder, LONG(many)) as inner:
                        add(inner.index)
                else:
                    for b in range(many):
                        add(LONG(b))

            run = RUN // many if len(tokens) == 1 and isa.reading == 'apart' else 0
            _walk(builder, builder.mul(groups, LONG(parts)), run, len(rows), take)
            to = cgutils.unpack_tuple(builder, to)
            for u, (place, row) in enumerate(zip(rows, to, strict=True)):
                factors = load(builder, advance(builder, place, builder.mul(
                    groups, LONG(size))), F32X16) if kind == INT4 else None
                for cell, start in zip(cells, cgutils.unpack_tuple(builder, starts), strict=True):
                    total = load(builder, cell[u], F32X16)
                    if factors is not None:
                        total = builder.fmul(total, factors)
                    store(builder, total, data_pointer(context, builder, given[10], out,
                                                       builder.add(start, row)))
            return context.get_dummy_value()
        return types.void(isa, packed, units, to, types.int64, x, places, steps, sums, about, out,
                          starts), generate
    operation.__doc__ = ('Multiply some units of blocks of a kind with some tokens; a unit goes '
                         '`to` a row of each token, whose first one `starts` somewhere in `out`.')
    return intrinsic(operation)


def _walk(builder: ir.IRBuilder, count: ir.Value, run: int, units: int,
          take: Callable[[ir.Value, list[int]], None]) -> None:
    """Take steps of all units at once, or if told so some of a unit, as many of the next."""
    if run == 0:
        with cgutils.for_range(builder, count) as loop:
            take(loop.index, [*range(units)])
        return
    some = LONG(run)
    with cgutils.for_range(builder, builder.udiv(builder.add(count, LONG(run - 1)),
                                                 some)) as loop:
        begin = builder.mul(loop.index, some)
        left = builder.sub(count, begin)
        left = builder.select(builder.icmp_signed('<', left, some), left, some)
        for u in range(units):
            with cgutils.for_range(builder, left) as inner:
                take(builder.add(begin, inner.index), [u])


def _add_block(builder: ir.IRBuilder, isa: Isa, kind: int,
               units: list[tuple[ir.Value, ir.Value]], at: ir.Value,
               tokens: list[tuple[ir.Value, ...]], cells: list[list[ir.Value]]) -> None:
    """Add the products of a block of some units (scales, codes) with some tokens."""
    bits = bits_of(kind)
    here, four = builder.mul(at, LONG(BLOCK)), builder.mul(at, LONG(4))
    dots = [[_begin(builder, isa, bits, advance(builder, total, four))] * len(units)
            for _, _, total in tokens]
    # four columns of all units and tokens before the next four: few registers, each used often
    step = BLOCK // 4 if isa.name in ('avx2', 'neon') else 1  # these sum up in 16 bits first
    for q in range(0, BLOCK // 4, step):
        weights = [[_columns(builder, isa, bits, codes, k) for k in range(q, q + step)]
                   for _, codes in units]
        for t, (x, _, _) in enumerate(tokens):
            columns = advance(builder, x, here)
            ys = [builder.bitcast(splat(builder, load(builder, advance(builder, columns, 4 * k),
                                                      INT)), BYTES) for k in range(q, q + step)]
            for u, ws in enumerate(weights):
                dots[t][u] = _add_dots(builder, isa, bits, dots[t][u],
                                       list(zip(ws, ys, strict=True)))
    for u, (scales, _) in enumerate(units):
        d = _scales(builder, kind, scales)
        for t, (_, steps, _) in enumerate(tokens):
            scale = builder.fmul(d, splat(builder, load(builder, advance(builder, steps, four),
                                                        FLOAT)))
            builder.store(call(builder, 'llvm.fma.v16f32', F32X16, builder.sitofp(
                dots[t][u], F32X16), scale, load(builder, cells[t][u], F32X16)), cells[t][u])


def _scales(builder: ir.IRBuilder, kind: int, place: ir.Value) -> ir.Value:
    """Return the scales of a block of 16 rows, of INT4 in steps of the rows."""
    if kind == INT4:
        s = builder.sitofp(load(builder, place, ir.VectorType(BYTE, LANES)), F32X16)
        return builder.fmul(s, call(builder, 'llvm.fabs.v16f32', F32X16, s))
    return builder.fpext(load(builder, place, ir.VectorType(HALF, LANES)), F32X16)


def _begin(builder: ir.IRBuilder, isa: Isa, bits: int, total: ir.Value) -> ir.Value:
    """Return minus offset * sum of a token's codes; NEON's 8-bit weights have no offset."""
    if bits == 8 and isa.name == 'neon':
        return every(INTS, 0)
    low = load(builder, total, INT)
    return splat(builder, low if bits == 4 else builder.mul(low, INT(16)))


def _columns(builder: ir.IRBuilder, isa: Isa, bits: int, codes: ir.Value, k: int) -> ir.Value:
    """Return the k-th four columns of 16 rows of a block."""
    if bits == 8:
        raw = load(builder, advance(builder, codes, 64 * k), BYTES)
        return builder.xor(raw, every(BYTES, 128)) if isa.name == 'neon' else raw
    raw = load(builder, advance(builder, codes, 64 * (k // 2)), BYTES)
    return builder.lshr(raw, every(BYTES, 4)) if k % 2 else builder.and_(raw, every(BYTES, 15))


def _add_dots(builder: ir.IRBuilder, isa: Isa, bits: int, dots: ir.Value,
              pairs: list[tuple[ir.Value, ir.Value]]) -> ir.Value:
    if bits == 8 and isa.name == 'avx2':  # whose products of large codes would overflow
        high = [(builder.lshr(w, every(BYTES, 4)), y) for w, y in pairs]
        sixteenths = emit_dots(builder, isa, every(INTS, 0), high)
        dots = builder.add(dots, builder.shl(sixteenths, every(INTS, 4)))
        pairs = [(builder.and_(w, every(BYTES, 15)), y) for w, y in pairs]
    return emit_dots(builder, isa, dots, pairs)


_q4_0, _q8_0, _int4 = _tile(Q4_0), _tile(Q8_0), _tile(INT4)


@njit(cache=True, nogil=True)
def _multiply(isa, kind, packed, units, to, groups, x, places, steps, sums, about, out, starts):
    if kind == INT4:
        _int4(isa, packed, units, to, groups, x, places, steps, sums, about, out, starts)
    elif kind == Q4_0:
        _q4_0(isa, packed, units, to, groups, x, places, steps, sums, about, out, starts)
    else:
        _q8_0(isa, packed, units, to, groups, x, places, steps, sums, about, out, starts)


@inlined
def _few(isa, kind, packed, units, to, groups, x, width, steps, sums, blocks, t, tokens, out,
         stride):
    """Multiply some units with up to FEW tokens from one on."""
    i = min(t + 1, tokens - 1)  # one that is missing: the last is done again
    j, k = min(t + 2, tokens - 1), min(t + 3, tokens - 1)
    if tokens - t == 1:
        _multiply(isa, kind, packed, units, to, groups, x, (t * width,), steps, sums,
                  (t * blocks,), out, (t * stride,))
    elif tokens - t == 2:
        _multiply(isa, kind, packed, units, to, groups, x, (t * width, i * width), steps, sums,
                  (t * blocks, i * blocks), out, (t * stride, i * stride))
    else:
        _multiply(isa, kind, packed, units, to, groups, x,
                  (t * width, i * width, j * width, k * width), steps, sums,
                  (t * blocks, i * blocks, j * blocks, k * blocks), out,
                  (t * stride, i * stride, j * stride, k * stride))


@njit(cache=True, nogil=True)
def block_items(units, tokens):
    """Return how many pieces of work a product has; `block_product` does any range of them."""
    return (units + _size(tokens) - 1) // _size(tokens)


@njit(cache=True, nogil=True)
def _size(tokens):
    """Return how many units are a piece of work."""
    return 4 if tokens == 1 else 2


@njit(cache=True, nogil=True)
def block_product(isa, packed, base, kind, units, groups, first, last, x, width, steps, sums,
                  blocks, tokens, out, stride):
    """
    Compute pieces `first` to `last` of ``out[t, row] = W x[t]``.

    Parameters
    ----------
    isa : Isa
        Instruction set.
    packed : uint8 [N]
        All weights of the model.
    base, kind, units, groups : int
        First byte of the matrix, kind of its blocks, units, groups of blocks of a unit.
    first, last : int
        Which of `block_items`.
    x : int8 [tokens * width]
        Quantised activations.
    width : int
        Bytes from token to token.
    steps, sums : float32, int32 [tokens * blocks]
        What `rows.quantise_blocks_row` wrote.
    blocks : int
        From token to token in these.
    tokens : int
        How many.
    out : float32 [tokens * stride], written
        The rows of the last unit that the matrix lacks are written too.
    stride : int
        From token to token in `out`.

    """
    line, end = unit_bytes(kind, groups), units - 1
    if tokens <= FEW and one_by_one(isa):
        for u in range(_size(tokens) * first, min(_size(tokens) * last, units)):
            _few(isa, kind, packed, (base + u * line,), (u * UNIT,), groups, x, width, steps, sums,
                 blocks, 0, tokens, out, stride)
    elif tokens == 1:  # units far apart are streams of their own
        far = (units + 3) // 4
        for m in range(first, last):
            a, b, c = min(m + far, end), min(m + 2 * far, end), min(m + 3 * far, end)
            _multiply(isa, kind, packed,
                      (base + m * line, base + a * line, base + b * line, base + c * line),
                      (m * UNIT, a * UNIT, b * UNIT, c * UNIT), groups, x, (0,), steps, sums, (0,),
                      out, (0,))
    else:
        far = (units + 1) // 2
        for m in range(first, last):
            n = min(m + far, end)
            for t in range(0, tokens, FEW):
                _few(isa, kind, packed, (base + m * line, base + n * line), (m * UNIT, n * UNIT),
                     groups, x, width, steps, sums, blocks, t, tokens, out, stride)


@njit(cache=True, nogil=True)
def float_product(packed, base, columns, first, last, x, tokens, out, stride):
    """
    Compute units `first` to `last` of ``out[t, row] = W x[t]`` with float32 weights.

    Parameters
    ----------
    packed : float32 [N]
        All weights of the model.
    base, columns : int
        Where the matrix begins, and the length of its padded rows.
    first, last : int
        Which units of 16 rows.
    x : float32 [tokens, >= columns]
        Activations, zero in the padding.
    tokens : int
        How many.
    out : float32 [tokens * stride], written
        Their products.
    stride : int
        From token to token in `out`.

    """
    for row in range(first * UNIT, last * UNIT):
        for t in range(tokens):
            out[t * stride + row] = float_logit(packed, base + row * columns, columns, x[t], 0)
