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

"""Flight on from memory while the picture shows nothing."""

from edge_vla.datatypes import Motion
from edge_vla.policy.liquid import LiquidPolicy
import numpy as np

TURN_ONLY = np.array([0.0, 0.0, 0.0, 1.0])


class BlackoutPolicy:
    """
    Two policies: one flies by the picture, one by memory while there is none.

    The second follows every frame. The first, which would take an empty picture for a target
    that is gone, pauses in the dark; without a second one it does not.

    Parameters
    ----------
    sighted : LiquidPolicy
        Flies while the picture shows something.
    memory : LiquidPolicy or None
        Flies while it does not: a policy that was trained to remember.

    Attributes
    ----------
    dark_s : float
        For how long the picture has shown nothing, s.

    """

    def __init__(self, sighted: LiquidPolicy, memory: LiquidPolicy | None) -> None:
        self._sighted, self._memory = sighted, memory
        self._pictured: np.ndarray | None = None  # what was flown by when there was a picture
        self.dark_s = 0.0

    def reset(self) -> None:
        """Forget the flight so far."""
        self._sighted.reset()
        if self._memory is not None:
            self._memory.reset()
        self._pictured, self.dark_s = None, 0.0

    def step(self, features: np.ndarray, motion: Motion | None, context: np.ndarray, dt: float,
             blank: bool) -> np.ndarray:
        """
        Advance by one frame.

        Parameters
        ----------
        features, motion, context, dt
            As for `LiquidPolicy.step`.
        blank : bool
            Whether the picture shows nothing.

        Returns
        -------
        numpy.ndarray
            float64 [4], m/s forward, left, up and rad/s.

        """
        self.dark_s = self.dark_s + dt if blank else 0.0
        if not blank:
            self._pictured = context
        remembered = None if self._memory is None else self._memory.step(
            features, motion, context, dt)
        if blank and remembered is not None:
            return remembered
        return self._sighted.step(features, motion, context, dt)

    def limit(self, command: np.ndarray, context: np.ndarray, longest_s: float) -> np.ndarray:
        """
        Return what may be flown of a command in the dark.

        Parameters
        ----------
        command : numpy.ndarray
            float64 [4], m/s and rad/s.
        context : numpy.ndarray
            Of this frame's `step`.
        longest_s : float
            How long it may be dark; then, and for what was never seen, only the turn is left.

        """
        if self.dark_s > longest_s or self._pictured is not context:
            return command * TURN_ONLY
        return command
