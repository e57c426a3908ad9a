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
All layers of an LFM2 decoder and its head in one jitted call, for one or many tokens.

Layer (transformers' ``modeling_lfm2``): h += operator(norm(h)), h += w2(silu(w1(norm(h))) *
w3(norm(h))). The operator is attention, or a gated short convolution over time: [B, C, x] =
in(norm(h)), y = B * x, out(C * convolution(y)). As in `bitnet`, each step is a phase whose pieces
the threads of a team share.
"""

from typing import NamedTuple

from edge_vla.kernels import team
from edge_vla.kernels.block_layout import BLOCK, WIDEST
from edge_vla.kernels.blocks import block_items, block_product, float_product
from edge_vla.kernels.compiling import inlined
from edge_vla.kernels.head import element_bytes
from edge_vla.kernels.head_phases import Probe, run_head, Sketch
from edge_vla.kernels.lending import borrow, replace
from edge_vla.kernels.phases import (
    add_product,
    attend_token,
    bring_head,
    pieces,
    remember_head,
    share,
)
from edge_vla.kernels.rows import norm_heads, norm_row, quantise_blocks_row, silu_gate_row
from edge_vla.kernels.vectors import fetch
from numba import njit
import numpy as np

# columns of Weights.bases; a convolution's matrix of three parts is where the query's would be
QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN = range(7)
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
    wide: int  # from token to token in Work.x, .codes
    head_width: int  # columns of a row of the head
    about: int  # from token to token in Work.steps, .sums


class Weights(NamedTuple):
    """Everything that is learned, but for the embedding; La + Lc layers of the two kinds."""

    packed: np.ndarray  # uint8 or float32: all matrices
    bases: np.ndarray  # int64 [L, 7]: where each begins
    kinds: np.ndarray  # int64 [L, 7]: of blocks, or that it is float32
    units: np.ndarray  # int64 [L, 7]: of 16 rows
    groups: np.ndarray  # int64 [L, 7]: of blocks, in a unit
    columns: np.ndarray  # int64 [L, 7]: padded to 16, before blocks to WIDEST
    attention: np.ndarray  # int64 [L]: which of the attention layers, -1 for a convolution
    convolution: np.ndarray  # int64 [L]: which of the convolutions, -1 for attention
    operator_norm: np.ndarray  # float32 [L, hidden_p]
    ffn_norm: np.ndarray  # float32 [L, hidden_p]
    query_norm: np.ndarray  # float32 [La, size]
    key_norm: np.ndarray  # float32 [La, size]
    taps: np.ndarray  # float32 [Lc, K, hidden]: oldest first
    in_bias: np.ndarray  # float32 [Lc, 3 hidden]
    tap_bias: np.ndarray  # float32 [Lc, hidden]
    out_bias: np.ndarray  # float32 [Lc, hidden]
    final_norm: np.ndarray  # float32 [hidden_p]
    head: np.ndarray  # float32 or uint8, flat
    head_scales: np.ndarray  # float32 [V], or float16 as uint16, flat
    sketch: Sketch
    cos: np.ndarray  # float32 [P, size / 2]
    sin: np.ndarray


class Cache(NamedTuple):
    """
    Keys and values, flat, see `attention`; and what convolutions have seen.

    Position p of a convolution is in place p % R of `recent`; the K - 1 before every multiple of
    the page size are kept in `pages` too.
    """

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray
    bias: np.ndarray  # empty
    recent: np.ndarray  # float32 [Lc, R, hidden]
    pages: np.ndarray  # float32 [Lc, P / page, K - 1, hidden]
    page: int


class Work(NamedTuple):
    """Scratch for up to T tokens and N threads."""

    h: np.ndarray  # float32 [T, hidden_p]: the residual stream
    x: np.ndarray  # float32 [T, wide]: what goes into a product
    a: np.ndarray  # float32 [T * stride]: query or [B, C, x], output, gate, down
    b: np.ndarray  # float32 [T * stride]: key and (from value_at) value, up
    queries: np.ndarray  # float32 [T * heads * size_p]: rotated
    pair: np.ndarray  # float32 [N, 2, size_p]: a key and a value
    codes: np.ndarray  # int8 [T * wide]: x, quantised
    code_steps: np.ndarray  # float32 [T * wide / 32]
    code_sums: np.ndarray  # int32 [T * wide / 32]
    scores: np.ndarray  # float32 [N, 4 * capacity]
    mixed: np.ndarray  # float32 [N, 4 * size_p]
    high: np.ndarray  # int8 [T * head_width]: activations for the head
    low: np.ndarray  # int8 [T * head_width]: ... their lower bytes
    steps: np.ndarray  # float32 [T * about]: what a step of them is
    sums: np.ndarray  # int32 [T * about]: their sums
    probe: Probe
    logits: np.ndarray  # float32, of a call
    sync: np.ndarray  # int64


@njit(cache=True, nogil=True)
def _columns(width, tokens, threads, piece):
    """
    Return the token and its columns, from one to before another, that a piece is of.

    Where no column needs another one, threads share those of an only token, as many at once as
    they are padded to: so no piece begins in the padding.
    """
    parts, runs = _parts(tokens, threads), width // WIDEST
    t, k = piece // parts, piece % parts
    end = width if k == parts - 1 else runs * (k + 1) // parts * WIDEST
    return t, runs * k // parts * WIDEST, end


@njit(cache=True, nogil=True)
def _parts(tokens, threads):
    """Return into how many pieces `_columns` cuts a token."""
    return threads if tokens == 1 else 1


@inlined
def _ready(s, w, work, t, size, begin, end):
    """Zero the padding of what goes into a product and quantise it, where the weights are."""
    x, at = work.x[t], t * s.wide
    x[max(begin, size):max(end, size)] = np.float32(0)
    if element_bytes(w.packed) == 1:
        quantise_blocks_row(x[begin:], end - begin, work.codes[at + begin:],
                            work.code_steps[(at + begin) // BLOCK:],
                            work.code_sums[(at + begin) // BLOCK:])


@inlined
def _prepare(s, w, work, layer, phase, t):
    """Do what a token needs before a product, but for the last one of a layer."""
    conv = w.convolution[layer]
    if phase == 0:  # before query, key, value or the three of a convolution
        fetch(w.operator_norm, layer * s.hidden_p, s.hidden_p)
        fetch(work.h, t * s.hidden_p, s.hidden_p)
        if layer > 0:
            add_product(s, work, t)
        norm_row(work.h[t], w.operator_norm[layer], s.hidden, s.eps, work.x[t])
    elif phase == 6:  # before gate, up
        fetch(w.ffn_norm, layer * s.hidden_p, s.hidden_p)
        fetch(work.h, t * s.hidden_p, s.hidden_p)
        add_product(s, work, t)
        if conv >= 0:
            for j in range(s.hidden):
                work.h[t, j] += w.out_bias[conv, j]
        norm_row(work.h[t], w.ffn_norm[layer], s.hidden, s.eps, work.x[t])
    _ready(s, w, work, t, s.hidden, 0, w.columns[layer, UP])


@inlined
def _prepare_down(s, w, work, t, begin, end):
    """Gate some columns of a token, silu(w1 x) * w3 x, before the last product of a layer."""
    at, last = t * s.stride, min(end, s.ffn_p)
    fetch(work.a, at + begin, last - begin)
    work.a[at + max(begin, s.ffn):at + max(last, s.ffn)] = 0  # a last unit has rows of none
    silu_gate_row(work.a[at + begin:], work.b[at + begin:], last - begin, work.x[t, begin:])
    _ready(s, w, work, t, s.ffn, begin, end)


@inlined
def _gate(s, w, cache, work, conv, position, t, begin, end):
    """Write what a convolution sees of columns of a token, B * x, to the cache; add biases."""
    size, page, kept = s.hidden, cache.page, cache.pages.shape[2]
    for part in range(0, 3 * size, size):
        row, bias = work.a[t * s.stride + part + begin:], w.in_bias[conv, part + begin:]
        for j in range(end - begin):
            row[j] += bias[j]
    at = t * s.stride + begin
    b, x = work.a[at:], work.a[at + 2 * size:]
    seen = cache.recent[conv, position % cache.recent.shape[1], begin:]
    for j in range(end - begin):
        seen[j] = b[j] * x[j]
    after = position % page - (page - kept)
    if after >= 0:
        cache.pages[conv, position // page, after, begin:end] = seen[:end - begin]


@inlined
def _convolve(s, w, cache, work, conv, position, t, begin, end):
    """Convolve over time and gate with C; what was before the first token is zero."""
    x, bias, last = work.x[t, begin:], w.tap_bias[conv, begin:], w.taps.shape[1] - 1
    for j in range(end - begin):
        x[j] = bias[j]
    for k in range(max(0, last - position), last + 1):
        seen = cache.recent[conv, (position - last + k) % cache.recent.shape[1], begin:]
        tap = w.taps[conv, k, begin:]
        for j in range(end - begin):
            x[j] += tap[j] * seen[j]
    c = work.a[t * s.stride + s.hidden + begin:]
    for j in range(end - begin):
        x[j] *= c[j]


@inlined
def _remember(s, w, cache, work, layer, position, tokens, kv, me):
    """Norm and rotate queries and keys of a head, and cache keys and values."""
    group = s.heads // s.kv_heads
    bring_head(s, cache, layer, position + tokens, kv)
    for t in range(tokens):
        norm_heads(work.a[t * s.stride + kv * group * s.size:], group, w.query_norm[layer], s.eps)
        norm_heads(work.b[t * s.stride + kv * s.size:], 1, w.key_norm[layer], s.eps)
        remember_head(s, w, cache, work, layer, position + t, position + t, t, kv, me)


@inlined
def _multiply(isa, s, w, work, layer, which, piece, tokens, threads, me):
    """Do a piece of a product."""
    out = work.a
    if which == KEY or which == UP:
        out = work.b
    elif which == VALUE:
        out = work.b[s.value_at:]
    base, units = w.bases[layer, which], w.units[layer, which]
    if element_bytes(w.packed) == 4:
        first, last = share(units, threads, piece)
        float_product(w.packed, base, w.columns[layer, which], first, last, work.x, tokens, out,
                      s.stride)
    else:
        first, last = share(block_items(units, tokens), threads, piece)
        block_product(isa, w.packed, base, w.kinds[layer, which], units, w.groups[layer, which],
                      first, last, work.codes, s.wide, work.code_steps, work.code_sums,
                      s.wide // 32, tokens, out, s.stride)


@inlined
def _piece(isa, s, w, cache, work, layer, phase, piece, position, tokens, threads, me):
    """Do one piece of a phase of a layer."""
    attention, conv = w.attention[layer], w.convolution[layer]
    if phase % 2 and phase != 3:  # matrices one after the other, each to a place of its own
        each = pieces(threads)
        which = QUERY if phase == 1 else (OUTPUT if phase == 5 else (GATE if phase == 7 else DOWN))
        _multiply(isa, s, w, work, layer, which + piece // each, piece % each, tokens, threads, me)
    elif phase == 2 and conv >= 0:
        _gate(s, w, cache, work, conv, position + piece, piece, 0, s.hidden)
    elif phase == 2:
        _remember(s, w, cache, work, attention, position, tokens, piece, me)
    elif conv >= 0 and phase == 3:
        t, begin, end = _columns(w.columns[layer, OUTPUT], tokens, threads, piece)
        last = min(end, s.hidden)
        if tokens == 1:
            _gate(s, w, cache, work, conv, position, 0, begin, last)
        _convolve(s, w, cache, work, conv, position + t, t, begin, last)
        _ready(s, w, work, t, s.hidden, begin, end)
    elif phase == 3:
        t, kv = piece // s.kv_heads, piece % s.kv_heads
        if tokens == 1:
            _remember(s, w, cache, work, attention, position, tokens, kv, me)
        attend_token(s, cache, work, attention, position + t, t, kv, me)
    elif phase == 8:
        t, begin, end = _columns(w.columns[layer, DOWN], tokens, threads, piece)
        _prepare_down(s, w, work, t, begin, end)
    else:
        _prepare(s, w, work, layer, phase, piece)


@njit(cache=True, nogil=True)
def _count(s, w, layer, phase, tokens, threads):
    """Return how many pieces a phase of a layer has."""
    if phase == 1:
        return (3 if w.convolution[layer] < 0 else 1) * pieces(threads)
    if phase == 7:
        return 2 * pieces(threads)
    if phase == 5 or phase == 9:
        return pieces(threads)
    if phase == 2 and tokens == 1:  # done with phase 3
        return 0
    if phase == 8 or w.convolution[layer] >= 0 and phase == 3:
        return tokens * _parts(tokens, threads)
    if w.convolution[layer] >= 0:
        return 0 if phase == 4 else tokens  # that is done with phase 3 too
    if phase == 2:
        return s.kv_heads
    return tokens * s.kv_heads if phase == 3 else tokens


@njit(cache=True, nogil=True)
def run(isa, s, w, cache, work, logits, positions, position, tokens, first_logit, subset, best,
        call, threads, me):
    """
    Take `tokens` embedded tokens in ``work.h`` through all layers, as one thread of a team.

    Parameters
    ----------
    isa, s, w, cache, work, logits, tokens, first_logit, subset, best, call, threads, me
        As in `bitnet.run`.
    positions : int64 [0]
        Empty: what convolutions see are the tokens before.
    position : int
        Of the first token.

    """
    w, cache, subset = borrow(w), borrow(cache), borrow(subset)
    work = replace(borrow(work), 'logits', borrow(logits))
    number = np.int64(0)  # not the literal 0, for which all would be compiled too
    for layer in range(s.layers):
        for phase in range(PHASES):
            count = _count(s, w, layer, phase, tokens, threads)
            piece = team.take(work.sync, number, call, count)
            while piece >= 0:
                _piece(isa, s, w, cache, work, layer, phase, piece, position, tokens, threads, me)
                team.done(work.sync, number)
                piece = team.take(work.sync, number, call, count)
            if not team.wait(work.sync, number, call, count):
                return
            number += 1
    run_head(isa, s, w, work, number, tokens, first_logit, subset, best, call, threads, me)
