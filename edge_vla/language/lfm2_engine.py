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

"""An LFM2 checkpoint as the kernels want it: blocks of 4 or 8 bits, or float32."""

from dataclasses import dataclass

from edge_vla.checkpoints.safetensors import aligned
from edge_vla.checkpoints.sources import Source
from edge_vla.kernels.block_layout import (
    bits_of,
    BLOCK,
    Blocks,
    dequantise_blocks,
    INT4,
    pack_blocks,
    packed_blocks_size,
    Q4_0,
    Q8_0,
    quantise_blocks,
    UNIT,
)
from edge_vla.language.engine import embed, padded, read_only, read_tables
from edge_vla.language.lfm2_config import ATTENTION, CONVOLUTION, Lfm2Config
import numpy as np

FLOATS = 32  # what a matrix is kept in where not in blocks of a kind
WEIGHTS = {'float32': FLOATS, 'int8': Q8_0, 'int4': INT4, 'q4_0': Q4_0}
_SLOTS = ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.out_proj',
          'feed_forward.w1', 'feed_forward.w3', 'feed_forward.w2')  # as in kernels.lfm2
_CONVOLUTION_SLOTS = {'conv.in_proj': 0, 'conv.out_proj': 3}
_TAIL = 64  # bytes after the last matrix
_ROWS_AT_ONCE = 1024


@dataclass
class Lfm2Model:
    """
    A model as it lies in memory.

    Attributes
    ----------
    config : Lfm2Config
    head : str
        What embedding and head are kept in: float32, int8, int6 or int4.
    tensors : dict of str to numpy.ndarray
        ``body`` (float32, or uint8 in the layout of `kernels.block_layout`), ``bits`` (uint8
        [L, 7]: FLOATS or a kind of block, 0 where a layer has no such matrix), ``operator_norm``
        and ``ffn_norm`` (float32, padded), ``query_norm``, ``key_norm``, ``taps`` [Lc, K, D],
        ``in_bias``, ``tap_bias``, ``out_bias``, ``final_norm``, ``head`` and ``head_scales``, and
        where they are not tied ``embedding`` and ``embedding_scales``; none can be written to.

    """

    config: Lfm2Config
    head: str
    tensors: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        self.tensors = read_only(self.tensors)

    def repacked(self, packing: str) -> 'Lfm2Model':
        """Return itself: there is but one packing."""
        return self

    def embed(self, token: int, out: np.ndarray) -> None:
        """Write the embedding of a token, float32 [hidden_size], to `out`."""
        embed(self.tensors, self.head, token, out[:self.config.hidden_size])

    @property
    def packing(self) -> str:
        """Return what most matrices are kept in: a key of WEIGHTS."""
        found = self.tensors['bits'][self.tensors['bits'] > 0]
        return {kind: name for name, kind in WEIGHTS.items()}[int(np.bincount(found).argmax())]


def slot(name: str) -> int:
    """Return the column of `kernels.lfm2.Weights.bases` of a matrix."""
    return _CONVOLUTION_SLOTS[name] if name in _CONVOLUTION_SLOTS else _SLOTS.index(name)


def matrix_size(kind: int, rows: int, columns: int) -> int:
    """Return how many elements of the body (float32 or bytes) a matrix takes."""
    if kind == FLOATS:
        return padded(rows, UNIT) * padded(columns)
    return packed_blocks_size(kind, rows, columns)


def body_array(config: Lfm2Config, bits: np.ndarray) -> tuple[int, str]:
    """Return length and dtype of the body of a model with these `bits`, see `Lfm2Model`."""
    size = sum(matrix_size(int(bits[i, slot(name)]), *shape)
               for i in range(config.num_hidden_layers)
               for name, shape in config.linears(i).items())
    return (size, 'f4') if (bits == FLOATS).any() else (size + _TAIL, 'u1')


def bits_fit(config: Lfm2Config, bits: np.ndarray) -> bool:
    """Tell whether just the matrices there are have a kind: all floats, or each of blocks."""
    there = np.zeros((config.num_hidden_layers, len(_SLOTS)), bool)
    for i in range(config.num_hidden_layers):
        there[i, [slot(name) for name in config.linears(i)]] = True
    if bits.dtype != np.uint8 or bits.shape != there.shape or bits[~there].any():
        return False
    kinds = set(np.unique(bits[there]).tolist())
    return kinds == {FLOATS} or kinds <= {*WEIGHTS.values()} - {FLOATS}


def float_arrays(config: Lfm2Config) -> dict[str, tuple[int, ...]]:
    """Return the shapes of norms, convolutions and biases."""
    d, h, layers = config.hidden_size, config.head_dim, config.num_hidden_layers
    attends = config.layer_types.count(ATTENTION)
    c = layers - attends
    return {'operator_norm': (layers, padded(d)), 'ffn_norm': (layers, padded(d)),
            'query_norm': (attends, h), 'key_norm': (attends, h),
            'taps': (c, config.conv_L_cache, d), 'in_bias': (c, 3 * d), 'tap_bias': (c, d),
            'out_bias': (c, d), 'final_norm': (padded(d),)}


