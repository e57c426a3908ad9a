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
Dirt on a lens: what stays in the picture while the camera turns, and what to put in its place.

A pixel tells something where the turn alone would have brought another colour to it. See
`vision.lens` for when that is asked.
"""

import math

from numba import njit
import numpy as np

STAYED, MOVED = 10, 25  # mean difference of a channel, of 255: a pixel as it was, and another one
CHANGED = 15  # in between
STILL = .9  # share of what should have moved that stays where nothing turned
ENOUGH, MOST = 3, 6  # comparisons that must have found a pixel to stay, and those that count


@njit(cache=True, nogil=True)
def _difference(a, i, b, j):
    return (abs(np.int32(a[i, 0]) - b[j, 0]) + abs(np.int32(a[i, 1]) - b[j, 1])
            + abs(np.int32(a[i, 2]) - b[j, 2]))


@njit(cache=True, nogil=True)
def _turned(u, w, turn, tan_half):
    """Return the column to which a turn to the left takes one, or -1, and how rows stretch."""
    focal = w / (2 * tan_half)
    bearing = math.atan((u + .5 - w / 2) / focal)  # to the right
    if abs(bearing + turn) > 1.5:
        return -1, 1.0
    column = int(math.floor(focal * math.tan(bearing + turn) + w / 2))
    return column, math.cos(bearing) / math.cos(bearing + turn)


@njit(cache=True, nogil=True)
def _row(v, h, stretch):
    return int(math.floor((v + .5 - h / 2) * stretch + h / 2))


@njit(cache=True, nogil=True)
def doubt(image, colour, evidence):
    """
    Take evidence from pixels that show something else now.

    Parameters
    ----------
    image : uint8 [H, W, 3]
        A picture.
    colour : uint8 [H, W, 3]
        What the dirt looks like.
    evidence : uint8 [H, W], changed
        For dirt.

    Returns
    -------
    bool
        Whether a dirty pixel is so no more.

    """
    h, w, _ = image.shape
    now, known = image.reshape(h * w, 3), colour.reshape(h * w, 3)
    cleaner = False
    for i in range(h * w):
        e = evidence[i // w, i % w]
        if e and _difference(now, i, known, i) > 3 * CHANGED:
            evidence[i // w, i % w] = e - 1
            cleaner |= e == ENOUGH
    return cleaner


@njit(cache=True, nogil=True)
def find_dirt(image, before, turn, tan_half, colour, evidence, found):
    """
    Compare a picture with one from before a turn.

    Where nearly all stays that should have moved, there was no such turn, and nothing is found.

    Parameters
    ----------
    image, before : uint8 [H, W, 3]
        Now and then.
    turn : float
        To the left in between, rad.
    tan_half : float
        Tangent of half the horizontal field of view.
    colour : uint8 [H, W, 3], changed
        What pixels with evidence looked like when it began.
    evidence : uint8 [H, W], changed
        For dirt, 0 to MOST; from ENOUGH on a pixel counts as dirty.
    found : uint8 [H, W], written
        Scratch: pixels that stayed.

    """
    h, w, _ = image.shape
    now, then = image.reshape(h * w, 3), before.reshape(h * w, 3)
    told = stayed = 0
    for u in range(w):
        source, shrunk = _turned(u, w, -turn, tan_half)
        goal, stretched = _turned(u, w, turn, tan_half)
        for v in range(h):
            found[v, u] = 0
            i = v * w + u
            # what should have come here, and where what was here should have gone
            y, z = _row(v, h, shrunk), _row(v, h, stretched)
            came = y * w + source if 0 <= y < h and 0 <= source < w else -1
            went = z * w + goal if 0 <= z < h and 0 <= goal < w else -1
            if came >= 0 and _difference(then, i, then, came) <= 3 * MOVED:
                continue
            told += came >= 0
            if _difference(now, i, then, i) > 3 * STAYED:
                continue
            stayed += came >= 0
            if went >= 0 and _difference(then, i, now, went) <= 3 * MOVED:
                continue
            if came < 0 or went < 0:  # may be clean, and the only other one dirty
                other = max(came, went)
                if other < 0 or evidence[other // w, other % w] >= max(1, evidence[v, u]):
                    continue
            found[v, u] = 1
    if stayed > STILL * told:
        return
    for v in range(h):
        for u in range(w):
            if found[v, u]:
                if evidence[v, u] == 0:
                    colour[v, u] = image[v, u]
                evidence[v, u] = min(MOST, np.int32(evidence[v, u]) + 1)


@njit(cache=True, nogil=True)
def peel(evidence, ring, order):
    """
    Order dirty pixels, and those that touch one, from the outside to the inside.

    Parameters
    ----------
    evidence : uint8 [H, W]
        Of `find_dirt`.
    ring : int16 [H, W], written
        0 for a clean pixel, else how many pixels it is from one.
    order : int32 [H * W], written
        The dirty pixels, ring by ring.

    Returns
    -------
    int
        How many they are.

    """
    h, w = evidence.shape
    for v in range(h):
        for u in range(w):
            ring[v, u] = 0
            for y in range(max(0, v - 1), min(h, v + 2)):  # the border is half dirt
                for x in range(max(0, u - 1), min(w, u + 2)):
                    if evidence[y, x] >= ENOUGH:
                        ring[v, u] = -1
    count, done, number = 0, -1, 1
    while count > done:
        done = count
        for v in range(h):
            for u in range(w):
                if ring[v, u] != -1:
                    continue
                touches = False
                for y in range(max(0, v - 1), min(h, v + 2)):
                    for x in range(max(0, u - 1), min(w, u + 2)):
                        touches |= 0 <= ring[y, x] < number
                if touches:
                    ring[v, u] = number
                    order[count] = v * w + u
                    count += 1
        number += 1
    return count


@njit(cache=True, nogil=True)
def fill(image, ring, order, count):
    """
    Put the mean of their neighbours further out in place of dirty pixels.

    Parameters
    ----------
    image : uint8 [H, W, 3], changed
        A picture.
    ring, order, count
        Of `peel`.

    """
    h, w, _ = image.shape
    for k in range(count):
        v, u = order[k] // w, order[k] % w
        n = red = green = blue = 0
        for y in range(max(0, v - 1), min(h, v + 2)):
            for x in range(max(0, u - 1), min(w, u + 2)):
                if ring[y, x] < ring[v, u]:
                    n += 1
                    red += image[y, x, 0]
                    green += image[y, x, 1]
                    blue += image[y, x, 2]
        image[v, u, 0] = (red + n // 2) // n
        image[v, u, 1] = (green + n // 2) // n
        image[v, u, 2] = (blue + n // 2) // n
