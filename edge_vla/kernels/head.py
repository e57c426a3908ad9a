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

Three kinds of rows: float32; int8 with one scale a row; 4 bits with a float16 scale for each 128
columns. Quantised rows are kept unsigned (+128, +8). Their activations have 16 bits as two bytes
(`rows.quantise_row_16bit`), because reading the rows is what takes the time.
"""

from edge_vla.kernels.isa import Isa
from edge_vla.kernels.ternary_tiles import emit_dots
from edge_vla.kernels.vectors import (
    advance,
    call,
    data_pointer,
    F32X16,
    FLOAT,
    HALF,
    I8X64,
    I32X16,
    INT16,
    INT32,
    INT64,
    LANES,
    lanes,
    load,
    prefetch,
    reduce,
    splat,
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

GROUP = 128  # columns that share a scale in a 4-bit row
_AHEAD = 2048


def _emit_byte_dots(builder: ir.IRBuilder, isa: Isa, total: ir.Value, codes: ir.Value,
                    x: ir.Value) -> ir.Value:
    """Add (code - 128) * x to 16 int32, or code * x where `_bias` says so."""
    if isa.name == 'neon':
        signed = builder.xor(codes, ir.Constant(I8X64, [128] * 64))
        return emit_dots(builder, isa, total, [(signed, x)])
    if isa.name != 'avx2':
        return emit_dots(builder, isa, total, [(codes, x)])
    v16, v8 = ir.VectorType(INT16, 16), ir.VectorType(INT32, 8)
    halves = []
    for part in range(2):  # bytes up to 255 overflow pmaddubsw, so go by 16 bits
        sums = lanes(builder, total, 8 * part, 8)
        for k in range(2):
            c = builder.zext(lanes(builder, codes, 32 * part + 16 * k, 16), v16)
            y = builder.sext(lanes(builder, x, 32 * part + 16 * k, 16), v16)
            sums = builder.add(sums, call(builder, 'llvm.x86.avx2.pmadd.wd', v8, c, y))
        halves.append(sums)
    return builder.shuffle_vector(*halves, ir.Constant(I32X16, list(range(16))))


def _bias(isa: Isa) -> int:
    return 0 if isa.name == 'neon' else 128


def _cell(builder: ir.IRBuilder, kind: ir.Type) -> ir.Value:
    zero = ir.Constant(kind, [0 if kind is I32X16 else 0.0] * LANES)
    cell = cgutils.alloca_once(builder, kind)
    builder.store(zero, cell)
    return cell


@intrinsic
def _byte_row(typing, isa, head, start, width, high, low, at, high_total, low_total):
    """Return sum((code - 128) * (256 high + low)) of a row as float32."""
    def generate(context, builder, signature, args):
        _, head, start, width, high, low, at, high_total, low_total = args
        isa, kinds = signature.args[0].isa, signature.args
        sums = [_cell(builder, I32X16) for _ in range(2)]
        row = data_pointer(context, builder, kinds[1], head, start)
        xs = [data_pointer(context, builder, kinds[4], x, at) for x in (high, low)]
        with cgutils.for_range(builder, builder.udiv(width, INT64(64))) as loop:
            by = builder.mul(loop.index, INT64(64))
            here = advance(builder, row, by)
            if isa.prefetch:
                prefetch(builder, advance(builder, here, _AHEAD))
            codes = load(builder, here, I8X64)
            for cell, x in zip(sums, xs, strict=True):
                y = load(builder, advance(builder, x, by), I8X64)
                builder.store(_emit_byte_dots(builder, isa, load(builder, cell, I32X16), codes,
                                              y), cell)
        parts = []
        for cell, total in zip(sums, (high_total, low_total), strict=True):
            s = reduce(builder, load(builder, cell, I32X16), builder.add)
            s = builder.sub(s, builder.mul(total, INT32(_bias(isa))))
            parts.append(builder.sitofp(s, FLOAT))
        return builder.fadd(builder.fmul(parts[0], ir.Constant(FLOAT, 256.0)), parts[1])
    return types.float32(isa, head, types.int64, types.int64, high, low, types.int64, types.int32,
                         types.int32), generate


@intrinsic
def _nibble_row(typing, isa, head, start, scales, first, width, high, low, at, totals):
    """Return sum(scale * (code - 8) * (256 high + low)) of a 4-bit row as float32."""
    def generate(context, builder, signature, args):
        _, head, start, scales, first, width, high, low, at, totals = args
        isa, kinds = signature.args[0].isa, signature.args
        total = _cell(builder, F32X16)
        row = data_pointer(context, builder, kinds[1], head, start)
        xs = [data_pointer(context, builder, kinds[6], x, at) for x in (high, low)]
        offset = builder.udiv(at, INT64(GROUP))
        with cgutils.for_range(builder, builder.udiv(width, INT64(GROUP))) as loop:
            here = advance(builder, row, builder.mul(loop.index, INT64(64)))
            if isa.prefetch:
                prefetch(builder, advance(builder, here, _AHEAD))
            raw = load(builder, here, I8X64)
            codes = (builder.and_(raw, ir.Constant(I8X64, [15] * 64)),
                     builder.lshr(raw, ir.Constant(I8X64, [4] * 64)))
            sums = []
            for x in xs:
                s = ir.Constant(I32X16, [0] * LANES)
                for k, code in enumerate(codes):
                    y = load(builder, advance(builder, advance(
                        builder, x, builder.mul(loop.index, INT64(GROUP))), 64 * k), I8X64)
                    s = emit_dots(builder, isa, s, [(code, y)])
                sums.append(s)
            # the 16 lanes share the correction; 8 / 16 of the group's total is a whole multiple
            mine = load(builder, data_pointer(context, builder, kinds[9], totals,
                                              builder.add(offset, loop.index)), INT32)
            whole = builder.add(builder.shl(sums[0], ir.Constant(I32X16, [8] * LANES)), sums[1])
            value = builder.sitofp(builder.sub(builder.shl(
                whole, ir.Constant(I32X16, [1] * LANES)), splat(builder, mine)), F32X16)
            half = load(builder, data_pointer(context, builder, kinds[3], scales,
                                              builder.add(first, loop.index)), HALF)
            scale = builder.fmul(builder.fpext(half, FLOAT), ir.Constant(FLOAT, 0.5))
            builder.store(call(builder, 'llvm.fma.v16f32', F32X16, value, splat(builder, scale),
                               load(builder, total, F32X16)), total)
        return reduce(builder, load(builder, total, F32X16), builder.fadd)
    return types.float32(isa, head, types.int64, scales, types.int64, types.int64, high, low,
                         types.int64, totals), generate


@intrinsic
def element_bytes(typing, head):
    """Return the bytes of an element: 4 for float32, 1 for quantised rows."""
    def generate(context, builder, signature, args):
        return INT64(signature.args[0].dtype.bitwidth // 8)
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
def nibble_logit(isa, head, scales, token, width, high, low, at, totals, step):
    """Return the logit of a token from its 4-bit row."""
    return _nibble_row(isa, head, token * (width // 2), scales, token * (width // GROUP), width,
                       high, low, at, totals) * step


def quantise_rows_8bit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [V, D] and float32 scales [V] of float32 [V, D]."""
    scale = np.maximum(np.abs(rows).max(1), 1e-30).astype(np.float32) / np.float32(127)
    return (np.rint(rows / scale[:, None]) + 128).astype(np.uint8), scale


def quantise_rows_4bit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return uint8 [V, D / 2] and float16 scales [V, D / 128] (as uint16) of float32 [V, D].

    In a group of 128 columns byte i holds column i in its low and 64 + i in its high nibble. The
    scale of a group is the best of some below its absmax in the sense of least squares.
    """
    groups = rows.reshape(len(rows), -1, GROUP)
    top = np.maximum(np.abs(groups).max(-1), 1e-6)
    best, chosen = np.full(top.shape, np.inf), top / 7
    for shrink in (1.0, 0.93, 0.86, 0.79, 0.72):
        scale = (top / 7 * shrink).astype(np.float16).astype(np.float32)
        q = np.clip(np.rint(groups / scale[..., None]), -8, 7)
        error = ((q * scale[..., None] - groups) ** 2).sum(-1)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, scale, chosen)
    half = chosen.astype(np.float16)
    codes = np.clip(np.rint(groups / half.astype(np.float32)[..., None]), -8, 7) + 8
    codes = codes.astype(np.uint8)
    packed = codes[..., :64] | codes[..., 64:] << 4
    return packed.reshape(len(rows), -1), half.view(np.uint16)
