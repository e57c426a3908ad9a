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

import math

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


def gated_silu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return gate * sigmoid(gate) * up."""
    gate = gate.astype(np.float64)
    return gate * _sigmoid(gate) * up


def short_convolution(y: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Convolve [T, D] over time with taps [K, D], oldest first; zeros come before."""
    before = np.zeros((len(taps) - 1, y.shape[1]))
    seen = np.concatenate([before, y.astype(np.float64)])
    return sum(tap * seen[k:k + len(y)] for k, tap in enumerate(taps))


def block_matmul(codes: np.ndarray, scales: np.ndarray, offset: int, x: np.ndarray,
                 steps: np.ndarray) -> np.ndarray:
    """Multiply codes [T, K] with steps [T, K / 32] by the transpose of codes [M, K] likewise."""
    def values(q: np.ndarray, each: np.ndarray, less: int) -> np.ndarray:
        blocks = q.astype(np.float64).reshape(len(q), -1, 32) - less
        return (blocks * each.astype(np.float64)[..., None]).reshape(len(q), -1)
    return values(x, steps, 0) @ values(codes, scales, offset).T


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


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):
        return 1 / (1 + np.exp(-x))


_ACTIVATIONS = {
    'lecun_tanh': lambda x: 1.7159 * np.tanh(.666 * x),
    'relu': lambda x: np.maximum(x, 0),
    'tanh': np.tanh,
    'silu': lambda x: x * _sigmoid(x),
    'gelu': lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2}


def cfc_step(x: np.ndarray, h: np.ndarray, dt: float, backbone: tuple[np.ndarray, ...],
             heads: tuple[np.ndarray, ...], mode: str = 'default',
             activation: str = 'lecun_tanh') -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Advance a CfC state; return it and the two values it lies between or tends to.

    `backbone` is weight, bias, weight, bias...; `heads` is weight and bias of ff1, ff2, time_a and
    time_b side by side, in pure mode of ff1, followed by w_tau and A, in exact mode of A and f.
    """
    z = np.concatenate([x, h]).astype(np.float64)
    for weight, bias in zip(backbone[::2], backbone[1::2], strict=True):
        z = _ACTIVATIONS[activation](z @ weight + bias)
    pre = z @ heads[0] + heads[1]
    if mode == 'pure':
        tau, a = heads[2:]
        return a - a * np.exp(-dt * (np.abs(tau) + np.abs(pre))) * pre, a * (1 - pre), a
    if mode == 'exact':
        a, f = np.split(pre, 2)
        return np.tanh(a) + (h - np.tanh(a)) * np.exp(-dt * np.logaddexp(0, f)), h, np.tanh(a)
    ff1, ff2, time_a, time_b = np.split(pre, 4)
    gate = _sigmoid(time_a * dt + time_b)
    ff1, ff2 = np.tanh(ff1), np.tanh(ff2)
    return (ff1 + gate * ff2 if mode == 'no_gate' else ff1 * (1 - gate) + gate * ff2), ff1, ff2


def lstm_step(x: np.ndarray, h: np.ndarray, c: np.ndarray, weight: np.ndarray,
              bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advance hidden and cell state of an LSTM; `weight` is [I + U, 4 U]."""
    a, i, f, o = np.split(np.concatenate([x, h]).astype(np.float64) @ weight + bias, 4)
    c = c * _sigmoid(f + 1) + np.tanh(a) * _sigmoid(i)
    return np.tanh(c) * _sigmoid(o), c


