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

"""What compression hands on: tokens, what each stands for, and where it came from."""

from typing import NamedTuple

import numpy as np


class VisualTokens(NamedTuple):
    """
    Kept tokens in the order of time, within a frame in the order of space.

    Attributes
    ----------
    tokens : numpy.ndarray
        float32 [T, C].
    sizes : numpy.ndarray
        float32 [T], how many tokens each is the mean of: proportional attention adds its
        logarithm to the logits of the key (ToMe). 1 unless tokens were merged.
    frames : numpy.ndarray
        int64 [T], the number of its frame, counted from the last reset.
    patches : numpy.ndarray
        int64 [T], its position in the frame.

    """

    tokens: np.ndarray
    sizes: np.ndarray
    frames: np.ndarray
    patches: np.ndarray

    def positions(self, per_frame: int) -> np.ndarray:
        """
        Return where each token would be had nothing been dropped, int64 [T], from the first frame.

        Parameters
        ----------
        per_frame : int
            Tokens of a whole frame, N.

        """
        first = self.frames[0] if len(self.frames) else 0
        return (self.frames - first) * per_frame + self.patches


def check_tokens(tokens: np.ndarray, shape: tuple[int | None, ...], name: str = 'tokens') -> None:
    """
    Refuse what the kernels cannot take.

    Parameters
    ----------
    tokens : numpy.ndarray
        What was given.
    shape : tuple of int or None
        What is expected; None is any size.
    name : str
        What to call it.

    Raises
    ------
    ValueError
        Another type or shape than float32 of this shape.

    """
    good = isinstance(tokens, np.ndarray) and tokens.dtype == np.float32
    if not good or tokens.ndim != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, tokens.shape, strict=True)):
        want = ', '.join('any' if n is None else str(n) for n in shape)
        have = f'{tokens.dtype} {list(tokens.shape)}' if isinstance(tokens, np.ndarray) \
            else type(tokens).__name__
        raise ValueError(f'{name} must be float32 [{want}], got {have}')
