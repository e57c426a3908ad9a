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
A camera that hangs: its driver stamps one picture anew for ever.

Such a picture shows where things were, and a pilot that believes it flies on without end. A camera
has noise, and a moving one sees something else, so a vehicle that has moved since the picture was
first seen, as measured, has seen nothing: it gets a black one, and flies as without a picture.
Turning alone does not count: it leads nowhere, and bare simulated worlds look alike all round.
"""

from edge_vla.datatypes import Motion
from edge_vla.motion import measured
from edge_vla.vision import layout
from edge_vla.vision.encoder import fit_image
import numpy as np

MOVED = .15  # m: after which the smallest picture has changed somewhere
SLOW = .1  # m/s: no more than this may be noise of who stands still


class HangingCamera:
    """
    Tells pictures that repeat themselves from those of a vehicle that stands still.

    Without measured motion nobody knows which it is, and the picture counts.

    Attributes
    ----------
    hangs : bool
        Whether the last picture was one that should have changed.

    """

    def __init__(self) -> None:
        self._now, self._before, self._black = (np.zeros(
            (layout.HEIGHT, layout.WIDTH, 3), np.uint8) for _ in range(3))
        self.reset()

    def reset(self) -> None:
        """Forget the last picture."""
        self._known = self.hangs = False
        self._moved = 0.0

    def look(self, image: np.ndarray, motion: Motion | None, dt: float) -> np.ndarray:
        """
        Return a picture at the pilot's size, a black one if the camera hangs.

        Parameters
        ----------
        image : numpy.ndarray
            As for `encoder.fit_image`.
        motion : Motion or None
            Measured, of the vehicle.
        dt : float
            Seconds since the picture before.

        Returns
        -------
        numpy.ndarray
            uint8 [HEIGHT, WIDTH, 3], not to be written to; valid until the next call.

        Raises
        ------
        ImageError
            See `encoder.fit_image`.

        """
        fit_image(image, self._now)
        if not self._known or not np.array_equal(self._now, self._before):
            self._before[:] = self._now
            self._known, self.hangs = True, False
            self._moved = 0.0
        elif measured(motion):
            speed = float(np.linalg.norm(motion.velocity))
            self._moved += speed * dt if speed > SLOW else 0.0
            self.hangs = self.hangs or self._moved > MOVED
        return self._black if self.hangs else self._now
