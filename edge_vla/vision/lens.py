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
Dirt on the lens is found while the vehicle turns, and replaced by what is around it.

What stays where it is in the picture while the camera turns is on the lens, or a part of the
vehicle. But what the vehicle circles stays too: the one place that a motion leaves where it is in
the picture is the centre it turns about, so what is seen there says nothing.
"""

import math

from edge_vla.datatypes import Motion
from edge_vla.kernels.lens import doubt, fill, find_dirt, peel
from edge_vla.motion import measured
from edge_vla.vision import layout
import numpy as np

TURN = .28  # rad between pictures that are compared: spots as large in the picture are found whole
FARTHEST, LONGEST = 1., 3.  # m, s: after more, what the turn alone would have changed is not known
AROUND, CLOSEST = 1., .6  # m about the centre of a turn and to it, of an object that is circled
LARGEST = .4  # share of the picture beyond which what stays is no dirt


class Lens:
    """
    Cleans pictures of what stays on the lens.

    Without measured motion nothing new is found. What was found stays until the picture shows
    something else there. Attitude is not compensated: what a tilt moves is not taken for dirt.

    Attributes
    ----------
    share : float
        Of the picture that is replaced, 0 to 1.

    """

    def __init__(self) -> None:
        h, w = layout.HEIGHT, layout.WIDTH
        self._before = np.zeros((h, w, 3), np.uint8)
        self._colour = np.zeros_like(self._before)
        self._evidence, self._found = (np.zeros((h, w), np.uint8) for _ in range(2))
        self._ring, self._order = np.zeros((h, w), np.int16), np.zeros(h * w, np.int32)
        self.reset()

    def reset(self) -> None:
        """Take the lens for clean."""
        self._evidence[:] = 0
        self._count, self.share = 0, 0.
        self.lose()

    def warm_up(self) -> None:
        """Compile what `clean` runs."""
        find_dirt(self._before, self._before, 0.0, layout.TAN_HALF, self._colour,
                  self._evidence, self._found)
        doubt(self._before, self._colour, self._evidence)
        fill(self._before, self._ring, self._order,
             int(peel(self._evidence, self._ring, self._order)))

    def lose(self) -> None:
        """Forget the last picture, for what moved since is not known."""
        self._known = False

    def clean(self, image: np.ndarray, motion: Motion | None, dt: float) -> None:
        """
        Replace what is known to be on the lens, in place.

        Parameters
        ----------
        image : numpy.ndarray
            uint8 [HEIGHT, WIDTH, 3].
        motion : Motion or None
            Measured, of the vehicle.
        dt : float
            Seconds since the picture before.

        """
        if doubt(image, self._colour, self._evidence):
            self._peel()
        if not measured(motion) or not motion.velocity.any():
            self.lose()  # a velocity of exactly nothing is one that is not measured
        elif self._known:
            # in the frame of the vehicle as it was, near enough
            self._turn += motion.yaw_rate * dt
            self._forward += float(motion.velocity[0]) * dt
            self._left += float(motion.velocity[1]) * dt
            self._age += dt
            self._look(image)
        else:
            self._remember(image)
        if self._count:
            fill(image, self._ring, self._order, self._count)

    def _remember(self, image: np.ndarray) -> None:
        self._before[:] = image
        self._known = True
        self._turn = self._forward = self._left = self._age = 0.

    def _look(self, image: np.ndarray) -> None:
        if math.hypot(self._forward, self._left) > FARTHEST or self._age > LONGEST:
            self._remember(image)
        elif abs(self._turn) >= TURN:
            if not self._circles():
                find_dirt(image, self._before, self._turn, layout.TAN_HALF, self._colour,
                          self._evidence, self._found)
                self._peel()
            self._remember(image)

    def _peel(self) -> None:
        self._count = int(peel(self._evidence, self._ring, self._order))
        self.share = self._count / self._ring.size
        if self.share > LARGEST:
            self.reset()

    def _circles(self) -> bool:
        """Tell whether an object about the centre of the turn would be in the picture."""
        # p with v + w x p = 0
        ahead, left = -self._left / self._turn, self._forward / self._turn
        if ahead < CLOSEST:
            return False
        half = math.asin(min(1., AROUND / math.hypot(ahead, left)))
        return abs(math.atan2(left, ahead)) - half < math.atan(layout.TAN_HALF)
