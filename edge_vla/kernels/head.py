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
The output head: logits of all tokens of the vocabulary, or of some.

Kinds of rows: float32; int8 with one scale a row; 6 or 4 bits with a float16 scale for each 128
columns. Quantised rows are kept unsigned. The activations of int8 rows have 16 bits as two bytes
(`rows.quantise_row_16bit`), because reading the rows is what takes the time; those of 6 and 4 bits
have 8 bits with a scale for each 128 columns (`rows.quantise_groups_row`).
"""

from typing import Any

from edge_vla.kernels.isa import Isa
from edge_vla.kernels.ternary_tiles import emit_dots
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    BYTES,
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
    merge,
    pick_lanes,
    prefetch,
    prefetch_all,
    reduce,
    SHORT,
    vfma,
    vload,
    vsplat,
    vsum,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
import numpy as np

GROUP = 128  # columns that share a scale in a row of 6 or 4 bits
WIDE = 4 * GROUP  # such rows are padded to this
_AHEAD = 2048  # bytes


def _emit_byte_dots(builder: ir.IRBuilder, isa: Isa, total: ir.Value, codes: ir.Value,
                    x: ir.Value) -> ir.Value:
    """Add (code - 128) * x to 16 int32, or code * x where `_bias` says so."""
    if isa.name == 'neon':
        signed = builder.xor(codes, every(BYTES, 128))
        return emit_dots(builder, isa, total, [(signed, x)])
    if isa.name != 'avx2':
        return emit_dots(builder, isa, total, [(codes, x)])
    v16, v8 = ir.VectorType(SHORT, 16), ir.VectorType(INT, 8)
    halves = []
    for part in range(2):  # bytes up to 255 overflow pmaddubsw, so go by 16 bits
        sums = pick_lanes(builder, total, 8 * part, 8)
        for k in range(2):
            c = builder.zext(pick_lanes(builder, codes, 32 * part + 16 * k, 16), v16)
            y = builder.sext(pick_lanes(builder, x, 32 * part + 16 * k, 16), v16)
            sums = builder.add(sums, call(builder, 'llvm.x86.avx2.pmadd.wd', v8, c, y))
        halves.append(sums)
    return builder.shuffle_vector(*halves, ir.Constant(INTS, list(range(16))))


def _bias(isa: Isa) -> int:
    return 0 if isa.name == 'neon' else 128


@intrinsic
def _byte_row(typing, isa, head, start, width, high, low, at, high_total, low_total):
    """Return sum((code - 128) * (256 high + low)) of a row as float32."""
    def generate(context, builder, signature, args):
        _, head, start, width, high, low, at, high_total, low_total = args
        isa, kinds = signature.args[0].isa, signature.args
        sums = [accumulator(builder, INTS) for _ in range(2)]
        row = data_pointer(context, builder, kinds[1], head, start)
        xs = [data_pointer(context, builder, kinds[4], x, at) for x in (high, low)]
        with cgutils.for_range(builder, builder.udiv(width, LONG(64))) as loop:
            by = builder.mul(loop.index, LONG(64))
            here = advance(builder, row, by)
            if ahead := isa.ahead(_AHEAD):
                prefetch(builder, advance(builder, here, ahead), isa.locality)
            codes = load(builder, here, BYTES)
            for cell, x in zip(sums, xs, strict=True):
                y = load(builder, advance(builder, x, by), BYTES)
                builder.store(_emit_byte_dots(builder, isa, load(builder, cell, INTS), codes,
                                              y), cell)
        parts = []
        for cell, total in zip(sums, (high_total, low_total), strict=True):
            s = reduce(builder, load(builder, cell, INTS), builder.add)
            s = builder.sub(s, builder.mul(total, INT(_bias(isa))))
            parts.append(builder.sitofp(s, FLOAT))
        return builder.fadd(builder.fmul(parts[0], ir.Constant(FLOAT, 256.0)), parts[1])
    return types.float32(isa, head, types.int64, types.int64, high, low, types.int64, types.int32,
                         types.int32), generate


def _four_bits(builder: ir.IRBuilder, row: ir.Value, block: ir.Value) -> list[ir.Value]:
    """Unpack a block of 128 columns."""
    raw = load(builder, advance(builder, row, builder.mul(block, LONG(64))), BYTES)
    return [builder.and_(raw, every(BYTES, 15)), builder.lshr(raw, every(BYTES, 4))]


def _six_bits(builder: ir.IRBuilder, row: ir.Value, block: ir.Value) -> list[ir.Value]:
    """Unpack a block of 256 columns."""
    here = advance(builder, row, builder.mul(block, LONG(192)))
    low = [load(builder, advance(builder, here, 64 * k), BYTES) for k in range(2)]
    words = ir.VectorType(SHORT, 32)
    high = builder.bitcast(load(builder, advance(builder, here, 128), BYTES), words)
    out = []
    for k in range(4):  # 16-bit shifts: what crosses a byte is masked away
        amount = every(words, abs(4 - 2 * k))
        top = builder.shl(high, amount) if k < 2 else builder.lshr(high, amount)
        top = builder.and_(builder.bitcast(top, BYTES), every(BYTES, 48))
        nibble = builder.lshr(low[k // 2], every(BYTES, 4)) if k % 2 else (
            builder.and_(low[k // 2], every(BYTES, 15)))
        out.append(builder.or_(nibble, top))
    return out


def _group_rows(bits: int) -> Any:
    def operation(typing, isa, head, scales, rows, width, x, places, factors, totals, abouts):
        def generate(context, builder, signature, args):
            _, head, scales, rows, width, x, places, factors, totals, abouts = args
            isa, kinds = signature.args[0].isa, signature.args
            unpack, columns = (_four_bits, GROUP) if bits == 4 else (_six_bits, 2 * GROUP)
            rows, places, abouts = (
                cgutils.unpack_tuple(builder, v) for v in (rows, places, abouts))
            line = builder.udiv(builder.mul(width, LONG(bits)), LONG(8))
            groups = builder.udiv(width, LONG(GROUP))
            rows = [(data_pointer(context, builder, kinds[1], head, builder.mul(row, line)),
                     data_pointer(context, builder, kinds[2], scales, builder.mul(row, groups)),
                     [accumulator(builder, F32X16) for _ in places]) for row in rows]
            tokens = [(data_pointer(context, builder, kinds[5], x, place),
                       data_pointer(context, builder, kinds[7], factors, about),
                       data_pointer(context, builder, kinds[8], totals, about))
                      for place, about in zip(places, abouts, strict=True)]

            def take(at: ir.Value, row: ir.Value, halves: ir.Value, cells: list[ir.Value],
                     ) -> None:
                """Add what some columns of a row give."""
                if ahead := isa.ahead(_AHEAD):
                    size = WIDE * bits // 8
                    here = advance(builder, row, builder.mul(at, LONG(size)))
                    prefetch_all(builder, advance(builder, here, ahead), size, isa.locality)
                codes = []
                for k in range(WIDE // columns):
                    block = builder.mul(at, LONG(WIDE // columns))
                    codes += unpack(builder, row, builder.add(block, LONG(k)))
                half = load(builder, advance(builder, halves, builder.mul(at, LONG(8))),
                            ir.VectorType(HALF, 4))
                scale = builder.fpext(half, ir.VectorType(FLOAT, 4))
                scale = builder.shuffle_vector(scale, scale, ir.Constant(
                    ir.VectorType(INT, LANES), [lane // 4 for lane in range(LANES)]))
                at_lanes = builder.mul(at, LONG(4 * LANES))
                for cell, (codes_of_x, factors_at, totals_at) in zip(cells, tokens, strict=True):
                    here = advance(builder, codes_of_x, builder.mul(at, LONG(WIDE)))
                    groups = [_group_sums(builder, isa, codes[2 * g:2 * g + 2],
                                          advance(builder, here, GROUP * g)) for g in range(4)]
                    # four lanes for each group from here on
                    value, = merge(builder, merge(builder, groups, LANES), LANES // 2)
                    value = builder.sub(value, load(
                        builder, advance(builder, totals_at, at_lanes), INTS))
                    factor = builder.fmul(scale, load(builder, advance(
                        builder, factors_at, at_lanes), F32X16))
                    builder.store(call(builder, 'llvm.fma.v16f32', F32X16,
                                       builder.sitofp(value, F32X16), factor,
                                       load(builder, cell, F32X16)), cell)

            with cgutils.for_range(builder, builder.udiv(width, LONG(WIDE))) as loop:
                for row in rows:
                    take(loop.index, *row)
            return context.make_tuple(builder, signature.return_type, [
                reduce(builder, load(builder, cell, F32X16), builder.fadd)
                for *_, cells in rows for cell in cells])
        return types.UniTuple(types.float32, len(rows) * len(places))(
            isa, head, scales, rows, types.int64, x, places, factors, totals, abouts), generate
    operation.__doc__ = (f'Return sum(scale * (code - {2 ** (bits - 1)}) * x) of some {bits}-bit '
                         'rows, each with some tokens, as float32.')
    return intrinsic(operation)


def _group_sums(builder: ir.IRBuilder, isa: Isa, codes: list[ir.Value], x: ir.Value) -> ir.Value:
    """Return code * x of 128 columns in 16 int32."""
    total = every(INTS, 0)
    for k, code in enumerate(codes):
        y = load(builder, advance(builder, x, 64 * k), BYTES)
        total = emit_dots(builder, isa, total, [(code, y)])
    return total


_four_bit_rows, _six_bit_rows = _group_rows(4), _group_rows(6)


@intrinsic
def element_bytes(typing, head):
    """Return the bytes of an element: 4 for float32, 1 for quantised rows."""
    def generate(context, builder, signature, args):
        return LONG(signature.args[0].dtype.bitwidth // 8)
    return types.int64(head), generate


@njit(cache=True, nogil=True)
def float_logit(head, start, width, x, at):
    """Return the product of a float32 row and a float32 activation, two chains of 16 lanes."""
    zero = vsplat(np.float32(0))
    a, b = zero, zero
    for j in range(0, width, LANES):
        if j & LANES:
            b = vfma(vload(head, start + j), vload(x, at + j), b)
        else:
            a = vfma(vload(head, start + j), vload(x, at + j), a)
    return vsum(a) + vsum(b)


@njit(cache=True, nogil=True)
def byte_logit(isa, head, scales, token, width, high, low, at, high_total, low_total, step):
    """Return the logit of a token from its int8 row."""
    return _byte_row(isa, head, token * width, width, high, low, at, high_total, low_total) * (
        scales[token] * step)


@njit(cache=True, nogil=True)
def group_logits(isa, bits, head, scales, rows, width, x, places, factors, totals, abouts):
    """
    Return the logits of rows of 4 or 6 bits, each unpacked once for all of some tokens.

    Parameters
    ----------
    isa : Isa
        Instruction set.
    bits : int
        4 or 6.
    head : uint8
        All rows.
    scales : uint16
        Of all groups, the bits of float16.
    rows : tuple of int
        Which rows; they are read in turn.
    width : int
        Columns of a row, a multiple of WIDE.
    x, factors, totals : int8, float32, int32
        What `rows.quantise_groups_row` wrote.
    places, abouts : tuple of int
        Where each token begins in `x`, and in `factors` and `totals`.

    Returns
    -------
    tuple of float32
        For each row, of each token.

    """
    if bits == 4:
        return _four_bit_rows(isa, head, scales, rows, width, x, places, factors, totals, abouts)
    return _six_bit_rows(isa, head, scales, rows, width, x, places, factors, totals, abouts)


def quantise_rows_8bit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [V, D] and float32 scales [V] of float32 [V, D]."""
    scale = np.maximum(np.abs(rows).max(1), 1e-30).astype(np.float32) / np.float32(127)
    return (np.rint(rows / scale[:, None]) + 128).astype(np.uint8), scale


