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

"""Choosing the largest or smallest of some numbers, and numbers drawn from a seed."""

from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def _order(bits):
    """Return an integer that orders like the float32 with these bits."""
    return np.int64(bits) if bits >= 0 else np.int64(bits ^ np.int32(0x7fffffff))


@njit(cache=True, nogil=True)
def mark_largest(values, count, marks):
    """
    Mark the `count` largest values; of equal ones the first.

    Parameters
    ----------
    values : float32 [N]
        Contiguous, no NaN.
    count : int
        How many, at most N.
    marks : uint8 [N], written
        1 for those, 0 for the rest.

    """
    bits = values.view(np.int32)
    low, high = np.int64(-1 << 31), np.int64((1 << 31) - 1)
    while low < high:  # the largest bound that `count` values reach
        middle = (low + high + 1) >> 1
        n = 0
        for i in range(bits.shape[0]):
            n += _order(bits[i]) >= middle
        if n >= count:
            low = middle
        else:
            high = middle - 1
    ties = count
    for i in range(bits.shape[0]):
        above = _order(bits[i]) > low
        marks[i] = above
        ties -= above
    for i in range(bits.shape[0]):
        if ties > 0 and _order(bits[i]) == low:
            marks[i] = 1
            ties -= 1


@njit(cache=True, nogil=True)
def list_marked(marks, out):
    """Write the indices of marks that are not 0, ascending, and return how many there are."""
    n = 0
    for i in range(marks.shape[0]):
        if marks[i]:
            out[n] = i
            n += 1
    return n


@njit(cache=True, nogil=True)
def uniform(seed, counter):
    """
    Return a number in [0, 1) that depends on the seed and the counter alone (SplitMix64).

    Parameters
    ----------
    seed, counter : uint64
        Any.

    Returns
    -------
    float
        A multiple of 2^-53.

    """
    z = seed + (counter + np.uint64(1)) * np.uint64(0x9e3779b97f4a7c15)
    for shift, factor in ((np.uint64(30), np.uint64(0xbf58476d1ce4e5b9)),
                          (np.uint64(27), np.uint64(0x94d049bb133111eb))):
        z = (z ^ (z >> shift)) * factor
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.**-53
