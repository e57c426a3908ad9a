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
Expanding and merging the tokens of one frame: TEAM-VLA (arXiv 2512.09927), training-free.

`TokenExpander` runs before the language head: what the instruction speaks of, its surroundings,
and a few samples of the rest. `TokenMerger` runs at a middle layer: the tokens that matter for
the action become anchors, into which all others are merged softly. See doc/tokens.md.
"""

from dataclasses import dataclass

from edge_vla.compression.visual_tokens import check_tokens
from edge_vla.kernels.expansion import draw_rest, expand, mark_salient
from edge_vla.kernels.merging import best_cosine, merge_into_anchors
from edge_vla.kernels.selection import list_marked, mark_largest
from edge_vla.kernels.similarity import squared_lengths
from edge_vla.kernels.vectors import LANES
import numpy as np

EPS = 1e-6  # of the RMSNorm in the merging
_CONTEXT = 0x5851f42d4c957f2d  # so that the second draw is another one


@dataclass(frozen=True)
class ExpandMergeSettings:
    """
    How a frame is thinned; the defaults are the paper's for OpenVLA-OFT.

    Attributes
    ----------
    seeds : int
        k: patches taken for each token of the instruction.
    box : int
        K: side of the box that density is counted in, odd.
    threshold : int
        tau: a box with more seeds is taken whole.
    probability : float
        p: share of the sparser boxes.
    context : float
        u: share of the rest that is drawn.
    anchors : int
        Tokens that are left after the merging.
    layer : int
        The layer before which tokens are merged.

    Raises
    ------
    ValueError
        A value out of range.

    """

    seeds: int = 3
    box: int = 3
    threshold: int = 1
    probability: float = 0.5
    context: float = 0.1
    anchors: int = 80
    layer: int = 16

    def __post_init__(self) -> None:
        if self.box < 1 or self.box % 2 == 0:
            raise ValueError(f'box is {self.box}, expected an odd number')
        if min(self.seeds, self.threshold, self.layer) < 0 or self.anchors < 1:
            raise ValueError('seeds, threshold and layer must not be negative, anchors not 0')
        for name in ('probability', 'context'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}, expected 0 to 1')


class TokenExpander:
    """
    Choose the patches of a frame that an instruction needs; nothing is allocated per frame.

    Parameters
    ----------
    rows, columns : int
        The grid of patches of one image; of several images each is a call.
    settings : ExpandMergeSettings, optional
        The paper's by default.

    Attributes
    ----------
    seeds, expanded, context : numpy.ndarray
        uint8 [rows * columns], what was chosen last as salient, around it (with the seeds), and
        at random from the rest.
    density : numpy.ndarray
        int64 [rows * columns], seeds in the box around each patch.

    """

    def __init__(self, rows: int, columns: int,
                 settings: ExpandMergeSettings | None = None) -> None:
        if min(rows, columns) < 1:
            raise ValueError(f'a grid of {rows} by {columns} has no patches')
        self.settings = settings or ExpandMergeSettings()
        self.rows, self.columns = rows, columns
        n = rows * columns
        self.seeds, self.expanded, self.context, self._chosen = np.zeros((4, n), np.uint8)
        self.density, self._kept = np.zeros((2, n), np.int64)
        self._squares, self._scores = np.zeros((2, n), np.float32)
        self.choose(np.zeros((n, 1), np.float32), np.zeros((1, 1), np.float32))  # compiles

    def choose(self, tokens: np.ndarray, guides: np.ndarray, seed: int = 0) -> np.ndarray:
        """
        Return the patches to keep, int64, ascending; valid until the next call.

        Parameters
        ----------
        tokens : numpy.ndarray
            float32 [rows * columns, C], patches in the space of the language head.
        guides : numpy.ndarray
            float32 [G, C], embedded tokens of the instruction; may be empty.
        seed : int
            Of the draws: the same seed draws the same; take the number of the frame for others.

        Raises
        ------
        ValueError
            Another type or shape.

        """
        s, n = self.settings, self.rows * self.columns
        check_tokens(tokens, (n, None))
        check_tokens(guides, (None, tokens.shape[1]), 'guides')
        tokens, guides = _regular(tokens), _regular(guides)
        squared_lengths(tokens, self._squares)
        mark_salient(tokens, self._squares, guides, min(s.seeds, n), self._scores, self._chosen,
                     self.seeds)
        expand(self.seeds, self.rows, self.columns, s.box, s.threshold, s.probability,
               np.uint64(seed & (1 << 64) - 1), self.density, self.expanded)
        rest = n - int(self.expanded.sum())
        draw_rest(self.expanded, int(s.context * rest), np.uint64(
            (seed ^ _CONTEXT) & (1 << 64) - 1), self.context)
        np.bitwise_or(self.expanded, self.context, out=self._chosen)
        return self._kept[:list_marked(self._chosen, self._kept)]


class TokenMerger:
    """
    Merge hidden states into those that matter for the action; nothing is allocated per frame.

    Parameters
    ----------
    capacity, channels : int
        Most tokens, and their width.
    settings : ExpandMergeSettings, optional
        The paper's by default.

    """

    def __init__(self, capacity: int, channels: int,
                 settings: ExpandMergeSettings | None = None) -> None:
        if min(capacity, channels) < 1:
            raise ValueError(f'{capacity} tokens of {channels} channels: both must be at least 1')
        self.settings = settings or ExpandMergeSettings()
        self.capacity, self.channels = capacity, channels
        anchors = min(self.settings.anchors, capacity)
        self._squares, self._scores, self._scratch = np.zeros((3, capacity), np.float32)
        self._marks = np.zeros(capacity, np.uint8)
        self._ones = np.ones(capacity, np.float32)
        self._kept = np.zeros(capacity, np.int64)
        self._weights = np.zeros(-(-anchors // LANES) * LANES, np.float32)
        self._out = np.zeros((anchors, channels), np.float32)
        self._sizes = np.zeros(anchors, np.float32)
        self.merge(np.zeros((capacity, channels), np.float32),  # compiles
                   np.zeros((1, channels), np.float32))

    def merge(self, tokens: np.ndarray, guides: np.ndarray, sizes: np.ndarray | None = None,
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        Return anchors, their sizes and their indices; valid until the next call.

        An anchor keeps its position. No mass is lost: the sizes add up to what they did, and so
        do the tokens times their sizes. With no more tokens than anchors nothing changes.

        Parameters
        ----------
        tokens : numpy.ndarray
            float32 [T, C], hidden states of the visual tokens.
        guides : numpy.ndarray
            float32 [G, C], hidden states of the instruction and the action; at least one.
        sizes : numpy.ndarray, optional
            float32 [T], how many tokens each stands for already; 1 by default.

        Raises
        ------
        ValueError
            Another type or shape, too many tokens, or one that is not finite: it would be in every
            anchor.

        """
        check_tokens(tokens, (None, self.channels))
        check_tokens(guides, (None, self.channels), 'guides')
        n = len(tokens)
        if n > self.capacity:
            raise ValueError(f'{n} tokens, room for {self.capacity}')
        if sizes is None:
            sizes = self._ones[:n]
        check_tokens(sizes, (n,), 'sizes')
        anchors = min(self.settings.anchors, n)
        out, merged, kept = self._out[:anchors], self._sizes[:anchors], self._kept[:anchors]
        if n <= anchors:
            out[:], merged[:], kept[:] = tokens, sizes, np.arange(n)
            return out, merged, kept
        if not len(guides):
            raise ValueError('no guides: anchors are chosen by what the action is about')
        if not (sizes > 0).all():
            raise ValueError('sizes must be above 0')
        tokens, guides, sizes = _regular(tokens), _regular(guides), _regular(sizes)
        squares, marks, scores = self._squares[:n], self._marks[:n], self._scores[:n]
        squared_lengths(tokens, squares)
        if not np.isfinite(squares).all():
            raise ValueError('a token is not finite, or too large to be compared')
        best_cosine(tokens, squares, guides, self._scratch[:n], scores)
        mark_largest(scores, anchors, marks)
        list_marked(marks, kept)
        merge_into_anchors(tokens, squares, sizes, marks, EPS, self._weights, out, merged)
        return out, merged, kept


def _regular(x: np.ndarray) -> np.ndarray:
    """Return an array as the kernels were compiled for: only another layout is copied."""
    return x if x.flags.carray else np.array(x, order='C')
