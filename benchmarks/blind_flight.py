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
What true elapsed time is worth in flight: the camera dies, and the pilot flies on from memory.

Once the target has been before the camera for a while there is no picture any more, for the rest
of the flight. Where the target is now, only the motion tells that was measured since, added up in
time. The same flights are flown at several camera rates and with lost frames, by the memory that
ships, by the same weights told 1/30 s at every step, and by any other memory that is named (one of
a kind that ignores time is told what it was trained with).

``python benchmarks/blind_flight.py --json benchmarks/results/blind_flight.json``
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
import json
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Action, Frame
from edge_vla.evaluation.closed_loop import Flyer, Setting
from edge_vla.evaluation.metrics import wilson
from edge_vla.pipeline import MEMORY, Pipeline, SHIPPED_MODEL
from edge_vla.policy.liquid import LiquidPolicy, TIME_UNIT
from edge_vla.sim.expert import bearing_and_range, IN_VIEW
from edge_vla.sim.shifts import Effect
from edge_vla.sim.simulator import Simulator
import numpy as np
from tqdm import tqdm

FIXED_S = 1 / 30
STREAMS = {'10 Hz': (10., 0.), '20 Hz': (20., 0.), '30 Hz': (30., 0.), '60 Hz': (60., 0.),
           '30 Hz, 30 % lost': (30., .3)}


class DyingCamera(Simulator):
    """A simulator whose camera shows nothing any more once it has shown the target for a while."""

    lit_s = 1.0

    def reset(self, seed: int | None = None, task: str | None = None) -> None:
        """Start a new episode, with a camera that works."""
        super().reset(seed, task)
        self.shown_s, self._last_ns = 0.0, 0

    def frame(self) -> Frame:
        """Return the picture that arrives now."""
        frame, since = super().frame(), (self.time_ns - self._last_ns) * 1e-9
        self._last_ns = self.time_ns
        if self.shown_s >= self.lit_s:
            frame.image[:] = 0
        elif abs(bearing_and_range(self.state, self.rows[0])[0]) < IN_VIEW:
            self.shown_s += since
        return frame


class Untimed(LiquidPolicy):
    """A policy that takes every step for the same time."""

    told_s = FIXED_S

    def step(self, features, motion, context, dt):  # noqa: ANN001, ANN201
        """Return velocity and yaw rate."""
        return super().step(features, motion, context, self.told_s)


def load(memory: Path, timed: bool) -> LiquidPolicy:
    """Return a policy that remembers."""
    tensors, metadata = read_safetensors(memory)
    if timed and not metadata['kind'].endswith('_no_dt'):
        return LiquidPolicy(tensors)
    policy = Untimed(tensors)
    if timed:
        policy.told_s = TIME_UNIT
    return policy


def fly(memory: str, timed: bool, stream: str, seed: int, indices: list[int],
        lit_s: float) -> list[tuple[int, str, str, float]]:
    """Fly episodes; return of each that lost its camera index, task, status and time, s."""
    rate, drop = STREAMS[stream]
    pilot = Pipeline.load(PipelineConfig(longest_dark=60.))
    pilot._policy._memory = load(Path(memory), timed)
    setting = Setting(SimConfig(), CameraConfig(width=160, height=120, rate=rate),
                      Effect(drop=drop))
    flyer, out = Flyer(pilot, setting), []
    flyer.simulator = sim = DyingCamera(setting.sim, setting.camera, setting.shift)
    sim.lit_s = lit_s
    blind = 0.0

    def watch(action: Action) -> None:
        nonlocal blind
        blind = max(blind, action.info['dark_s'])
    for index in indices:
        blind = 0.0
        episode = flyer.fly(seed, index, None, watch)
        if blind:
            out.append((index, episode.task, episode.status, round(blind, 3)))
    return out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--episodes', type=int, default=100)
    parser.add_argument('--seed', type=int, default=11)
    parser.add_argument('--lit', type=float, default=1.0,
                        help='s for which the target is shown before the camera dies')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--memory', action='append', default=[], metavar='NAME=FILE',
                        help='policy.safetensors of another memory')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    shipped = str(SHIPPED_MODEL / MEMORY)
    pilots: dict[str, tuple[str, bool]] = {'true time': (shipped, True),
                                           'told 1/30 s': (shipped, False)}
    pilots |= {n: (f, True) for n, f in (m.split('=', 1) for m in args.memory)}
    parts = [list(range(k, args.episodes, args.jobs)) for k in range(args.jobs)]
    report = []
    with ProcessPoolExecutor(args.jobs, get_context('spawn')) as pool:
        todo = {(stream, name): [pool.submit(fly, *pilot, stream, args.seed, part, args.lit)
                                 for part in parts]
                for stream in STREAMS for name, pilot in pilots.items()}
        for (stream, name), futures in tqdm(todo.items(), 'flights', mininterval=5):
            flights = sorted(row for f in futures for row in f.result())
            report.append(_row(stream, name, flights))
            tqdm.write(_line(report[-1]))
    if args.json is not None:
        args.json.write_text(json.dumps({'episodes': args.episodes, 'seed': args.seed,
                                         'lit_s': args.lit, 'rows': report}, indent=1) + '\n',
                             encoding='utf-8')
    return 0


def _row(stream: str, name: str, flights: list[tuple[int, str, str, float]]) -> dict[str, Any]:
    won = [status == 'success' for _, _, status, _ in flights]
    row = {'stream': stream, 'memory': name, 'flights': len(won), 'success': sum(won),
           'interval': [round(x, 3) for x in wilson(sum(won), len(won))],
           'collisions': sum(status == 'collision' for _, _, status, _ in flights),
           'blind_s': round(float(np.median([s for *_, s in flights])), 2)}
    for task in sorted({task for _, task, _, _ in flights}):
        of = [w for w, flight in zip(won, flights, strict=True) if flight[1] == task]
        row[task] = f'{sum(of)} of {len(of)}'
    return row


def _line(row: dict[str, Any]) -> str:
    share = row['success'] / row['flights']
    tasks = {k: v for k, v in row.items() if isinstance(v, str) and ' of ' in v}
    return (f'{row["stream"]:18} {row["memory"]:16} {share:.3f} {row["interval"]} of '
            f'{row["flights"]}, {row["collisions"]} collisions, blind for {row["blind_s"]} s; '
            f'{tasks}')


if __name__ == '__main__':
    raise SystemExit(main())
