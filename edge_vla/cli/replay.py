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


"""Run the pilot over recordings (ROS 2 and ROS 1 bags, videos), deterministically, and report."""

import argparse
from collections.abc import Sequence
import math
import os
from pathlib import Path
import sys
from typing import Any

from edge_vla.exceptions import ConfigError, EdgeVlaError

LONGEST_S = 1e9  # 30 years; nanoseconds of more would not fit into 64 bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('sources', type=Path, nargs='+', metavar='BAG|VIDEO',
                        help='rosbag2 folder, .mcap, .db3, ROS 1 .bag, or a video file')
    parser.add_argument('--instruction', default='', help='what to do, in plain words (default: '
                        "the bag's instruction topic, else pipeline.instruction of the settings)")
    parser.add_argument('--out', type=Path, required=True, help='folder for the results')
    topics = parser.add_argument_group('topics', 'needed only where a bag has several')
    topics.add_argument('--topic', action='append', default=[], metavar='NAME',
                        help='image topic; again for another camera, or all')
    topics.add_argument('--odometry', default='', metavar='NAME', help='or none')
    topics.add_argument('--commands', default='', metavar='NAME',
                        help='recorded commands to compare with, or none')
    topics.add_argument('--instructions', default='', metavar='NAME', help='or none')
    part = parser.add_argument_group('which part')
    part.add_argument('--start', type=float, default=0.0, metavar='S',
                      help='skip this much of the beginning')
    part.add_argument('--duration', type=float, default=math.inf, metavar='S',
                      help='replay this much')
    part.add_argument('--rate', type=float, default=0.0,
                      help="frames per second of a video (default: the file's)")
    pilot = parser.add_argument_group('pilot')
    pilot.add_argument('--model', default='', help='folder of a pilot (default: the shipped one)')
    pilot.add_argument('--config', type=Path, metavar='FILE', help='settings: YAML, or a '
                       'parameter file of vla_node')
    pilot.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                       help='a setting, e.g. safety.max_forward=0.8 or adaptation.enabled=true '
                       '(off in a replay unless asked for)')
    pilot.add_argument('--compare', action='append', default=[], metavar='WHAT',
                       help='run again with another pilot (a folder) or settings (a file, or '
                       'NAME=VALUE,...), and compare')
    work = parser.add_argument_group('work')
    work.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)),
                      help='processes, for several runs (default: all cores)')
    work.add_argument('--ray', default='', metavar='ADDRESS', help='run on a Ray cluster that '
                      'sees the same files: host:port, auto, or local')
    work.add_argument('--bag', choices=('all', 'ours', 'none'), default='all',
                      help='what the new bag holds: the original messages and ours (default), '
                      'ours alone, or write none')
    work.add_argument('--no-overlay', dest='overlay', action='store_false',
                      help='do not write overlay.mp4')
    work.add_argument('--no-report', dest='report', action='store_false',
                      help='do not write report.html')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.cli.progress import bar
    from edge_vla.evaluation.replay_jobs import replay_all
    from edge_vla.evaluation.replay_report import write_index, write_report
    from edge_vla.evaluation.videos import FASTEST_HZ

    if args.jobs < 1:
        raise ConfigError('--jobs must be at least 1')
    if not 0 <= args.start <= LONGEST_S or not args.duration > 0:
        raise ConfigError(f'--start must be at least 0 s (at most {LONGEST_S:.0e}) and '
                          '--duration above 0 s')
    if args.rate and not 0 < args.rate <= FASTEST_HZ:  # NaN too
        raise ConfigError(f'--rate must be above 0 and at most {FASTEST_HZ} images per second')
    if args.duration > LONGEST_S:
        args.duration = math.inf
    if args.report:
        from edge_vla.visualization.style import need_matplotlib
        need_matplotlib()  # now, not after the work
    pilots = _pilots(args)
    folders = _folders(args)
    found_rows: list[tuple[Path, dict[str, Any]]] = []
    lines: list[tuple[Any, str]] = []  # said when the progress bar has gone
    groups: dict[Path, list[Any]] = {}
    for source, out in folders.items():
        try:
            groups[source] = _jobs(args, source, out, pilots)
        except EdgeVlaError as error:
            found_rows.append((source, _failed(source, error, len(folders), lines)))
    work = [job for jobs in groups.values() for job in jobs]
    found: dict[Any, Any] = {}
    with bar('replay', 'recording' if args.ray else 'frame') as progress:
        for job, result in replay_all(work, args.jobs, args.ray, progress):
            found[job] = result
            jobs = groups[job.source]
            if not all(j in found for j in jobs):
                continue
            runs = [found[j] for j in jobs if not isinstance(found[j], EdgeVlaError)]
            for error in (found[j] for j in jobs if isinstance(found[j], EdgeVlaError)):
                found_rows.append(
                    (job.source, _failed(job.source, error, len(folders), lines)))
                break
            if runs:
                out = folders[job.source]
                report = write_report(out, runs, args.report)
                found_rows.append((job.source, {'name': job.source.name, 'report': report,
                                                'link': f'{out.name}/report.html'}))
                lines += _lines(report, runs, out, args)
            for j in jobs:
                found[j] = None  # many recordings would fill the memory
    for stream, line in lines:
        print(line, file=stream)
    order = list(folders)  # not that in which they were done, and names may be alike
    rows = [row for _, row in sorted(found_rows, key=lambda pair: order.index(pair[0]))]
    if len(folders) > 1:
        write_index(args.out, rows, args.instruction.strip(), args.report)
        print(f'wrote {args.out}/' + ('report.html' if args.report else 'report.json'))
    return 1 if any('error' in row for row in rows) else 0


