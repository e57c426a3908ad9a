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
Products of several tokens with '2bit' matrices on Intel's matrix unit.

A tile of weights is 64 columns of 16 rows as they lie, that of activations 16 quads of up to 16
tokens. While columns are unpacked, those two steps before are multiplied, see `ternary_amx`.
"""

from edge_vla.kernels.ternary_amx import close_tiles, configure, emit_tile, LAG, TOKENS
from edge_vla.kernels.ternary_tiles import BLOCK
from edge_vla.kernels.vectors import (
    advance,
    BYTES,
    data_pointer,
    every,
    F32X16,
    FLOAT,
    INT,
    INTS,
    LANES,
    load,
    LONG,
    prefetch,
    splat,
    store,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
import numpy as np

ROWS, COLUMNS = 16, 64  # of a tile of weights
STEPS = BLOCK // COLUMNS  # of a block, each with a slot of its own
SLOT = ROWS * COLUMNS
SUMS, ACTIVATIONS, WEIGHTS = range(2), 2, 3  # tiles; sums are divided, as each waits for its last
_SUMS_AT = STEPS * SLOT  # in scratch
_QUADS_AT = _SUMS_AT + len(SUMS) * ROWS * 64


def scratch_bytes(width: int) -> int:
    """Return the bytes of scratch that a thread needs for rows of `width` activations."""
    return _QUADS_AT + width * TOKENS


@intrinsic
def _open_tiles(typing, tokens):
    """Give this thread tiles for some tokens, at most TOKENS."""
    def generate(context, builder, signature, args):
        wide = builder.mul(args[0], LONG(4))
        several = (LONG(ROWS), wide)  # 16 rows of weights, or quads: as many
        configure(builder, [several] * len(SUMS) + [several, (LONG(ROWS), LONG(COLUMNS))])
        return context.get_dummy_value()
    return types.void(types.int64), generate


@intrinsic
def _multiply(typing, packed, at, blocks, tokens, scratch):
    """
    Write the sums of 16 rows.

    Parameters
    ----------
    typing : object
        Numba's, of no concern to the caller.
    packed : uint8 [N]
        All weights.
    at, blocks : int
        First byte of the first row, and how many blocks a row has.
    tokens : int
        As `_open_tiles` was told.
    scratch : uint8 [scratch_bytes], written
        Unpacked columns, sums of code * x as int32 [2, 16, 16], and the activations, quad by
        quad (int8 [columns / 4, tokens, 4]).

    """
    def generate(context, builder, signature, args):
        packed, at, blocks, tokens, scratch = args
        kind = signature.args
        weights = data_pointer(context, builder, kind[0], packed, at)
        slots = data_pointer(context, builder, kind[4], scratch, LONG(0))
        quads = advance(builder, slots, _QUADS_AT)
        line, wide = builder.mul(blocks, LONG(COLUMNS)), builder.mul(tokens, LONG(4))
        group = builder.mul(line, LONG(ROWS))

        def multiply(block: ir.Value, step: int) -> None:
            number = builder.add(builder.mul(block, LONG(STEPS)), LONG(step))
            here = builder.mul(builder.mul(number, LONG(COLUMNS // 4)), wide)
            emit_tile(builder, 'tileloadd64', ACTIVATIONS, advance(builder, quads, here), wide)
            emit_tile(builder, 'tileloadd64', WEIGHTS, advance(builder, slots, SLOT * step),
                      LONG(COLUMNS))
            emit_tile(builder, 'tdpbusd', SUMS[step % 2], WEIGHTS, ACTIVATIONS)

        for tile in SUMS:
            emit_tile(builder, 'tilezero', tile)
        with cgutils.for_range(builder, blocks) as loop:
            before = builder.sub(loop.index, LONG(1))
            here = advance(builder, weights, builder.mul(loop.index, LONG(COLUMNS)))
            for step in range(STEPS):
                for row in range(ROWS):
                    address = advance(builder, here, builder.mul(line, LONG(row)))
                    if row % STEPS == step:
                        prefetch(builder, advance(builder, address, group))
                    codes = builder.bitcast(load(builder, address, BYTES), INTS)
                    if step:
                        codes = builder.lshr(codes, every(INTS, 2 * step))
                    codes = builder.and_(builder.bitcast(codes, BYTES), every(BYTES, 3))
                    store(builder, codes, advance(builder, slots, SLOT * step + COLUMNS * row))
                if step >= LAG:
                    multiply(loop.index, step - LAG)
                else:
                    with builder.if_then(builder.icmp_signed('>=', before, LONG(0))):
                        multiply(before, STEPS + step - LAG)
        for step in range(STEPS - LAG, STEPS):
            multiply(builder.sub(blocks, LONG(1)), step)
        for tile in SUMS:
            emit_tile(builder, 'tilestored64', tile,
                      advance(builder, slots, _SUMS_AT + tile * ROWS * 64), LONG(64))
        return context.get_dummy_value()
    n = types.int64
    return types.void(packed, n, n, n, scratch), generate


def _transposed(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Return the columns of 16 vectors of 16."""
    rows = list(rows)
    for bit in (1, 2, 4, 8):
        for i in range(LANES):
            if not i & bit:
                a, b = rows[i], rows[i + bit]
                low = [k if not k & bit else LANES + k - bit for k in range(LANES)]
                high = [k + bit if not k & bit else LANES + k for k in range(LANES)]
                rows[i] = builder.shuffle_vector(a, b, ir.Constant(INTS, low))
                rows[i + bit] = builder.shuffle_vector(a, b, ir.Constant(INTS, high))
    return rows


