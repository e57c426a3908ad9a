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
from collections.abc import Callable, Sequence
from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import time
from typing import Any

from edge_vla.cli.results import need_writable
from edge_vla.exceptions import ConfigError, MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--episodes', type=int, default=100,
                        help='how many, in a suite per shift (default 100)')
    parser.add_argument('--seed', type=int, default=7, help='which (default 7)')
    parser.add_argument('--task', help='go, orbit_left, orbit_right or search (default: one of '
                        'them, drawn per episode), or two_step, relation, unseen')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report there; a '
                        'suite writes tables (.md) and finished parts (.jsonl) beside it, and '
                        'goes on from those')
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)),
                        help='processes; the result does not depend on it (default: all cores)')
    parser.add_argument('--backend', choices=('numba', 'torch'), default='numba',
                        help='torch flies the same weights as trained, for comparison')
    parser.add_argument('--model', default='', help='folder of a pilot (default: the shipped one)')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help='a setting of the pilot, such as pipeline.tokens=full; several')
    parser.add_argument('--adaptation', choices=('on', 'off', 'both'), default='on',
                        help='adapt to the vehicle in flight; both only in a suite (default on)')
    parser.add_argument('--camera', metavar='WxH', help='picture size (default 320x240, in a '
                        'suite 160x120)')
    parser.add_argument('--rate', type=float, metavar='HZ', help='camera rate (default 30)')
    parser.add_argument('--drop', type=float, default=0.0, metavar='P',
                        help='probability that a frame is lost (default 0)')
    parser.add_argument('--shift', default='none', metavar='NAME[:STRENGTH]',
                        help='fly under a shift, e.g. wind_steady:medium')
    parser.add_argument('--world', choices=('builtin', 'mujoco'), default='builtin',
                        help='mujoco: other pictures and physics, never trained in (extra sim)')
    suite = parser.add_argument_group('suite')
    suite.add_argument('--suite', choices=('shift',), help='fly every shift and compare policies')
    suite.add_argument('--strength', choices=('weak', 'medium', 'strong', 'all'),
                       help='of the shifts (default medium)')
    suite.add_argument('--shifts', metavar='A,B,...', help='some of the shifts (default: all)')
    suite.add_argument('--policies', metavar='NAME=FOLDER,...', help='policies to compare; an '
                       'empty folder is the shipped pilot (default: the pilot of --model)')
    suite.add_argument('--plot', type=Path, metavar='FILE', help='draw the result there')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.sim.tasks import MISSIONS, TASKS

    if args.episodes < 1 or args.seed < 0 or args.jobs < 1:
        raise ConfigError('--episodes and --jobs must be at least 1, --seed at least 0')
    if args.task is not None and args.task not in (*TASKS, *MISSIONS):
        known = ', '.join((*TASKS, *MISSIONS))
        raise ConfigError(f'unknown task {args.task!r}; known: {known}')
    if not 0 <= args.drop < 1:
        raise ConfigError('--drop is a probability below 1')
    files = [file for file in (args.json, args.plot) if file is not None]
    for file in files:  # now, not after hours of flights
        need_writable(file)
    if args.suite is not None and args.json is not None:  # beside it go the flights and a table
        beside = [args.json.with_suffix('.jsonl'), args.json.with_suffix('.md')]
        if len({*files, *beside}) < len(files) + 2:
            raise ConfigError('--json, --plot, and beside the former .jsonl and .md of a suite, '
                              'are different files: choose other names')
        for file in beside:
            need_writable(file)
    camera = camera_of(args.camera or ('160x120' if args.suite else ''), args.rate)
    if args.suite is not None:
        if args.world != 'builtin':
            raise ConfigError('the shifts of a suite are of the builtin world')
        return _run_suite(args, camera)
    if args.adaptation == 'both' or args.policies or args.shifts or args.plot:
        raise ConfigError('--policies, --shifts, --plot and --adaptation both need --suite shift')
    if args.strength:
        raise ConfigError('--strength is of a suite; of one shift: --shift NAME:STRENGTH')
    return _run_one(args, camera)


