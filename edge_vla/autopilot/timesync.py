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


"""The clock of an autopilot beside ours, from the stamps of its messages alone."""

from collections import deque

WINDOW = 200  # stamps; two to four seconds of PX4's odometry
JUMP_NS = 500_000_000  # no message is delayed by this much more than another
JUMPED = 5  # so many stamps in a row that far off: the other clock was set anew


class Timesync:
    """
    Estimates the offset between two clocks, in either direction.

    Every message gives (time of arrival here) - (stamp there) = offset + delay. Delays are
    never negative, so the least of the last ``WINDOW`` is the best there is: a late message
    does no harm, slow drift is followed. A clock that is set anew (reboot, synchronisation)
    is believed after ``JUMPED`` stamps.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._odd: list[int] = []
        self.jumps = 0

    @property
    def offset_ns(self) -> int | None:
        """Return what to add to a stamp there to have it here, ns; None before the first."""
        return min(self._recent) if self._recent else None

    def hear(self, here_ns: int, there_us: int) -> bool:
        """
        Take one stamp.

        Parameters
        ----------
        here_ns : int
            Time of arrival on our clock, ns.
        there_us : int
            Stamp on the other clock, us.

        Returns
        -------
        bool
            Whether the stamp agrees with the offset; messages whose stamp does not are not
            to be used.

        """
        sample = here_ns - there_us * 1000
        offset = self.offset_ns
        if offset is None or abs(sample - offset) <= JUMP_NS:
            self._recent.append(sample)
            self._odd.clear()
            return True
        self._odd.append(sample)
        if len(self._odd) < JUMPED or max(self._odd) - min(self._odd) > JUMP_NS:
            del self._odd[:-JUMPED]
            return False
        self._recent.clear()
        self._recent.extend(self._odd)
        self._odd.clear()
        self.jumps += 1
        return True

    def to_here_ns(self, there_us: int) -> int:
        """
        Return a stamp of the other clock on ours.

        Parameters
        ----------
        there_us : int
            us.

        Returns
        -------
        int
            ns.

        Raises
        ------
        ValueError
            No stamp was heard yet.

        """
        return there_us * 1000 + self._offset()

    def to_there_us(self, here_ns: int) -> int:
        """
        Return a time of our clock on the other one, never below 0.

        Parameters
        ----------
        here_ns : int
            ns.

        Returns
        -------
        int
            us.

        Raises
        ------
        ValueError
            No stamp was heard yet.

        """
        return max(0, (here_ns - self._offset()) // 1000)

    def _offset(self) -> int:
        offset = self.offset_ns
        if offset is None:
            raise ValueError('no stamp of the other clock was heard yet')
        return offset
