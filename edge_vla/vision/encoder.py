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

"""Images of any size become patch tokens."""

from collections.abc import Callable

import cv2
from edge_vla.checkpoints.safetensors import take, take_weight
from edge_vla.exceptions import ImageError
from edge_vla.kernels.dense import (
    convolve3x3,
    dense,
    normalise_patches,
    spread,
    take_changes,
)
from edge_vla.vision import layout
from edge_vla.vision.exposure import expose
import numpy as np

BLANK = 2.0  # of 255; the plainest simulated scene, snow under a pale sky, has 5


def check_size(image: np.ndarray) -> None:
    """
    Refuse an image, [H, W, ...], in which there is nothing to see.

    Raises
    ------
    ImageError
        It is smaller than 16x12.

    """
    h, w = image.shape[:2]
    if h < 12 or w < 16:
        raise ImageError(f'an image of {w}x{h} is too small, at least 16x12 is needed')


def check_image(image: np.ndarray) -> None:
    """
    Refuse what is no image, uint8 [H, W, 3], or shows nothing (see `check_size`).

    Raises
    ------
    ImageError
        Wrong type or shape, or too small.

    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f'expected a uint8 RGB image [H, W, 3], got {image.dtype} '
                         f'{list(image.shape)}')
    check_size(image)


def fit_image(image: np.ndarray, out: np.ndarray) -> None:
    """
    Crop the middle of an image to 4:3 and bring it to the pilot's size.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 [H, W, 3], RGB, at least 12 by 16.
    out : numpy.ndarray
        uint8 [72, 96, 3], written.

    Raises
    ------
    ImageError
        See `check_image`.

    """
    check_image(image)
    h, w = image.shape[:2]
    if w * layout.HEIGHT > h * layout.WIDTH:
        keep = max(1, round(h * layout.WIDTH / layout.HEIGHT))
        image = image[:, (w - keep) // 2:(w - keep) // 2 + keep]
    elif w * layout.HEIGHT < h * layout.WIDTH:
        keep = max(1, round(w * layout.HEIGHT / layout.WIDTH))
        image = image[(h - keep) // 2:(h - keep) // 2 + keep]
    shrink = image.shape[0] >= layout.HEIGHT
    cv2.resize(image, (layout.WIDTH, layout.HEIGHT), dst=out,
               interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def is_blank(image: np.ndarray) -> bool:
    """
    Tell whether a picture shows nothing: dark, blinded by light, or covered.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 [72, 96, 3] of `fit_image`; means of its patches are compared, so noise does not
        count.

    """
    means = cv2.resize(image, (layout.COLUMNS, layout.ROWS), interpolation=cv2.INTER_AREA)
    return bool(cv2.meanStdDev(means)[1].max() < BLANK)


def prepare(image: np.ndarray, out: np.ndarray,
            clean: Callable[[np.ndarray], None] | None = None) -> bool:
    """
    Bring an image to what the pilot looks at: its size, clean, and exposed anew if it is dark.

    Parameters
    ----------
    image, out : numpy.ndarray
        As for `fit_image`.
    clean : callable, optional
        Takes dirt out of a picture of the pilot's size that shows something.

    Returns
    -------
    bool
        Whether it shows nothing, see `is_blank`; then it stays as dark as it is.

    Raises
    ------
    ImageError
        See `fit_image`.

    """
    fit_image(image, out)
    blank = is_blank(out)
    if not blank:
        if clean is not None:
            clean(out)
        expose(out)
    return blank


class PatchEncoder:
    """
    A frame, exposed anew if it is dark, becomes TOKENS tokens of CHANNELS features (float32).

    Features are computed only where the picture changed since they were. What a patch is compared
    with is the picture its features are of, so slow changes do not add up unseen.

    Parameters
    ----------
    tensors : dict of str to numpy.ndarray
        Checkpoint tensors named as in ``training.pilot_torch``; weights may be ternary, packed.
    tolerance : float
        A patch that changed by no more than this on average, of 255, counts as unchanged. With 0
        the tokens are exactly those of the whole picture.
    refresh : int
        Every so many frames all is computed anew.

    Attributes
    ----------
    seen : numpy.ndarray
        uint8 [HEIGHT, WIDTH, 3], the picture that the tokens are of: the last frame, exposed,
        but for patches that count as unchanged.
    encoded : numpy.ndarray
        uint8 [ROWS, COLUMNS], 1 where the tokens of the last frame were computed.
    blank : bool
        Whether the last frame showed nothing.

    """

    def __init__(self, tensors: dict[str, np.ndarray], tolerance: float = 0.0,
                 refresh: int = 30) -> None:
        self._tolerance, self._refresh, self._age = tolerance, refresh, 0
        self.blank = False
        c, d, s = layout.STEM_CHANNELS, layout.CHANNELS, layout.STEM

        def conv(name: str, n_in: int, n_out: int, k: int) -> tuple[np.ndarray, np.ndarray]:
            w = take_weight(tensors, f'encoder.{name}.weight', (n_out, n_in, k, k))
            return (np.ascontiguousarray(w.transpose(2, 3, 1, 0)),
                    take(tensors, f'encoder.{name}.bias', (n_out,)))

        stem, self._stem_b = conv('stem', 3, c, s)
        self._stem = stem.reshape(s * s * 3, c)
        self._merge = conv('merge', c, d, 3)
        self._mix = [conv(f'mix.{i}', d, d, 3) for i in range(layout.MIXES)]
        self._position = take(tensors, 'encoder.position', (layout.TOKENS, d))
        h, w = layout.HEIGHT // s, layout.WIDTH // s
        self.image = np.zeros((layout.HEIGHT, layout.WIDTH, 3), np.uint8)
        self._patches = np.zeros((h * w, s * s * 3), np.float32)
        self._stemmed = np.zeros((h * w, c), np.float32)
        self._grid = self._stemmed.reshape(h, w, c)
        grid = (layout.ROWS, layout.COLUMNS)
        self.seen = np.zeros_like(self.image)
        self._changed, self.encoded, self._spread = (np.zeros(grid, np.uint8) for _ in range(3))
        # every layer keeps its output for where nothing changes
        self._grids = np.zeros((layout.MIXES + 1, *grid, d), np.float32)
        self.tokens = np.zeros((layout.TOKENS, d), np.float32)

    def reset(self) -> None:
        """Compute all of the next frame."""
        self._age = 0

    def encode(self, image: np.ndarray,
               clean: Callable[[np.ndarray], None] | None = None) -> np.ndarray:
        """
        Return the tokens of a frame, float32 [TOKENS, CHANNELS]; valid until the next call.

        Parameters
        ----------
        image : numpy.ndarray
            uint8 [H, W, 3], RGB.
        clean : callable, optional
            See `prepare`.

        Raises
        ------
        ImageError
            See `fit_image`.

        """
        self.blank = prepare(image, self.image, clean)
        tolerance = self._tolerance if self._age else -1.0
        self._age = (self._age + 1) % self._refresh
        take_changes(self.image, layout.PATCH, tolerance, self.seen, self._changed)
        normalise_patches(self.seen, layout.STEM, self._patches)
        dense(self._patches, self._stem, self._stem_b, True, self._stemmed)
        # a cell of the first layer looks one row and column of the stem back, into another patch
        spread(self._changed, 1, 0, self.encoded)
        convolve3x3(self._grid, *self._merge, 2, False, self.encoded, self._grids[0])
        for k, layer in enumerate(self._mix):
            self._spread[...] = self.encoded
            spread(self._spread, 1, 1, self.encoded)
            convolve3x3(self._grids[k], *layer, 1, True, self.encoded, self._grids[k + 1])
        np.add(self._grids[-1].reshape(self.tokens.shape), self._position, out=self.tokens)
        return self.tokens
