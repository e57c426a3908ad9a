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


"""The last gate before any command: finite, limited, slewed, fresh, or zero."""

import math

from edge_vla.config import SafetyConfig
from edge_vla.datatypes import Action, Command
import numpy as np

LONGEST_STEP_S = 0.1  # the slew limit never counts on more elapsed time than this
FIRST_STEP_S = 1 / 30
TOLERANCE = 1e-9


class SafetyGate:
    """
    Turns actions into commands; the only maker of `Command`.

    Parameters
    ----------
    config : SafetyConfig

    """

    def __init__(self, config: SafetyConfig | None = None) -> None:
        self.config = config or SafetyConfig()
        self.reset()

    def reset(self) -> None:
        """Forget the last command: the next one starts from standstill."""
        self._now = np.zeros(4)
        self._fresh = np.zeros(4)
        self._stamp_ns: int | None = None

    def filter(self, action: Action) -> Command:  # noqa: A003
        """
        Pass an action through the limits.

        Elapsed time for the slew limit comes from the stamps: none where one is repeated; after
        a gap or a step back of the clock a short step is assumed. An action that is not finite,
        or no velocity of three axes, brakes to zero.
        """
        try:
            wanted = np.array([*action.velocity, action.yaw_rate], np.float64)
        except (TypeError, ValueError, OverflowError):
            wanted = np.full(4, np.nan)
        if wanted.shape != (4,):
            wanted = np.full(4, np.nan)
        state = 'ok'
        if not np.isfinite(wanted).all():
            wanted[:], state = 0.0, 'rejected'
        limited = self._limit(wanted)
        dt = FIRST_STEP_S
        if state == 'ok' and self._stamp_ns is not None and action.stamp_ns >= self._stamp_ns:
            dt = min((action.stamp_ns - self._stamp_ns) * 1e-9, LONGEST_STEP_S)
        self._stamp_ns = action.stamp_ns
        out = self._limit(self._slew(limited, dt))
        if state == 'ok' and np.abs(out - wanted).max() > TOLERANCE:
            state = 'limited'
        self._now = self._fresh = out
        return self._command(action.stamp_ns, state)

    def decay(self, age_s: float) -> Command:
        """
        Answer the absence of frames: the last command, ramped to zero once it is stale.

        The limits hold as they are now; the slew limit does not, so that who sees nothing
        stops sooner.

        Parameters
        ----------
        age_s : float
            Seconds since the last good frame, on a clock that never stops. Anything that is
            not a number counts as very old.

        """
        c = self.config
        over = age_s - c.stale_after if math.isfinite(age_s) else math.inf
        if over <= 0:
            held = self._limit(self._now)
            if np.abs(held - self._now).max() > TOLERANCE:  # else the same to the last bit
                self._now = held
            return self._command(self._stamp_ns or 0, 'ok')
        keep = max(0.0, 1.0 - over / c.ramp_time) if c.ramp_time > 0 else 0.0
        self._now = self._limit(self._fresh * keep)
        return self._command(self._stamp_ns or 0, 'stale')

    def zero(self, stamp_ns: int, state: str = 'disabled') -> Command:
        """Return the zero command and start again from standstill."""
        self.reset()
        return self._command(stamp_ns, state)

    def _limit(self, v: np.ndarray) -> np.ndarray:
        c = self.config
        out = np.array([min(c.max_forward, max(-c.max_backward, v[0])),
                        min(c.max_lateral, max(-c.max_lateral, v[1])),
                        min(c.max_vertical, max(-c.max_vertical, v[2])),
                        min(c.max_yaw_rate, max(-c.max_yaw_rate, v[3]))])
        length = math.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2)
        if length > c.max_speed:
            out[:3] *= c.max_speed / length
        return out

    def _slew(self, v: np.ndarray, dt: float) -> np.ndarray:
        step = v - self._now
        length = math.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        room = self.config.max_acceleration * dt
        if length > room:
            step[:3] *= room / length
        turn = self.config.max_yaw_acceleration * dt
        step[3] = min(turn, max(-turn, step[3]))
        return self._now + step

    def _command(self, stamp_ns: int, state: str) -> Command:
        x, y, z, yaw_rate = (float(v) for v in self._now)
        return Command(int(stamp_ns), (x, y, z), yaw_rate, state)
