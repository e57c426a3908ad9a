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

"""A model as arguments of its jitted program: sizes, weights and scratch arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any

from edge_vla.checkpoints.safetensors import aligned
from edge_vla.kernels import bitnet, lfm2, team
from edge_vla.kernels.block_layout import BLOCK, UNIT, units_and_groups, WIDEST
from edge_vla.kernels.compiling import compiled
from edge_vla.kernels.head import GROUP
from edge_vla.kernels.head_phases import AT_ONCE, MOST, PHASES as HEAD_PHASES, Probe, Sketch
from edge_vla.kernels.isa import Isa
from edge_vla.kernels.lending import Lent
from edge_vla.kernels.phases import pieces
from edge_vla.kernels.screen import padded_width
from edge_vla.kernels.ternary import scratch_bytes
from edge_vla.kernels.ternary_layout import COLUMNS, ROWS
from edge_vla.kernels.vectors import LANES
from edge_vla.language.cache import KVCache, LayerCache
from edge_vla.language.engine import (
    AnyConfig,
    EngineModel,
    head_width,
    padded,
    shape_of_matrices,
)
from edge_vla.language.lfm2_config import ATTENTION
from edge_vla.language.lfm2_engine import FLOATS, Lfm2Model, matrix_size, slot
from numba.core.dispatcher import Dispatcher
import numpy as np

AnyModel = EngineModel | Lfm2Model


class Program:
    """
    What runs a decoder.

    Parameters
    ----------
    run : numba.core.dispatcher.Dispatcher
        ``kernels.bitnet.run`` or ``kernels.lfm2.run``.
    isa : Isa
        Instruction set.
    shape, weights, work : tuple
        Its arguments s, w and work; `work` has ``logits`` and ``positions`` of no token.

    Attributes
    ----------
    run, shape, weights, work
        As given.

    """

    def __init__(self, run: Dispatcher, isa: Isa, shape: Any, weights: Any, work: Any) -> None:
        self.run, self.shape, self.weights, self.work = run, shape, weights, work
        self._isa, self._weights, self._work = isa, Lent(weights), Lent(work)
        self._compiled: dict[Any, Callable[..., None]] = {}  # by the type of the cache

    def call(self, shape: Any, cache: LayerCache, *how: Any) -> Callable[[int], None]:
        """
        Return what each thread of a team calls with its number.

        Parameters
        ----------
        shape : tuple
            Sizes.
        cache : LayerCache
            Whose arrays to run with; it keeps them lent.
        *how
            What follows in ``kernels.bitnet.run``, but for the number of the thread.

        """
        if cache.lent is None or cache.lent.value is not cache.arrays:
            cache.lent = Lent(cache.arrays)
        args = self._isa, shape, self._weights, cache.lent, self._work, *how
        run = self._compiled.get(cache.lent.kind)
        if run is None:
            run = self._compiled[cache.lent.kind] = compiled(self.run, *args, 0)
        return partial(run, *args)


def program_of(model: AnyModel, isa: Isa, cache: KVCache, tokens: int, threads: int) -> Program:
    """
    Allocate what a model needs to run.

    Parameters
    ----------
    model : EngineModel or Lfm2Model
        Packed for `isa`.
    isa : Isa
        Instruction set.
    cache : KVCache
        What it will run with.
    tokens : int
        Most tokens at once.
    threads : int
        Most threads.

    """
    make = _lfm2 if isinstance(model, Lfm2Model) else _bitnet
    run, *groups = make(model, isa, cache, tokens, threads)
    return Program(run, isa, *groups)


def _zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return aligned(size).view(dtype).reshape(shape)


def _rotations(c: AnyConfig, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of every position and frequency."""
    angles = np.outer(np.arange(rows), 1 / c.rope_theta ** (
        np.arange(0, c.head_dim, 2, dtype=np.float32) / np.float32(c.head_dim))
                      .astype(np.float32)).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def _head(model: AnyModel) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and scales of the head, flat."""
    scales = model.tensors['head_scales']
    if scales.dtype == np.float16:  # numba takes the bits
        scales = scales.view(np.uint16)
    return model.tensors['head'].reshape(-1), scales.reshape(-1)


def _sketch(model: AnyModel) -> Sketch:
    """Return the sketch of the head, empty where there is none."""
    w, name = model.tensors, 'head_sketch'
    if name not in w:
        none = np.zeros(0, np.float32)
        return Sketch(np.zeros(0, np.uint8), none, none.reshape(0, 0), np.zeros((0, 0), np.int32),
                      none)
    return Sketch(w[name].reshape(-1), w[f'{name}_scales'].reshape(-1), w[f'{name}_signs'],
                  w[f'{name}_order'], w[f'{name}_dither'])


def _probe(model: AnyModel, t: int, n: int) -> Probe:
    """Allocate what the sketch is asked with, for `t` tokens and `n` threads."""
    if 'head_sketch' not in model.tensors:
        t = n = 0
    d, width, found = model.config.hidden_size, padded_width(model.config.hidden_size), (
        t * pieces(n) * MOST)
    return Probe(_zeros(t, 2, d), _zeros(t * width, dtype=np.int8), _zeros(t),
                 _zeros(t, dtype=np.int32), _zeros(t), _zeros(found, dtype=np.int64),
                 _zeros(found), _zeros(n, MOST), _zeros(n, t), _zeros(n, AT_ONCE, dtype=np.int64),
                 _zeros(n, scratch_bytes('2bit', width), dtype=np.uint8))


def _bitnet(model: EngineModel, isa: Isa, cache: KVCache, t: int, n: int) -> tuple[Any, ...]:
    """Return what runs it, and its shape, weights and work."""
    c, w = model.config, model.tensors
    width = max(c.hidden_size, c.intermediate_size)
    # rows of a last unit are more than there are
    unit = max(LANES, ROWS[isa.packing])
    value_at = padded(c.kv_size, unit)
    wide = padded(max(width, 2 * value_at), unit)
    codes = padded(width, COLUMNS[isa.packing])
    d, f, h = padded(c.hidden_size), padded(c.intermediate_size), padded(c.head_dim)
    heads = head_width(c, model.head)
    about = max(2, 4 * -(-heads // GROUP))
    shape = bitnet.Shape(
        c.num_hidden_layers, 0, c.num_hidden_layers, 0, c.hidden_size, d, c.intermediate_size, f,
        c.num_attention_heads, c.num_key_value_heads, c.head_dim, h, c.vocab_size, c.rms_norm_eps,
        1 / c.head_dim ** .5, cache.rows, wide, value_at, codes, heads, about)
    bases, units, blocks = shape_of_matrices(model)
    weights = bitnet.Weights(
        w['body'], bases, units, blocks, w['scales'], w['input_norm'], w['attention_norm'],
        w['post_norm'], w['ffn_norm'], w['final_norm'], *_head(model), _sketch(model),
        *_rotations(c, max(cache.rows, c.context)))  # positions need not be slots
    phases = c.num_hidden_layers * bitnet.PHASES + HEAD_PHASES
    work = bitnet.Work(
        _zeros(t, d), _zeros(t, d), _zeros(t * wide), _zeros(t * wide),
        _zeros(t * c.num_attention_heads * h), _zeros(n, 2, h),
        _zeros(t * codes, dtype=np.int8), _zeros(t), _zeros(t, dtype=np.int32),
        _zeros(n, 4 * cache.rows), _zeros(n, 4 * h),
        _zeros(n, scratch_bytes(isa.packing, codes), dtype=np.uint8),
        _zeros(t * heads, dtype=np.int8), _zeros(t * heads, dtype=np.int8), _zeros(t * about),
        _zeros(t * about, dtype=np.int32), _probe(model, t, n),
        _zeros(0), _zeros(0, dtype=np.int64),  # each call brings its own logits and positions
        _zeros(phases * team.STRIDE, dtype=np.int64))
    return bitnet.run, shape, weights, work


def _lfm2(model: Lfm2Model, isa: Isa, cache: KVCache, t: int, n: int) -> tuple[Any, ...]:
    """Return what runs it, and its shape, weights and work."""
    c, w = model.config, model.tensors
    d, f, h = padded(c.hidden_size), padded(c.intermediate_size), padded(c.head_dim)
    value_at = padded(c.kv_size)
    wide = padded(max(c.hidden_size, c.intermediate_size), WIDEST)
    stride = padded(max(3 * c.hidden_size, c.intermediate_size, 2 * value_at)) + LANES
    heads = head_width(c, model.head)
    about = max(2, 4 * -(-heads // GROUP))
    shape = lfm2.Shape(
        c.num_hidden_layers, c.hidden_size, d, c.intermediate_size, f, c.num_attention_heads,
        c.num_key_value_heads, c.head_dim, h, c.vocab_size, c.norm_eps, 1 / c.head_dim ** .5,
        cache.rows, stride, value_at, wide, heads, about)
    weights = lfm2.Weights(
        w['body'], *_matrices(model), *_which(model), w['operator_norm'], w['ffn_norm'],
        w['query_norm'], w['key_norm'], w['taps'], w['in_bias'], w['tap_bias'], w['out_bias'],
        w['final_norm'], *_head(model), _sketch(model), *_rotations(c, cache.rows))
    phases = c.num_hidden_layers * lfm2.PHASES + HEAD_PHASES
    work = lfm2.Work(
        _zeros(t, d), _zeros(t, wide), _zeros(t * stride), _zeros(t * stride),
        _zeros(t * c.num_attention_heads * h), _zeros(n, 2, h),
        _zeros(t * wide, dtype=np.int8), _zeros(t * wide // BLOCK),
        _zeros(t * wide // BLOCK, dtype=np.int32), _zeros(n, 4 * cache.rows), _zeros(n, 4 * h),
        _zeros(t * heads, dtype=np.int8), _zeros(t * heads, dtype=np.int8), _zeros(t * about),
        _zeros(t * about, dtype=np.int32), _probe(model, t, n), _zeros(0),
        _zeros(phases * team.STRIDE, dtype=np.int64))
    return lfm2.run, shape, weights, work


def _matrices(model: Lfm2Model) -> list[np.ndarray]:
    """Return int64 [L, 7]: where matrices begin, their kinds, units, groups, padded columns."""
    c, kinds = model.config, model.tensors['bits'].astype(np.int64)
    bases, units, groups, columns = (np.zeros(kinds.shape, np.int64) for _ in range(4))
    at = 0
    for i in range(c.num_hidden_layers):
        for name, (rows, width) in c.linears(i).items():
            place = i, slot(name)
            kind = int(kinds[place])
            bases[place], units[place] = at, -(-rows // UNIT)
            columns[place] = padded(width, LANES if kind == FLOATS else WIDEST)
            if kind != FLOATS:
                groups[place] = units_and_groups(kind, rows, width)[1]
            at += matrix_size(kind, rows, width)
    return [bases, kinds, units, groups, columns]


def _which(model: Lfm2Model) -> tuple[np.ndarray, np.ndarray]:
    """Return of each layer which attention and which convolution it is, -1 for none."""
    attends = np.array([kind == ATTENTION for kind in model.config.layer_types])
    return (np.where(attends, np.cumsum(attends) - 1, -1),
            np.where(attends, -1, np.cumsum(~attends) - 1))
