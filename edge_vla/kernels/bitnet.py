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
All layers of a BitNet decoder and its head in one jitted call, for one or many tokens.

Layer (transformers' ``modeling_bitnet``): h += o(subnorm(attention(norm(h)))),
h += down(subnorm(relu(gate(norm(h)))^2 * up(norm(h)))). Each step of it is a phase whose pieces
the threads of a team share; no result depends on who did which piece.
"""

from typing import NamedTuple

from edge_vla.kernels import team
from edge_vla.kernels.attention import attend, write_token
from edge_vla.kernels.head import byte_logit, element_bytes, float_logit, GROUP, group_logit
from edge_vla.kernels.rows import (
    add_row,
    gate_row,
    norm_row,
    quantise_groups_row,
    quantise_row,
    quantise_row_16bit,
    rope_row,
)
from edge_vla.kernels.ternary import items, product
from numba import njit
import numpy as np

QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN = range(7)  # columns of Weights.bases
PHASES = 10  # of a layer


class Shape(NamedTuple):
    """Sizes; the names ending in _p are padded to whole vectors."""

    layers: int
    hidden: int
    hidden_p: int
    ffn: int
    ffn_p: int
    heads: int
    kv_heads: int
    size: int  # of a head
    size_p: int
    vocabulary: int
    eps: float
    norm: float  # 1 / sqrt(size)
    capacity: int  # positions of the cache
    stride: int  # from token to token in Work.a, .b
    value_at: int  # in Work.b
    code_stride: int  # ... in Work.codes
    head_width: int  # columns of a row of the head
    about: int  # from token to token in Work.steps, .sums


class Weights(NamedTuple):
    """Everything that is learned, but for the embedding."""

    packed: np.ndarray  # uint8: all ternary matrices
    bases: np.ndarray  # int64 [L, 7]: where each begins
    units: np.ndarray  # int64 [7]
    blocks: np.ndarray  # int64 [7]
    scales: np.ndarray  # float32 [L, 7]
    input_norm: np.ndarray  # float32 [L, hidden_p]
    attention_norm: np.ndarray  # float32 [L, hidden_p]
    post_norm: np.ndarray  # float32 [L, hidden_p]
    ffn_norm: np.ndarray  # float32 [L, ffn_p]
    final_norm: np.ndarray  # float32 [hidden_p]
    head: np.ndarray  # float32 or uint8, flat
    head_scales: np.ndarray  # float32 [V], or float16 as uint16, flat
    cos: np.ndarray  # float32 [P, size / 2]
    sin: np.ndarray


class Cache(NamedTuple):
    """Keys and values, flat; see `attention`."""

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray


class Work(NamedTuple):
    """Scratch for up to T tokens and N threads."""

    h: np.ndarray  # float32 [T, hidden_p]: the residual stream
    x: np.ndarray  # float32 [T, hidden_p]
    a: np.ndarray  # float32 [T * stride]: query, output, gate, down
    b: np.ndarray  # float32 [T * stride]: key and (from value_at) value, up
    queries: np.ndarray  # float32 [T * heads * size_p]: rotated
    pair: np.ndarray  # float32 [N, 2, kv_heads * size_p]: a key and a value
    codes: np.ndarray  # int8 [T * code_stride]
    scales: np.ndarray  # float32 [T]
    totals: np.ndarray  # int32 [T]
    scores: np.ndarray  # float32 [N, 4 * capacity]
    mixed: np.ndarray  # float32 [N, 4 * size_p]
    unpacked: np.ndarray  # uint8 [N, rows]
    high: np.ndarray  # int8 [T * head_width]: activations for the head
    low: np.ndarray  # int8 [T * head_width]: ... their lower bytes
    steps: np.ndarray  # float32 [T * about]: what a step of them is
    sums: np.ndarray  # int32 [T * about]: their sums
    logits: np.ndarray  # float32 [T * vocabulary]
    sync: np.ndarray  # int64


@njit(cache=True, nogil=True)
def _share(count, threads, piece):
    """
    Return the range of `count` items that a piece is.

    Three quarters go out in one long run a thread, the rest in four short ones each, so that
    whoever is early does more.
    """
    if threads == 1:
        return 0, count
    long = count * 3 // (4 * threads)
    if piece < threads:
        return piece * long, (piece + 1) * long
    rest, k, n = count - threads * long, piece - threads, 4 * threads
    return threads * long + rest * k // n, threads * long + rest * (k + 1) // n


@njit(cache=True, nogil=True)
def _pieces(threads):
    return 1 if threads == 1 else 5 * threads


@njit(cache=True, nogil=True)
def _product(out, s, t, size, width):
    """Return a token's row of a product, its padding zeroed: a last unit has rows of none."""
    row = out[t * s.stride:(t + 1) * s.stride]
    for j in range(size, width):
        row[j] = np.float32(0)
    return row


@njit(cache=True, nogil=True)
def _add_product(s, work, t):
    """Add what the last product gave to the residual stream."""
    add_row(work.h[t], _product(work.a, s, t, s.hidden, s.hidden_p), s.hidden_p)


@njit(cache=True, nogil=True)
def _prepare(s, w, work, layer, phase, t):
    """Add what the last product gave, norm, quantise: what a token needs before a product."""
    x, width = work.x[t], s.hidden_p
    if phase == 0:  # before query, key, value
        if layer > 0:
            _add_product(s, work, t)
        norm_row(work.h[t], w.input_norm[layer], s.hidden, s.eps, x)
    elif phase == 4:  # before output
        norm_row(x, w.attention_norm[layer], s.hidden, s.eps, x)
    elif phase == 6:  # before gate, up
        _add_product(s, work, t)
        norm_row(work.h[t], w.post_norm[layer], s.hidden, s.eps, x)
    else:  # before down
        x, width = _product(work.a, s, t, s.ffn, s.ffn_p), s.ffn_p
        gate_row(x, work.b[t * s.stride:(t + 1) * s.stride], s.ffn_p)
        norm_row(x, w.ffn_norm[layer], s.ffn, s.eps, x)
    scale, total = quantise_row(x, width, work.codes[t * s.code_stride:(t + 1) * s.code_stride])
    for j in range(width, s.code_stride):  # a wider row was here before
        work.codes[t * s.code_stride + j] = 0
    work.scales[t], work.totals[t] = scale, total


@njit(cache=True, nogil=True)
def _remember(s, w, cache, work, layer, position, t, me):
    """Rotate a token's query and key, and put key and value into the cache."""
    at = t * s.stride
    cos, sin = w.cos[position], w.sin[position]
    q = t * s.heads * s.size_p
    rope_row(work.a[at:at + s.stride], s.heads, cos, sin, work.queries[q:], s.size_p)
    key, value = work.pair[me, 0], work.pair[me, 1]
    rope_row(work.b[at:at + s.stride], s.kv_heads, cos, sin, key, s.size_p)
    for h in range(s.kv_heads):
        for i in range(s.size):
            value[h * s.size_p + i] = work.b[at + s.value_at + h * s.size + i]
        write_token(cache.keys, cache.values, cache.key_scales, cache.value_scales,
                    layer * s.kv_heads + h, s.capacity, position, s.size_p,
                    key[h * s.size_p:(h + 1) * s.size_p], value[h * s.size_p:(h + 1) * s.size_p])


@njit(cache=True, nogil=True)
def _attend(s, cache, work, layer, position, t, kv, me):
    """Attend with all queries of a token that share a key-value head, four at once."""
    group = s.heads // s.kv_heads
    n, p = s.capacity, s.size_p
    for g in range(0, group, 4):
        first = kv * group + g
        count = min(4, group - g)
        for k in range(4):  # fewer than four: the last is done again
            q = (t * s.heads + first + min(k, count - 1)) * p
            for i in range(p):
                work.mixed[me, k * p + i] = work.queries[q + i]
        attend(cache.keys, cache.values, cache.key_scales, cache.value_scales,
               layer * s.kv_heads + kv, n, position + 1, p, s.norm, work.mixed[me],
               (0, p, 2 * p, 3 * p), work.scores[me], (0, n, 2 * n, 3 * n), work.mixed[me])
        for k in range(count):
            for i in range(s.size):
                work.x[t, (first + k) * s.size + i] = work.mixed[me, k * p + i]


@njit(cache=True, nogil=True)
def _piece(isa, s, w, cache, work, layer, phase, piece, position, tokens, threads, me):
    """Do one piece of a phase of a layer."""
    if phase % 2 and phase != 3:  # matrices one after the other, each to a place of its own
        each = _pieces(threads)
        which = QUERY if phase == 1 else (OUTPUT if phase == 5 else (GATE if phase == 7 else DOWN))
        which += piece // each
        out = work.a
        if which == KEY or which == UP:
            out = work.b
        elif which == VALUE:
            out = work.b[s.value_at:]
        units = w.units[which]
        first, last = _share(items(isa, units, tokens), threads, piece % each)
        product(isa, w.packed, w.bases[layer, which], w.blocks[which], units, first, last,
                work.codes, s.code_stride, work.totals, work.scales, w.scales[layer, which],
                tokens, out, s.stride, work.unpacked[me])
    elif phase == 2:
        _remember(s, w, cache, work, layer, position + piece, piece, me)
    elif phase == 3:
        t = piece // s.kv_heads
        _attend(s, cache, work, layer, position + t, t, piece % s.kv_heads, me)
    else:
        _prepare(s, w, work, layer, phase, piece)


@njit(cache=True, nogil=True)
def _count(s, phase, tokens, threads):
    """Return how many pieces a phase of a layer has."""
    if phase == 1:
        return 3 * _pieces(threads)
    if phase == 7:
        return 2 * _pieces(threads)
    if phase == 5 or phase == 9:
        return _pieces(threads)
    return tokens * s.kv_heads if phase == 3 else tokens


@njit(cache=True, nogil=True)
def _prepare_head(s, w, work, t):
    _add_product(s, work, t)
    norm_row(work.h[t], w.final_norm, s.hidden, s.eps, work.x[t])
    if element_bytes(w.head) == 4:
        return
    n, about = s.head_width, t * s.about
    high, low = work.high[t * n:(t + 1) * n], work.low[t * n:(t + 1) * n]
    if element_bytes(w.head_scales) == 4:
        step, high_total, low_total = quantise_row_16bit(work.x[t], s.hidden, high, low)
        work.steps[about] = step
        work.sums[about], work.sums[about + 1] = high_total, low_total
    else:
        quantise_groups_row(work.x[t], s.hidden, GROUP, 1 << (_bits(s, w) - 1), high,
                            work.steps[about:], work.sums[about:])


@njit(cache=True, nogil=True)
def _bits(s, w):
    """Return the bits of a quantised column of the head."""
    return w.head.shape[0] // s.vocabulary * 8 // s.head_width


@njit(cache=True, nogil=True)
def _head_piece(isa, s, w, work, subset, count, first_token, tokens, piece, threads):
    first, last = _share(count, threads, piece)
    n = s.head_width
    for k in range(first, last):
        row = subset[k] if subset.shape[0] else k
        for t in range(first_token, tokens):
            if element_bytes(w.head) == 4:
                v = float_logit(w.head, row * n, n, work.x[t], 0)
            elif element_bytes(w.head_scales) == 4:
                v = byte_logit(isa, w.head, w.head_scales, row, n, work.high, work.low, t * n,
                               work.sums[t * s.about], work.sums[t * s.about + 1],
                               work.steps[t * s.about])
            else:
                v = group_logit(isa, _bits(s, w), w.head, w.head_scales, row, n, work.high, t * n,
                                work.steps, work.sums, t * s.about)
            work.logits[(t - first_token) * count + k] = v


@njit(cache=True, nogil=True)
def run(isa, s, w, cache, work, position, tokens, first_logit, subset, call, threads, me):
    """
    Take `tokens` embedded tokens in ``work.h`` through all layers, as one thread of a team.

    Parameters
    ----------
    isa : Isa
        Instruction set.
    s : Shape
        Sizes.
    w : Weights
        The model.
    cache : Cache
        Written at `position` and after.
    work : Work
        ``h`` is read; ``logits`` is written, [tokens - first_logit, count].
    position : int
        Of the first token.
    tokens : int
        How many.
    first_logit : int
        The first token whose logits are wanted; `tokens` for none.
    subset : int64 [count]
        The tokens of the vocabulary that are wanted; empty for all.
    call : int
        Number of this call; see `team.begin`.
    threads, me : int
        How many threads there are, and which one this is.

    """
    number = 0
    for layer in range(s.layers):
        for phase in range(PHASES):
            count = _count(s, phase, tokens, threads)
            piece = team.take(work.sync, number, call, count)
            while piece >= 0:
                _piece(isa, s, w, cache, work, layer, phase, piece, position, tokens, threads, me)
                team.done(work.sync, number)
                piece = team.take(work.sync, number, call, count)
            if not team.wait(work.sync, number, call, count):
                return
            number += 1
    if first_logit >= tokens:
        return
    rows = subset.shape[0] if subset.shape[0] else s.vocabulary
    for phase in range(2):
        count = tokens - first_logit if phase == 0 else _pieces(threads)
        piece = team.take(work.sync, number, call, count)
        while piece >= 0:
            if phase == 0:
                _prepare_head(s, w, work, first_logit + piece)
            else:
                _head_piece(isa, s, w, work, subset, rows, first_logit, tokens, piece, threads)
            team.done(work.sync, number)
            piece = team.take(work.sync, number, call, count)
        if not team.wait(work.sync, number, call, count):
            return
        number += 1
