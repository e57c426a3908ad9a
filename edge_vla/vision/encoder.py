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

import cv2
from edge_vla.checkpoints.safetensors import take, take_weight
from edge_vla.exceptions import ImageError
from edge_vla.kernels.dense import convolve3x3, dense, normalise_patches
from edge_vla.vision import layout
import numpy as np


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
        Wrong type or shape, or too small.

    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f'expected a uint8 RGB image [H, W, 3], got {image.dtype} '
                         f'{list(image.shape)}')
    h, w = image.shape[:2]
    if h < 12 or w < 16:
        raise ImageError(f'an image of {w}x{h} is too small, at least 16x12 is needed')
    if w * layout.HEIGHT > h * layout.WIDTH:
        keep = max(1, round(h * layout.WIDTH / layout.HEIGHT))
        image = image[:, (w - keep) // 2:(w - keep) // 2 + keep]
    elif w * layout.HEIGHT < h * layout.WIDTH:
        keep = max(1, round(w * layout.HEIGHT / layout.WIDTH))
        image = image[(h - keep) // 2:(h - keep) // 2 + keep]
    shrink = image.shape[0] >= layout.HEIGHT
    cv2.resize(image, (layout.WIDTH, layout.HEIGHT), dst=out,
               interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


class PatchEncoder:
    """
    A frame becomes TOKENS tokens of CHANNELS features (numba, float32).

    Parameters
    ----------
    tensors : dict of str to numpy.ndarray
        Checkpoint tensors named as in ``training.pilot_torch``; weights may be ternary, packed.

    """

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
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
        # the layers write to two grids in turn
        self._grids = np.zeros((2, layout.ROWS, layout.COLUMNS, d), np.float32)
        self.tokens = self._grids[layout.MIXES % 2].reshape(layout.TOKENS, d)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """
        Return the tokens of a frame, float32 [TOKENS, CHANNELS]; valid until the next call.

        Raises
        ------
        ImageError
            See `fit_image`.

        """
        fit_image(image, self.image)
        normalise_patches(self.image, layout.STEM, self._patches)
        dense(self._patches, self._stem, self._stem_b, True, self._stemmed)
        convolve3x3(self._grid, *self._merge, 2, False, self._grids[0])
        for k, layer in enumerate(self._mix):
            convolve3x3(self._grids[k % 2], *layer, 1, True, self._grids[1 - k % 2])
        self.tokens += self._position
        return self.tokens
