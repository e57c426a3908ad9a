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
The innermost loops of products with '2bit' matrices, emitted for every instruction set.

A tile multiplies some rows with some tokens and keeps every sum in a register. Codes are trit + 1,
so ``sum(code * x) - sum(x) = sum(trit * x)``, exact in int32.

Sources: bitnet.cpp (arXiv 2410.16144) for the unsigned codes; the far streams and the prefetch
distance were found by measurement, see doc/benchmarks.md.
"""

from functools import cache
from typing import Any

from edge_vla.kernels.isa import Isa
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
    merge,
    pick_lanes,
    prefetch,
    SHORT,
    splat,
    store,
)
from llvmlite import ir
import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

PREFETCH = 4096  # bytes ahead, a page: the hardware's own prefetcher stops at its end
BLOCK = 256  # columns of 64 bytes


def _half(builder: ir.IRBuilder, vector: ir.Value, part: int, parts: int) -> ir.Value:
    width = vector.type.count // parts
    return pick_lanes(builder, vector, part * width, width)


def join(builder: ir.IRBuilder, parts: list[ir.Value]) -> ir.Value:
    """Put vectors, a power of two of them, one after the other."""
    while len(parts) > 1:
        n = 2 * parts[0].type.count
        index = ir.Constant(ir.VectorType(INT, n), list(range(n)))
        parts = [builder.shuffle_vector(a, b, index)
                 for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def emit_dots(builder: ir.IRBuilder, isa: Isa, total: ir.Value,
              pairs: list[tuple[ir.Value, ir.Value]]) -> ir.Value:
    """
    Add the products of pairs of 64 bytes, four neighbours to a lane, to 16 int32.

    Parameters
    ----------
    builder : IRBuilder
        Where to emit.
    isa : Isa
        Instruction set.
    total : <16 x i32>
        What to add to.
    pairs : list of (<64 x i8>, <64 x i8>)
        Unsigned codes and signed bytes. AVX2 and NEON want codes whose sum over the pairs is at
        most 127; the others take any.

    """
    if isa.name.startswith('avx512'):
        for codes, x in pairs:
            total = vpdpbusd(builder, 512, total, codes, x)
        return total
    if isa.name == 'avx2':
        v16, v8 = ir.VectorType(SHORT, 16), ir.VectorType(INT, 8)
        out = []
        for part in range(2):
            words = every(v16, 0)
            for codes, x in pairs:
                words = builder.add(words, call(
                    builder, 'llvm.x86.avx2.pmadd.ub.sw', v16, _half(builder, codes, part, 2),
                    _half(builder, x, part, 2)))
            out.append(call(builder, 'llvm.x86.avx2.pmadd.wd', v8, words,
                            every(v16, 1)))
        return builder.add(total, join(builder, out))
    if isa.name in ('avxvnni', 'neon'):
        parts = 2 if isa.name == 'avxvnni' else 4
        sums = [_half(builder, total, part, parts) for part in range(parts)]
        for codes, x in pairs:
            for part in range(parts):
                c, y = _half(builder, codes, part, parts), _half(builder, x, part, parts)
                sums[part] = vpdpbusd(builder, 256, sums[part], c, y) if parts == 2 else call(
                    builder, 'llvm.aarch64.neon.sdot.v4i32.v16i8', sums[part].type,
                    sums[part], c, y)
        return join(builder, sums)
    for codes, x in pairs:
        for k in range(4):
            index = ir.Constant(INTS, [4 * i + k for i in range(LANES)])
            none = ir.Constant(BYTES, ir.Undefined)
            c = builder.zext(builder.shuffle_vector(codes, none, index), INTS)
            y = builder.sext(builder.shuffle_vector(x, none, index), INTS)
            total = builder.add(total, builder.mul(c, y))
    return total


def _add_dots(builder: ir.IRBuilder, isa: Isa, cell: ir.Value, codes: list[ir.Value],
              x: list[ir.Value]) -> None:
    """Add the products of codes and activations to an accumulator."""
    pairs = list(zip(codes, x, strict=True))
    builder.store(emit_dots(builder, isa, load(builder, cell, INTS), pairs), cell)


def vpdpbusd(builder: ir.IRBuilder, bits: int, total: ir.Value, codes: ir.Value,
             x: ir.Value) -> ir.Value:
    """Add the products of unsigned codes and signed x, four neighbours to a lane."""
    if not _takes_bytes():
        codes, x = builder.bitcast(codes, total.type), builder.bitcast(x, total.type)
    return call(builder, f'llvm.x86.avx512.vpdpbusd.{bits}', total.type, total, codes, x)


@cache
def _takes_bytes() -> bool:
    """Tell whether this LLVM declares vpdpbusd on bytes; older ones do on 32-bit lanes."""
    kind = '<16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32> {0}, <64 x i8> {1}, <64 x i8> {2})'
    try:
        llvm.parse_assembly(
            f'declare {kind.format("", "", "")}\n'
            'define <16 x i32> @f(<16 x i32> %a, <64 x i8> %b, <64 x i8> %c) {\n'
            f' %r = call {kind.format("%a", "%b", "%c")}\n ret <16 x i32> %r }}').verify()
    except RuntimeError:
        return False
    return True


def emit_sums(builder: ir.IRBuilder, vectors: list[ir.Value]) -> tuple[ir.Value, int]:
    """
    Sum the lanes of each of up to 16 int32 vectors, merging them pair by pair.

    Returns
    -------
    tuple
        A vector, and the step between the lanes that hold the sums.

    """
    while len(vectors) & (len(vectors) - 1):
        vectors = [*vectors, every(INTS, 0)]
    step, width = LANES // len(vectors), LANES
    while len(vectors) > 1:
        vectors = merge(builder, vectors, width)
        width //= 2
    total = vectors[0]
    while width > 1:
        width //= 2
        swapped = ir.Constant(INTS, [i ^ width for i in range(LANES)])
        total = builder.add(total, builder.shuffle_vector(total, total, swapped))
    return total, step


class _Source:
    """The packed bytes of one row; those `ahead` are asked for meanwhile, if it is not 0."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: types.Array, packed: ir.Value,
                 base: ir.Value, blocks: ir.Value, row: ir.Value, ahead: int,
                 locality: int) -> None:
        self._builder, self._ahead, self._locality = builder, ahead, locality
        at = builder.add(base, builder.mul(row, builder.mul(blocks, LONG(64))))
        self._start = data_pointer(context, builder, kind, packed, at)

    def raw(self, block: ir.Value) -> ir.Value:
        """Load the 64 bytes of a block."""
        here = advance(self._builder, self._start, self._builder.mul(block, LONG(64)))
        if self._ahead:
            prefetch(self._builder, advance(self._builder, here, self._ahead), self._locality)
        return load(self._builder, here, BYTES)

    def codes(self, block: ir.Value) -> list[ir.Value]:
        """Load a block as bytes: the codes of each 64 columns."""
        builder, raw = self._builder, self.raw(block)
        return [builder.and_(builder.lshr(raw, every(BYTES, 2 * f)) if f else raw,
                             every(BYTES, 3)) for f in range(4)]