def quantise_groups(rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Quantise float32 [V, D] in groups of 128 columns.

    Parameters
    ----------
    rows : float32 [V, D]
        D a multiple of 512.
    bits : int
        4 or 6.

    Returns
    -------
    tuple
        uint8 [V, D * bits / 8] in the layout of checkpoint_format.md, and float16 scales
        [V, D / 128]. The scale of a group is the best of some below its absmax in the
        sense of least squares.

    """
    groups, most = rows.reshape(len(rows), -1, GROUP), 2 ** (bits - 1)
    # no smaller than float16 can hold
    top = np.maximum(np.abs(groups).max(-1) / np.float32(most - 1), np.float32(2e-7))
    best, chosen = np.full(top.shape, np.inf), top
    for shrink in (1.0, .93, .86, .79, .72) if bits == 4 else (1.0, .96, .92):
        scale = (top * shrink).astype(np.float16).astype(np.float32)
        q = np.clip(np.rint(groups / scale[..., None]), -most, most - 1)
        error = ((q * scale[..., None] - groups) ** 2).sum(-1)
        best, chosen = np.where(error < best, error, best), np.where(error < best, scale, chosen)
    half = chosen.astype(np.float16)
    q = np.clip(np.rint(groups / half.astype(np.float32)[..., None]), -most, most - 1)
    codes = (q + most).astype(np.uint8)
    packed = codes[..., :64] & 15 | (codes[..., 64:] & 15) << 4
    if bits == 6:
        top_bits = (codes >> 4).reshape(len(rows), -1, 4, 64)
        fields = top_bits[:, :, 0] | top_bits[:, :, 1] << 2 | top_bits[:, :, 2] << 4 | (
            top_bits[:, :, 3] << 6)
        packed = np.concatenate([packed.reshape(len(rows), -1, 128), fields], -1)
    return packed.reshape(len(rows), -1), half


def dequantise_groups(row: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return rows of `quantise_groups`, one after the other, as float32 [N * D]."""
    out = np.empty(len(scales) * GROUP, np.float32)
    _dequantise_groups(row, scales.astype(np.float32), out)
    return out


@njit(cache=True, nogil=True)
def _dequantise_groups(row, scales, out):
    half, six = GROUP // 2, row.shape[0] * 2 > out.shape[0]
    for g in range(scales.shape[0]):
        at = g // 2 * 3 * half + g % 2 * half if six else g * half
        above = g // 2 * 3 * half + 2 * half  # of two groups: two bits of each half of one
        for i in range(GROUP):
            low = row[at + i % half]
            code = np.int32(low >> 4 if i >= half else low & 15) - (32 if six else 8)
            if six:
                code += (row[above + i % half] >> np.uint8(g % 2 * 4 + i // half * 2) & 3) << 4
            out[g * GROUP + i] = np.float32(code) * scales[g]
