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
Adaptation laws side by side on the simulated vehicle: how fast does the tracking error fall.

A vehicle follows a wanted velocity; five seconds in, wind or a fault sets in. The error is the
distance of the true velocity to that of the same vehicle without the shift. Beside the shipped
composite law: no adaptation, a PI disturbance observer, an L1 piecewise-constant law, and the
composite law without its tracking term (least squares with forgetting). All hear the same noisy
odometry and send through the safety gate.

``python benchmarks/adaptation_laws.py --json benchmarks/results/adaptation_laws.json``
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import json
import math
from pathlib import Path
import platform

from edge_vla.adaptation import composite
from edge_vla.adaptation.composite import Adaptation
from edge_vla.datatypes import Action, Motion
from edge_vla.safety import SafetyGate
from edge_vla.sim import dynamics
from edge_vla.sim.wind import DrydenWind, GustyWind
import numpy as np

ONSET_S, LENGTH_S = 5.0, 13.0
WINDOWS = {'0-3 s': (0.0, 3.0), '2-3 s': (2.0, 3.0), '3-8 s': (3.0, 8.0)}
LIMIT = 1.5  # m/s, what any law may add


@dataclass(frozen=True)
class Fault:
    """A shift that sets in at once."""

    wind: float = 0.0
    gust: float = 0.0
    dryden: float = 0.0
    thrust: float = 1.0
    gain: float = 1.0
    command: float = 1.0
    drag: float = 1.0
    push: float = 0.0  # m/s^2, sideways in the body frame: a bent arm


SHIFTS = {
    'none': Fault(), 'wind 4 m/s': Fault(wind=4.0), 'wind 8 m/s': Fault(wind=8.0),
    'wind 12 m/s': Fault(wind=12.0), 'gusts 5 m/s': Fault(gust=5.0),
    'Dryden 6 m/s': Fault(dryden=6.0), 'velocity gain 0.5': Fault(gain=.5),
    'command gain 0.6': Fault(command=.6), 'thrust 0.8': Fault(thrust=.8),
    'drag x 4': Fault(drag=4.0), 'sideways push 1.5 m/s^2': Fault(push=1.5)}


class Frozen:
    """No adaptation."""

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Return what is wanted."""
        return wanted

    def sent(self, command: np.ndarray) -> None:
        """Hear what was sent."""


class PI(Frozen):
    """Integral and proportional action on the distance to a first-order reference."""

    def __init__(self, p: float = .6, i: float = 1.5, lag: float = .65) -> None:
        self.p, self.i, self.lag = p, i, lag
        self.reference, self.integral = np.zeros(3), np.zeros(3)

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Return wanted plus correction."""
        self.reference += (1 - math.exp(-dt / self.lag)) * (wanted[:3] - self.reference)
        error = self.reference - motion.velocity
        self.integral = np.clip(self.integral + self.i * error * dt, -LIMIT, LIMIT)
        out = wanted.copy()
        out[:3] += np.clip(self.p * error + self.integral, -LIMIT, LIMIT)
        return out


class L1(Frozen):
    """L1 adaptive control, piecewise-constant law (Cao and Hovakimyan 2009), per axis."""

    def __init__(self, pole: float = 1.5, observer: float = 4.0, filter_hz: float = .5) -> None:
        self.pole, self.observer, self.cut = pole, observer, 2 * math.pi * filter_hz
        self.guess, self.sigma, self.out = np.zeros(3), np.zeros(3), np.zeros(3)
        self.last = np.zeros(3)

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Return wanted minus the filtered estimate of the matched disturbance."""
        v = motion.velocity
        decay = math.exp(-self.observer * dt)
        # predictor over the last step, then the disturbance that takes its error to zero
        rate = self.pole * (self.last - self.guess) + self.sigma
        self.guess = self.guess + dt * rate - (1 - decay) * (self.guess - v)
        self.sigma = -self.observer * decay / (1 - decay) * (self.guess - v)
        self.out += (1 - math.exp(-self.cut * dt)) * (-self.sigma / self.pole - self.out)
        out = wanted.copy()
        out[:3] += np.clip(self.out, -LIMIT, LIMIT)
        self.last = out[:3].copy()
        return out


class NoTracking(Adaptation):
    """The composite law without tracking error: least squares with forgetting."""

    def step(self, wanted: np.ndarray, motion: Motion, dt: float) -> np.ndarray:
        """Step with the tracking weight at zero."""
        weight, composite.TRACKING = composite.TRACKING, 0.0
        try:
            return super().step(wanted, motion, dt)
        finally:
            composite.TRACKING = weight


LAWS: dict[str, Callable[[], object]] = {
    'frozen': Frozen, 'PI': PI, 'L1': L1, 'least squares': NoTracking, 'composite': Adaptation}


def wanted_at(t: float, phase: np.ndarray) -> np.ndarray:
    """Return a wanted velocity and yaw rate like those of the pilot: slow turns and steps."""
    out = np.array([.7 * math.sin(.7 * t + phase[0]), .5 * math.sin(.9 * t + phase[1]),
                    .25 * math.sin(.5 * t + phase[2]), .5 * math.sin(.4 * t + phase[3])])
    out[0] += .4 * (math.sin(.35 * t + phase[4]) > 0)
    return out


def fly(law: object, fault: Fault, seed: int, rate: float) -> np.ndarray:
    """Fly one seed and return the true velocity at every step, world frame [T, 3]."""
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


def measure(seeds: int, rate: float) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return law -> shift -> window -> mean error of every seed, m/s."""
    after = np.arange(round(LENGTH_S * rate)) / rate - ONSET_S
    out: dict[str, dict[str, dict[str, list[float]]]] = {law: {} for law in LAWS}
    for shift, fault in SHIFTS.items():
        for law in LAWS:
            out[law][shift] = {w: [] for w in WINDOWS}
        for seed in range(seeds):
            reference = fly(Frozen(), Fault(), seed, rate)
            for law, make in LAWS.items():
                error = np.linalg.norm(fly(make(), fault, seed, rate) - reference, axis=1)
                for window, (low, high) in WINDOWS.items():
                    out[law][shift][window].append(float(
                        error[(after >= low) & (after < high)].mean()))
    return out


def main() -> int:
    """Measure, print, and write a file if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=24)
    parser.add_argument('--rates', default='30', help='camera rates, Hz, comma separated')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    report: dict[str, object] = {'machine': platform.processor() or platform.machine(),
                                 'seeds': args.seeds, 'rates': {}}
    for rate in (float(r) for r in args.rates.split(',')):
        errors = measure(args.seeds, rate)
        rows = {}
        print(f'{rate:g} Hz: mean error, m/s (frozen), then share of it; window 0-3 / 2-3 / 3-8 s')
        print(f'{"":26}' + ''.join(f'{law:>22}' for law in LAWS))
        for shift in SHIFTS:
            row: dict[str, object] = {}
            line = f'{shift:26}'
            for law in LAWS:
                cells = []
                for window in WINDOWS:
                    mine = np.array(errors[law][shift][window])
                    base = np.array(errors['frozen'][shift][window])
                    cells.append(mine.mean() if law == 'frozen' or shift == 'none'
                                 else mine.mean() / base.mean())
                    spread = 1.96 * mine.std(ddof=1) / math.sqrt(len(mine))
                    row.setdefault(law, {})[window] = {
                        'error_m_s': round(float(mine.mean()), 4),
                        'half_interval': round(float(spread), 4)}
                line += f'{"/".join(f"{c:.2f}" for c in cells):>22}'
            print(line, flush=True)
            rows[shift] = row
        report['rates'][f'{rate:g}'] = rows
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
