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
from contextlib import closing
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Action, Frame
from edge_vla.evaluation.closed_loop import Flyer, Setting
from edge_vla.evaluation.metrics import wilson
from edge_vla.evaluation.workers import on_processes
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

    def __init__(self, tensors: dict[str, np.ndarray], told_s: float) -> None:
        super().__init__(tensors)
        self._told_s = told_s

    def step(self, features, motion, context, dt):  # noqa: ANN001, ANN201
        """Return velocity and yaw rate."""
        return super().step(features, motion, context, self._told_s)


class Part(NamedTuple):
    """Episodes of a memory under a stream of frames."""

    stream: str
    name: str
    file: Path
    told_s: float | None  # None for the true time, if the memory knows time
    seed: int
    indices: range
    lit_s: float


def load(file: Path, told_s: float | None) -> LiquidPolicy:
    """Return a policy that remembers."""
    tensors, metadata = read_safetensors(file)
    if told_s is None and metadata['kind'].endswith('_no_dt'):
        told_s = TIME_UNIT  # as it was trained
    return LiquidPolicy(tensors) if told_s is None else Untimed(tensors, told_s)


def fly(part: Part) -> list[tuple[int, str, str, float]]:
    """Fly episodes; return of each that lost its camera index, task, status and time, s."""
    rate, drop = STREAMS[part.stream]
    pilot = Pipeline.load(PipelineConfig(longest_dark=60.))
    pilot._policy._memory = load(part.file, part.told_s)
    setting = Setting(SimConfig(), CameraConfig(width=160, height=120, rate=rate),
                      Effect(drop=drop))
    flyer, out = Flyer(pilot, setting), []
    flyer.simulator = sim = DyingCamera(setting.sim, setting.camera, setting.shift)
    sim.lit_s = part.lit_s
    blind = 0.0

    def watch(action: Action) -> None:
        nonlocal blind
        blind = max(blind, action.info['dark_s'])
    for index in part.indices:
        blind = 0.0
        episode = flyer.fly(part.seed, index, None, watch)
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
    shipped = SHIPPED_MODEL / MEMORY
    pilots: dict[str, tuple[Path, float | None]] = {'true time': (shipped, None),
                                                    'told 1/30 s': (shipped, FIXED_S)}
    pilots |= {n: (Path(f), None) for n, f in (m.split('=', 1) for m in args.memory)}
    work = [Part(stream, name, *pilot, args.seed, range(k, args.episodes, args.jobs), args.lit)
            for stream in STREAMS for name, pilot in pilots.items() for k in range(args.jobs)]
    flights: dict[tuple[str, str], list] = {(p.stream, p.name): [] for p in work}
    with closing(on_processes(fly, work, args.jobs, cv2.setNumThreads, (1,))) as done:
        for part, future in tqdm(done, 'flights', len(work), mininterval=5):
            flights[part.stream, part.name] += future.result()
    report = [_row(*of, sorted(rows)) for of, rows in flights.items()]
    for row in report:
        print(_line(row))
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
           'blind_s': round(float(np.median([s for *_, s in flights])), 2), 'tasks': {}}
    for task in sorted({task for _, task, _, _ in flights}):
        of = [w for w, flight in zip(won, flights, strict=True) if flight[1] == task]
        row['tasks'][task] = f'{sum(of)} of {len(of)}'
    return row


def _line(row: dict[str, Any]) -> str:
    share = row['success'] / row['flights']
    return (f'{row["stream"]:18} {row["memory"]:16} {share:.3f} {row["interval"]} of '
            f'{row["flights"]}, {row["collisions"]} collisions, blind for {row["blind_s"]} s; '
            f'{row["tasks"]}')


if __name__ == '__main__':
    raise SystemExit(main())
