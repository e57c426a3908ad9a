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


"""What a replay report says: numbers as JSON, and the page that shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from edge_vla import __version__
from edge_vla.config import settings_of, VlaNodeConfig
from edge_vla.evaluation.agreement import (
    agreement,
    angles,
    hold,
    interpolate,
    jerk,
    lag,
    rounded,
)
from edge_vla.evaluation.replay import Run
from edge_vla.evaluation.track import ADAPTING, STATES, Track
from edge_vla.pipeline import SHIPPED_MODEL
import numpy as np

SEEN = 0.5  # a target more likely in view than this counts as seen
BASE = {'adaptation.enabled': False}  # what a replay flies unless it is told otherwise


@dataclass(frozen=True)
class Reference:
    """
    What the pilot is compared with.

    Attributes
    ----------
    kind : str
        'commands', 'odometry' or '' for nothing.
    times, values : numpy.ndarray
        int64 [M], ns, and float64 [M, 4].

    """

    kind: str
    times: np.ndarray
    values: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return its values at other times, float64 [N, 4]; NaN where it has none."""
        how = interpolate if self.kind == 'odometry' else hold
        return how(times, self.times, self.values)


def reference_of(run: Run) -> Reference:
    """Return the recorded commands, failing those the measured velocity, or nothing."""
    if len(run.sent[0]):
        return Reference('commands', *run.sent)
    if len(run.measured[0]):
        return Reference('odometry', *run.measured)
    return Reference('', *run.sent)


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """
    Return the report of all runs over one recording; it holds nothing that differs between two.

    Parameters
    ----------
    runs : sequence of Run
        Of one source; the first is what the others are compared with.

    """
    first = runs[0]
    job, reference = first.job, reference_of(first)
    part = {'start_s': job.start_s,
            'duration_s': None if math.isinf(job.duration_s) else job.duration_s}
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    if reference.kind == 'odometry':
        notes.append('the recording has no commands: compared with the velocity that odometry '
                     'measured, which follows what was commanded with a delay')
    elif not reference.kind:
        notes.append('the recording has neither commands nor odometry: there is nothing to '
                     'compare the pilot with')
    told = [_run(run) for run in runs]
    if reference.kind and told[0]['agreement'] is None:
        notes.append(f'no image is near enough in time to the recorded {reference.kind}: there is '
                     'nothing to compare the pilot with')
    if any(r.job.config.adaptation.enabled and not len(r.sent[0]) for r in runs):
        notes.append('adaptation is on, but the recording has no commands: it takes the '
                     "pilot's for what the vehicle was told")
    return {
        'format': 'edge_vla replay 1', 'version': __version__, 'source': job.source.name,
        'kind': first.kind, 'instruction': first.instruction, 'part': part,
        'topics': {k: v for k, v in first.topics.items() if v},
        'reference': reference.kind or None,
        'recorded': {'commands': len(first.sent[0]), 'odometry': len(first.measured[0]),
                     'jerk': jerk(*first.sent)},
        'notes': notes, 'runs': told,
        'differences': [_difference(first, run) for run in runs[1:]
                        if run.topics['image'] == first.topics['image']]}


def _run(run: Run) -> dict[str, Any]:
    track, reference = run.track, reference_of(run)
    times, command = track.times(), track.table('command')
    visible, _, distance = track.table('target').T
    seen = visible > SEEN
    speed = np.linalg.norm(command[:, :3], axis=1)
    tokens = track.table('tokens')[:, 0]
    lasted = (times[-1] - times[0]) * 1e-9
    states = np.bincount(np.frombuffer(track.state, np.uint8), minlength=len(STATES))
    return {
        'name': run.job.name, 'topic': run.topics['image'], 'model': model_of(run),
        'settings': settings(run.job.config), 'frames': len(track),
        'duration_s': round(float(lasted), 3),
        'rate_hz': round((len(track) - 1) / lasted, 2) if lasted > 0 else None,
        'understood': run.understood,
        'said': [{'s': round((t - run.begin_ns) * 1e-9, 3), 'text': text}
                 for t, text in track.said],
        'states': {name: int(count) for name, count in zip(STATES, states, strict=True) if count},
        'target': {'seen': rounded(seen.mean()), 'median_distance_m': rounded(
            np.median(distance[seen]) if seen.any() else None)},
        'command': {'mean_speed': rounded(speed.mean()), 'max_speed': rounded(speed.max()),
                    'jerk': jerk(np.array(track.stamp_ns), command)},
        'token_keep_ratio': {'mean': rounded(tokens.mean()), 'min': rounded(tokens.min())},
        'reading': _reading(run.track),
        'adaptation': _adaptation(run),
        'agreement': agreement(times, command, reference.at(times)) if reference.kind else None}


def _adaptation(run: Run) -> dict[str, Any] | None:
    """Return what adaptation did, or None where it is off."""
    adapting = np.frombuffer(run.track.adapting, np.uint8)
    if not adapting.any():
        return None
    _, error, without, compensation = run.track.table('adaptation').T
    counts = np.bincount(adapting, minlength=len(ADAPTING))
    return {'heard': 'recorded commands' if len(run.sent[0]) else "the pilot's commands",
            'states': {n: int(c) for n, c in zip(ADAPTING, counts, strict=True) if c},
            'mean_error': rounded(error.mean()), 'mean_error_without': rounded(without.mean()),
            'max_compensation': rounded(compensation.max()),
            'last_compensation': rounded(compensation[-1])}


