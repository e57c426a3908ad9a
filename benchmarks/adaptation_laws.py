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
composite law: no adaptation, a PI controller, an L1 piecewise-constant law, and the composite
law without its tracking term (least squares with forgetting). All know the same nominal vehicle,
work in the frame that does not turn with it, hear the same noisy odometry, hear what the safety
gate made of their commands, and have the same limits; ``--tune`` searches the gains of PI and
L1, and the best found are their defaults.

``python benchmarks/adaptation_laws.py --json benchmarks/results/adaptation_laws.json``
"""

import argparse
from collections.abc import Callable
import json
import math
from pathlib import Path
import platform

from edge_vla.adaptation import composite
from edge_vla.adaptation.composite import Adaptation
from edge_vla.config import AdaptationConfig
from edge_vla.datatypes import Motion
from edge_vla.evaluation.velocity_tracking import Fault, fly, Frozen, LENGTH_S, ONSET_S
from edge_vla.kernels import adaptation as kernel
import numpy as np

WINDOWS = {'0-3 s': (0.0, 3.0), '2-3 s': (2.0, 3.0), '3-8 s': (3.0, 8.0)}
LIMIT = AdaptationConfig().max_compensation  # m/s, what any law may add
SHIFTS = {
    'none': Fault(), 'wind 4 m/s': Fault(wind=4.0), 'wind 8 m/s': Fault(wind=8.0),
    'wind 12 m/s': Fault(wind=12.0), 'gusts 5 m/s': Fault(gust=5.0),
    'Dryden 6 m/s': Fault(dryden=6.0), 'velocity gain 0.5': Fault(gain=.5),
    'command gain 0.6': Fault(command=.6), 'thrust 0.8': Fault(thrust=.8),
    'drag x 4': Fault(drag=4.0), 'sideways push 1.5 m/s^2': Fault(push=1.5)}


class PI(Adaptation):
    """Proportional and integral action on the distance to what the nominal vehicle would do."""

    p, i = 3.0, 6.0

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._integral = np.zeros(3)

    def _learn(self, known: bool, dt: float) -> None:
        error = self._x[kernel.REF] - self._x[kernel.V]
        if known and self._started and not self._limited:
            self._integral = np.clip(self._integral + self.i * error * dt, -LIMIT, LIMIT)

    def _compensate(self, wanted: np.ndarray, dt: float) -> None:
        error = self._x[kernel.REF] - self._x[kernel.V]
        step = self.p * error + self._integral - self._x[kernel.COMPENSATION]
        room = self.config.max_compensation_rate * dt
        goal = self._x[kernel.COMPENSATION] + step * min(1., room / max(
            float(np.linalg.norm(step)), 1e-9))
        self._x[kernel.COMPENSATION] = goal * min(1., LIMIT / max(
            float(np.linalg.norm(goal)), 1e-9))


class L1(Adaptation):
    """L1 adaptive control, piecewise-constant law (Cao and Hovakimyan 2009)."""

    observer, filter_hz = 1.0, 1.0

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._guess, self._sigma = np.zeros(3), np.zeros(3)

    def _learn(self, known: bool, dt: float) -> None:
        x = self._x
        if not (known and self._started and dt > 0):
            return
        decay = math.exp(-self.observer * dt)
        v = x[kernel.V]
        nominal = x[kernel.LAG_P] + x[kernel.LAG_I] - composite.RESPONSE[:, 3] * v
        # predictor over the last step, then the disturbance that takes its error to zero
        self._guess += dt * (nominal + self._sigma) - (1 - decay) * (self._guess - v)
        self._sigma = -self.observer * decay / (1 - decay) * (self._guess - v)
        share = 1 - math.exp(-2 * math.pi * self.filter_hz * dt)
        self._a[kernel.D:kernel.D + 3] += share * (self._sigma - self._a[kernel.D:kernel.D + 3])


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


def tune(seeds: int, rate: float) -> None:
    """Search the gains of PI and L1 for the smallest mean share of the frozen error."""
    grid = [(PI, {'p': p, 'i': i}) for p in (.6, 1.2, 2.0, 3.0) for i in (1.5, 3.0, 6.0)]
    grid += [(L1, {'observer': o, 'filter_hz': f}) for o in (.5, 1.0, 2.0, 4.0)
             for f in (.5, 1.0, 2.0)]
    for law, gains in grid:
        for name, value in gains.items():
            setattr(law, name, value)
        shares = []
        for shift, fault in SHIFTS.items():
            if shift == 'none':
                continue
            mine = bare = 0.0
            for seed in range(1000, 1000 + seeds):  # not those that are reported
                reference = fly(Frozen(), Fault(), seed, rate)
                after = np.arange(len(reference)) / rate >= ONSET_S
                mine += np.linalg.norm(fly(law(), fault, seed, rate) - reference,
                                       axis=1)[after].mean()
                bare += np.linalg.norm(fly(Frozen(), fault, seed, rate) - reference,
                                       axis=1)[after].mean()
            shares.append(mine / bare)
        print(f'{law.__name__:3} {gains}: {np.mean(shares):.3f}', flush=True)


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
    parser.add_argument('--tune', action='store_true', help='search the gains of PI and L1')
    args = parser.parse_args()
    if args.tune:
        tune(args.seeds, float(args.rates.split(',')[0]))
        return 0
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
