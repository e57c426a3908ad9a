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
One step of the closed-form continuous-time cell (CfC), fused.

Hasani et al., Closed-form continuous-time neural networks, Nature Machine Intelligence 2022,
default mode with one backbone layer: h' = tanh(ff1)(1 - s) + s tanh(ff2),
s = sigmoid(time_a t + time_b).
"""

import math

from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def _affine(x, weight, bias, out):
    for j in range(out.shape[0]):
        out[j] = bias[j]
    for k in range(x.shape[0]):
        a = x[k]
        w = weight[k]
        for j in range(out.shape[0]):
            out[j] += a * w[j]


@njit(cache=True, nogil=True)
def cfc_step(joined, dt, backbone_w, backbone_b, heads_w, heads_b, z, heads, h):
    """
    Advance the state `h` by elapsed time `dt`.

    Parameters
    ----------
    joined : float32 [I + U], changed
        Input in the first I places; the last U are overwritten with `h`.
    dt : float
        Elapsed time in the unit of training.
    backbone_w, backbone_b : float32 [I + U, B], [B]
        The backbone layer.
    heads_w, heads_b : float32 [B, 4 U], [4 U]
        ff1, ff2, time_a, time_b side by side.
    z, heads : float32 [B], [4 U], written
        Scratch.
    h : float32 [U], changed
        The state.

    """
    units = h.shape[0]
    inputs = joined.shape[0] - units
    for j in range(units):
        joined[inputs + j] = h[j]
    _affine(joined, backbone_w, backbone_b, z)
    for j in range(z.shape[0]):
        z[j] = np.float32(1.7159) * np.float32(math.tanh(np.float32(.666) * z[j]))
    _affine(z, heads_w, heads_b, heads)
    t = np.float32(dt)
    one = np.float32(1)
    for j in range(units):
        a = np.float32(math.tanh(heads[j]))
        b = np.float32(math.tanh(heads[units + j]))
        gate = one / (one + np.float32(math.exp(-(heads[2 * units + j] * t
                                                  + heads[3 * units + j]))))
        h[j] = a * (one - gate) + gate * b
