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
ArduPilot's velocity interface over DDS, without ROS.

ArduPilot takes velocities in ``base_link`` or in ``map``. Its ``base_link`` is no choice: some
releases mirror left and right there (ardupilot pull request 34002), and all of them tilt the
velocity with the body, while ours is level. So commands are turned into ``map`` with the
newest heading.
"""

from collections.abc import Sequence
import math

from edge_vla.autopilot import frames
from edge_vla.autopilot.freshness import Freshness
from edge_vla.config import ArduPilotConfig
import numpy as np


class ArduPilotVelocity:
    """
    Decides over every command and turns it into the world.

    Times named `now` are seconds of a clock that never stops or jumps.

    Parameters
    ----------
    config : ArduPilotConfig

    Attributes
    ----------
    reason : str
        Why the last command was refused; empty where it was passed on.

    """

    def __init__(self, config: ArduPilotConfig) -> None:
        self.config = config
        self.reason = 'no command was heard yet'
        self.passed = self.refused = 0
        self._fresh = Freshness(config.max_frame_age, config.max_speed, config.max_yaw_rate)
        self._yaw, self._yaw_at = math.nan, -math.inf

    def hear_attitude(self, now: float, quaternion: Sequence[float]) -> bool:
        """
        Take ArduPilot's attitude.

        Parameters
        ----------
        now : float
            Time of arrival, s.
        quaternion : sequence of float
            x y z w, body FLU to world ENU.

        Returns
        -------
        bool
            Whether it is one: finite and not zero.

        """
        x, y, z, w = (float(v) for v in quaternion)
        length = math.sqrt(x * x + y * y + z * z + w * w)
        if not (math.isfinite(length) and length > 0):
            return False
        self._yaw = frames.yaw_of((w / length, x / length, y / length, z / length))
        self._yaw_at = now
        return True

    def command(self, now: float, clock_ns: int, stamp_ns: int, velocity: Sequence[float],
                yaw_rate: float) -> np.ndarray | None:
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
            rad/s; it goes on unchanged.

        Returns
        -------
        numpy.ndarray or None
            float64 [3], m/s, ENU, to be sent at once; None where nothing may be sent, for
            the `reason` that is kept.

        """
        self.reason = self._fresh.judge(now, clock_ns, stamp_ns, velocity, yaw_rate)
        if not self.reason and now - self._yaw_at > self.config.max_pose_age:
            self.reason = 'no pose of ArduPilot: which way is forward?'
        if self.reason:
            self.refused += 1
            return None
        self.passed += 1
        return frames.heading_to_enu(velocity, self._yaw)
