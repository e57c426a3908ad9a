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

"""Cameras that show nothing for a while: what makes a policy remember."""

import numpy as np

LIT_S, SHORTEST_S = (.3, 2.0), .2  # how long a picture is there, and is not at least
LEVELS = (0, 255)  # of an empty picture, most often; else any grey
NOISE = 24  # of an empty picture, at most


class Blackouts:
    """
    When the cameras of B flights show nothing.

    A flight, and an instruction, begins with a picture: nobody can know what was never seen.

    Parameters
    ----------
    count : int
        B.
    share : float
        Share of the flights that have blackouts.
    longest : float
        How long a picture is not there at most, s; times are log-uniform.
    rng : numpy.random.Generator
        Source of times and levels.

    Attributes
    ----------
    dark : numpy.ndarray
        bool [B], whether the picture of this moment is empty.

    """

    def __init__(self, count: int, share: float, longest: float,
                 rng: np.random.Generator) -> None:
        self.dark = np.zeros(count, bool)
        self._share, self._rng, self._dark_s = share, rng, (SHORTEST_S, longest)
        self._left = np.full(count, np.inf)  # s until the next change
        self._levels, self._noise = np.zeros(count, int), np.ones(count, int)

    def begin(self, flights: np.ndarray) -> None:
        """Draw anew for the flights of a mask, bool [B]."""
        rng, n = self._rng, int(flights.sum())
        if not self._share or not n:
            return
        self.dark[flights] = False
        self._left[flights] = np.where(rng.random(n) < self._share, self._draw(LIT_S, n), np.inf)
        self._levels[flights] = np.where(rng.random(n) < .75, rng.choice(LEVELS, n),
                                         rng.integers(0, 256, n))
        self._noise[flights] = rng.integers(1, NOISE, n)

    def advance(self, dt: np.ndarray) -> None:
        """Let time pass, float [B] s."""
        self._left -= dt
        for i in np.nonzero(self._left <= 0)[0]:
            self.dark[i] = not self.dark[i]
            self._left[i] = self._draw(self._dark_s if self.dark[i] else LIT_S, 1)[0]

    def darken(self, images: np.ndarray) -> None:
        """Empty the pictures of cameras that show nothing, uint8 [B, H, W, 3], in place."""
        for i in np.nonzero(self.dark)[0]:
            noise = self._rng.integers(0, self._noise[i], images.shape[1:])
            level = self._levels[i] + (noise if self._levels[i] < 128 else -noise)
            images[i] = level

    def _draw(self, span: tuple[float, float], count: int) -> np.ndarray:
        return np.exp(self._rng.uniform(*np.log(span), count))
