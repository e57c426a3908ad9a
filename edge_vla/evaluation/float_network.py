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
The network that a ternary decoder is compared with: the same shape in float32, in NumPy.

Every product is one call of BLAS, projections of the same input side by side. Weights are random,
speed does not depend on them; those of a network too large for memory are drawn for some layers
only, which take turns: what is read and computed for a token stays the same.
"""

from collections.abc import Sequence

from edge_vla.language.config import BitNetConfig
import numpy as np

CHUNK = 256  # tokens taken at once, as far as there are
MEMORY = 1 << 29  # bytes of weights of layers, and again of the head


class FloatCache:
    """
    Keys and values in float32.

    Parameters
    ----------
    config : BitNetConfig
        Of the network.
    capacity : int
        Tokens it can hold.

    Attributes
    ----------
    length : int
        Tokens it holds.
    keys, values : numpy.ndarray
        float32 [layers, key-value heads, capacity, head size].
    appended : int
        Tokens it was ever given, see `generation.CachedIds`.

    """

    appended: int = 0

    def __init__(self, config: BitNetConfig, capacity: int) -> None:
        shape = (config.num_hidden_layers, config.num_key_value_heads, capacity, config.head_dim)
        self.capacity, self.length = capacity, 0
        self.keys, self.values = np.zeros((2, *shape), np.float32)

    def truncate(self, length: int) -> None:
        """
        Forget everything after the first `length` tokens.

        Raises
        ------
        ValueError
            There are fewer.

        """
        if not 0 <= length <= self.length:
            raise ValueError(f'cannot truncate {self.length} tokens to {length}')
        self.length = length


class FloatDecoder:
    """
    A decoder of BitNet's shape with float32 weights; `generation.TextDecoder`.

    Parameters
    ----------
    config : BitNetConfig
        Its shape.
    capacity : int
        Longest text, tokens.
    memory : int
        Bytes of weights of layers to draw at most, and again of the head; one layer at least.
    seed : int
        Of the weights.

    Attributes
    ----------
    layers : list of dict of str to numpy.ndarray
        float32 [outputs, inputs] of those drawn: qkv, o, gate_up, down.
    head : numpy.ndarray
        float32 [rows, hidden]; row i is of the tokens i, i + rows, ...
    weight_bytes : int
        Of float32 weights that one token reads, head included.

    """

    tokenizer = chat = None

    def __init__(self, config: BitNetConfig, capacity: int, memory: int = MEMORY,
                 seed: int = 0) -> None:
        self.config, self.cache = config, FloatCache(config, capacity)
        rng, d, f = np.random.default_rng(seed), config.hidden_size, config.intermediate_size
        shapes = {'qkv': (d + 2 * config.kv_size, d), 'o': (d, d), 'gate_up': (2 * f, d),
                  'down': (d, f)}
        size = 4 * sum(rows * columns for rows, columns in shapes.values())
        count = max(1, min(config.num_hidden_layers, memory // size))

        def draw(rows: int, columns: int) -> np.ndarray:
            out = rng.standard_normal((rows, columns), np.float32)
            out /= np.float32(np.sqrt(columns))
            return out
        self.layers = [{name: draw(*s) for name, s in shapes.items()} for _ in range(count)]
        self.head = draw(max(1, min(config.vocab_size, memory // (4 * d))), d)
        self.weight_bytes = config.num_hidden_layers * size + 4 * config.vocab_size * d
        self._gain, self._wide_gain = np.ones(d, np.float32), np.ones(f, np.float32)

    def forward(self, ids: Sequence[int]) -> np.ndarray:
        """
        Append tokens to the cache and return the logits of the last one, float32 [vocab].

        Raises
        ------
        ValueError
            They do not fit into the cache.

        """
        if self.cache.length + len(ids) > self.cache.capacity:
            raise ValueError(f'{len(ids)} more tokens do not fit into a cache of '
                             f'{self.cache.capacity}')
        for start in range(0, len(ids), CHUNK):
            h = self.head[np.asarray(ids[start:start + CHUNK]) % len(self.head)]
            for layer in range(self.config.num_hidden_layers):
                self._layer(layer, h)
            self.cache.length += len(h)
            self.cache.appended += len(h)
        x = self._norm(h[-1], self._gain)
        out, rows = np.empty(self.config.vocab_size, np.float32), len(self.head)
        for start in range(0, len(out), rows):
            part = out[start:start + rows]
            np.matmul(self.head[:len(part)], x, out=part)
        return out

    def _layer(self, number: int, h: np.ndarray) -> None:
        """Add what a layer says to h, float32 [T, hidden]."""
        c, w = self.config, self.layers[number % len(self.layers)]
        qkv = _product(self._norm(h, self._gain), w['qkv'])
        attended = self._attend(number, qkv[:, :c.hidden_size], qkv[:, c.hidden_size:])
        h += _product(self._norm(attended, self._gain), w['o'])
        both = _product(self._norm(h, self._gain), w['gate_up'])
        gate, up = both[:, :c.intermediate_size], both[:, c.intermediate_size:]
        np.maximum(gate, 0, out=gate)
        gate *= gate
        gate *= up
        h += _product(self._norm(gate, self._wide_gain), w['down'])

    def _norm(self, x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        mean = np.einsum('...i,...i->...', x, x)[..., None] / np.float32(x.shape[-1])
        return x * (gain / np.sqrt(mean + np.float32(self.config.rms_norm_eps)))

    def _turn(self, x: np.ndarray) -> np.ndarray:
        """Rotate [T, heads, size] by position: the halves of a head are the two coordinates."""
        size, start = x.shape[-1], self.cache.length
        angles = (start + np.arange(len(x)))[:, None] * self.config.rope_theta ** (
            -np.arange(0, size, 2) / size)
        cos, sin = (f(angles).astype(np.float32)[:, None] for f in (np.cos, np.sin))
        a, b = x[..., :size // 2], x[..., size // 2:]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    def _attend(self, number: int, q: np.ndarray, kv: np.ndarray) -> np.ndarray:
        """Attend to what the cache holds of a layer and to the new tokens, [T, hidden]."""
        c, t, start = self.config, len(q), self.cache.length
        heads, size, n = c.num_key_value_heads, c.head_dim, start + t
        keys, values = self.cache.keys[number], self.cache.values[number]
        new = kv.reshape(t, 2, heads, size)
        keys[:, start:n] = self._turn(new[:, 0]).transpose(1, 0, 2)
        values[:, start:n] = new[:, 1].transpose(1, 0, 2)
        groups = c.num_attention_heads // heads
        asked = self._turn(q.reshape(t, -1, size)).reshape(t, heads, groups, size)
        asked = asked.transpose(1, 2, 0, 3).reshape(heads, groups * t, size)
        scores = asked @ keys[:, :n].transpose(0, 2, 1)
        scores *= np.float32(size ** -.5)
        if t > 1:
            future = np.arange(n)[None] > start + np.arange(t)[:, None]
            each = scores.reshape(heads, groups, t, n)
            each += np.where(future, np.float32(-np.inf), np.float32(0))
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        out = (scores @ values[:, :n]).reshape(heads, groups, t, size)
        return np.ascontiguousarray(out.transpose(2, 0, 1, 3)).reshape(t, -1)


def _product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return [T, K] times the transpose of [M, K]."""
    return (weight @ x[0])[None] if len(x) == 1 else x @ weight.T
