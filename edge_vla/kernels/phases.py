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
The phases that all decoders share: dividing work, adding products, attention.

They go by the names of the fields that `bitnet` and `lfm2` give their ``Shape``, ``Weights`` and
``Work``; numba compiles them for each. What takes those and does little is inlined: an array is
seven arguments, so passing some hundred took 0.4 of the 2.1 us of a head's attention.
"""

from edge_vla.kernels.attention import attend, bring, write_token
from edge_vla.kernels.compiling import inlined
from edge_vla.kernels.rows import add_row, copy_row, rope_row
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def share(count, threads, piece):
    """
    Return the range of `count` items that a piece is.

    Three quarters go out in one long run a thread, the rest in four each that become shorter and
    shorter, so that whoever is early does more and nobody waits long for the last one, which may
    be empty. Of few items, a piece is one.
    """
    if threads == 1:
        return 0, count
    if count <= pieces(threads):
        return min(piece, count), min(piece + 1, count)
    long = count * 3 // (4 * threads)
    if piece < threads:
        return piece * long, (piece + 1) * long
    rest, left, all_of_them = count - threads * long, 5 * threads - piece, 16 * threads * threads
    return (count - rest * left * left // all_of_them,
            count - rest * (left - 1) * (left - 1) // all_of_them)


@njit(cache=True, nogil=True)
def pieces(threads):
    """Return into how many pieces `share` cuts."""
    return 1 if threads == 1 else 5 * threads


@njit(cache=True, nogil=True)
def product_row(out, s, t, size, width):
    """Return a token's row of a product, its padding zeroed: a last unit has rows of none."""
    row = out[t * s.stride:(t + 1) * s.stride]
    for j in range(size, width):
        row[j] = np.float32(0)
    return row


@njit(cache=True, nogil=True)
def add_product(s, work, t):
    """Add what the last product gave to the residual stream."""
    add_row(work.h[t], product_row(work.a, s, t, s.hidden, s.hidden_p), s.hidden_p)


@inlined
def bring_head(s, cache, layer, length, kv):
    """Ask for what the cache has of a key-value head; see `attention.bring`."""
    bring(cache.keys, cache.values, layer * s.kv_heads + kv, s.capacity, length, s.size_p)


@inlined
def remember_head(s, w, cache, work, layer, slot, position, t, kv, me):
    """
    Rotate a token's key and its queries by its position, and put key and value into a slot.

    Of one key-value head: slots lie so close together that threads which did a token each would
    take cache lines from each other.
    """
    cos, sin, group = w.cos[position], w.sin[position], s.heads // s.kv_heads
    a, b = t * s.stride + kv * group * s.size, t * s.stride + kv * s.size
    to = (t * s.heads + kv * group) * s.size_p
    rope_row(work.a[a:], group, cos, sin, work.queries[to:], s.size_p)
    key, value = work.pair[me, 0], work.pair[me, 1]
    rope_row(work.b[b:], 1, cos, sin, key, s.size_p)
    copy_row(work.b, b + s.value_at, s.size, value, 0)
    write_token(cache.keys, cache.values, cache.key_scales, cache.value_scales,
                layer * s.kv_heads + kv, s.capacity, slot, s.size_p, key, value)


@inlined
def attend_four(s, cache, work, layer, length, t, first, count, me):
    """
    Attend with up to four queries of a token that share a key-value head.

    Parameters
    ----------
    s, cache, work
        As in `bitnet.run`; a thread's rows of ``mixed`` and ``scores`` are written.
    layer : int
        Counted from the first one of the cache.
    length : int
        Slots that are seen.
    t : int
        The token.
    first, count : int
        Its query heads.
    me : int
        Thread.

    """
    n, p = s.capacity, s.size_p
    for k in range(4):  # fewer than four: the last is done again
        copy_row(work.queries, (t * s.heads + first + min(k, count - 1)) * p, p, work.mixed[me],
                 k * p)
    attend(cache.keys, cache.values, cache.key_scales, cache.value_scales,
           layer * s.kv_heads + first // (s.heads // s.kv_heads), n, length, p, s.norm,
           work.mixed[me], (0, p, 2 * p, 3 * p), work.scores[me], (0, n, 2 * n, 3 * n),
           work.mixed[me], cache.bias)


@inlined
def attend_token(s, cache, work, layer, slot, t, kv, me):
    """Attend with all queries of a token that share a key-value head, four at once."""
    group = s.heads // s.kv_heads
    for g in range(0, group, 4):
        first = kv * group + g
        count = min(4, group - g)
        attend_four(s, cache, work, layer, slot + 1, t, first, count, me)
        for k in range(count):
            copy_row(work.mixed[me], k * s.size_p, s.size, work.x[t], (first + k) * s.size)
