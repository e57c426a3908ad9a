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
Composite adaptation with covariance, one step of any length.

After O'Connell et al., Neural-Fly enables rapid learning for agile flight in strong winds,
Science Robotics 2022 (eq. 6 and 7), for a vehicle that takes velocity commands. Everything is
in a frame that does not turn with the vehicle, so a steady wind is a constant. The vehicle is
    dv/dt = G[k (1 + beta) (u - v) + I] - c v + d + gamma v,  dI/dt = k_I (u - v),
with G = 1/(tau s + 1) the lag of attitude and motors and I the autopilot's own integral.
"""

import math

from numba import njit

# Rows of the state, each x y z. Vehicle: velocity, integral, lagged proportional and integral
# part; the filtered velocity and parts (the regressors); reference model: velocity,
# acceleration, integral; the same for the vehicle without adaptation; compensation in force.
V, INTEGRAL, LAG_P, LAG_I, SLOW_V, SLOW_P, SLOW_I = range(7)
REF, REF_A, REF_I, BARE, BARE_A, BARE_I, COMPENSATION = range(7, 14)
ROWS = 14
# Parameters a: disturbance d x y z (m/s^2), effectiveness beta of the horizontal and the
# vertical loop, drag gamma (1/s) likewise.
D, BETA, GAMMA = 0, 3, 5
PARAMETERS = 7
# Columns of a response row: k 1/s, k_I 1/s^2, lag tau s, drag c 1/s, limit of I m/s^2.
SUBSTEP_S = 0.005
FARTHEST = 50.0  # m/s, no model runs off beyond this


@njit(cache=True, nogil=True)
def _clip(value, low, high):
    return min(high, max(low, value))


@njit(cache=True, nogil=True)
def advance(x, a, response, sent, wanted, v, known, dt, filter_s):
    """
    Carry all models over `dt` under held commands.

    Linear stages are exact for held inputs; the coupling between them is split at SUBSTEP_S.

    Parameters
    ----------
    x : float64 [ROWS, 3], changed
        The state.
    a : float64 [PARAMETERS]
        The parameters.
    response : float64 [3, 5]
        The nominal vehicle, a row per axis.
    sent, wanted : float64 [3]
        Command that was in force, and the one before compensation, m/s.
    v : float64 [3]
        Measured velocity at the end of the step, m/s; the velocity between is interpolated.
    known : bool
        False: there is no measurement, the model predicts the velocity.
    dt, filter_s : float
        Length of the step and time constant of the regressor filter, s.

    """
    n = max(1, int(math.ceil(dt / SUBSTEP_S)))
    h = dt / n
    slow = 1 - math.exp(-h / filter_s)
    for i in range(3):
        k, k_i, tau, drag, most = response[i]
        loop = 0 if i < 2 else 1
        beta, gamma = a[BETA + loop], a[GAMMA + loop]
        fast = 1 - math.exp(-h / tau)
        first = x[V, i]
        # what neither model nor effectiveness explains acts on the bare vehicle too
        rest = (first - x[SLOW_V, i]) / filter_s + drag * x[SLOW_V, i] - x[SLOW_I, i] \
            - (1 + beta) * x[SLOW_P, i]
        for j in range(n):
            now = x[V, i]
            if known:
                now = first + (v[i] - first) * (j + .5) / n
            x[LAG_P, i] += fast * (k * (sent[i] - now) - x[LAG_P, i])
            x[LAG_I, i] += fast * (x[INTEGRAL, i] - x[LAG_I, i])
            x[INTEGRAL, i] = _clip(x[INTEGRAL, i] + k_i * (sent[i] - now) * h, -most, most)
            x[SLOW_V, i] += slow * (now - x[SLOW_V, i])
            x[SLOW_P, i] += slow * (x[LAG_P, i] - x[SLOW_P, i])
            x[SLOW_I, i] += slow * (x[LAG_I, i] - x[SLOW_I, i])
            if not known:
                x[V, i] = _clip(now + h * ((1 + beta) * x[LAG_P, i] + x[LAG_I, i] + a[D + i]
                                           + (gamma - drag) * now), -FARTHEST, FARTHEST)
            for m in range(2):  # reference, bare vehicle
                r = REF + 3 * m
                gain = k if m == 0 else k * (1 + beta)
                e = wanted[i] - x[r, i]
                x[r + 1, i] += fast * (gain * e + x[r + 2, i] - x[r + 1, i])
                x[r + 2, i] = _clip(x[r + 2, i] + k_i * e * h, -most, most)
                push = x[r + 1, i] - drag * x[r, i] + (0. if m == 0 else rest)
                x[r, i] = _clip(x[r, i] + h * push, -FARTHEST, FARTHEST)
        if known:
            x[V, i] = v[i]


@njit(cache=True, nogil=True)
def adapt(x, a, p, phi, p_phi, response, dt, filter_s, rate, noise, tracking, box, p_min, p_max):
    """
    Move parameters and covariance over `dt` by the composite law.

    da/dt = -lambda a - P phi^T R^-1 (phi a - y) + P phi^T s,
    dP/dt = -2 lambda P + Q - P phi^T R^-1 phi P,
    with y the filtered residual of the nominal model and s the tracking error. The decay is
    exact for any `dt`; the measurement is taken in implicitly, as stable at 1 Hz as at 1 kHz.

    Parameters
    ----------
    x : float64 [ROWS, 3]
        The state, after `advance`.
    a, p : float64 [PARAMETERS], [PARAMETERS, PARAMETERS], changed
        Parameters and their covariance P.
    phi, p_phi : float64 [PARAMETERS]
        Scratch.
    response : float64 [3, 5]
        The nominal vehicle.
    dt, filter_s : float
        Time since the last measurement, filter of the regressors, s.
    rate : float64 [1 + PARAMETERS]
        lambda 1/s, then the diagonal of Q.
    noise, tracking : float
        R, and the weight of s (0 while the command is limited).
    box, p_min, p_max : float64 [PARAMETERS]
        Bounds of |a| and of the diagonal of P.

    """
    keep = math.exp(-rate[0] * dt)
    grow = (1 - keep * keep) / (2 * rate[0])
    for j in range(PARAMETERS):
        a[j] *= keep
        for m in range(PARAMETERS):
            p[j, m] *= keep * keep
        p[j, j] += rate[1 + j] * grow
    for i in range(3):
        loop = 0 if i < 2 else 1
        drag = response[i, 3]
        phi[:] = 0.
        phi[D + i] = 1.
        phi[BETA + loop] = x[SLOW_P, i]
        phi[GAMMA + loop] = x[SLOW_V, i]
        y = (x[V, i] - x[SLOW_V, i]) / filter_s + drag * x[SLOW_V, i] - x[SLOW_P, i] \
            - x[SLOW_I, i]
        spread = noise / dt
        residual = -y
        for j in range(PARAMETERS):
            p_phi[j] = 0.
            for m in range(PARAMETERS):
                p_phi[j] += p[j, m] * phi[m]
            spread += phi[j] * p_phi[j]
            residual += phi[j] * a[j]
        # R s: with the new P on both sides this is the term P phi^T s dt
        s = (x[V, i] - x[REF, i]) * tracking * noise
        for j in range(PARAMETERS):
            a[j] += p_phi[j] / spread * (s - residual)
            for m in range(PARAMETERS):
                p[j, m] -= p_phi[j] * p_phi[m] / spread
    for j in range(PARAMETERS):
        a[j] = _clip(a[j], -box[j], box[j])
        if p[j, j] > p_max[j]:  # scaling row and column keeps P positive
            scale = math.sqrt(p_max[j] / p[j, j])
            for m in range(PARAMETERS):
                p[j, m] *= scale
                p[m, j] *= scale
        elif p[j, j] < p_min[j]:
            p[j, j] = p_min[j]


@njit(cache=True, nogil=True)
def compensate(x, a, goal, response, wanted, authority, limit, room, pull):
    """
    Move the compensation towards what makes the measured velocity follow the reference.

    Parameters
    ----------
    x : float64 [ROWS, 3], changed
        The state; row COMPENSATION is the result, m/s.
    a : float64 [PARAMETERS]
        The parameters.
    goal : float64 [3]
        Scratch.
    response : float64 [3, 5]
        The nominal vehicle.
    wanted : float64 [3]
        Wanted velocity, m/s.
    authority : float
        Share of the compensation that applies, in [0, 1].
    limit, room : float
        Largest length of the compensation, and of its change in this step, m/s.
    pull : float
        Gain on the tracking error, 1/s.

    Returns
    -------
    float
        Length of the compensation before the limit, m/s.

    """
    length = 0.
    for i in range(3):
        k = response[i, 0]
        loop = 0 if i < 2 else 1
        beta, gamma = a[BETA + loop], a[GAMMA + loop]
        now = x[V, i]
        push = x[REF_I, i] - x[INTEGRAL, i] - a[D + i] - gamma * now + pull * (x[REF, i] - now)
        goal[i] = authority * (push - beta * k * (wanted[i] - now)) / (k * (1 + beta))
        length += goal[i] ** 2
    length = math.sqrt(length)
    shrink = 1. if length <= limit else limit / length
    step = 0.
    for i in range(3):
        goal[i] = goal[i] * shrink - x[COMPENSATION, i]
        step += goal[i] ** 2
    step = math.sqrt(step)
    shrink = 1. if step <= room else room / step
    for i in range(3):
        x[COMPENSATION, i] += goal[i] * shrink
    return length