@intrinsic
def _settle(typing, scratch, tokens, totals, scales, weight_scale, out, start, stride):
    """Write the products of 16 rows whose sums are in `scratch`."""
    def generate(context, builder, signature, args):
        scratch, tokens, totals, scales, weight_scale, out, start, stride = args
        kind = signature.args
        sums = data_pointer(context, builder, kind[0], scratch, LONG(_SUMS_AT))
        rows = [builder.add(*(load(builder, advance(builder, sums, (tile * ROWS + row) * 64), INTS)
                              for tile in SUMS)) for row in range(ROWS)]
        for t, value in enumerate(_transposed(builder, rows)):
            with builder.if_then(builder.icmp_signed('<', LONG(t), tokens)):
                total, scale = (load(builder, data_pointer(context, builder, k, a, LONG(t)), what)
                                for k, a, what in ((kind[2], totals, INT),
                                                   (kind[3], scales, FLOAT)))
                value = builder.sub(value, splat(builder, total))
                if kind[5].dtype == types.float32:
                    factor = splat(builder, builder.fdiv(weight_scale, scale))
                    value = builder.fmul(builder.sitofp(value, F32X16), factor)
                place = builder.add(start, builder.mul(stride, LONG(t)))
                store(builder, value, data_pointer(context, builder, kind[5], out, place))
        return context.get_dummy_value()
    n = types.int64
    return types.void(scratch, n, totals, scales, types.float32, out, n, n), generate


@njit(cache=True, nogil=True)
def multiply_rows(packed, base, blocks, units, first, last, x, width, totals, scales,
                  weight_scale, tokens, out, stride, scratch):
    """
    Compute groups `first` to `last` of 16 rows for all tokens, TOKENS at once.

    Parameters
    ----------
    packed, base, blocks, units, x, width, totals, scales, weight_scale, tokens, out, stride
        As in `ternary.product`; at least 16 units.
    first, last : int
        Which groups; the last one of a matrix may share rows with the one before.
    scratch : uint8 [scratch_bytes]
        Of this thread.

    """
    for a in range(0, tokens, TOKENS):
        n = min(TOKENS, tokens - a)
        quads = scratch[_QUADS_AT:_QUADS_AT + blocks * BLOCK * n].view(np.uint32)
        for t in range(n):
            at = (a + t) * width
            source = x[at:at + blocks * BLOCK].view(np.uint32)
            for k in range(source.shape[0]):
                quads[k * n + t] = source[k]
        _open_tiles(n)
        for m in range(first, last):
            row = min(m * ROWS, units - ROWS)
            _multiply(packed, base + row * blocks * COLUMNS, blocks, n, scratch)
            _settle(scratch, n, totals[a:], scales[a:], weight_scale, out, a * stride + row,
                    stride)
        close_tiles()
