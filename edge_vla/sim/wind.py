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
Air that moves: a light breeze, steady wind, gusts and Dryden turbulence.

Every kind has ``mean`` and ``velocity``, float64 [3] in m/s (world frame, where the air goes),
and ``advance(dt)``, which returns the velocity `dt` seconds later.
"""

import math

import numpy as np

GUST_TIME_S = 1.5
FOOT_M = .3048
# Dryden at low altitude, MIL-F-8785C: the model begins at 10 ft, and so does this air, although
# flights are lower still.
ALTITUDE_FT = 10.0
ROUGHNESS_FT = .15  # of the wind profile, for flight near the ground (category C)
SLOWEST_AIR = 2.0  # m/s


class Wind:
    """Mean wind plus Ornstein-Uhlenbeck gusts, world frame, m/s."""

    def __init__(self, rng: np.random.Generator, mean_speed: float) -> None:
        direction = rng.normal(0, 1, 3) * (1, 1, .2)
        self.mean = direction / np.linalg.norm(direction) * mean_speed * rng.uniform(.5, 1)
        self._strength = .35 * mean_speed * np.array([1, 1, .3])
        self._rng = rng
        self.velocity = self.mean.copy()

    def advance(self, dt: float) -> np.ndarray:
        """Return the wind `dt` seconds later."""
        if self._strength[0] > 0:
            keep = math.exp(-dt / GUST_TIME_S)
            noise = self._rng.normal(0, 1, 3) * self._strength * math.sqrt(1 - keep * keep)
            self.velocity = self.mean + (self.velocity - self.mean) * keep + noise
        return self.velocity


class GustyWind(Wind):
    """
    Horizontal wind of a given speed from a random side, with gusts of a given size or none.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of direction and gusts.
    speed : float
        Mean, m/s.
    gust : float
        Two standard deviations of each horizontal component, m/s; the vertical one has 0.3 of it.

    """

    def __init__(self, rng: np.random.Generator, speed: float, gust: float = 0.0) -> None:
        self.mean = _towards(rng) * speed
        self._strength = gust / 2 * np.array([1, 1, .3])
        self._rng = rng
        self.velocity = self.mean.copy()


class DrydenWind:
    """
    Mean wind with Dryden turbulence, after MIL-F-8785C and MIL-HDBK-1797 at low altitude.

    Along the wind the spectrum is that of sigma / (1 + T s), across it and upwards that of
    sigma (1 + sqrt(3) T s) / (1 + T s)^2, driven by white noise, with T = L / V; both filters are
    discretised exactly, so any `dt` gives the same statistics. sigma and L are the standard's at
    10 ft for the given wind at 20 ft; the mean follows its logarithmic profile.

    The standard takes V for the airspeed of an aeroplane. A vehicle that hovers in wind still
    has the air move past it, at the speed of the mean wind: that is V here, at least 2 m/s, since
    T would be infinite in still air. The vehicle's own motion is neglected. Taylor's hypothesis,
    on which this rests, holds as far as sigma is small against V: 0.23 along the wind.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of direction and turbulence.
    wind_20ft : float
        Wind speed 20 ft (6 m) above the ground, m/s.

    Attributes
    ----------
    sigma, time : numpy.ndarray
        float64 [3], standard deviation (m/s) and T (s) along, across and upwards.

    """

    def __init__(self, rng: np.random.Generator, wind_20ft: float) -> None:
        speed = wind_20ft * math.log(ALTITUDE_FT / ROUGHNESS_FT) / math.log(20 / ROUGHNESS_FT)
        shape = .177 + .000823 * ALTITUDE_FT
        horizontal = .1 * wind_20ft / shape ** .4
        self.sigma = np.array([horizontal, horizontal, .1 * wind_20ft])
        length = FOOT_M * np.array([ALTITUDE_FT / shape ** 1.2] * 2 + [ALTITUDE_FT])
        self.time = length / max(speed, SLOWEST_AIR)
        along = _towards(rng)
        self._axes = np.stack([along, (-along[1], along[0], 0.0), (0.0, 0.0, 1.0)], 1)
        self.mean = along * speed
        self._rng = rng
        # two cascaded lags per axis, of unit time and variance 1/2 in the first; start anywhere
        self._covariance = np.array([[.5, .25], [.25, .25]])
        self._lags = rng.normal(0, 1, (3, 2)) @ np.linalg.cholesky(self._covariance).T
        self.velocity = self._velocity()

    def _velocity(self) -> np.ndarray:
        first, second = self._lags.T
        turbulence = math.sqrt(3) * first + (1 - math.sqrt(3)) * second
        turbulence[0] = math.sqrt(2) * first[0]
        return self.mean + self._axes @ (self.sigma * turbulence)

    def advance(self, dt: float) -> np.ndarray:
        """Return the wind `dt` seconds later."""
        noise = self._rng.normal(0, 1, (3, 2))
        for i, t in enumerate(dt / self.time):
            keep = math.exp(-t) * np.array([[1.0, 0.0], [t, 1.0]])
            added = self._covariance - keep @ self._covariance @ keep.T
            added[1, 1] += 1e-12  # a very short step leaves rounding only
            self._lags[i] = keep @ self._lags[i] + np.linalg.cholesky(added) @ noise[i]
        self.velocity = self._velocity()
        return self.velocity


def _towards(rng: np.random.Generator) -> np.ndarray:
    """Return a random horizontal direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([math.cos(angle), math.sin(angle), 0.0])
