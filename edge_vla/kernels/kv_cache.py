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
Moving tokens of a KV cache, and reading how much they were looked at.

The layout is that of `edge_vla.kernels.attention`. A key was rotated by its true position when it
was written, so it may lie in any slot.
"""

from edge_vla.kernels.vectors import LANES
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def copy_tokens(source, head, capacity, slots, count, size, target, target_head,
                target_capacity):
    """
    Copy some tokens of one head to the first slots of another, or of the same.

    Parameters
    ----------
    source, target : tuple of arrays (keys, values, key scales, value scales)
        Of one kind; may be the same cache, as long as a head goes to itself.
    head, target_head : int
        Which head of the whole cache (layer * heads + head).
    capacity, target_capacity : int
        Positions of each cache, a multiple of 16.
    slots : int64 [>= count]
        Where the tokens are now, ascending: in place none is overwritten before it is read.
    count : int
        How many; at most `target_capacity`.
    size : int
        Padded size of a head.

    """
    keys, values, key_scales, value_scales = source
    to_keys, to_values, to_key_scales, to_value_scales = target
    base, to_base = head * capacity * size, target_head * target_capacity * size
    for j in range(count):
        p = slots[j]
        # unsigned: indices that cannot be negative are three times as fast
        at = np.uint64(base + p // LANES * LANES * size + p % LANES)
        to = np.uint64(to_base + j // LANES * LANES * size + j % LANES)
        for _ in range(size):
            to_keys[to] = keys[at]
            at += np.uint64(LANES)
            to += np.uint64(LANES)
        to_key_scales[target_head * target_capacity + j] = key_scales[head * capacity + p]
        to_value_scales[target_head * target_capacity + j] = value_scales[head * capacity + p]
    for i in range(0, size, LANES):
        for j in range(count):
            at = base + i * capacity + slots[j] * LANES
            to = to_base + i * target_capacity + j * LANES
            for k in range(LANES):
                to_values[to + k] = values[at + k]


@njit(cache=True, nogil=True)
def add_attention(scores, place, value_scales, head, capacity, slots, share, out):
    """
    Add a query's attention to some slots; call it after `attention.attend` for every query head.

    Parameters
    ----------
    scores : float32
        What `attend` left there: probabilities times value scales.
    place : int
        Where the query's scores start.
    value_scales : float32
        Of the cache.
    head, capacity : int
        As in `attend`.
    slots : int64 [V]
        Which.
    share : float32
        Weight of this query head, 1 / heads for a mean.
    out : float32 [V], changed
        The attention so far.

    """
    for j in range(slots.shape[0]):
        out[j] += share * scores[place + slots[j]] / value_scales[head * capacity + slots[j]]
