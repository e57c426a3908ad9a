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
The liquid time-constant cell (LTC) with the fused semi-implicit solver.

Hasani et al., Liquid time-constant networks, AAAI 2021. A unit of capacity cm leaks towards vleak
and is drawn by every synapse towards its reversal potential erev, the harder the more
w sigmoid(sigma (pre - mu)). A substep is linear-implicit in the unit's own potential, hence a
convex combination of potentials: stable for any elapsed time.
"""

import math

from numba import njit
import numpy as np

_EPSILON = np.float32(1e-8)
_SHORTEST = np.float32(np.finfo(np.float32).tiny)


@njit(cache=True, nogil=True)
def _sigmoid(x):  # not shared: numba's cache notices changes of a function's own file only
    one = np.float32(1)
    return one / (one + np.float32(math.exp(-x)))


@njit(cache=True, nogil=True)
def _conduct(pre, ends, synapses, current, conductance):
    for s in range(ends.shape[0]):
        mu, sigma, w, erev = synapses[s]
        g = w * _sigmoid(sigma * (pre[ends[s, 0]] - mu))
        current[ends[s, 1]] += g * erev
        conductance[ends[s, 1]] += g


@njit(cache=True, nogil=True)
def ltc_rows(x, dt, unfolds, mapping, sensory_ends, sensory, ends, synapses, membrane, u, sums,
             state):
    """
    Advance every sample's potentials, each by its own elapsed time.

    Parameters
    ----------
    x : float32 [N, I]
        Inputs, constant over the elapsed time.
    dt : float32 [N]
        Elapsed time of every sample, above 0, in the unit of training.
    unfolds : int
        Substeps of the solver.
    mapping : float32 [2, I]
        Factor and offset of every input.
    sensory_ends, ends : int32 [S, 2], [R, 2]
        Source and destination of the synapses from inputs and between units.
    sensory, synapses : float32 [S, 4], [R, 4]
        mu, sigma, w >= 0 and erev of each.
    membrane : float32 [3, U]
        cm, gleak and vleak; cm and gleak >= 0.
    u, sums : float32 [I], [4, U], written
        Scratch.
    state : float32 [N, >= U], changed
        Potentials in the first U places.

    """
    units = membrane.shape[1]
    for n in range(x.shape[0]):
        v = state[n, :units]
        for k in range(x.shape[1]):
            u[k] = x[n, k] * mapping[0, k] + mapping[1, k]
        for j in range(units):
            sums[0, j] = membrane[1, j] * membrane[2, j]
            sums[1, j] = membrane[1, j] + _EPSILON
        _conduct(u, sensory_ends, sensory, sums[0], sums[1])
        step = max(dt[n] / np.float32(unfolds), _SHORTEST)
        for _ in range(unfolds):
            for j in range(units):
                sums[2, j] = sums[0, j]
                sums[3, j] = sums[1, j]
            _conduct(v, ends, synapses, sums[2], sums[3])
            for j in range(units):
                # the change, not the new value: the first term may be infinite for a short step
                v[j] += (sums[2, j] - sums[3, j] * v[j]) / (membrane[0, j] / step + sums[3, j])
