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


"""NumPy oracles of the kernels: short, obvious, in float64, never used in flight."""

from edge_vla.checkpoints.packing import unpack
import numpy as np


def rms_norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    """Divide each row of [T, D] by its root mean square, times the gain."""
    x = x.astype(np.float64)
    return gain * x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps)


def quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int8 [T, K], float32 scale [T]) of absmax quantisation, rounding half to even."""
    scale = np.float32(127) / np.maximum(np.abs(x).max(-1), np.float32(1e-5))
    return np.rint(x * scale[:, None]).astype(np.int8), scale


def ternary_matmul(packed: np.ndarray, x: np.ndarray, out_features: int) -> np.ndarray:
    """Multiply int8 [T, K] by the transpose of a packed matrix; exact int64 [T, M]."""
    return x.astype(np.int64) @ unpack(packed, out_features).astype(np.int64).T


def gated_relu2(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return relu(gate)^2 * up."""
    return np.maximum(gate.astype(np.float64), 0) ** 2 * up


def rope(x: np.ndarray, theta: float, start: int, heads: int) -> np.ndarray:
    """Rotate [T, heads * H] by position: the halves of a head are the two coordinates."""
    size = x.shape[1] // heads
    y = x.astype(np.float64).reshape(len(x), heads, size)
    angles = (start + np.arange(len(x)))[:, None] * theta ** (-np.arange(0, size, 2) / size)
    turned = (y[..., :size // 2] + 1j * y[..., size // 2:]) * np.exp(1j * angles)[:, None]
    return np.concatenate((turned.real, turned.imag), -1).reshape(x.shape)


def attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray, start: int, heads: int,
           kv_heads: int) -> np.ndarray:
    """Causal grouped-query attention of [T, heads * H] over the first start + T positions."""
    t, size = len(q), q.shape[1] // heads
    n = start + t
    grouped = q.astype(np.float64).reshape(t, kv_heads, heads // kv_heads, size)
    k = keys[:n].astype(np.float64).reshape(n, kv_heads, size)
    v = values[:n].astype(np.float64).reshape(n, kv_heads, size)
    scores = np.einsum('tgqi,pgi->tgqp', grouped, k) / np.sqrt(size)
    future = np.arange(n)[None, :] > start + np.arange(t)[:, None]
    scores[np.broadcast_to(future[:, None, None, :], scores.shape)] = -np.inf
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return np.einsum('tgqp,pgi->tgqi', weight, v).reshape(q.shape)