def _reading(track: Track) -> dict[str, Any] | None:
    """Return what the seeing head read at each look and what all tokens would have been."""
    if track.all_read is None:
        return None
    whole = track.all_read
    return {'looks': len(track.read),
            'tokens': {'mean': rounded(np.mean([c.attended[0] for c in track.read])),
                       'all': whole.attended[0]},
            'multiplications': {'mean': rounded(np.mean([c.prefill_macs for c in track.read])),
                                'all': whole.prefill_macs},
            'cache_bytes': {'mean': rounded(np.mean([c.cache_bytes for c in track.read])),
                            'all': whole.cache_bytes}}


def _difference(base: Run, other: Run) -> dict[str, Any]:
    """Compare a run with the first one, image by image."""
    times = base.track.times()
    n = min(len(times), len(other.track))
    a, b = other.track.table('command')[:n], base.track.table('command')[:n]
    gap = np.linalg.norm(a[:, :3] - b[:, :3], axis=1)
    worst = int(gap.argmax())
    return {'name': other.job.name, 'base': base.job.name,
            'identical': bool((a == b).all()),
            'largest': {'m_s': rounded(gap[worst]),
                        's': rounded((times[worst] - base.begin_ns) * 1e-9, 3)},
            'agreement': agreement(times[:n], a, b)}


def model_of(run: Run) -> dict[str, str]:
    """Return name and checksum of the pilot's weights."""
    folder = run.job.config.pipeline.model
    weights = (Path(folder) if folder else SHIPPED_MODEL) / 'policy.safetensors'
    return {'name': Path(folder).name if folder else 'shipped pilot',
            'sha256': hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}


def settings(config: VlaNodeConfig) -> dict[str, Any]:
    """Return the settings that are not what a replay has by default."""
    default = {s.name: s.default for s in settings_of(VlaNodeConfig)} | BASE
    return {s.name: s.default for s in settings_of(config)
            if s.default != default[s.name] and not s.name.startswith('node.')
            and s.name != 'pipeline.model'}


def write_report(out: Path, runs: Sequence[Run], page: bool = True) -> dict[str, Any]:
    """
    Write ``report.json`` and, unless `page` is false, ``report.html`` and the latency's plots.

    Parameters
    ----------
    out : Path
        Folder.
    runs : sequence of Run
        Of one source.
    page : bool
        Whether to draw; it takes matplotlib.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    report = describe(runs)
    out.mkdir(parents=True, exist_ok=True)
    (out / 'report.json').write_text(json.dumps(report, indent=1) + '\n')
    if page:
        from edge_vla.visualization.replay_page import replay_page
        from edge_vla.visualization.replay_plots import plot_latency
        (out / 'report.html').write_text(
            replay_page(report, plot_data(runs)), encoding='utf-8')
        for run in runs:
            (run.job.out / 'latency.svg').write_text(
                plot_latency(np.array(run.track.latency_ms), np.array(
                    [1e3 * c.prefill_s for c in run.track.read]), None if run.track.all_read
                    is None else 1e3 * run.track.all_read.prefill_s), encoding='utf-8')
    return report


def plot_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what the plots of each run need, times in seconds since the recording began."""
    out = []
    for run in runs:
        track, reference = run.track, reference_of(run)
        times, at = track.times(), reference.at(track.times())
        shifted = lag(times, track.table('command'), at) if reference.kind else None

        def seconds(ns: np.ndarray, begin: int = run.begin_ns) -> np.ndarray:
            return (np.asarray(ns, np.int64) - begin) * 1e-9
        pictures = [{'s': float(seconds(times[k:k + 1])[0]), 'jpeg': data}
                    for k, data in track.pictures]
        out.append({
            'name': run.job.name, 'topic': run.topics['image'], 's': seconds(times),
            'command': track.table('command'), 'target': track.table('target'),
            'tokens': track.table('tokens')[:, 0], 'speed': track.table('speed')[:, 0],
            'adaptation': track.table('adaptation'),
            'adapting': np.frombuffer(track.adapting, np.uint8).copy(),
            'reference': reference.kind, 'reference_s': seconds(reference.times),
            'reference_values': reference.values, 'lag': shifted,
            'angles': angles(track.table('command'), at),
            'measured_s': seconds(run.measured[0]), 'measured': run.measured[1],
            'pictures': pictures})
    return out


def write_index(out: Path, rows: Sequence[dict[str, Any]], instruction: str,
                page: bool = True) -> None:
    """
    Write ``report.json`` and ``report.html`` over many recordings.

    Parameters
    ----------
    out : Path
        Folder.
    rows : sequence of dict
        Per recording ``name``, and either ``report`` and ``link`` or ``error``.
    instruction : str
        What was asked.
    page : bool
        Whether to write the page.

    """
    out.mkdir(parents=True, exist_ok=True)
    (out / 'report.json').write_text(json.dumps(
        {'format': 'edge_vla replays 1', 'instruction': instruction, 'recordings': list(rows)},
        indent=1) + '\n')
    if page:
        from edge_vla.visualization.replay_page import index_page
        (out / 'report.html').write_text(index_page(rows, instruction), encoding='utf-8')
