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
Temporal token merging: stage 1 of DyCoke (CVPR 2025, arXiv 2411.15024, section 3.2), and live.

In a window of frames the first is kept whole. Of every other frame only the positions least
similar to an earlier frame are kept, frame i of a window being compared with frame i & (i - 1):
1 with 0, 2 with 0, 3 with 2 in the paper's windows of four. Nothing looks ahead, so a stream
keeps exactly what the whole clip keeps. See doc/tokens.md.
"""

from dataclasses import dataclass

from edge_vla.compression.visual_tokens import check_tokens, VisualTokens
from edge_vla.kernels.similarity import compare_rows, squared_lengths
from edge_vla.kernels.temporal import keep_frame, keep_marked, mark_changes
import numpy as np

MODES = ('drop', 'merge')


@dataclass(frozen=True)
class TemporalSettings:
    """
    How a stream is thinned; the defaults are the paper's.

    Attributes
    ----------
    pruning_rate : float
        K: of N tokens at most int((1 - K) N) are kept where there is a reference.
    threshold : float
        Of these, only what has a cosine below it; above 1 keeps them whatever it is.
    window : int
        Frames from one whole frame to the next, a power of two.
    mode : str
        drop leaves it to the twin to stand for a token, merge averages the token into it.
    cut : float
        A frame whose mean cosine is below it is another scene: it is kept whole and begins a
        window. -1 never does.
    renew : bool
        What still stands for a token of the last frame moves there: as many tokens, but the last
        frame is always whole, and only what is over lies behind it. The paper has it where it
        was first seen.

    Raises
    ------
    ValueError
        A value out of range.

    """

    pruning_rate: float = 0.7
    threshold: float = np.inf
    window: int = 4
    mode: str = 'drop'
    cut: float = -1.0
    renew: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.pruning_rate <= 1:
            raise ValueError(f'pruning_rate is {self.pruning_rate}, expected 0 to 1')
        if self.threshold != self.threshold:
            raise ValueError('threshold is NaN')
        if self.window < 1 or self.window & (self.window - 1):
            raise ValueError(f'window is {self.window}, expected a power of two')
        if self.mode not in MODES:
            raise ValueError(f'mode is {self.mode!r}, expected {" or ".join(MODES)}')
        if not -1 <= self.cut <= 1:
            raise ValueError(f'cut is {self.cut}, expected -1 to 1')

    def budget(self, tokens: int) -> int:
        """Return how many of a frame's tokens are kept at most, int((1 - K) N)."""
        return int((1 - self.pruning_rate) * tokens)


# For a live camera: what moved is kept, however much that is, and a new scene is kept whole.
# The cosines are those of the shipped encoder's tokens, see doc/tokens.md.
LIVE = TemporalSettings(pruning_rate=0.0, threshold=0.995, window=8, cut=0.8, renew=True)


def compress_clip(frames: np.ndarray, settings: TemporalSettings | None = None) -> VisualTokens:
    """
    Thin a whole clip; a `TemporalStream` whose memory is as long gives the same, frame by frame.

    But for cuts: each begins a window, of which a stream remembers only so many.

    Parameters
    ----------
    frames : numpy.ndarray
        float32 [F, N, C]; F need not be a multiple of the window.
    settings : TemporalSettings, optional
        The paper's by default.

    Raises
    ------
    ValueError
        `frames` has another type or shape.

    """
    s = settings or TemporalSettings()
    check_tokens(frames, (None, None, None), 'frames')
    frames = np.require(frames, requirements=['C', 'A', 'W'])
    f, n, channels = frames.shape
    rows, sizes = np.empty((f * n, channels), np.float32), np.empty(f * n, np.float32)
    patches, twins = np.empty(f * n, np.int64), np.zeros((f, n), np.int64)
    squares, similarity = np.zeros((f, n), np.float32), np.zeros(n, np.float32)
    counts = np.zeros(f + 1, np.int64)
    begin = 0
    for i in range(f):
        squared_lengths(frames[i], squares[i])
        phase = (i - begin) % s.window
        reference = i - phase + (phase & (phase - 1))
        marks = np.ones(n, np.uint8)
        if phase:
            mean = compare_rows(frames[i], frames[reference], squares[reference], squares[i],
                                similarity)
            if mean < s.cut:
                begin = i
            else:
                least = np.argsort(similarity, kind='stable')[:s.budget(n)]
                marks[:] = 0
                marks[least[similarity[least].astype(np.float64) < s.threshold]] = 1
                twins[i] = twins[reference]
        counts[i + 1] = keep_marked(frames[i], marks, twins[i], s.mode == 'merge', rows, sizes,
                                    patches, counts[i])
    total = counts[f]
    kept = VisualTokens(rows[:total], sizes[:total], np.repeat(np.arange(f), np.diff(counts)),
                        patches[:total])
    return renewed(kept, twins[-1], f - 1, n) if f and s.renew else kept


def renewed(kept: VisualTokens, twins: np.ndarray, last: int, tokens: int) -> VisualTokens:
    """
    Move what stands for the last frame there.

    Parameters
    ----------
    kept : VisualTokens
        Of some frames, the last one among them.
    twins : numpy.ndarray
        int64 [N], the row of `kept` that stands for each token of the last frame.
    last : int
        Number of the last frame.
    tokens : int
        N.

    """
    frames = kept.frames.copy()
    frames[twins] = last
    order = np.argsort(frames * tokens + kept.patches, kind='stable')
    return VisualTokens(kept.tokens[order], kept.sizes[order], frames[order], kept.patches[order])


