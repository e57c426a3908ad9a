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

from edge_vla.kernels.phases import attend_four
from edge_vla.kernels.vectors import LANES
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def copy_tokens(source, first, capacity, slots, size, target, target_capacity, start, heads):
    """
    Copy some tokens of some heads to other slots, of another cache or the same.

    Parameters
    ----------
    source, target : tuple of arrays (keys, values, key scales, value scales)
        Of one kind; may be the same cache, as long as heads go to themselves. What may follow in
        the tuple is not touched.
    first : int
        Which head of the whole source (layer * heads + head) goes to the first of the target.
    capacity, target_capacity : int
        Slots of each cache, a multiple of 16.
    slots : int64 [N]
        Where the tokens are now, ascending: in place none is overwritten before it is read.
    size : int
        Padded size of a head.
    start : int
        Slot of the target for the first of them; 0 in place.
    heads : int
        How many.

    """
    for head in range(heads):
        _copy_head(source, first + head, capacity, slots, size, target, target_capacity, start,
                   head)


@njit(cache=True, nogil=True)
def _copy_head(source, head, capacity, slots, size, target, target_capacity, start, target_head):
    keys, values, key_scales, value_scales = source[0], source[1], source[2], source[3]
    to_keys, to_values, to_key_scales, to_value_scales = target[0], target[1], target[2], target[3]
    base, to_base = head * capacity * size, target_head * target_capacity * size
    count = slots.shape[0]
    for i in range(count):
        p, j = slots[i], start + i
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
            to = to_base + i * target_capacity + (start + j) * LANES
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


@njit(cache=True, nogil=True)
def last_attention(s, cache, work, layer, t, length, slots, out):
    """
    Read how much a token of the last call of `bitnet.run` looked at some slots.

    Parameters
    ----------
    s, cache, work
        As in that call, of which `layer` was the last one.
    layer : int
        Counted from the first one of the cache.
    t : int
        Which token of the call.
    length : int
        Slots that it saw.
    slots : int64 [V]
        Which.
    out : float32 [V], written
        Its attention, the mean of all heads.

    """
    out[:] = 0
    group, share = s.heads // s.kv_heads, np.float32(1) / np.float32(s.heads)
    for kv in range(s.kv_heads):
        for g in range(0, group, 4):
            count = min(4, group - g)
            attend_four(s, cache, work, layer, length, t, kv * group + g, count, 0)
            for k in range(count):
                add_attention(work.scores[0], k * s.capacity, cache.value_scales,
                              layer * s.kv_heads + kv, s.capacity, slots, share, out)
