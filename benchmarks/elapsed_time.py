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
What true elapsed time is worth to the policy: the same weights with it and with a constant.

The pilot flies and every frame of a 60 Hz camera is kept, with what the expert would do. Slower
and broken streams are taken from the same flights, and the policy is run over each twice: told
the true time between frames, and told 1/30 s always. Errors are root mean squares over frames
and the four parts of an action, in units of the policy's own scale: against the expert, and
against the policy itself at 60 Hz with true time.

``python benchmarks/elapsed_time.py --json benchmarks/results/elapsed_time.json``
"""

import argparse
from collections.abc import Callable
import json
from pathlib import Path

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Action, Motion
from edge_vla.evaluation.closed_loop import Flyer, Setting
from edge_vla.language.plan import VERBS
from edge_vla.pipeline import Pipeline, SHIPPED_MODEL
from edge_vla.policy.liquid import ACTION_SCALE, LiquidPolicy
from edge_vla.sim.expert import Expert
import numpy as np

RATE, FIXED_S, WARM_S = 60.0, 1 / 30, 1.0


class Recording(Pipeline):
    """A pilot that keeps what its policy was given."""

    def __init__(self, *args, **kwargs) -> None:  # noqa: ANN002, ANN003
        super().__init__(*args, **kwargs)
        self.rows: list[tuple[np.ndarray, Motion | None, np.ndarray]] = []
        policy, step = self._policy, self._policy.step

        def kept(features: np.ndarray, motion: Motion | None, context: np.ndarray,
                 dt: float) -> np.ndarray:
            self.rows.append((features.copy(), motion, context.copy()))
            return step(features, motion, context, dt)
        policy.step = kept  # type: ignore[method-assign]


class Teacher:
    """Says at every frame of a flight what the expert would do."""

    def __init__(self, flyer: Flyer) -> None:
        self._flyer, self._expert = flyer, None
        self.wanted: list[np.ndarray] = []

    def watch(self, _: Action) -> None:
        """Ask the expert."""
        sim = self._flyer.simulator
        self._expert = self._expert or Expert(VERBS.index(sim.plan.verb))
        self.wanted.append(self._expert.act(sim.state, sim.rows, len(sim.scene.objects)))


def record(flights: int, seed: int) -> list[tuple[list, np.ndarray]]:
    """Fly, and return per flight what the policy was given and what the expert would have done."""
    pilot = Recording.load(PipelineConfig())
    flyer = Flyer(pilot, Setting(SimConfig(), CameraConfig(width=160, height=120, rate=RATE)))
    out = []
    for index in range(flights):
        pilot.rows, teacher = [], Teacher(flyer)
        flyer.fly(seed, index, None, teacher.watch)
        out.append((pilot.rows, np.array(teacher.wanted) / ACTION_SCALE))
    return out


def streams() -> dict[str, Callable[[int, np.random.Generator], np.ndarray]]:
    """Return what picks the frames that arrive, of so many."""
    def every(k: int) -> Callable[[int, np.random.Generator], np.ndarray]:
        return lambda n, _: np.arange(n) % k == 0

    def lost(share: float) -> Callable[[int, np.random.Generator], np.ndarray]:
        return lambda n, rng: (np.arange(n) % 2 == 0) & (rng.random(n) >= share)

    def bursts(n: int, rng: np.random.Generator) -> np.ndarray:
        here = np.arange(n) % 2 == 0
        k = 0
        while (k := k + int(rng.uniform(1., 3.) * RATE)) < n:  # no longer than max_gap
            here[k:k + int(rng.uniform(.2, .45) * RATE)] = False
        return here
    return {'60 Hz': every(1), '30 Hz': every(2), '20 Hz': every(3), '10 Hz': every(6),
            '5 Hz': every(12), '30 Hz, 30 % lost': lost(.3), '30 Hz, 60 % lost': lost(.6),
            '30 Hz, gaps of 0.2-0.45 s': bursts}


def run(policy: LiquidPolicy, rows: list, here: np.ndarray, timed: bool,
        odometry: bool) -> np.ndarray:
    """Return the actions [N, 4], in units of their scale, at the frames that are here."""
    policy.reset()
    out, last = [], -1
    for k in np.flatnonzero(here):
        features, motion, context = rows[k]
        dt = (k - last) / RATE if timed and last >= 0 else FIXED_S
        out.append(policy.step(features, motion if odometry else None, context, dt))
        last = k
    return np.array(out) / ACTION_SCALE


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--flights', type=int, default=24)
    parser.add_argument('--seed', type=int, default=11)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    policy = LiquidPolicy(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])
    flights = record(args.flights, args.seed)
    report = []
    for odometry in (True, False):
        for name, pick in streams().items():
            errors: dict[str, list[float]] = {}
            for index, (rows, wanted) in enumerate(flights):
                here = pick(len(rows), np.random.default_rng([args.seed, index]))
                here[0] = True
                late = np.flatnonzero(here) >= WARM_S * RATE
                if not late.any():
                    continue
                kept = np.flatnonzero(here)[late]
                fast = run(policy, rows, np.ones(len(rows), bool), True, odometry)[kept]
                for timed in (True, False):
                    a = run(policy, rows, here, timed, odometry)[late]
                    for versus, to in (('expert', wanted[kept]), ('self', fast)):
                        told = 'true' if timed else 'constant'
                        errors.setdefault(f'{told} {versus}', []).append(
                            float(np.sqrt(np.mean((a - to) ** 2))))
            row = {'stream': name, 'odometry': odometry, 'flights': len(errors['true expert'])}
            for versus in ('expert', 'self'):
                a, b = (np.array(errors[f'{t} {versus}']) for t in ('true', 'constant'))
                half = 1.96 * float((b - a).std(ddof=1)) / len(a) ** .5
                row |= {f'{versus}_true': round(float(a.mean()), 4),
                        f'{versus}_constant': round(float(b.mean()), 4),
                        f'{versus}_loss': [round(float((b - a).mean()) + s * half, 4)
                                           for s in (-1, 0, 1)]}
            report.append(row)
            print(f'{name:28} odometry {odometry!s:5} | to the expert '
                  f'{row["expert_true"]:.4f} {row["expert_constant"]:.4f} '
                  f'{row["expert_loss"]} | to itself at 60 Hz {row["self_true"]:.4f} '
                  f'{row["self_constant"]:.4f} {row["self_loss"]}')
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
