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

import numpy as np


def rms_norm(x: np.ndarray, gain: np.ndarray, eps: float) -> np.ndarray:
    """Divide each row of [T, D] by its root mean square, times the gain."""
    x = x.astype(np.float64)
    return gain * x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps)


def quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int8 [T, K], float32 scale [T]) of absmax quantisation, rounding half to even."""
    scale = np.float32(127) / np.maximum(np.abs(x).max(-1), np.float32(1e-5))
    return np.rint(x * scale[:, None]).astype(np.int8), scale


def ternary_matmul(trits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Multiply int8 [T, K] by the transpose of int8 trits [M, K]; exact int64 [T, M]."""
    return x.astype(np.int64) @ trits.astype(np.int64).T


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


def normalise_patches(image: np.ndarray, size: int) -> np.ndarray:
    """Cut uint8 [H, W, 3] into patches, [H / size * W / size, size * size * 3] in ±1."""
    h, w = image.shape[0] // size, image.shape[1] // size
    patches = image.reshape(h, size, w, size, 3).transpose(0, 2, 1, 3, 4)
    return patches.reshape(h * w, -1) / 127.5 - 1


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    """Affine map of every row, [N, K] to [N, M], optionally rectified."""
    out = x.astype(np.float64) @ weight + bias
    return np.maximum(out, 0) if relu else out


def convolve3x3(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int,
                residual: bool) -> np.ndarray:
    """Rectified 3x3 convolution of [H, W, K] with zero padding of one."""
    h, w, k = x.shape
    padded = np.zeros((h + 2, w + 2, k))
    padded[1:-1, 1:-1] = x
    out = np.zeros((-(-h // stride), -(-w // stride), weight.shape[3]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            patch = padded[i * stride:i * stride + 3, j * stride:j * stride + 3]
            out[i, j] = np.maximum(np.tensordot(patch, weight, 3) + bias, 0)
    return out + x if residual else out


def cfc_step(x: np.ndarray, h: np.ndarray, dt: float, backbone: tuple[np.ndarray, np.ndarray],
             heads: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advance a CfC state (default mode); return it and the two states it blends."""
    z = 1.7159 * np.tanh(.666 * (np.concatenate([x, h]) @ backbone[0] + backbone[1]))
    ff1, ff2, a, b = np.split(z @ heads[0] + heads[1], 4)
    with np.errstate(over='ignore'):
        gate = 1 / (1 + np.exp(-(a * dt + b)))
    ff1, ff2 = np.tanh(ff1), np.tanh(ff2)
    return ff1 * (1 - gate) + gate * ff2, ff1, ff2


def ground(hidden: np.ndarray, scale: np.ndarray, shift: np.ndarray, score: np.ndarray,
           bias: float, values: np.ndarray, near: np.ndarray, centres: np.ndarray, rows: int,
           band: int) -> tuple[np.ndarray, np.ndarray]:
    """Score tokens and pool them; return probabilities [T] and features as `grounding.ground`."""
    p = 1 / (1 + np.exp(-(np.maximum(hidden * (1 + scale) + shift, 0) @ score + bias)))
    weight = p * p / ((p * p).sum() + 1e-3)
    centre = weight @ centres
    spread = weight @ np.abs(centres[:, 0] - centre[0])
    grid = near.reshape(rows, -1)
    return p, np.concatenate([
        [p.max()], centre * p.max(), [spread, p.mean()], weight @ values * p.max(), np.zeros(3),
        grid[:band].max(0), grid[band:].max(0)])
