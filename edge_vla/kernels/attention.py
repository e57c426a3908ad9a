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
Causal grouped-query attention over a cache of float32, float16 (as uint16) or int8.

Layout of one key-value head: keys [P / 16, H, 16], so that 16 positions are scored at once; values
[H / 16, P, 16], so that 16 features are mixed at once. H is padded to a multiple of 16. Each key
and value of a token has a scale, 1 unless the cache is int8.
"""

from edge_vla.kernels.isa import available, features
from edge_vla.kernels.vectors import (
    accumulator,
    advance,
    BYTE,
    CACHE_LINE,
    call,
    data_pointer,
    F32X16,
    fetch,
    FLOAT,
    HALF,
    LANES,
    load,
    LONG,
    prefetch,
    splat,
    store,
    to_floats,
    vabs,
    vadd,
    vdiv,
    vexp,
    vkeep,
    vload,
    vmax,
    vmul,
    vsplat,
    vstore,
    vsum,
    vtop,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
import numpy as np

SOON = 128  # positions that are asked for at once, then so many ahead
PAIRS = 'avx512f' in features()  # whether eight sums of 16 floats fit into the registers
RUN = available()[0].reading == 'run'  # whether what comes later is asked for


@intrinsic
def _put(typing, array, index, value):
    """Store a float32, rounded to what the cache holds."""
    def generate(context, builder, signature, args):
        value, dtype = args[2], signature.args[0].dtype
        if dtype == types.uint16:
            value = builder.fptrunc(value, HALF)
        elif dtype == types.int8:
            value = builder.fptosi(call(builder, 'llvm.rint.f32', FLOAT, value), BYTE)
        store(builder, value, data_pointer(context, builder, signature.args[0], args[0], args[1]))
        return context.get_dummy_value()
    return types.void(array, types.intp, types.float32), generate


@intrinsic
def _levels(typing, array):
    """Return the largest code of a cache, 0 when it holds floats."""
    def generate(context, builder, signature, args):
        return ir.Constant(FLOAT, 127.0 if signature.args[0].dtype == types.int8 else 0.0)
    return types.float32(array), generate


@intrinsic
def _weigh(typing, vectors, starts, count, ahead, weights, offsets, out, places):
    """
    Write weighted sums of `count` vectors of 16, from some places, for some rows of weights.

    With keys as vectors and a query as weights: 16 scores. With values and scores: 16 features.
    A sum waits for itself, so there should be as many as the registers hold; each adds what it
    would add alone. `ahead` says of how many of the vectors, the first ones, what lies how many
    elements behind is asked for, where that helps.
    """
    def generate(context, builder, signature, args):
        vectors, starts, count, ahead, weights, offsets, out, places = args
        kinds = signature.args
        starts, offsets, (asking, later) = (
            cgutils.unpack_tuple(builder, t) for t in (starts, offsets, ahead))
        sums = [[accumulator(builder, F32X16) for _ in offsets] for _ in starts]
        size = kinds[0].dtype.bitwidth // 8
        later = builder.mul(later, LONG(size))
        together = max(1, CACHE_LINE // (LANES * size))  # of a cache line

        def add(index: ir.Value, ask: bool) -> None:
            at = builder.mul(index, LONG(LANES))
            here = [data_pointer(context, builder, kinds[0], vectors, builder.add(start, at))
                    for start in starts]
            for pointer in here if ask else ():
                prefetch(builder, advance(builder, pointer, later))
            read = [to_floats(builder, pointer, kinds[0].dtype) for pointer in here]
            for row, offset in enumerate(offsets):
                w = splat(builder, load(builder, data_pointer(
                    context, builder, kinds[4], weights, builder.add(offset, index)), FLOAT))
                for cells, vector in zip(sums, read, strict=True):
                    builder.store(call(builder, 'llvm.fma.v16f32', F32X16, vector, w,
                                       load(builder, cells[row], F32X16)), cells[row])

        lines = builder.udiv(asking, LONG(together)) if RUN else LONG(0)
        asked = builder.mul(lines, LONG(together))
        with cgutils.for_range(builder, lines) as loop:
            for k in range(together):
                add(builder.add(builder.mul(loop.index, LONG(together)), LONG(k)), not k)
        with cgutils.for_range(builder, builder.sub(count, asked)) as loop:
            add(builder.add(asked, loop.index), False)
        cells = [cell for of_start in sums for cell in of_start]
        for cell, place in zip(cells, cgutils.unpack_tuple(builder, places), strict=True):
            store(builder, load(builder, cell, F32X16),
                  data_pointer(context, builder, kinds[6], out, place))
        return context.get_dummy_value()
    return types.void(vectors, starts, types.int64, ahead, weights, offsets, out,
                      places), generate


@njit(cache=True, nogil=True)
def _weigh_blocks(vectors, start, step, blocks, count, until, ahead, weights, offsets, out,
                  places):
    """Do as `_weigh` for some blocks, `step` apart; only those before `until` look ahead."""
    a, b, c, d = places
    block = 0
    while PAIRS and block + 1 < blocks:
        _weigh(vectors, (start, start + step), count, ahead if block < until else (0, 0), weights,
               offsets, out, (a, b, c, d, a + LANES, b + LANES, c + LANES, d + LANES))
        start += 2 * step
        a, b, c, d = a + 2 * LANES, b + 2 * LANES, c + 2 * LANES, d + 2 * LANES
        block += 2
    while block < blocks:
        _weigh(vectors, (start,), count, ahead if block < until else (0, 0), weights, offsets, out,
               (a, b, c, d))
        start += step
        a, b, c, d = a + LANES, b + LANES, c + LANES, d + LANES
        block += 1


@njit(cache=True, nogil=True)
def write_token(keys, values, key_scales, value_scales, head, capacity, position, size,
                key, value):
    """
    Put the key and value of one head of one token into the cache.

    Parameters
    ----------
    keys, values : float32, uint16 or int8, written
        The cache.
    key_scales, value_scales : float32 [heads * capacity], written
        The scale of each.
    head : int
        Which head of the whole cache (layer * heads + head).
    capacity : int
        Positions of the cache, a multiple of 16.
    position : int
        Of the token.
    size : int
        Padded size of a head.
    key, value : float32 [size], changed
        What to store; zero in the padding.

    """
    k_scale, v_scale = np.float32(1), np.float32(1)
    levels = _levels(keys)
    if levels > 0:
        k_top, v_top = vsplat(np.float32(1e-30)), vsplat(np.float32(1e-30))
        for i in range(0, size, LANES):
            k_top = vmax(vabs(vload(key, i)), k_top)
            v_top = vmax(vabs(vload(value, i)), v_top)
        k_scale, v_scale = vtop(k_top) / levels, vtop(v_top) / levels
        k, v = vsplat(k_scale), vsplat(v_scale)
        for i in range(0, size, LANES):
            vstore(key, i, vdiv(vload(key, i), k))
            vstore(value, i, vdiv(vload(value, i), v))
    key_scales[head * capacity + position] = k_scale
    value_scales[head * capacity + position] = v_scale
    base = head * capacity * size
    # unsigned: indices that cannot be negative are three times as fast
    at = np.uint64(base + (position // LANES) * LANES * size + position % LANES)
    to = np.uint64(base + position * LANES)
    for block in range(0, size, LANES):
        for i in range(np.uint64(block), np.uint64(block + LANES)):
            _put(keys, at + i * np.uint64(LANES), key[i])
            _put(values, to + (i - np.uint64(block)), value[i])
        to += np.uint64(capacity * LANES)


@njit(cache=True, nogil=True)
def bring(keys, values, head, capacity, length, size):
    """
    Ask for the first keys and values of a head.

    Since they were last used all weights were read, so nothing of them is near. Memory sees by
    itself that the rest is wanted, or `attend` asks for it.

    Parameters
    ----------
    keys, values, head, capacity, size
        As in `write_token`.
    length : int
        Positions that will be seen.

    """
    blocks = (min(length, SOON) + LANES - 1) // LANES
    base = head * capacity * size
    fetch(keys, base, blocks * LANES * size)
    for block in range(0, size, LANES):
        fetch(values, base + block * capacity, blocks * LANES * LANES)


@njit(cache=True, nogil=True)
def attend(keys, values, key_scales, value_scales, head, capacity, length, size, norm,
           queries, offsets, scores, places, out, bias):
    """
    Mix the first `length` values of a head for some queries that share it.

    Parameters
    ----------
    keys, values, key_scales, value_scales, head, capacity, size
        As in `write_token`.
    length : int
        Positions that the queries see.
    norm : float
        1 / sqrt(head size).
    queries : float32
        Rotated queries.
    offsets : tuple of int
        Where each query starts, and where its result goes in `out`.
    scores : float32
        Scratch.
    places : tuple of int
        Where each query's `capacity` scores are.
    out : float32, written
        The mixed values.
    bias : float32 [>= length, rounded up to 16] or [0]
        What is added to the logits of each key (proportional attention: the logarithm of how
        many tokens it stands for); empty for nothing.

    """
    base = head * capacity * size
    later = max(0, length - SOON)  # the first ones were asked for
    _weigh_blocks(keys, base, LANES * size, (length + LANES - 1) // LANES, size, later // LANES,
                  (size, SOON * size), queries, offsets, scores, places)
    for k in range(len(places)):
        place = places[k]
        low = np.float32(-np.inf)
        top = vsplat(low)
        n = vsplat(np.float32(norm))
        for block in range(0, length, LANES):
            s = vmul(vmul(vload(scores, place + block), n),
                     vload(key_scales, head * capacity + block))
            if bias.shape[0]:
                s = vadd(s, vload(bias, block))
            s = vkeep(s, length - block, low)
            vstore(scores, place + block, s)
            top = vmax(s, top)
        highest = vsplat(-vtop(top))
        total = vsplat(np.float32(0))
        for block in range(0, length, LANES):
            e = vexp(vadd(vload(scores, place + block), highest))
            total = vadd(total, e)
            vstore(scores, place + block,
                   vmul(e, vload(value_scales, head * capacity + block)))
        share = vsplat(np.float32(1) / vsum(total))
        for block in range(0, length, LANES):
            vstore(scores, place + block, vmul(vload(scores, place + block), share))
    _weigh_blocks(values, base, LANES * capacity, size // LANES, length, size // LANES,
                  (later, SOON * LANES), scores, places, out, offsets)
