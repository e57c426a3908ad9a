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

"""Dark pictures made brighter, as a camera with a longer exposure would have taken them."""

import cv2
import numpy as np

MEAN = 140.0  # of 255, to which dark pictures are lifted; a meadow by day has 110 to 150
STRONGEST = 0.5  # exponent; lower ones lift noise more than what is seen
STEPS = 100  # exponents are told apart to a hundredth, so that still pictures stay still
_TABLES = np.rint(255 * (np.arange(256) / 255) ** (
    np.arange(STEPS + 1)[:, None] / STEPS)).astype(np.uint8)


def exponent(image: np.ndarray) -> float:
    """Return the gamma that brings the mean of an image, uint8 [H, W, 3], to MEAN; 1 at most."""
    mean = sum(cv2.mean(image)[:3]) / 3
    if mean >= MEAN:
        return 1.0
    wanted = np.log(MEAN / 255) / np.log(max(mean, 1.0) / 255)
    return round(max(STRONGEST, float(wanted)) * STEPS) / STEPS


def expose(image: np.ndarray) -> None:
    """
    Brighten a dark picture in place by a gamma curve that is one for all of it.

    What is in the shade is told by its colour, and in the dark a network sees little of it. A
    bright picture stays as it is.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 [H, W, 3], C-contiguous.

    """
    gamma = exponent(image)
    if gamma < 1:
        cv2.LUT(image, _TABLES[round(gamma * STEPS)], dst=image)