def camera_of(size: str, rate: float | None = None) -> Any:
    """
    Return the settings of a simulated camera, a CameraConfig.

    Parameters
    ----------
    size : str
        As WxH in pixels; empty is the default.
    rate : float, optional
        Hz.

    Raises
    ------
    ConfigError
        `size` is none, or a value is out of range.

    """
    from edge_vla.config import build, CameraConfig
    values: dict[str, Any] = {} if rate is None else {'rate': rate}
    if size:
        width, _, height = size.partition('x')
        if not (width.isdecimal() and height.isdecimal()):
            raise ConfigError(f'--camera {size!r} is no size like 320x240')
        values |= {'width': int(width), 'height': int(height)}
    return build(CameraConfig, values)


def _run_one(args: argparse.Namespace, camera: Any) -> int:
    """Fly one pilot under one condition."""
    from edge_vla.cli.progress import bar
    from edge_vla.config import SimConfig
    from edge_vla.evaluation.closed_loop import evaluate, Setting, summarise
    from edge_vla.sim.shifts import find

    shift = find(args.shift)
    shift = replace(shift, drop=max(shift.drop, args.drop))
    load = _loader(args.model, args.backend, args.adaptation == 'on', args.set)
    setting = Setting(SimConfig(), camera, shift, args.world)
    started = time.monotonic()
    with bar('evaluate', 'episode') as show:
        def watched(episodes: Any) -> Any:
            for done, episode in enumerate(episodes, 1):
                show(done, args.episodes)
                yield episode
        flights = evaluate(load, args.episodes, args.seed, args.task,
                           min(args.jobs, args.episodes), setting, watched)
    report = summarise(flights, args.seed, backend=args.backend, task=args.task or 'all',
                       style=setting.sim.style, wind=setting.sim.wind,
                       camera_rate=min(camera.rate, shift.rate),
                       camera=f'{camera.width}x{camera.height}', drop=args.drop,
                       shift=args.shift, adaptation=args.adaptation, world=args.world,
                       settings=args.set)
    _show(report)
    _say_time(started, args.jobs)
    if args.json is not None:
        _write(args.json, json.dumps(report, indent=1) + '\n')
    return 0


def _run_suite(args: argparse.Namespace, camera: Any) -> int:
    """Fly the shift suite and report it."""
    from edge_vla.cli.progress import bar
    from edge_vla.evaluation.shift_report import markdown, summarise_suite
    from edge_vla.evaluation.shift_suite import conditions, run_suite
    from edge_vla.sim.shifts import SHIFTS, STRENGTHS

    if args.task is not None or args.drop or args.shift != 'none':
        raise ConfigError('--task, --drop and --shift are not for a suite')
    if args.plot is not None:
        from edge_vla.visualization.shift_plot import plot_shifts
        from edge_vla.visualization.style import need_matplotlib
        need_matplotlib(args.plot)  # now, not after hours of flights
    names = [n for n in args.shifts.split(',') if n] if args.shifts else list(SHIFTS)
    strengths = STRENGTHS if args.strength == 'all' else (args.strength or 'medium',)
    pairs = conditions(names, strengths)
    pilots = _pilots(args)
    log = None if args.json is None else args.json.with_suffix('.jsonl')
    started = time.monotonic()
    with bar('shift suite', 'episode') as show:
        records = run_suite(pilots, pairs, args.episodes, args.seed, args.jobs, camera, log, show)
    summary = summarise_suite(records)
    tables = markdown(summary)
    print(tables, end='')
    _say_time(started, args.jobs)
    if args.json is not None:
        _write(args.json, json.dumps(summary, indent=1) + '\n')
        _write(args.json.with_suffix('.md'), tables)
    if args.plot is not None:
        plot_shifts(args.plot, summary)
        print(f'wrote {args.plot}')
    return 0