def build_lfm2(source: Source, config: Lfm2Config, weights: str, head: str) -> Lfm2Model:
    """
    Read a whole checkpoint.

    Parameters
    ----------
    source : Source
        An open checkpoint.
    config : Lfm2Config
        Its configuration.
    weights : str
        A key of WEIGHTS, or 'stored': blocks as the file has them, else int4.
    head : str
        What embedding and head are to be kept in.

    Raises
    ------
    CheckpointError
        A tensor is missing, misshapen or corrupt; the message names it.

    """
    places, at = [], 0
    bits = np.zeros((config.num_hidden_layers, len(_SLOTS)), np.uint8)
    for i in range(config.num_hidden_layers):
        for name, shape in config.linears(i).items():
            full = f'model.layers.{i}.{name}'
            kept = source.block_kind(full, shape) or INT4 if weights == 'stored' else (
                WEIGHTS[weights])
            bits[i, slot(name)] = kept
            places.append((full, shape, kept, at))
            at += matrix_size(kept, *shape)
    (size, dtype), floats = body_array(config, bits), weights == 'float32'
    body = aligned(size * np.dtype(dtype).itemsize).view(dtype)
    for name, shape, kept, at in places:
        out = body[at:at + matrix_size(kept, *shape)]
        if floats:
            out.reshape(-1, padded(shape[1]))[:shape[0], :shape[1]] = source.rows(name, shape)
        else:
            _pack(source, name, shape, kept, out)
    return Lfm2Model(config, head, {'body': body, 'bits': bits, **_floats(source, config),
                                    **read_tables(source.rows, config, head)})


def _pack(source: Source, name: str, shape: tuple[int, int], kind: int, out: np.ndarray) -> None:
    """Put a matrix into the body, as it is stored where that fits."""
    if source.block_kind(name, shape) == kind:
        pack_blocks(Blocks(*source.blocks(name, shape)), kind, out)
        return
    for start in range(0, shape[0], _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, shape[0])
        at = packed_blocks_size(kind, start, shape[1])
        end = packed_blocks_size(kind, stop, shape[1])
        pack_blocks(quantise_blocks(source.rows(name, shape, start, stop), kind), kind,
                    out[at:end])


def _floats(source: Source, config: Lfm2Config) -> dict[str, np.ndarray]:
    """Return norms, convolutions and biases."""
    d, layers = config.hidden_size, range(config.num_hidden_layers)
    kinds = {kind: [i for i in layers if config.layer_types[i] == kind]
             for kind in (ATTENTION, CONVOLUTION)}

    def norms(name: str, chosen: list[int], size: int, width: int) -> np.ndarray:
        out = np.zeros((len(chosen), width), np.float32)
        for k, i in enumerate(chosen):
            out[k, :size] = source.vector(f'model.layers.{i}.{name}', size)
        return out

    def biases(name: str, size: int) -> np.ndarray:
        out = np.zeros((len(kinds[CONVOLUTION]), size), np.float32)
        for k, i in enumerate(kinds[CONVOLUTION] if config.conv_bias else ()):
            out[k] = source.bias(f'model.layers.{i}.{name}', size)
        return out
    taps = np.zeros((len(kinds[CONVOLUTION]), config.conv_L_cache, d), np.float32)
    for k, i in enumerate(kinds[CONVOLUTION]):
        taps[k] = source.taps(f'model.layers.{i}.conv.conv', d, config.conv_L_cache).T
    final = np.zeros(padded(d), np.float32)
    final[:d] = source.vector('model.embedding_norm', d)
    h = config.head_dim
    return {'operator_norm': norms('operator_norm', list(layers), d, padded(d)),
            'ffn_norm': norms('ffn_norm', list(layers), d, padded(d)),
            'query_norm': norms('self_attn.q_layernorm', kinds[ATTENTION], h, h),
            'key_norm': norms('self_attn.k_layernorm', kinds[ATTENTION], h, h),
            'taps': taps, 'in_bias': biases('conv.in_proj', 3 * d),
            'tap_bias': biases('conv.conv', d), 'out_bias': biases('conv.out_proj', d),
            'final_norm': final}


class RandomSource:
    """
    Random weights in place of a checkpoint, to measure speed without a download.

    Parameters
    ----------
    config : Lfm2Config
    kind : int
        Of the blocks.

    """

    def __init__(self, config: Lfm2Config, kind: int) -> None:
        self._kind, self._random = kind, np.random.default_rng(0)
        self._drawn: dict[tuple[int, ...], Blocks] = {}

    def block_kind(self, name: str, shape: tuple[int, int]) -> int:
        """Return the kind of all matrices."""
        return self._kind

    def blocks(self, name: str, shape: tuple[int, int]) -> Blocks:
        """Return random codes and a scale, the same for all matrices of a shape."""
        if shape not in self._drawn:
            rows, blocks, bits = shape[0], -(-shape[1] // BLOCK), bits_of(self._kind)
            codes = self._random.integers(0, 1 << bits, (rows, blocks * BLOCK), np.uint8)
            scale = np.float32(1 / (2 ** (bits - 2) * shape[1] ** .5))
            scales, steps = np.full((rows, blocks), scale, np.float16), None
            if self._kind == INT4:
                scales = np.full((rows, blocks), 64, np.int8)
                steps = np.full(rows, scale / 64 ** 2, np.float32)
            self._drawn[shape] = Blocks(codes, scales, steps)
        return self._drawn[shape]

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """Return random rows."""
        if name not in ('model.embed_tokens', 'lm_head'):
            return dequantise_blocks(self.blocks(name, shape), self._kind)[start:stop, :shape[1]]
        count = (shape[0] if stop is None else stop) - start
        return self._random.normal(0, .02, (count, shape[1])).astype(np.float32)

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return ones."""
        return np.ones(size, np.float32)

    def bias(self, name: str, size: int) -> np.ndarray:
        """Return zeros."""
        return np.zeros(size, np.float32)

    def taps(self, name: str, channels: int, taps: int) -> np.ndarray:
        """Return random taps."""
        return self._random.normal(0, .5, (channels, taps)).astype(np.float32)