def ltc_step(u: np.ndarray, v: np.ndarray, dt: float, unfolds: int, sensory: np.ndarray,
             synapses: np.ndarray, membrane: np.ndarray) -> np.ndarray:
    """
    Advance LTC potentials [U] under mapped inputs [I].

    `sensory` [4, I, U] and `synapses` [4, U, U] are mu, sigma, w (0 where there is no synapse) and
    erev; `membrane` [3, U] is cm, gleak and vleak.
    """
    def conduct(pre: np.ndarray, mu: np.ndarray, sigma: np.ndarray, w: np.ndarray,
                erev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g = w * _sigmoid(sigma * (pre[:, None] - mu))
        return (g * erev).sum(0), g.sum(0)

    cm, gleak, vleak = membrane.astype(np.float64)
    current, conductance = conduct(u, *sensory)
    v = v.astype(np.float64)
    for _ in range(unfolds):
        i, g = conduct(v, *synapses)
        rate = cm / (dt / unfolds)
        v = (rate * v + gleak * vleak + i + current) / (rate + gleak + g + conductance + 1e-8)
    return v


def ground(hidden: np.ndarray, scale: np.ndarray, shift: np.ndarray, score: np.ndarray,
           bias: float, values: np.ndarray, near: np.ndarray, centres: np.ndarray, rows: int,
           band: int) -> tuple[np.ndarray, np.ndarray]:
    """Score tokens and pool them; return probabilities [T] and features as `grounding.ground`."""
    s = np.maximum(hidden * (1 + scale) + shift, 0) @ score + bias
    low = np.sort(s.reshape(rows, -1)[rows // 2:].ravel())
    level = np.clip(low[len(low) // 2] + 4, 0, 5)
    p = 1 / (1 + np.exp(level - s))
    p = one_place(p.reshape(rows, -1)).ravel() if level > 0 else p
    weight = p * p / ((p * p).sum() + 1e-3)
    centre = weight @ centres
    spread = weight @ np.abs(centres[:, 0] - centre[0])
    grid = near.reshape(rows, -1)
    return p, np.concatenate([
        [p.max()], centre * p.max(), [spread, p.mean()], weight @ values * p.max(), np.zeros(3),
        grid[:band].max(0), grid[band:].max(0)])


def one_place(p: np.ndarray) -> np.ndarray:
    """Return p [R, C] without the tokens above 0.3 that do not touch the likeliest place."""
    left, places = {tuple(x) for x in np.argwhere(p > .3)}, []
    while left:
        place, edge = set(), [left.pop()]
        while edge:
            u, v = edge.pop()
            place.add((u, v))
            near = {(a, b) for a, b in left if abs(a - u) < 2 and abs(b - v) < 2}
            left -= near
            edge += near
        places.append(place)
    best = max(places, key=lambda place: sum(p[t] ** 2 for t in place), default=set())
    return np.array([[0 if x > .3 and (u, v) not in best else x for v, x in enumerate(row)]
                     for u, row in enumerate(p)])


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the cosine of every row of [N, C] with every row of [M, C], [N, M]."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)


def thin_window(frames: np.ndarray, keep: int) -> list[np.ndarray]:
    """Return the positions that DyCoke keeps of each of up to four frames [F, N, C]."""
    kept = [np.arange(frames.shape[1])]
    for frame, reference in zip(frames[1:], (0, 0, 2), strict=False):
        similar = np.diag(cosines(frame, frames[reference]))
        kept.append(np.sort(np.argsort(similar, kind='stable')[:keep]))
    return kept


def box_counts(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return how many cells of a mask [H, W] lie within `reach` of each cell."""
    h, w = mask.shape
    padded = np.pad(mask.astype(np.int64), reach)
    return sum(padded[y:y + h, x:x + w] for y in range(2 * reach + 1)
               for x in range(2 * reach + 1))


def soft_merge(anchors: np.ndarray, others: np.ndarray, eps: float
               ) -> tuple[np.ndarray, np.ndarray]:
    """Merge [T, C] into [S, C] after TEAM-VLA; return the anchors and how much each got, [S]."""
    s, t = (x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + eps)
            for x in (anchors, others))
    weight = np.exp(t @ s.T / np.sqrt(s.shape[1]))
    weight /= weight.sum(1, keepdims=True)
    got = weight.sum(0)
    return (anchors + weight.T @ others) / (1 + got[:, None]), got
