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
from edge_vla.kernels.compiling import inlined
from edge_vla.kernels.head_phases import Probe, run_head, Sketch
from edge_vla.kernels.lending import borrow, replace
from edge_vla.kernels.phases import (
    add_product,
    attend_token,
    bring_head,
    pieces,
    product_row,
    remember_head,
    share,
)
from edge_vla.kernels.rows import gate_row, norm_row, quantise_row
from edge_vla.kernels.ternary import items, product
from edge_vla.kernels.ternary_tiles import BLOCK
from edge_vla.kernels.vectors import fetch
from numba import njit
import numpy as np

QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN = range(7)  # columns of Weights.bases
PHASES = 10  # of a layer


class Shape(NamedTuple):
    """Sizes; the names ending in _p are padded to whole vectors."""

    layers: int
    first_layer: int  # those that are run, up to ...
    last_layer: int  # ... before this one
    first_cached: int  # the layer that the cache begins with
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
    capacity: int  # slots of the cache
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
    sketch: Sketch
    cos: np.ndarray  # float32 [P, size / 2]
    sin: np.ndarray


class Cache(NamedTuple):
    """Keys and values, flat; see `attention`."""

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray
    bias: np.ndarray  # float32 [capacity], of every layer and head alike, or empty


class Work(NamedTuple):
    """Scratch for up to T tokens and N threads."""

    h: np.ndarray  # float32 [T, hidden_p]: the residual stream
    x: np.ndarray  # float32 [T, hidden_p]
    a: np.ndarray  # float32 [T * stride]: query, output, gate, down
    b: np.ndarray  # float32 [T * stride]: key and (from value_at) value, up
    queries: np.ndarray  # float32 [T * heads * size_p]: rotated
    pair: np.ndarray  # float32 [N, 2, size_p]: a key and a value
    codes: np.ndarray  # int8 [T * code_stride]
    scales: np.ndarray  # float32 [T]
    totals: np.ndarray  # int32 [T]
    scores: np.ndarray  # float32 [N, 4 * capacity]
    mixed: np.ndarray  # float32 [N, 4 * size_p]
    scratch: np.ndarray  # uint8 [N, scratch_bytes]: of products
    high: np.ndarray  # int8 [T * head_width]: activations for the head
    low: np.ndarray  # int8 [T * head_width]: ... their lower bytes
    steps: np.ndarray  # float32 [T * about]: what a step of them is
    sums: np.ndarray  # int32 [T * about]: their sums
    probe: Probe
    logits: np.ndarray  # float32, of a call
    positions: np.ndarray  # int64, of a call
    sync: np.ndarray  # int64


@inlined
def _prepare(s, w, work, layer, phase, t):
    """
    Add what the last product gave, norm, quantise: what a token needs before a product.

    What was last used before the weights of a layer were read is asked for first.
    """
    x, width = work.x[t], s.hidden_p
    if phase == 0:  # before query, key, value
        fetch(w.input_norm, layer * width, width)
        fetch(work.h, t * width, width)
        if layer > s.first_layer:
            add_product(s, work, t)
        norm_row(work.h[t], w.input_norm[layer], s.hidden, s.eps, x)
    elif phase == 4:  # before output
        fetch(w.attention_norm, layer * width, width)
        norm_row(x, w.attention_norm[layer], s.hidden, s.eps, x)
    elif phase == 6:  # before gate, up
        fetch(w.post_norm, layer * width, width)
        fetch(work.h, t * width, width)
        add_product(s, work, t)
        norm_row(work.h[t], w.post_norm[layer], s.hidden, s.eps, x)
    else:  # before down
        fetch(w.ffn_norm, layer * s.ffn_p, s.ffn_p)
        fetch(work.a, t * s.stride, s.ffn_p)
        x, width = product_row(work.a, s, t, s.ffn, s.ffn_p), s.ffn_p
        gate_row(x, work.b[t * s.stride:(t + 1) * s.stride], s.ffn_p)
        norm_row(x, w.ffn_norm[layer], s.ffn, s.eps, x)
    scale, total = quantise_row(x, width, work.codes[t * s.code_stride:(t + 1) * s.code_stride])
    for j in range(width, min(width + BLOCK, s.code_stride)):  # a wider row was here before
        work.codes[t * s.code_stride + j] = 0
    work.scales[t], work.totals[t] = scale, total


@njit(cache=True, nogil=True)
def _position(work, slot, t):
    """Return by which position a token is rotated."""
    return work.positions[t] if work.positions.shape[0] else slot + t


@inlined
def _remember(s, w, cache, work, layer, slot, tokens, kv, me):
    """Rotate queries and keys of a head, and cache keys and values."""
    bring_head(s, cache, layer, slot + tokens, kv)
    for t in range(tokens):
        remember_head(s, w, cache, work, layer, slot + t, _position(work, slot, t), t, kv, me)


