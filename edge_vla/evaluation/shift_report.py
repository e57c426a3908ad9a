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
What the shift suite found: rates per cell, averages over shifts, differences between pilots.

Episode i is the same scene, task and wording in every cell, so the intervals of averages and of
differences resample episodes, each with all its flights.
"""

from collections.abc import Sequence
from typing import Any

from edge_vla.evaluation.metrics import wilson
from edge_vla.evaluation.shift_suite import label
from edge_vla.sim.shifts import NONE, SHIFTS, STRENGTHS
import numpy as np

RESAMPLES = 10_000


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """
    Return the 95 % percentile bootstrap interval of a mean (Efron 1979).

    Where all values are the same it has no width, whatever their number.

    Parameters
    ----------
    values : numpy.ndarray
        float64 [N], one independent value each.
    seed : int
        Of the resampling.

    Raises
    ------
    ValueError
        There are no values.

    """
    n = len(values)
    if n == 0:
        raise ValueError('no values')
    picked = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    low, high = np.percentile(values[picked].mean(1), (2.5, 97.5))
    return float(low), float(high)


def summarise_suite(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Return rates with 95 % intervals per cell, averages over shifts, and differences of pilots.

    Differences are those of each pilot to the first, and of adaptation on to off; they are of
    averages over the shifts of one strength, by a paired bootstrap.
    """
    success = {(_pilot(r), r['shift'], r['strength']): np.array(
        [s == 'success' for s in r['status']], float) for r in records}
    pilots = list(dict.fromkeys(_pilot(r) for r in records))
    strengths = [s for s in STRENGTHS if any(r['strength'] == s for r in records)]
    averages, differences = [], []
    for strength in strengths:
        grids = {}
        for pilot in pilots:
            rows = {s: x for (p, s, k), x in success.items() if (p, k) == (pilot, strength)}
            grids[pilot] = rows
            averages.append({'pilot': pilot, 'strength': strength, 'shifts': len(rows),
                             **_average(np.array(list(rows.values())))})
        pairs = [(p, pilots[0]) for p in pilots[1:]]
        pairs += [(p, q) for p in pilots[1:] for q in pilots[1:] if p == label(q, True)]
        for p, q in pairs:
            shared = [s for s in grids[p] if s in grids[q]]
            differences.append({
                'pilot': p, 'minus': q, 'strength': strength, 'shifts': len(shared),
                **_average(np.array([grids[p][s] - grids[q][s] for s in shared]))})
    first = records[0]
    return {'episodes': first['episodes'], 'seed': first['seed'], 'camera': first['camera'],
            'pilots': pilots, 'cells': [_cell(r) for r in records], 'averages': averages,
            'differences': differences}


def _pilot(record: dict[str, Any]) -> str:
    return label(record['policy'], record['adaptation'])


def _cell(record: dict[str, Any]) -> dict[str, Any]:
    status, n = record['status'], record['episodes']
    times = [t for s, t in zip(status, record['time_s'], strict=True) if s == 'success']
    shift = record['shift']
    return {'pilot': _pilot(record), 'shift': shift, 'strength': record['strength'],
            'group': SHIFTS[shift].group if shift in SHIFTS else NONE, 'effect': record['effect'],
            **_rate('success', status, n), **_rate('collision', status, n),
            'timeout_rate': round(status.count('timeout') / n, 4),
            'lost_rate': round(status.count('lost') / n, 4),
            'mean_time_s': round(float(np.mean(times)), 2) if times else None}


def _rate(name: str, status: list[str], n: int) -> dict[str, Any]:
    k = status.count(name)
    return {f'{name}_rate': round(k / n, 4),
            f'{name}_interval': [round(v, 4) for v in wilson(k, n)]}


def _average(values: np.ndarray) -> dict[str, Any]:
    """Average [shifts, episodes]; one episode with all its shifts is the unit of resampling."""
    mean = values.mean(0)
    return {'mean': round(float(mean.mean()), 4),
            'interval': [round(v, 4) for v in bootstrap(mean)]}


def markdown(summary: dict[str, Any]) -> str:
    """Return the summary as tables: success with 95 % intervals, one column per pilot."""
    pilots = summary['pilots']
    cells = {(c['pilot'], c['shift'], c['strength']): c for c in summary['cells']}
    rows = dict.fromkeys((c['shift'], c['strength'], c['group']) for c in summary['cells'])
    out = [f'Success, {summary["episodes"]} episodes per cell, seed {summary["seed"]}, camera '
           f'{summary["camera"]}; Wilson intervals of 95 %, of averages by bootstrap.', '',
           f'| group | shift | strength | {" | ".join(pilots)} |',
           '|---|---|---|' + '---|' * len(pilots)]
    for shift, strength, group in rows:
        texts = []
        for pilot in pilots:
            c = cells.get((pilot, shift, strength))
            texts.append('' if c is None else _text(c['success_rate'], c['success_interval']))
        out.append(f'| {group} | {shift} | {strength} | {" | ".join(texts)} |')
    for strength in dict.fromkeys(a['strength'] for a in summary['averages']):
        texts = [_text(a['mean'], a['interval']) for a in summary['averages']
                 if a['strength'] == strength]
        out.append(f'| all | average | {strength} | {" | ".join(texts)} |')
    if summary['differences']:
        out += ['', '| difference | strength | success |', '|---|---|---|']
        out += [f'| {d["pilot"]} minus {d["minus"]} | {d["strength"]} | '
                f'{_text(d["mean"], d["interval"], "+")} |' for d in summary['differences']]
    return '\n'.join(out) + '\n'


def _text(value: float, interval: Sequence[float], sign: str = '') -> str:
    low, high = interval
    return f'{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]'