def _pilots(args: argparse.Namespace) -> list[Any]:
    """Return who flies the suite: every policy, with or without adaptation or both."""
    from edge_vla.evaluation.shift_suite import Pilot

    named = [('pilot', args.model)]
    if args.policies:
        pairs = [text.partition('=') for text in args.policies.split(',')]
        if not all(name and equals for name, equals, _ in pairs):
            raise ConfigError('--policies wants NAME=FOLDER,...')
        named = [(name, folder) for name, _, folder in pairs]
    return [Pilot(name, adaptation, _loader(folder, args.backend, adaptation, args.set),
                  ' '.join((_version(folder), args.backend, *args.set)))
            for name, folder in named
            for adaptation in {'off': (False,), 'on': (True,), 'both': (False, True)}[
                args.adaptation]]


def load_pilot(folder: str, backend: str, adaptation: bool, changes: Sequence[str] = ()) -> Any:
    """
    Return a synchronous pipeline, of whatever kind the folder holds.

    Parameters
    ----------
    folder : str
        With a policy.safetensors; empty is the shipped pilot.
    backend : str
        'numba' or 'torch'; a kind of policy that has no kernels is flown by torch in any case.
    adaptation : bool
        Adapt to the vehicle in flight.
    changes : sequence of str
        Settings of the pipeline that are not the default, NAME=VALUE.

    Raises
    ------
    ConfigError
        A setting is unknown, or no part of the pipeline.
    MissingDependencyError
        torch is needed and not installed.

    """
    from edge_vla.config import AdaptationConfig, build, VlaNodeConfig
    from edge_vla.evaluation.replay_jobs import read_settings
    from edge_vla.pipeline import Pipeline
    from edge_vla.policy.liquid import KINDS

    values = read_settings(changes)
    if other := [name for name in values if not name.startswith('pipeline.')]:
        raise ConfigError(f'--set {other[0]}: only settings of the pipeline')
    if 'pipeline.model' in values:
        raise ConfigError('--set pipeline.model: say it with --model, in a suite with --policies')
    config = build(VlaNodeConfig, values | {'pipeline.model': folder}).pipeline
    cls: Any = Pipeline
    if backend == 'torch' or _kind(folder) not in KINDS:
        try:
            from edge_vla.training.torch_pipeline import TorchPipeline
        except ImportError as error:
            raise MissingDependencyError(f'the torch backend needs {error.name}: '
                                         "pip install 'edge_vla[train]'") from error
        cls = TorchPipeline
    extra = {'adaptation': AdaptationConfig(enabled=True)} if adaptation else {}
    return cls.load(config, **extra)


def _loader(folder: str, backend: str, adaptation: bool,
            changes: Sequence[str]) -> Callable[[], Any]:
    """Return `load_pilot` for a folder, in a form that other processes can call."""
    from functools import partial
    return partial(load_pilot, folder, backend, adaptation, tuple(changes))


def _weights(folder: str) -> Path:
    from edge_vla.pipeline import SHIPPED_MODEL
    return (Path(folder) if folder else SHIPPED_MODEL) / 'policy.safetensors'


def _kind(folder: str) -> str:
    """Return the kind of policy in a folder; one that has none is left to the pipeline."""
    from edge_vla.checkpoints.safetensors import read_safetensors
    file = _weights(folder)
    return read_safetensors(file)[1].get('kind', 'cfc') if file.is_file() else 'cfc'


def _version(folder: str) -> str:
    """Return the beginning of the sha256 of all that steers; '' if there is no pilot."""
    from edge_vla.pipeline import SHIPPED_MODEL
    own = _weights(folder).parent
    shipped = SHIPPED_MODEL / 'language'  # reads for pilots that have no language head
    files = [f for top in (own, *([] if (own / 'language').is_dir() else [shipped]))
             for f in sorted(top.rglob('*')) if f.suffix in ('.safetensors', '.gguf')
             or f.name in ('config.json', 'tokenizer.json')]
    return hashlib.sha256(b''.join(f.read_bytes() for f in files)).hexdigest()[:12] \
        if _weights(folder).is_file() else ''


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding='utf-8')
    print(f'wrote {file}')


def _say_time(started: float, jobs: int) -> None:
    print(f'{time.monotonic() - started:.0f} s on {jobs} processes')


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
