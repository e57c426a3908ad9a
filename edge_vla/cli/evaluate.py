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


"""Fly seeded episodes in the simulator, without ROS, and report success."""

import argparse
import json
import os
from pathlib import Path
import time
from typing import Any

from edge_vla.exceptions import ConfigError, MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--episodes', type=int, default=100, help='how many (default 100)')
    parser.add_argument('--seed', type=int, default=7, help='which (default 7)')
    parser.add_argument('--task', help='go, orbit_left, orbit_right or search (default: all, '
                        'drawn uniformly)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report there')
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)),
                        help='processes; the result does not depend on it (default: all cores)')
    parser.add_argument('--backend', choices=('numba', 'torch'), default='numba',
                        help='torch flies the float model it was trained as, for comparison')
    parser.add_argument('--model', default='', help='folder of a pilot (default: the shipped one)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from functools import partial

    from edge_vla.cli.progress import bar
    from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
    from edge_vla.evaluation.closed_loop import evaluate, summarise
    from edge_vla.sim.tasks import TASKS

    if args.episodes < 1 or args.seed < 0 or args.jobs < 1:
        raise ConfigError('--episodes and --jobs must be at least 1, --seed at least 0')
    if args.task is not None and args.task not in TASKS:
        raise ConfigError(f'unknown task {args.task!r}; known: {", ".join(TASKS)}')
    load = partial(_pipeline(args.backend).load, PipelineConfig(model=args.model))
    sim, camera = SimConfig(), CameraConfig()
    started = time.monotonic()
    with bar('evaluate', 'episode') as show:
        def watched(episodes: Any) -> Any:
            for done, episode in enumerate(episodes, 1):
                show(done, args.episodes)
                yield episode
        flights = evaluate(load, args.episodes, args.seed, args.task,
                           min(args.jobs, args.episodes), sim, camera, watched)
    report = summarise(flights, args.seed, backend=args.backend, task=args.task or 'all',
                       style=sim.style, wind=sim.wind, camera_rate=camera.rate)
    _show(report)
    print(f'{time.monotonic() - started:.0f} s on {args.jobs} processes')
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + '\n')
        print(f'wrote {args.json}')
    return 0


def _pipeline(backend: str) -> Any:
    if backend == 'numba':
        from edge_vla.pipeline import Pipeline
        return Pipeline
    try:
        from edge_vla.training.torch_pipeline import TorchPipeline
    except ImportError as error:
        raise MissingDependencyError(
            f"the torch backend needs {error.name}: pip install 'edge_vla[train]'") from error
    return TorchPipeline


def _show(report: dict[str, Any]) -> None:
    """Print the rates as a table."""
    print(f'{"task":12} {"n":>4} {"success":>8}  {"95 %":13} {"collision":>9} {"timeout":>8} '
          f'{"time":>7} {"read":>6}')
    for name, row in [('all', report), *report['per_task'].items()]:
        low, high = row['success_interval']
        mean = '-' if row['mean_time_s'] is None else f'{row["mean_time_s"]:.1f} s'
        print(f'{name:12} {row["count"]:4d} {row["success_rate"]:8.3f}  '
              f'[{low:.3f}-{high:.3f}] {row["collision_rate"]:9.3f} '
              f'{row["timeout_rate"]:8.3f} {mean:>7} {row["understood_rate"]:6.3f}')