@njit(cache=True, nogil=True)
def _pieces(isa, w, which, tokens, threads):
    """Return into how many pieces a product is cut: no more than there is to share."""
    return min(items(isa, w.units[which], tokens, threads), pieces(threads))


@njit(cache=True, nogil=True)
def _first(phase):
    """Return the first matrix of a phase."""
    return QUERY if phase == 1 else (OUTPUT if phase == 5 else (GATE if phase == 7 else DOWN))


@inlined
def _piece(isa, s, w, cache, work, layer, phase, piece, slot, tokens, threads, me):
    """Do one piece of a phase of a layer."""
    if phase % 2 and phase != 3:  # matrices one after the other, each to a place of its own
        which = _first(phase)
        while piece >= _pieces(isa, w, which, tokens, threads):
            piece -= _pieces(isa, w, which, tokens, threads)
            which += 1
        out = work.a
        if which == KEY or which == UP:
            out = work.b
        elif which == VALUE:
            out = work.b[s.value_at:]
        units = w.units[which]
        count = items(isa, units, tokens, threads)
        first, last = share(count, threads, piece)
        product(isa, w.packed, w.bases[layer, which], w.blocks[which], units, first, last, count,
                work.codes, s.code_stride, work.totals, work.scales, w.scales[layer, which],
                tokens, out, s.stride, work.scratch[me])
    elif phase == 2:
        _remember(s, w, cache, work, layer - s.first_cached, slot, tokens, piece, me)
    elif phase == 3:
        t, kv, cached = piece // s.kv_heads, piece % s.kv_heads, layer - s.first_cached
        if tokens == 1:  # it sees nothing that others remember in this phase
            _remember(s, w, cache, work, cached, slot, tokens, kv, me)
        attend_token(s, cache, work, cached, slot + t, t, kv, me)
    else:
        _prepare(s, w, work, layer, phase, piece)


@njit(cache=True, nogil=True)
def _count(isa, s, w, phase, tokens, threads):
    """Return how many pieces a phase of a layer has."""
    if phase % 2 and phase != 3:
        which, count = _first(phase), 0
        for k in range(3 if phase == 1 else (2 if phase == 7 else 1)):
            count += _pieces(isa, w, which + k, tokens, threads)
        return count
    if phase == 2:
        return s.kv_heads if tokens > 1 else 0
    return tokens * s.kv_heads if phase == 3 else tokens


@njit(cache=True, nogil=True)
def run(isa, s, w, cache, work, logits, positions, slot, tokens, first_logit, subset, best, call,
        threads, me):
    """
    Take `tokens` embedded tokens in ``work.h`` through all layers, as one thread of a team.

    Or through some: run one after the other, ranges of layers give the same numbers.

    Parameters
    ----------
    isa : Isa
        Instruction set.
    s : Shape
        Sizes.
    w : Weights, lent
        The model.
    cache : Cache, lent
        Written at `slot` and after.
    work : Work, lent
        ``h`` is read and holds what the layers made of it if they are not the last ones.
    logits : float32 [(tokens - first_logit) * count], written
        Of this call, if the last layer is run.
    positions : int64 [tokens]
        By which tokens are rotated; empty if that is their slot.
    slot : int
        Of the first token; tokens see all slots up to their own.
    tokens : int
        How many.
    first_logit : int
        The first token whose logits are wanted; `tokens` for none.
    subset : int64 [count]
        The tokens of the vocabulary that are wanted; empty for all.
    best : int
        How many of the likeliest tokens are surely written, at most `head_phases.MOST`, others
        with their logit or -inf; 0 writes all logits. Needs a sketch, and no `subset`.
    call : int
        Number of this call; see `team.begin`.
    threads, me : int
        How many threads there are, and which one this is.

    """
    w, cache, subset = borrow(w), borrow(cache), borrow(subset)
    work = replace(replace(borrow(work), 'logits', borrow(logits)), 'positions', borrow(positions))
    number = np.int64(0)  # not the literal 0, for which all would be compiled too
    for layer in range(s.first_layer, s.last_layer):
        for phase in range(PHASES):
            count = _count(isa, s, w, phase, tokens, threads)
            piece = team.take(work.sync, number, call, count)
            while piece >= 0:
                _piece(isa, s, w, cache, work, layer, phase, piece, slot, tokens, threads, me)
                team.done(work.sync, number)
                piece = team.take(work.sync, number, call, count)
            if not team.wait(work.sync, number, call, count):
                return
            number += 1
    if s.last_layer == s.layers:
        run_head(isa, s, w, work, number, tokens, first_logit, subset, best, call, threads, me)
        return
    piece = team.take(work.sync, number, call, tokens)
    while piece >= 0:
        add_product(s, work, piece)
        team.done(work.sync, number)
        piece = team.take(work.sync, number, call, tokens)
    team.wait(work.sync, number, call, tokens)