class TemporalStream:
    """
    Thin a stream of frames, remembering what it kept of the last windows.

    Frames are pushed one at a time without allocating; `gather` returns what the language head
    reads. A window leaves the memory as a whole, so a kept token never leaves before what it
    stands for. One thread at a time.

    Parameters
    ----------
    tokens, channels : int
        N and C of every frame.
    settings : TemporalSettings, optional
        The paper's by default.
    frames : int
        Longest memory, frames; rounded up to whole windows.

    Attributes
    ----------
    marks : numpy.ndarray
        uint8 [N], 1 where the last frame was kept.
    similarity : numpy.ndarray
        float32 [N], cosines of the last frame with its reference; 1 after `reset`.
    frame : int
        Number of the next frame.
    refreshed : bool
        Whether the last frame was kept whole because its window began there.
    cuts : int
        How many scene cuts there were.

    Raises
    ------
    ValueError
        Sizes below 1.

    """

    def __init__(self, tokens: int, channels: int, settings: TemporalSettings | None = None,
                 frames: int = 16) -> None:
        if min(tokens, channels, frames) < 1:
            raise ValueError(f'{tokens} tokens of {channels} channels, {frames} frames: all must '
                             'be at least 1')
        self.settings = s = settings or TemporalSettings()
        self.tokens, self.channels = tokens, channels
        self._budget = s.budget(tokens)
        self.windows = -(-frames // s.window)
        levels, most = max(1, s.window.bit_length() - 1), s.window * tokens
        self._input = np.zeros((tokens, channels), np.float32)
        self._references = np.zeros((levels, tokens, channels), np.float32)
        self._squares = np.zeros((levels + 1, tokens), np.float32)  # the last row is of the input
        self._twins = np.zeros((levels, tokens), np.int64)
        self._last = np.zeros(tokens, np.int64)  # twins of the last frame
        self._scratch = np.zeros(tokens, np.float32)
        self._rows = np.zeros((self.windows, most, channels), np.float32)
        self._sizes = np.zeros((self.windows, most), np.float32)
        self._frames = np.zeros((self.windows, most), np.int64)
        self._patches = np.zeros((self.windows, most), np.int64)
        self._counts = np.zeros(self.windows, np.int64)
        self._out = VisualTokens(*(np.zeros((self.windows * most, *a.shape[2:]), a.dtype)
                                   for a in (self._rows, self._sizes, self._frames,
                                             self._patches)))
        self.marks = np.zeros(tokens, np.uint8)
        self.similarity = np.ones(tokens, np.float32)
        self.reset()
        self.push(self._input)  # compiles
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame begins a window."""
        self._slot, self._phase = 0, 0
        self._counts[:] = 0
        self.similarity[:] = 1
        self.marks[:] = 0
        self.frame, self.cuts, self.refreshed = 0, 0, False

    def push(self, frame: np.ndarray) -> int:
        """
        Take the next frame and return how many of its tokens were kept.

        Parameters
        ----------
        frame : numpy.ndarray
            float32 [N, C].

        Raises
        ------
        ValueError
            Another type or shape.

        """
        check_tokens(frame, (self.tokens, self.channels), 'frame')
        if not frame.flags.carray:
            np.copyto(self._input, frame)
            frame = self._input
        s, phase = self.settings, self._phase
        cut = mark_changes(frame, phase, self._references, self._squares, self._budget,
                           s.threshold, s.cut, self._scratch, self.similarity, self.marks)
        if cut:
            self.cuts, phase = self.cuts + 1, 0
        if phase == 0 and self.frame:
            self._slot = (self._slot + 1) % self.windows
        if phase == 0:
            self._counts[self._slot] = 0
        k, before = self._slot, self._counts[self._slot]
        after = keep_frame(frame, self.marks, phase, s.window, self._references, self._squares,
                           self._twins, self._last, s.mode == 'merge', self._rows[k],
                           self._sizes[k], self._patches[k], before)
        self._frames[k, before:after] = self.frame
        self._counts[k] = after
        self.frame += 1
        self.refreshed, self._phase = phase == 0, (phase + 1) % s.window
        return int(after - before)

    def gather(self) -> VisualTokens:
        """Return everything remembered; the arrays are valid until the next call."""
        n = 0
        for age in range(self.windows - 1, -1, -1):
            k = (self._slot - age) % self.windows
            count = self._counts[k]
            for out, kept in zip(self._out, (self._rows, self._sizes, self._frames,
                                             self._patches), strict=True):
                out[n:n + count] = kept[k, :count]
            n += count
        kept = VisualTokens(*(a[:n] for a in self._out))
        if not n or not self.settings.renew:
            return kept
        twins = n - self._counts[self._slot] + self._last
        return renewed(kept, twins, self.frame - 1, self.tokens)

    def represented(self, out: np.ndarray) -> None:
        """
        Write what now stands for every token of the last frame.

        Parameters
        ----------
        out : numpy.ndarray
            float32 [N, C], written.

        Raises
        ------
        ValueError
            There is no frame yet, or `out` has another type or shape.

        """
        check_tokens(out, (self.tokens, self.channels), 'out')
        if not self.frame:
            raise ValueError('no frame was pushed yet')
        np.take(self._rows[self._slot], self._last, axis=0, out=out, mode='clip')
