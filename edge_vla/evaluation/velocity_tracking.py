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
How well the simulated vehicle follows a wanted velocity when wind or a fault sets in.

Five seconds into a flight of thirteen something changes. The error of a law is the distance of its
true velocity to that of the same vehicle, without the shift, that nothing adapts.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Protocol

from edge_vla.datatypes import Action, Motion
from edge_vla.safety import SafetyGate
from edge_vla.sim import dynamics
from edge_vla.sim.wind import DrydenWind, GustyWind
import numpy as np

ONSET_S, LENGTH_S = 5.0, 13.0


class Law(Protocol):
    """Turns a wanted velocity into a command, as `adaptation.composite.Adaptation` does."""

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Return the command, float64 [4], for a wanted velocity and what was measured."""

    def sent(self, command: np.ndarray) -> None:
        """Hear what was sent in the end."""


@dataclass(frozen=True)
class Fault:
    """
    A shift that sets in at once.

    Attributes
    ----------
    wind, gust, dryden : float
        Steady wind of any direction, wind with gusts about it, turbulence, m/s.
    thrust, gain, command, drag : float
        Factors on thrust, the autopilot's velocity gain, commands and air drag.
    push : float
        Acceleration sideways in the body frame, m/s^2: a bent arm.

    """

    wind: float = 0.0
    gust: float = 0.0
    dryden: float = 0.0
    thrust: float = 1.0
    gain: float = 1.0
    command: float = 1.0
    drag: float = 1.0
    push: float = 0.0


class Frozen:
    """No adaptation."""

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Return what is wanted."""
        return wanted

    def sent(self, command: np.ndarray) -> None:
        """Hear what was sent."""


def wanted_at(t: float, phase: np.ndarray) -> np.ndarray:
    """Return a wanted velocity and yaw rate like those of the pilot: slow turns and steps."""
    out = np.array([.7 * math.sin(.7 * t + phase[0]), .5 * math.sin(.9 * t + phase[1]),
                    .25 * math.sin(.5 * t + phase[2]), .5 * math.sin(.4 * t + phase[3])])
    out[0] += .4 * (math.sin(.35 * t + phase[4]) > 0)
    return out


def fly(law: Law, fault: Fault, seed: int, rate: float) -> np.ndarray:
    """
    Fly once.

    Parameters
    ----------
    law : Law
        A fresh one.
    fault : Fault
        What sets in after `ONSET_S`.
    seed : int
        Of the wanted velocity, the noise of the odometry and the wind.
    rate : float
        Steps per second.

    Returns
    -------
    numpy.ndarray
        float64 [T, 3], the true velocity at every step, world frame, m/s.

    """
    rng = np.random.default_rng([seed, 1])  # noise, the same for every law
    phase = np.random.default_rng([seed, 2]).uniform(0, 2 * np.pi, 5)
    air = np.random.default_rng([seed, 3])
    angle = air.uniform(0, 2 * np.pi)
    steady = fault.wind * np.array([math.cos(angle), math.sin(angle), 0.0])
    wind = (GustyWind(air, 2.0, fault.gust) if fault.gust else
            DrydenWind(air, fault.dryden) if fault.dryden else None)
    state, rotation = np.zeros(dynamics.STATE_COLUMNS), np.eye(3)
    dynamics.hover_state(state, 0.0, 0.0, 20.0, 0.0)
    vehicle, calm, gate = dynamics.VEHICLE.copy(), np.zeros(3), SafetyGate()
    period = 1 / rate
    times = np.arange(round(LENGTH_S * rate)) * period
    out = np.zeros((len(times), 3))
    for k, t in enumerate(times):
        shifted = t >= ONSET_S
        if shifted:
            vehicle = dynamics.VEHICLE * (fault.thrust, fault.drag, fault.drag, 1.0, fault.gain)
        yaw = math.atan2(rotation[1, 0], rotation[0, 0])
        c, s = math.cos(yaw), math.sin(yaw)
        v = np.array([c * state[3] + s * state[4], -s * state[3] + c * state[4], state[5]])
        motion = Motion(round(t * 1e9), v + rng.normal(0, .04, 3),
                        float(state[12]) + rng.normal(0, .02), 0.0, 0.0)
        asked = law.step(wanted_at(t, phase), motion, period)
        limited = gate.filter(Action(motion.stamp_ns, asked[:3], float(asked[3])))
        command = np.array([*limited.velocity, limited.yaw_rate])
        law.sent(command)
        sent = command * ((fault.command,) * 3 + (1,)) if shifted else command
        moving = calm if not shifted else steady if wind is None else wind.advance(period)
        steps = math.ceil(period * 1e9 / dynamics.STEP_NS)
        for _ in range(steps):
            dynamics.fly(state, sent, moving, vehicle, rotation, period / steps, 1)
            if shifted and fault.push:
                state[3:5] += fault.push * period / steps * rotation[:2, 1]
        out[k] = state[3:6]
    return out


def mean_errors(make: Callable[[], Law], fault: Fault, seeds: range, window: tuple[float, float],
                rate: float = 30.0) -> np.ndarray:
    """
    Return the mean error of a law in every seed, float64 [seeds], m/s.

    Parameters
    ----------
    make : callable
        Returns a fresh law.
    fault : Fault
        What sets in.
    seeds : range
        Which flights.
    window : tuple of float
        From and until when, seconds after it set in.
    rate : float
        Steps per second.

    """
    after = np.arange(round(LENGTH_S * rate)) / rate - ONSET_S
    inside = (after >= window[0]) & (after < window[1])
    return np.array([np.linalg.norm(
        fly(make(), fault, seed, rate) - fly(Frozen(), Fault(), seed, rate), axis=1)[inside].mean()
        for seed in seeds])
