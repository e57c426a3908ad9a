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


"""What all bridges to autopilots do with a command: judge it, count it, turn it, pass it on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
import math
from typing import Generic, TypeVar

from edge_vla.autopilot.freshness import Freshness
from edge_vla.config import AutopilotConfig

T = TypeVar('T')


class VelocityBridge(ABC, Generic[T]):
    """
    Decides over every command of the pilot; subclasses know one autopilot each.

    Times named `now` are seconds of a clock that never stops or jumps.

    Parameters
    ----------
    config : AutopilotConfig

    Attributes
    ----------
    reason : str
        Why the last command was refused; empty where it was passed on.
    passed, refused : int
        How many commands were.

    """

    def __init__(self, config: AutopilotConfig) -> None:
        self.config = config
        self.reason = 'no command was heard yet'
        self.passed = self.refused = 0
        self._fresh = Freshness(config.max_frame_age, config.max_speed, config.max_yaw_rate)
        self._yaw, self._yaw_at = math.nan, -math.inf
        self._sent_at = -math.inf

    def command(self, now: float, clock_ns: int, stamp_ns: int, velocity: Sequence[float],
                yaw_rate: float) -> T | None:
        """
        Answer one command of the pilot.

        Parameters
        ----------
        now : float
            Time of arrival, s.
        clock_ns : int
            The same moment on the clock of the stamps, ns.
        stamp_ns : int
            Stamp of the image it answers, ns.
        velocity : sequence of float
            [3], m/s, heading frame: forward, left, up.
        yaw_rate : float
            rad/s, counter-clockwise seen from above.

        Returns
        -------
        object or None
            What the autopilot is to be sent at once; None where nothing may be sent, for the
            `reason` that is kept.

        """
        self.reason = (self._fresh.judge(now, clock_ns, stamp_ns, velocity, yaw_rate)
                       or self._refuse(now))
        if self.reason:
            self.refused += 1
            return None
        self.passed += 1
        answer = self._answer(now, velocity, yaw_rate)
        self._sent_at = now
        return answer

    def reject(self, reason: str) -> None:
        """Count a command that is refused unseen, and keep the reason."""
        self.reason = reason
        self.refused += 1

    def streaming(self, now: float) -> bool:
        """Tell whether commands are being passed on."""
        return now - self._sent_at <= self.config.max_frame_age

    @abstractmethod
    def _refuse(self, now: float) -> str:
        """Return why this autopilot may not be sent anything now; empty where it may."""

    @abstractmethod
    def _answer(self, now: float, velocity: Sequence[float], yaw_rate: float) -> T:
        """Return what to send for a command that may fly."""
