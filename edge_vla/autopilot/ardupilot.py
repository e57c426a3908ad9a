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
from edge_vla.autopilot.bridge import VelocityBridge
from edge_vla.config import ArduPilotConfig
import numpy as np


class ArduPilotVelocity(VelocityBridge[np.ndarray]):
    """
    Decides over every command and turns it into the world.

    What is to be sent is a float64 [3], m/s, ENU; the yaw rate goes on unchanged.

    Parameters
    ----------
    config : ArduPilotConfig

    """

    config: ArduPilotConfig

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

    def state(self, now: float) -> str:
        """Return why nothing is passed on; empty where commands are."""
        return self.reason or ('' if self.streaming(now) else 'no commands')

    def _refuse(self, now: float) -> str:
        if now - self._yaw_at > self.config.max_pose_age:
            return 'no pose of ArduPilot: which way is forward?'
        return ''

    def _answer(self, now: float, velocity: Sequence[float], yaw_rate: float) -> np.ndarray:
        return frames.heading_to_enu(velocity, self._yaw)
