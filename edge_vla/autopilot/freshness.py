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


"""Whether a command may still fly: finite, of this moment, and not a repetition."""

from collections.abc import Sequence
import math

FUTURE_S = 0.2  # /clock comes in steps, and clocks of one machine differ by less


class Freshness:
    """
    Judges every command by the image it answers.

    The pilot stamps a command with the time of its image. While images stay away it goes on
    sending, braking, with the last stamp; such commands count for `max_age_s` and no longer.
    That is measured on two clocks, since either may stand still: the one of the stamps (a
    simulator that dies stops /clock) and a steady one.

    Parameters
    ----------
    max_age_s : float
        Commands that answer an older image are refused.
    max_speed : float
        m/s; faster commands are refused.
    max_yaw_rate : float
        rad/s; faster ones are refused.

    """

    def __init__(self, max_age_s: float, max_speed: float, max_yaw_rate: float) -> None:
        self.max_age_s, self.max_speed, self.max_yaw_rate = max_age_s, max_speed, max_yaw_rate
        self._heard_ns: int | None = None
        self._newest_ns: int | None = None
        self._heard = self._advanced = -math.inf
        self._clock_ns = 0
        self._restarted = False

    def judge(self, now: float, clock_ns: int, stamp_ns: int, velocity: Sequence[float],
              yaw_rate: float) -> str:
        """
        Judge one command.

        Parameters
        ----------
        now : float
            Steady time of its arrival, s.
        clock_ns : int
            The same moment on the clock of the stamps, ns.
        stamp_ns : int
            The command's stamp, ns.
        velocity : sequence of float
            [3], m/s.
        yaw_rate : float
            rad/s.

        Returns
        -------
        str
            Empty where it may fly, else why not.

        """
        self._restarted |= clock_ns < self._clock_ns  # a simulation or recording begins again
        self._clock_ns = clock_ns
        if stamp_ns != self._heard_ns:
            self._heard_ns, self._heard = stamp_ns, now
        age = (clock_ns - stamp_ns) * 1e-9
        if age > self.max_age_s:
            return f'the command answers an image {age:.1f} s old'
        if age < -FUTURE_S:
            return (f'the command is stamped {-age:.1f} s ahead: the clocks of camera and '
                    'computer disagree')
        # a stamp counts from when it was first heard, refused or not
        newest = self._newest_ns
        if newest is None or stamp_ns > newest or (self._restarted and stamp_ns < newest):
            self._newest_ns, self._advanced, self._restarted = stamp_ns, self._heard, False
        elif stamp_ns < newest:
            return 'the command is older than the one before'
        if now - self._advanced > self.max_age_s:
            return f'no new image was answered for {now - self._advanced:.1f} s'
        values = [float(v) for v in (*velocity, yaw_rate)]
        if not all(math.isfinite(v) for v in values):
            return 'the command is not finite'
        speed = math.sqrt(sum(v * v for v in values[:3]))
        if speed > self.max_speed:
            return f'the command asks for {speed:.1f} m/s, more than {self.max_speed:g}'
        if abs(yaw_rate) > self.max_yaw_rate:
            return f'the command asks for {yaw_rate:.1f} rad/s, more than {self.max_yaw_rate:g}'
        return ''