def _tokens(builder: ir.IRBuilder, pointers: list[ir.Value], block: ir.Value
            ) -> list[list[ir.Value]]:
    """Load the activations of a block: for each token, each 64 columns."""
    at = builder.mul(block, LONG(BLOCK))
    return [[load(builder, advance(builder, advance(builder, p, at), 64 * k), BYTES)
             for k in range(BLOCK // 64)] for p in pointers]


def _finish(context: Any, builder: ir.IRBuilder, kind: types.Array, out: ir.Value,
            rows: list[ir.Value], sums: list[ir.Value],
            tokens: tuple[ir.Value, ir.Value, ir.Value]) -> None:
    """
    Write sums - total, times the factor where `out` is float, of each row and token.

    The sums go token by token; `tokens` are the tuples totals, factors and starts of a tile.
    """
    totals, factors, starts = (cgutils.unpack_tuple(builder, t) for t in tokens)
    for t, start in enumerate(starts):
        vector, step = emit_sums(builder, sums[t * len(rows):(t + 1) * len(rows)])
        vector = builder.sub(vector, splat(builder, totals[t]))
        if kind.dtype == types.float32:
            vector = builder.fmul(builder.sitofp(vector, F32X16), splat(builder, factors[t]))
        for k, row in enumerate(rows):
            store(builder, builder.extract_element(vector, INT(k * step)),
                  data_pointer(context, builder, kind, out, builder.add(start, row)))


@intrinsic
def row_tile(typing, isa, packed, base, blocks, rows, x, places, totals, factors, out, starts):
    """
    Multiply some rows with some tokens straight from packed bytes; for few tokens.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    isa : Isa
        Instruction set.
    packed : uint8 [N]
        All weights.
    base, blocks : int
        First byte of the matrix, blocks of a row.
    rows : tuple of int
        Which rows; far apart, so that each is a stream of its own.
    x : int8 [M]
        Activations.
    places : tuple of int
        Where each token's activations start in `x`.
    totals : tuple of int32
        Sum of each token's activations.
    factors : tuple of float32
        What each token's sums are multiplied with.
    out : int32 or float32 [L], written
        Exact sums, or sums times the factor.
    starts : tuple of int
        Where each token's row 0 is in `out`.

    """
    def generate(context, builder, signature, args):
        _, packed, base, blocks, rows, x, places, totals, factors, out, starts = args
        isa, kind = signature.args[0].isa, signature.args
        rows = cgutils.unpack_tuple(builder, rows)
        places = cgutils.unpack_tuple(builder, places)
        # one token: fields stay where they are in the byte and are scaled back at the end
        in_place = len(places) == 1 and isa.name.startswith('avx512')
        sums = [accumulator(builder, INTS)
                for _ in range(len(rows) * len(places) * (4 if in_place else 1))]
        ahead = isa.ahead(PREFETCH) or (0 if in_place else PREFETCH)
        sources = [_Source(context, builder, kind[1], packed, base, blocks, row, ahead,
                           isa.locality) for row in rows]
        tokens = [data_pointer(context, builder, kind[5], x, p) for p in places]
        with cgutils.for_range(builder, blocks) as loop:
            ys = _tokens(builder, tokens, loop.index)
            for s, source in enumerate(sources):
                if in_place:
                    raw = source.raw(loop.index)
                    for f in range(4):
                        field = builder.and_(raw, every(BYTES, 3 << 2 * f))
                        _add_dots(builder, isa, sums[4 * s + f], [field], [ys[0][f]])
                    continue
                codes = source.codes(loop.index)
                for t, y in enumerate(ys):
                    _add_dots(builder, isa, sums[t * len(rows) + s], codes, y)
        values = [load(builder, cell, INTS) for cell in sums]
        if in_place:  # multiples of 1, 4, 16, 64: the shifts are exact
            values = [_shifted_sum(builder, values[4 * s:4 * s + 4]) for s in range(len(rows))]
        _finish(context, builder, kind[9], out, rows, values, (totals, factors, starts))
        return context.get_dummy_value()
    return types.void(isa, packed, types.int64, types.int64, rows, x, places, totals, factors,
                      out, starts), generate


def _shifted_sum(builder: ir.IRBuilder, fields: list[ir.Value]) -> ir.Value:
    total = fields[0]
    for f in (1, 2, 3):
        total = builder.add(total, builder.ashr(fields[f], every(INTS, 2 * f)))
    return total


@intrinsic
def unpack_row(typing, isa, packed, base, blocks, row, codes, start):
    """Write a row's codes (0, 1, 2) as bytes, from `start` of `codes`."""
    def generate(context, builder, signature, args):
        _, packed, base, blocks, row, codes, start = args
        kind = signature.args
        isa = signature.args[0].isa
        source = _Source(context, builder, kind[1], packed, base, blocks, row,
                         isa.ahead(PREFETCH) or PREFETCH, isa.locality)
        target = data_pointer(context, builder, kind[5], codes, start)
        with cgutils.for_range(builder, blocks) as loop:
            to = advance(builder, target, builder.mul(loop.index, LONG(BLOCK)))
            for k, code in enumerate(source.codes(loop.index)):
                store(builder, code, advance(builder, to, 64 * k))
        return context.get_dummy_value()
    return types.void(isa, packed, types.int64, types.int64, types.int64, codes,
                      types.int64), generate


@intrinsic
def code_tile(typing, isa, codes, stride, blocks, lines, x, places, totals, factors, rows, out,
              starts):
    """
    Multiply unpacked rows with tokens; for many tokens.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    isa : Isa
        Instruction set.
    codes : uint8 [N]
        Rows of codes; see `unpack_row`.
    stride, blocks : int
        Bytes from row to row, and blocks of a row.
    lines : tuple of int
        Which rows of `codes`.
    x, places, totals, factors
        As in `row_tile`.
    rows : tuple of int
        Which row of the matrix each line is.
    out, starts
        As in `row_tile`.

    """
    def generate(context, builder, signature, args):
        _, codes, stride, blocks, lines, x, places, totals, factors, rows, out, starts = args
        isa, kind = signature.args[0].isa, signature.args
        tokens = [data_pointer(context, builder, kind[5], x, p)
                  for p in cgutils.unpack_tuple(builder, places)]
        sources = [data_pointer(context, builder, kind[1], codes, builder.mul(line, stride))
                   for line in cgutils.unpack_tuple(builder, lines)]
        sums = [accumulator(builder, INTS) for _ in range(len(sources) * len(tokens))]
        with cgutils.for_range(builder, blocks) as loop:
            ys = _tokens(builder, tokens, loop.index)
            at = builder.mul(loop.index, LONG(BLOCK))
            for r, source in enumerate(sources):
                here = advance(builder, source, at)
                row = [load(builder, advance(builder, here, 64 * k), BYTES)
                       for k in range(BLOCK // 64)]
                for t, y in enumerate(ys):
                    _add_dots(builder, isa, sums[t * len(sources) + r], row, y)
        _finish(context, builder, kind[10], out, cgutils.unpack_tuple(builder, rows),
                [load(builder, cell, INTS) for cell in sums], (totals, factors, starts))
        return context.get_dummy_value()
    return types.void(isa, codes, types.int64, types.int64, lines, x, places, totals, factors,
                      rows, out, starts), generate
