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
The BitNet b1.58 decoder: one code for the 2B4T architecture and for the shipped head.

Layer (transformers' ``modeling_bitnet``): h += o(subnorm(attention(norm(h)))),
h += down(subnorm(relu(gate(norm(h)))^2 * up(norm(h)))). Every linear is ternary with absmax
int8 activations; q, k, v share one quantisation, and so do gate and up.
"""

from pathlib import Path

from edge_vla.checkpoints.packing import check_packed
from edge_vla.checkpoints.safetensors import read_safetensors, take
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels import ternary
from edge_vla.kernels.dense import dense
from edge_vla.language.config import BitNetConfig
import numpy as np


class KVCache:
    """Keys and values of every layer, allocated once; rolling back is setting ``length``."""

    def __init__(self, config: BitNetConfig, capacity: int) -> None:
        shape = (config.num_hidden_layers, capacity, config.kv_size)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.capacity, self.length = capacity, 0

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f'cannot truncate {self.length} tokens to {length}')
        self.length = length


class _Linear:
    """A packed ternary matrix and its scale."""

    def __init__(self, tensors: dict[str, np.ndarray], name: str, out: int, columns: int) -> None:
        for key in (f'{name}.weight', f'{name}.weight_scale'):
            if key not in tensors:
                raise CheckpointError(f'the checkpoint has no tensor {key!r}')
        check_packed(tensors[f'{name}.weight'], out, columns, f'{name}.weight')
        self.packed = np.ascontiguousarray(tensors[f'{name}.weight'])
        scale = float(np.asarray(tensors[f'{name}.weight_scale'], np.float32).reshape(-1)[0])
        if not (np.isfinite(scale) and scale > 0):
            raise CheckpointError(f'tensor {name + ".weight_scale"!r} is {scale}, expected a '
                                  'positive number')
        self.scale, self.out = np.float32(scale), out


class BitNetDecoder:
    """
    Token ids in, next-token logits out.

    Parameters
    ----------
    config : BitNetConfig
    tensors : dict of str to numpy.ndarray
        Named as in Hugging Face's packed checkpoints.
    capacity : int, optional
        Longest sequence; defaults to the configuration's.
    chunk : int
        Most tokens handled at once.

    Raises
    ------
    CheckpointError
        A tensor is missing, misshapen or corrupt; the message names it.

    """

    def __init__(self, config: BitNetConfig, tensors: dict[str, np.ndarray],
                 capacity: int | None = None, chunk: int = 64) -> None:
        self.config = c = config
        d, f = c.hidden_size, c.intermediate_size
        self._layers = []
        for i in range(c.num_hidden_layers):
            p = f'model.layers.{i}.'
            linears = {n: _Linear(tensors, p + n, o, k) for n, (o, k) in c.linears().items()}
            norms = {n: take(tensors, f'{p}{n}.weight', (size,)) for n, size in c.norms().items()}
            self._layers.append((linears, norms))
        self._norm = take(tensors, 'model.norm.weight', (d,))
        self._embedding = take(tensors, 'model.embed_tokens.weight', (c.vocab_size, d))
        head = self._embedding if c.tie_word_embeddings else take(
            tensors, 'lm_head.weight', (c.vocab_size, d))
        self._head = np.ascontiguousarray(head.T)
        self._no_bias = np.zeros(c.vocab_size, np.float32)
        self.cache = KVCache(c, capacity or c.max_position_embeddings)
        angles = np.outer(np.arange(self.cache.capacity), 1 / c.rope_theta ** (
            np.arange(0, c.head_dim, 2, dtype=np.float32) / np.float32(c.head_dim))
                          .astype(np.float32)).astype(np.float32)
        self._cos, self._sin = np.cos(angles), np.sin(angles)
        self._chunk = chunk
        wide = max(d, f)
        self._h, self._x, self._y = (np.zeros((chunk, d), np.float32) for _ in range(3))
        self._q = np.zeros((chunk, d), np.float32)
        self._gate, self._up = (np.zeros((chunk, f), np.float32) for _ in range(2))
        self._wide = np.zeros((chunk, f), np.float32)
        self._int8 = np.zeros(chunk * wide, np.int8)
        self._int32 = np.zeros(chunk * wide, np.int32)
        self._scale = np.zeros(chunk, np.float32)
        self._scores = np.zeros(self.cache.capacity, np.float32)
        self._logits = np.zeros((chunk, c.vocab_size), np.float32)

    @classmethod
    def load(cls, folder: Path, capacity: int | None = None) -> 'BitNetDecoder':
        """Load ``config.json`` and ``model.safetensors`` of a folder."""
        config = BitNetConfig.load(folder / 'config.json')
        tensors, _ = read_safetensors(folder / 'model.safetensors')
        return cls(config, tensors, capacity)

    def logits(self, ids: list[int]) -> np.ndarray:
        """
        Append tokens to the cache and return their logits, float32 [T, vocab].

        Raises
        ------
        ValueError
            A token id is unknown, or the cache is full.

        """
        return self._append(ids, every=True)

    def forward(self, ids: list[int]) -> np.ndarray:
        """Append tokens and return the logits of the last one, float32 [vocab]."""
        return self._append(ids, every=False)[-1]

    def _append(self, ids: list[int], every: bool) -> np.ndarray:
        if not ids:
            raise ValueError('no tokens')
        if min(ids) < 0 or max(ids) >= self.config.vocab_size:
            raise ValueError(f'token ids must lie in [0, {self.config.vocab_size})')
        if self.cache.length + len(ids) > self.cache.capacity:
            raise ValueError(f'{self.cache.length} + {len(ids)} tokens do not fit into a cache of '
                             f'{self.cache.capacity}')
        out = []
        for start in range(0, len(ids), self._chunk):
            part = ids[start:start + self._chunk]
            n = len(part)
            h = self._h[:n]
            for t, token in enumerate(part):
                h[t] = self._embedding[token]
            for layer in range(len(self._layers)):
                self._layer(layer, h)
            self.cache.length += n
            last = start + n == len(ids)
            if every or last:
                rows = h if every else h[n - 1:]
                x, logits = self._x[:len(rows)], self._logits[:len(rows)]
                ternary.rms_norm(rows, self._norm, self.config.rms_norm_eps, x)
                dense(x, self._head, self._no_bias, False, logits)
                out.append(logits.copy())
        return np.concatenate(out)

    def _quantise(self, x: np.ndarray) -> np.ndarray:
        q = self._int8[:x.size].reshape(x.shape)
        ternary.quantise(x, q, self._scale)
        return q

    def _apply(self, linear: _Linear, q: np.ndarray, out: np.ndarray) -> None:
        acc = self._int32[:len(q) * linear.out].reshape(len(q), linear.out)
        ternary.ternary_matmul(linear.packed, q, acc)
        ternary.rescale(acc, linear.scale, self._scale, out)

    def _layer(self, index: int, h: np.ndarray) -> None:
        linears, norms = self._layers[index]
        c, n, start = self.config, len(h), self.cache.length
        eps = c.rms_norm_eps
        x, y, q = self._x[:n], self._y[:n], self._q[:n]
        keys, values = self.cache.keys[index], self.cache.values[index]
        new_k, new_v = keys[start:start + n], values[start:start + n]
        ternary.rms_norm(h, norms['input_layernorm'], eps, x)
        xq = self._quantise(x)
        self._apply(linears['self_attn.q_proj'], xq, q)
        self._apply(linears['self_attn.k_proj'], xq, new_k)
        self._apply(linears['self_attn.v_proj'], xq, new_v)
        ternary.rope(q, self._cos, self._sin, start, c.num_attention_heads)
        ternary.rope(new_k, self._cos, self._sin, start, c.num_key_value_heads)
        ternary.attend(q, keys, values, start, c.num_attention_heads, c.num_key_value_heads,
                       self._scores, y)
        ternary.rms_norm(y, norms['self_attn.attn_sub_norm'], eps, x)
        self._apply(linears['self_attn.o_proj'], self._quantise(x), y)
        ternary.add(h, y)
        ternary.rms_norm(h, norms['post_attention_layernorm'], eps, x)
        xq = self._quantise(x)
        gate, up, wide = self._gate[:n], self._up[:n], self._wide[:n]
        self._apply(linears['mlp.gate_proj'], xq, gate)
        self._apply(linears['mlp.up_proj'], xq, up)
        ternary.gated_relu2(gate, up)
        ternary.rms_norm(gate, norms['mlp.ffn_sub_norm'], eps, wide)
        self._apply(linears['mlp.down_proj'], self._quantise(wide), y)
        ternary.add(h, y)
