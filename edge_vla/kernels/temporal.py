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
One frame of a stream of tokens: what is kept of it, and what later frames are compared with.

Frame i of a window is compared with frame i & (i - 1). The frames that others are compared with
lie in levels: 2, 6, 10... in level 0, 4, 12... in level 1, and so on, frame 0 in the last.
"""

from edge_vla.kernels.merging import scale_add
from edge_vla.kernels.selection import mark_largest
from edge_vla.kernels.similarity import compare_rows, squared_lengths
from numba import njit
import numpy as np


@njit(cache=True, nogil=True)
def _level(phase, levels):
    """Return where the frame of this place in the window lies as a reference."""
    level = -1
    while phase and phase & 1 == 0:
        phase >>= 1
        level += 1
    return level if phase else levels - 1


@njit(cache=True, nogil=True)
def keep_marked(frame, marks, twins, merge, rows, sizes, patches, count):
    """
    Append the marked tokens of a frame to the kept ones; the others stay with their twins.

    Parameters
    ----------
    frame : float32 [N, C]
        Tokens, contiguous.
    marks : uint8 [N]
        1 for what is kept.
    twins : int64 [N], changed
        Row that stands for each position; of a kept token its own row afterwards.
    merge : bool
        Average what is not kept into its twin.
    rows : float32 [R, C], written from `count` on
        Kept tokens, contiguous.
    sizes : float32 [R], changed
        How many tokens each row is the mean of.
    patches : int64 [R], written
        Position of each row in its frame.
    count : int
        Rows so far.

    Returns
    -------
    int
        Rows now.

    """
    for i in range(frame.shape[0]):
        if marks[i]:
            rows[count, :] = frame[i]
            sizes[count] = 1
            patches[count] = i
            twins[i] = count
            count += 1
        elif merge:
            t = twins[i]
            sizes[t] += np.float32(1)
            share = np.float32(1) / sizes[t]
            scale_add(rows, t, frame, i, np.float32(1) - share, share)
    return count


@njit(cache=True, nogil=True)
def mark_changes(frame, phase, references, squares, budget, threshold, cut, scratch, similarity,
                 marks):
    """
    Mark what to keep of a frame: the least similar positions, all of it where a window begins.

    Parameters
    ----------
    frame : float32 [N, C]
        Tokens, contiguous.
    phase : int
        Place in the window; 0 begins one.
    references : float32 [L, N, C]
        Earlier frames of the window by level.
    squares : float32 [L + 1, N], the last row written
        Squared lengths of theirs, then of the frame's.
    budget : int
        Most positions to keep.
    threshold : float
        Only positions with a cosine below it.
    cut : float
        With a mean cosine below it the frame is another scene.
    scratch : float32 [N], written
        Scratch.
    similarity : float32 [N], written
        The cosines, 1 where nothing was compared.
    marks : uint8 [N], written
        1 for what is to be kept.

    Returns
    -------
    bool
        Whether the frame is another scene and begins a window.

    """
    levels = references.shape[0]
    if phase == 0:
        squared_lengths(frame, squares[levels])
        similarity[:] = np.float32(1)
        marks[:] = 1
        return False
    level = _level(phase & (phase - 1), levels)
    mean = compare_rows(frame, references[level], squares[level], squares[levels], similarity)
    if mean < cut:
        marks[:] = 1
        return True
    count = 0
    for i in range(similarity.shape[0]):
        scratch[i] = np.float32(0) - similarity[i]
        count += similarity[i] < threshold
    mark_largest(scratch, min(count, budget), marks)
    return False


@njit(cache=True, nogil=True)
def keep_frame(frame, marks, phase, window, references, squares, twins, last, merge, rows, sizes,
               patches, count):
    """
    Keep what is marked of a frame, and the whole frame if later ones are compared with it.

    Parameters
    ----------
    frame, marks, merge, rows, sizes, patches, count
        As in `keep_marked`; the rows are those of the window.
    phase, window : int
        Place in the window, and its length.
    references, squares : float32 [L, N, C], [L + 1, N], changed
        As `mark_changes` left them.
    twins : int64 [L, N], changed
        Row that stands for each position of a reference.
    last : int64 [N], written
        ... of this frame.

    Returns
    -------
    int
        Rows now.

    """
    levels = references.shape[0]
    if phase:
        last[:] = twins[_level(phase & (phase - 1), levels)]
    count = keep_marked(frame, marks, last, merge, rows, sizes, patches, count)
    if phase % 2 == 0 and window > 1:  # nothing is compared with the odd ones
        level = _level(phase, levels)
        references[level] = frame
        squares[level] = squares[levels]
        twins[level] = last
    return count