def _failed(source: Path, error: EdgeVlaError, count: int,
            lines: list[tuple[Any, str]]) -> dict[str, Any]:
    """Say what is wrong with one of several recordings; with a single one, end here."""
    if count == 1:
        raise error
    lines.append((sys.stderr, f'edge-vla: {error}'))
    return {'name': source.name, 'error': str(error)}


def _folders(args: argparse.Namespace) -> dict[Path, Path]:
    """Return where the results of every recording go."""
    sources = list(dict.fromkeys(args.sources))
    if len(sources) == 1:
        return {sources[0]: args.out}
    folders: dict[Path, Path] = {}
    for source in sources:
        folders[source] = args.out / _unused(
            source.stem.strip('.') or source.resolve().stem or 'recording',
            [f.name for f in folders.values()])
    return folders


def _unused(name: str, taken: Sequence[str]) -> str:
    """Return a name that is not taken: itself, or with a number behind it."""
    free, k = name, 1
    while free in taken:
        k += 1
        free = f'{name}_{k}'
    return free


def _pilots(args: argparse.Namespace) -> dict[str, Any]:
    """Return the configurations to run, by name; the first is what others are compared with."""
    from edge_vla.config import build, VlaNodeConfig
    from edge_vla.evaluation.replay_jobs import read_settings
    from edge_vla.evaluation.replay_report import BASE
    base = BASE | read_settings(args.set, args.config)
    if args.model:
        base['pipeline.model'] = args.model
    pilots = {Path(base.get('pipeline.model', '')).name or 'pilot': build(VlaNodeConfig, base)}
    for text in args.compare:
        changed = build(VlaNodeConfig, base | read_settings([text]))
        name = text if '=' in text else Path(text).stem or text
        pilots[_unused(name, list(pilots))] = changed
    return pilots


def _jobs(args: argparse.Namespace, source: Path, out: Path, pilots: dict[str, Any]) -> list[Any]:
    """Return one job per camera and pilot."""
    from dataclasses import replace

    from edge_vla.evaluation.bags import cameras_of
    from edge_vla.evaluation.replay import Job
    from edge_vla.evaluation.topics import Wanted
    cameras = cameras_of(source) if args.topic == ['all'] else args.topic or ['']
    jobs: list[Any] = []
    for camera in cameras:
        for name, config in pilots.items():
            shown = name
            if len(cameras) > 1:
                shown = camera if len(pilots) == 1 else f'{camera} {name}'
            jobs.append(Job(
                source, out, args.instruction, shown, config,
                Wanted(camera, args.odometry, args.commands, args.instructions), args.rate,
                args.start, args.duration, args.overlay, args.bag, args.report,
                len(set(args.sources)) == 1))
    if len(jobs) == 1:
        return jobs
    taken: list[str] = []
    for job in jobs:
        plain = ''.join(c if c.isalnum() or c in '.-=' else '_' for c in job.name.strip('/.'))
        taken.append(_unused(plain or 'run', taken))
    return [replace(job, out=out / name) for job, name in zip(jobs, taken, strict=True)]


def _lines(report: dict[str, Any], runs: Sequence[Any], out: Path,
           args: argparse.Namespace) -> list[tuple[Any, str]]:
    """Return what came of one recording, with the stream that each line is for."""
    from edge_vla.evaluation.metrics import spread
    lines = [(sys.stderr, f'note: {report["source"]}: {note}') for note in report['notes']]
    for said, done in zip(report['runs'], runs, strict=True):
        latency = spread(done.track.latency_ms) or {}
        agreed = said['agreement']
        compared = '' if agreed is None else (
            f', {agreed["velocity_rmse"]:.2f} m/s from the {report["reference"]}')
        name = f' {said["name"]}' if len(runs) > 1 and said['name'] != said['topic'] else ''
        lines.append((sys.stdout, (
            f'{report["source"]} {said["topic"]}{name}: {said["frames"]} frames, '
            f'understood "{said["understood"]}"{compared}, '
            f'step p50 {latency["p50"]:.1f} ms, p99 {latency["p99"]:.1f} ms')))
    made = (['report.html'] if args.report else []) + ['report.json']
    each = ['actions.json', 'latency.json'] + ['bag/'] * (args.bag != 'none') + \
        ['overlay.mp4'] * args.overlay
    if len(runs) > 1:
        each = [f'per run {each[0]}', *each[1:]]
    lines.append((sys.stdout, f'wrote {out}/' + ', '.join(made + each)))
    return lines
