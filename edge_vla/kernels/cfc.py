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
The closed-form continuous-time cell (CfC), fused, and the LSTM that may step before it.

Hasani et al., Closed-form continuous-time neural networks, Nature Machine Intelligence 2022. From
the backbone's output come ff1, ff2, time_a and time_b; with s = sigmoid(time_a t + time_b)

* default: h' = tanh(ff1) (1 - s) + s tanh(ff2)
* no_gate: h' = tanh(ff1) + s tanh(ff2)
* pure: h' = A - A exp(-t (|w_tau| + |ff1|)) ff1, w_tau and A learned, without the other heads
* exact: h' = A + (h - A) exp(-f t), with the heads A (tanh of it) and f (softplus of it)

The last one is ours: dh/dt = f (A - h), the ODE of a liquid time constant, solved for the f and A
of the step's begin. It alone keeps h where f is small, so it can add up what it measures.

The innermost loop runs over outputs, so it vectorises without reordering any sum: a sample gives
the same numbers alone and in a batch, on every CPU. All functions are in this file because numba's
cache on disk notices changes of a function's own file only.
"""

import math

from numba import njit
import numpy as np

DEFAULT, NO_GATE, PURE, EXACT = range(4)
BIASES = 4, 4, 3, 2  # of a unit's heads, by mode
MODES = {'default': DEFAULT, 'no_gate': NO_GATE, 'pure': PURE, 'exact': EXACT}
LECUN_TANH, RELU, TANH, SILU, GELU = range(5)
ACTIVATIONS = {'lecun_tanh': LECUN_TANH, 'relu': RELU, 'tanh': TANH, 'silu': SILU, 'gelu': GELU}


@njit(cache=True, nogil=True)
def _sigmoid(x):
    """Return the logistic function of a float32."""
    one = np.float32(1)
    return one / (one + np.float32(math.exp(-x)))


@njit(cache=True, nogil=True)
def _affine(x, weight, bias, out):
    """
    Affine map of one sample; outputs past the columns of `weight` are their bias.

    Parameters
    ----------
    x : float32 [K]
        The sample.
    weight : float32 [K, M]
        Input by output.
    bias : float32 [N], N >= M
        Added.
    out : float32 [N], written
        The result.

    """
    for j in range(out.shape[0]):
        out[j] = bias[j]
    for k in range(x.shape[0]):
        a = x[k]
        w = weight[k]
        for j in range(w.shape[0]):
            out[j] += a * w[j]


@njit(cache=True, nogil=True)
def _activate(z, kind):
    """
    Apply an activation in place.

    Parameters
    ----------
    z : float32 [N], changed
        Values.
    kind : int
        A value of `ACTIVATIONS`.

    """
    if kind == LECUN_TANH:
        for j in range(z.shape[0]):
            z[j] = np.float32(1.7159) * np.float32(math.tanh(np.float32(.666) * z[j]))
    elif kind == RELU:
        for j in range(z.shape[0]):
            z[j] = max(z[j], np.float32(0))
    elif kind == TANH:
        for j in range(z.shape[0]):
            z[j] = np.float32(math.tanh(z[j]))
    elif kind == SILU:
        for j in range(z.shape[0]):
            z[j] *= _sigmoid(z[j])
    elif kind == GELU:
        for j in range(z.shape[0]):
            z[j] *= np.float32(.5) * (np.float32(1) + np.float32(
                math.erf(z[j] * np.float32(math.sqrt(.5)))))


@njit(cache=True, nogil=True)
def cfc_step(joined, dt, backbone_w, backbone_b, heads_w, heads_b, z, heads, h, mode=DEFAULT,
             activation=LECUN_TANH):
    """
    Advance the state `h` of one sample by elapsed time `dt`.

    Parameters
    ----------
    joined : float32 [I + U], changed
        Input in the first I places; the last U are overwritten with `h`.
    dt : float
        Elapsed time in the unit of training.
    backbone_w : float32 [I + U + (L - 1) B, B]
        The L layers of the backbone, one below the other.
    backbone_b : float32 [L B]
        Their biases; empty without a backbone, then C below is I + U, else B.
    heads_w : float32 [C, 4 U], or [C, U] in pure and [C, 2 U] in exact mode
        ff1, ff2, time_a, time_b side by side, or ff1, or A and f.
    heads_b : float32 [4 U], or [3 U] in pure and [2 U] in exact mode
        Their biases; in pure mode that of ff1, then abs(w_tau) and A.
    z, heads : float32, shapes of `backbone_b` and `heads_b`, written
        Scratch.
    h : float32 [U], changed
        The state.
    mode, activation : int
        Values of `MODES` and `ACTIVATIONS`.

    """
    units = h.shape[0]
    inputs = joined.shape[0] - units
    for j in range(units):
        joined[inputs + j] = h[j]
    below, width, row = joined, backbone_w.shape[1], 0
    for start in range(0, backbone_b.shape[0], width):
        layer, bias = z[start:start + width], backbone_b[start:start + width]
        _affine(below, backbone_w[row:row + below.shape[0]], bias, layer)
        _activate(layer, activation)
        row += below.shape[0]
        below = layer
    _affine(below, heads_w, heads_b, heads)
    t = np.float32(dt)
    one = np.float32(1)
    if mode == PURE:
        for j in range(units):
            ff1, tau, a = heads[j], heads[units + j], heads[2 * units + j]
            h[j] = a - a * np.float32(math.exp(-t * (tau + abs(ff1)))) * ff1
        return
    if mode == EXACT:
        for j in range(units):
            a, f = np.float32(math.tanh(heads[j])), heads[units + j]
            rate = max(f, np.float32(0)) + np.float32(math.log1p(math.exp(-abs(f))))
            h[j] -= (a - h[j]) * np.float32(math.expm1(-t * rate))
        return
    for j in range(units):
        a = np.float32(math.tanh(heads[j]))
        b = np.float32(math.tanh(heads[units + j]))
        gate = _sigmoid(heads[2 * units + j] * t + heads[3 * units + j])
        h[j] = a * (one - gate) + gate * b if mode == DEFAULT else a + gate * b


@njit(cache=True, nogil=True)
def cfc_rows(x, x_start, dt, backbone_w, backbone_b, heads_w, heads_b, mode, activation, joined, z,
             heads, state, start):
    """
    Advance a slice of every sample's state, each by its own elapsed time.

    Parameters
    ----------
    x : float32 [N, >= x_start + I]
        Inputs; may be `state` itself, where one layer feeds the next.
    x_start : int
        Column at which the I inputs begin.
    dt : float32 [N]
        Elapsed time of every sample, in the unit of training.
    backbone_w, backbone_b, heads_w, heads_b, mode, activation, joined, z, heads
        As in `cfc_step`.
    state : float32 [N, >= start + U], changed
        States.
    start : int
        Column at which the U units of this cell begin.

    """
    units = heads_b.shape[0] // BIASES[mode]
    inputs = joined.shape[0] - units
    for i in range(x.shape[0]):
        for k in range(inputs):
            joined[k] = x[i, x_start + k]
        cfc_step(joined, dt[i], backbone_w, backbone_b, heads_w, heads_b, z, heads,
                 state[i, start:start + units], mode, activation)


@njit(cache=True, nogil=True)
def lstm_rows(x, weight, bias, joined, gates, state):
    """
    Advance the LSTM of mixed memory (Lechner & Hasani 2020); elapsed time plays no part.

    c' = sigmoid(f + 1) c + sigmoid(i) tanh(a), h' = sigmoid(o) tanh(c'); a, i, f and o are affine
    in the input and h.

    Parameters
    ----------
    x : float32 [N, I]
        Inputs.
    weight, bias : float32 [I + U, 4 U], [4 U]
        a, i, f, o side by side.
    joined, gates : float32 [I + U], [4 U], written
        Scratch.
    state : float32 [N, 2 U], changed
        h, then c.

    """
    inputs = x.shape[1]
    units = joined.shape[0] - inputs
    for n in range(x.shape[0]):
        row = state[n]
        for k in range(inputs):
            joined[k] = x[n, k]
        for j in range(units):
            joined[inputs + j] = row[j]
        _affine(joined, weight, bias, gates)
        for j in range(units):
            new = np.float32(math.tanh(gates[j])) * _sigmoid(gates[units + j])
            keep = _sigmoid(gates[2 * units + j] + np.float32(1))
            row[units + j] = row[units + j] * keep + new
            row[j] = np.float32(math.tanh(row[units + j])) * _sigmoid(gates[3 * units + j])
