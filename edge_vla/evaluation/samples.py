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


"""What recordings give: images with the newest of everything else, and series of velocities."""

from array import array
from dataclasses import dataclass

from edge_vla.datatypes import Frame, Motion
import numpy as np

SECOND_NS = 10**9
LAST_NS = 2**63 - 1  # in the year 2262
THINNED_NS = 10_000_000  # series keep 100 values per second at most


@dataclass(frozen=True)
class Sample:
    """
    One image of a recording, with the newest of everything else before it.

    Attributes
    ----------
    frame : Frame
        The image and the stamp in its header.
    recorded_ns : int
        When it was recorded.
    motion : Motion or None
        Newest odometry.
    instruction : str or None
        Newest text on the instruction topic; None without such a topic.
    sent : numpy.ndarray or None
        Newest recorded command, float64 [4]: m/s in the heading frame, rad/s.

    """

    frame: Frame
    recorded_ns: int
    motion: Motion | None
    instruction: str | None = None
    sent: np.ndarray | None = None


class Series:
    """
    Velocities over time, a few bytes each.

    Attributes
    ----------
    invalid : int
        How many values were left out because they were not finite, or beyond 1000 m/s.

    """

    def __init__(self) -> None:
        self._times, self._values = array('q'), array('d')
        self.invalid = 0

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._times)

    def add(self, time_ns: int, value: np.ndarray) -> None:
        """
        Append a value; those closer than 10 ms to the one before are left out.

        Parameters
        ----------
        time_ns : int
            When, not before the last one.
        value : numpy.ndarray
            float64 [4]: x, y, z in m/s, heading frame, and yaw rate in rad/s.

        """
        if not self._times or time_ns - self._times[-1] >= THINNED_NS:
            self._times.append(time_ns)
            self._values.extend(value)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return times, int64 [N] ns, and values, float64 [N, 4]."""
        return (np.array(self._times, np.int64),
                np.array(self._values, np.float64).reshape(-1, 4))
