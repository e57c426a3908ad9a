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
Online adaptation: the measured velocity follows the wanted one, whatever wind and faults do.

The law moves with true elapsed time and is bounded in every direction: it holds still on bad
measurements, fades without any, and gives up where it does not help.
"""

import math

from edge_vla.config import AdaptationConfig
from edge_vla.datatypes import Motion
from edge_vla.kernels import adaptation as kernel
from edge_vla.kernels.adaptation import BARE, COMPENSATION, REF, V
import numpy as np

# The nominal vehicle, a row per axis x y z: k 1/s, k_I 1/s^2, lag tau s, drag c 1/s, limit of
# the integral m/s^2; PX4's default gains, identified in the simulator in calm air.
RESPONSE = np.array([[1.52, .29, .13, .14, 2.5], [1.52, .29, .13, .14, 2.5],
                     [4.0, 2.06, .05, .21, 4.0]])
FILTER_S = 0.15  # time constant of the regressors
LEAK = 0.05  # lambda, 1/s
NOISE = 0.05  # R, m^2/s^3
TRACKING = 1.0  # weight of s
# 1/s, gain on the tracking error beyond the vehicle's own; 3 is better with odometry on time and
# worse with odometry 0.1 s late
PULL = 1.5
# disturbance x y z, effectiveness and drag of the horizontal and the vertical loop
BOX = np.array([7., 7., 5., .6, .5, 1.5, 1.5])
Q = np.array([3., 3., 3., .05, .05, .05, .05])
P_MIN = np.full(kernel.PARAMETERS, 1e-4)
P_MAX = np.array([4., 4., 4., .1, .1, .2, .2])
LONGEST_S = 0.5  # the models restart after more than this without a step or a measurement
HOLD_S = 0.5  # without measurement the compensation holds this long, then it fades
FADE_S = 1.0
FASTEST = 30.0  # m/s, faster is no measurement
JUMP, JUMP_RATE = 1.0, 20.0  # m/s and m/s^2, more between two samples is no motion
JUMPS = 5  # so many in a row: the source itself has changed, start over
MONITOR_S = 1.0  # filter of the error norms that the fault detection compares
HARM, GROWTH = 0.3, 0.2  # m/s
WORTH = 0.7  # an error this much smaller than without adaptation is no reason to give up
PATIENCE_S = 1.5
LOST, LOST_S = 1.0, 4.0  # m/s, s: an error this large for so long is not what it can mend
LONGEST_OFF_S = 60.0


class Adaptation:
    """
    Turns wanted velocities into commands that make the measured velocity follow them.

    Disturbances are learned in a frame that keeps its direction in the world (the measured yaw
    rate is integrated), so what was learned about the wind turns as the vehicle does.

    Parameters
    ----------
    config : AdaptationConfig

    """

    def __init__(self, config: AdaptationConfig | None = None) -> None:
        self.config = config or AdaptationConfig()
        n = kernel.PARAMETERS
        self._x, self._a, self._p = np.zeros((kernel.ROWS, 3)), np.zeros(n), np.zeros((n, n))
        self._phi, self._scratch = np.zeros(n), np.zeros(n)
        self._rate = np.zeros(1 + n)
        self.reset()

    def reset(self) -> None:
        """Forget everything: a flight starts."""
        self._x[:] = 0.0
        self._sent, self._wanted = np.zeros(4), np.zeros(4)
        self._limited = False
        self._heading = 0.0
        self._stamp_ns: int | None = None
        self._v = np.zeros(3)
        self._authority = 1.0
        self._off = self._blind = 0.0
        self._reverts = 0
        self._state = 'active' if self.config.enabled else 'off'
        self._forget()

    def _forget(self) -> None:
        """Put the parameters back to the nominal vehicle."""
        self._a[:] = 0.0
        self._p[:] = np.diag(.5 * P_MAX)
        self._jumps = 0
        self._since = 0.0
        self._error = self._bare = self._slow_error = 0.0
        self._bad_for = self._lost_for = 0.0
        self._started = False

    def _revert(self) -> None:
        self._forget()
        self._off = min(self.config.off_time * 2 ** min(self._reverts, 9), LONGEST_OFF_S)
        self._reverts += 1

    def sent(self, command: np.ndarray) -> None:
        """
        Tell what was sent in the end, where limits changed what `step` returned.

        Parameters
        ----------
        command : numpy.ndarray
            float64 [4], heading-frame velocity m/s and yaw rate rad/s.

        """
        if np.isfinite(command).all():
            self._limited = bool(np.abs(self._sent - command).max() > 1e-3)
            self._sent[:] = np.clip(command, -FASTEST, FASTEST)

    def step(self, wanted: np.ndarray, motion: Motion | None, dt: float) -> np.ndarray:
        """
        Return the command that makes the vehicle do what is wanted.

        Parameters
        ----------
        wanted : numpy.ndarray
            float64 [4], heading-frame velocity m/s and yaw rate rad/s; not finite counts as
            zero.
        motion : Motion or None
            Newest measurement; None, not finite, or not newer than the last one is no news.
        dt : float
            Seconds since the last step.

        Returns
        -------
        numpy.ndarray
            float64 [4], finite; the yaw rate is the wanted one.

        """
        return self._advance(wanted, motion, dt, self._sent[3])

    def _advance(self, wanted: np.ndarray, motion: Motion | None, dt: float,
                 turning: float) -> np.ndarray:
        """Take a step; it turns at a rate where none is measured."""
        out = np.array(wanted, np.float64)
        if not np.isfinite(out).all():
            out[:] = 0.0
        if not self.config.enabled:
            if self._state != 'off':
                self.reset()  # switched on again, it begins anew
            self._sent[:] = self._wanted[:] = np.clip(out, -FASTEST, FASTEST)
            return out
        if not (math.isfinite(dt) and dt > 0):
            dt = 0.0
        elif dt > LONGEST_S:
            self._started, dt = False, LONGEST_S
        v = self._measure(motion)
        known = v is not None
        rate = motion.yaw_rate if known else turning
        middle = self._heading + .5 * rate * dt
        self._heading = math.remainder(self._heading + rate * dt, 2 * math.pi)
        if known:
            v = _turn(v, self._heading)
            if not self._started:
                self._start(v)
        if self._started and dt > 0:
            kernel.advance(self._x, self._a, RESPONSE, _turn(self._sent[:3], middle),
                           _turn(self._wanted[:3], middle), self._x[V] if v is None else v,
                           known, dt, FILTER_S)
        self._learn(known, dt)
        self._wanted[:] = np.clip(out, -FASTEST, FASTEST)  # what the models may be asked
        self._compensate(_turn(self._wanted[:3], self._heading), dt)
        out[:3] += _turn(self._x[COMPENSATION], -self._heading)
        self._sent[:] = np.clip(out, -FASTEST, FASTEST)
        self._limited = False
        return out

    def rest(self, wanted: np.ndarray, motion: Motion | None, dt: float) -> None:
        """
        Let time pass in which nothing is added to what is wanted: it counts as unmeasured.

        Parameters
        ----------
        wanted : numpy.ndarray
            float64 [4], as for `step`; it is what is sent.
        motion : Motion or None
            Newest measurement; only the turning counts, so what was learned stays in the world.
        dt : float
            Seconds since the last step.

        """
        turning = motion is not None and math.isfinite(motion.yaw_rate)
        self._advance(wanted, None, dt, motion.yaw_rate if turning else self._sent[3])
        self._x[COMPENSATION] = 0.0  # what is added next grows from nothing
        self._sent[:] = self._wanted

    def _measure(self, motion: Motion | None) -> np.ndarray | None:
        """Return the measured velocity, or None where there is none to be trusted."""
        if motion is None or not math.isfinite(motion.yaw_rate) or not all(
                abs(c) < FASTEST for c in motion.velocity):
            return None
        v = np.array(motion.velocity, np.float64)
        last, now = self._stamp_ns, motion.stamp_ns
        if last is not None:
            if now == last or 0 < last - now < LONGEST_S * 1e9:
                return None
            elapsed = _clip((now - last) * 1e-9, 0.0, LONGEST_S)
            if np.abs(v - self._v).max() > JUMP + JUMP_RATE * elapsed:
                self._jumps += 1
                if self._jumps < JUMPS:
                    return None
                self._revert()
        self._jumps = 0
        self._stamp_ns, self._v = now, v
        return v

    def _start(self, v: np.ndarray) -> None:
        """Let all models begin at the measured velocity, flying steadily."""
        keep = self._x[COMPENSATION].copy(), self._x[kernel.INTEGRAL] - self._x[kernel.REF_I]
        self._x[:] = 0.0
        self._x[[V, kernel.SLOW_V, REF, BARE]] = v
        self._x[[kernel.LAG_P, kernel.SLOW_P, kernel.REF_A, kernel.BARE_A]] = v * RESPONSE[:, 3]
        self._x[COMPENSATION], self._x[kernel.INTEGRAL] = keep
        self._x[[kernel.LAG_I, kernel.SLOW_I]] = keep[1]
        self._started = True

    def _learn(self, known: bool, dt: float) -> None:
        self._since += dt
        if self._off > 0:
            self._off -= dt
            if self._off <= 0:
                self._forget()
            self._state = 'reverted'
            return
        if not known or not self._started:
            self._state = 'frozen'
            self._blind += dt
            if self._blind > HOLD_S:
                self._authority *= math.exp(-dt / FADE_S)
                self._started = self._started and self._blind < 2 * HOLD_S
            return
        self._state, self._blind = 'active', 0.0
        self._authority += (1 - self._authority) * (1 - math.exp(-dt / HOLD_S))
        c = self.config
        self._rate[0], self._rate[1:] = c.leak, c.rate * Q
        if self._since > 0:
            kernel.adapt(self._x, self._a, self._p, self._phi, self._scratch, RESPONSE,
                         min(self._since, LONGEST_S), FILTER_S, self._rate, NOISE,
                         0.0 if self._limited else TRACKING, BOX, P_MIN, P_MAX)
        self._since = 0.0
        self._watch(dt)

    def _watch(self, dt: float) -> None:
        """Give up where the error is larger than it would be without, or runs away."""
        x = self._x
        share = 1 - math.exp(-dt / MONITOR_S)
        error = float(np.linalg.norm(x[V] - x[REF]))
        self._error += share * (error - self._error)
        self._slow_error += .25 * share * (error - self._slow_error)
        self._bare += share * (float(np.linalg.norm(x[BARE] - x[REF])) - self._bare)
        full = np.linalg.norm(x[COMPENSATION]) > .95 * self.config.max_compensation
        growing = full and self._error > max(self._slow_error + GROWTH, WORTH * self._bare)
        bad = self._error > self._bare + HARM or growing
        self._bad_for = self._bad_for + dt if bad else 0.0
        self._lost_for = self._lost_for + dt if self._error > LOST else 0.0
        if self._bad_for > PATIENCE_S or self._lost_for > LOST_S:
            self._revert()

    def _compensate(self, wanted: np.ndarray, dt: float) -> None:
        c = self.config
        kernel.compensate(self._x, self._a, self._scratch, RESPONSE, wanted,
                          0.0 if self._off > 0 else self._authority, c.max_compensation,
                          c.max_compensation_rate * dt, PULL)

    def state(self) -> dict[str, float | str]:
        """
        Return what diagnostics show.

        ``state`` is 'off', 'active', 'frozen' or 'reverted'; errors and compensation in m/s.
        """
        return {'state': self._state, 'parameters': float(np.linalg.norm(self._a)),
                'covariance': float(np.trace(self._p)), 'error': self._error,
                'error_without': self._bare,
                'compensation': float(np.linalg.norm(self._x[COMPENSATION]))}

    @property
    def parameters(self) -> np.ndarray:
        """
        Return a copy of the parameters, float64 [7].

        Disturbance x y z (m/s^2, x along the heading at the reset), effectiveness and drag
        (1/s) of the horizontal and of the vertical loop.
        """
        return self._a.copy()


def _clip(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


def _turn(v: np.ndarray, angle: float) -> np.ndarray:
    """Rotate a vector [3] about z."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([c * v[0] - s * v[1], s * v[0] + c * v[1], v[2]])
