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


"""The page of a replay: one HTML file that needs nothing else."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from edge_vla.visualization import replay_plots as plots

TEMPLATE = Path(__file__).with_name('replay_page.html')
PICTURES = 8
AXES = {'forward': 'forward, m/s', 'left': 'left, m/s', 'up': 'up, m/s',
        'yaw_rate': 'yaw rate, rad/s'}
NOTHING = '–'
STANDS_OUT = 0.3  # a peak of the cross-correlation lower than this says nothing about the lag


def replay_page(report: dict[str, Any], data: Sequence[dict[str, Any]]) -> str:
    """
    Return the page of one recording.

    Parameters
    ----------
    report : dict
        As ``evaluation.replay_report.describe`` returns it.
    data : sequence of dict
        Per run, as ``evaluation.replay_report.plot_data`` returns it.

    Returns
    -------
    str
        HTML; everything is inside, and the same report gives the same text.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    runs = report['runs']
    compared = any(run['agreement'] for run in runs)
    parts = [_head(report), _notes(report['notes']), _tiles(report)]
    parts += [_film(run, k, len(runs)) for k, run in enumerate(data)]
    parts.append(_section('Commands', plots.plot_commands(data), 'Velocity in the heading frame '
                          '(forward is where the nose points, level) as the safety gate lets it '
                          'out.'))
    if compared:
        parts.append(_section('Agreement with the recording', plots.plot_agreement(data)
                              + _axes_table(report), _about(report)))
    if report['differences']:
        parts.append(_section(f'Against {escape(runs[0]["name"])}', _differences(report)))
    parts.append(_section('What it takes for the target', plots.plot_target(data)))
    parts.append(_section('Speed, and tokens kept of every image', plots.plot_speed(data)))
    if any(run['adaptation'] for run in runs):
        parts.append(_section('Adaptation', plots.plot_adaptation(data) + _adaptation(runs),
                              'Grey: frozen or reverted. While the drone that was filmed obeyed '
                              'somebody else, this is what adaptation would have learned from '
                              'its motion, not what it would have done.'))
    parts += [_section('What was run', _provenance(report))]
    return page(f'Replay of {report["source"]}', parts)


def index_page(rows: Sequence[dict[str, Any]], instruction: str) -> str:
    """
    Return the page that lists many recordings.

    Parameters
    ----------
    rows : sequence of dict
        ``name``, and either ``report`` and ``link`` or ``error``.
    instruction : str
        What was asked.

    """
    head = ('recording', 'images', 'target seen', 'speed, m/s', 'velocity error, m/s',
            'direction within 30°', 'correlation at best lag', 'lag, s')
    body = []
    for row in rows:
        if 'error' in row:
            body.append(f'<tr><th>{escape(row["name"])}</th><td colspan="{len(head) - 1}" '
                        f'class="bad">{escape(row["error"])}</td></tr>')
            continue
        for run in row['report']['runs']:
            name = escape(row['name'] if len(row['report']['runs']) == 1
                          else f'{row["name"]}: {run["name"]}')
            body.append(_row(f'<a href="{escape(quote(row["link"]))}">{name}</a>', (
                run['frames'], _percent(run['target']['seen']),
                _number(run['command']['mean_speed']), *_agreed(run))))
    done = sum('report' in row for row in rows)
    title = f'{done} of {len(rows)} recordings replayed'
    asked = f'<p class="asked">{escape(instruction)}</p>' if instruction else ''
    return page(title, [f'<header><p class="kind">edge_vla replay</p><h1>{title}</h1>{asked}'
                        '</header>', _section('Recordings', _table(head, body))])


def page(title: str, parts: Iterable[str]) -> str:
    """Put parts into the template."""
    return Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
        title=escape(title), body='\n'.join(p for p in parts if p))


def _section(title: str, body: str, text: str = '') -> str:
    about = f'<p class="about">{text}</p>' if text else ''
    return f'<section><h2>{title}</h2>{about}{body}</section>'


def _head(report: dict[str, Any]) -> str:
    first = report['runs'][0]
    asked = escape(report['instruction'] or 'no instruction')
    understood = escape(first['understood'] or 'not understood')
    part = report['part']
    span = ''
    if part['start_s'] or part['duration_s'] is not None:
        end = '' if part['duration_s'] is None else f' to {part["start_s"] + part["duration_s"]:g}'
        span = f' · from {part["start_s"]:g}{end} s'
    return (f'<header><p class="kind">edge_vla replay · {escape(report["kind"])}{span}</p>'
            f'<h1>{escape(report["source"])}</h1>'
            f'<p class="asked">“{asked}” <span>understood as: {understood}</span></p></header>')


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ''
    return ('<aside><h2>Worth knowing</h2><ul>'
            + ''.join(f'<li>{escape(note)}</li>' for note in notes) + '</ul></aside>')


def _tiles(report: dict[str, Any]) -> str:
    run = report['runs'][0]
    tiles = [('images', str(run['frames']), f'{run["duration_s"]:.1f} s'
              + (f' at {run["rate_hz"]:.1f} Hz' if run['rate_hz'] else '')),
             ('target in view', _percent(run['target']['seen']), 'of the images')]
    agreed = run['agreement']
    if agreed:
        direction, lag = agreed['direction'], agreed['lag']
        tiles += [('velocity error', f'{agreed["velocity_rmse"]:.2f}', 'm/s, root mean square'),
                  ('same direction', _percent(direction['within_30_deg']),
                   'within 30°, where both fly')]
        if lag:
            late = 'after' if lag['seconds'] >= 0 else 'before'
            clear = lag['correlation'] >= STANDS_OUT
            tiles.append(('lag', f'{abs(lag["seconds"]):.2f} s' if clear else NOTHING,
                          (f'{late} the recording' if clear else 'no shift stands out')
                          + f', correlation {lag["correlation"]:.2f}'))
    jerk = run['command']['jerk']
    if jerk:
        recorded = report['recorded']['jerk']
        tiles.append(('jerk', f'{jerk["rms"]:.1f}', 'm/s³' + (
            f', recorded {recorded["rms"]:.1f}' if recorded else '')))
    limited = 1 - run['states'].get('ok', 0) / run['frames']
    tiles.append(('limited by the gate', _percent(limited), 'of the commands'))
    tiles.append(('tokens kept', _percent(run['token_keep_ratio']['mean']), 'of every image'))
    tiles += _saved(run['reading'])
    name = f'<p class="about">{escape(run["name"])}</p>' if len(report['runs']) > 1 else ''
    return name + '<div class="tiles">' + ''.join(
        f'<div><span>{label}</span><b>{value}</b><small>{small}</small></div>'
        for label, value, small in tiles) + '</div>'


def _saved(reading: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return tiles of what fewer tokens save when the seeing head looks."""
    if reading is None:
        return []
    each = [(reading[k]['mean'], reading[k]['all']) for k in (
        'tokens', 'multiplications', 'cache_bytes')]
    (tokens, all_tokens), (macs, all_macs), (size, all_size) = each
    return [('read at a look', _percent(tokens / all_tokens),
             f'{tokens:.0f} of {all_tokens} tokens'),
            ('time saved, counted', _percent(1 - macs / all_macs),
             f'{macs / 1e9:.2f} of {all_macs / 1e9:.2f} billion multiplications'),
            ('memory saved', _percent(1 - size / all_size),
             f'{size / 1e6:.2f} of {all_size / 1e6:.2f} MB of keys and values')]


def _film(run: dict[str, Any], k: int, count: int) -> str:
    pictures = run['pictures']
    shown_count = min(PICTURES, len(pictures))
    shown = [pictures[i * (len(pictures) - 1) // max(1, shown_count - 1)]
             for i in range(shown_count)]
    title = f'<i style="background:{plots.colour(k)}"></i>{escape(run["name"])}' if count > 1 \
        else 'What it saw and did'
    return _section(title, '<div class="film">' + ''.join(
        '<figure><img alt="" src="data:image/jpeg;base64,'
        f'{base64.b64encode(p["jpeg"]).decode()}"><figcaption>{p["s"]:.1f} s</figcaption>'
        '</figure>' for p in shown) + '</div>')


def _about(report: dict[str, Any]) -> str:
    what = {'commands': 'the recorded commands', 'odometry': 'the velocity that odometry measured'}
    return (f'Against {what[report["reference"]]}. The pictures do not answer to the pilot: the '
            'drone flew as somebody else wanted, so the longer the two disagree, the less the '
            'comparison means.')


def _axes_table(report: dict[str, Any]) -> str:
    several = len(report['runs']) > 1
    rows = []
    for run in report['runs']:
        agreed = run['agreement']
        if not agreed:
            rows.append(_row(escape(run['name']), [NOTHING] * 5))
            continue
        for name, label in AXES.items():
            a = agreed['axes'][name]
            title = f'{escape(run["name"])}: {label}' if several else label
            rows.append(_row(title, (_number(a['mae']), _number(a['rmse']), _number(a['p95']),
                                     _number(a['bias']), _number(a['correlation']))))
    first = _table(('axis', 'mean absolute error', 'root mean square', '95th percentile', 'bias',
                    'correlation'), rows)
    rows = []
    for run in report['runs']:
        agreed = run['agreement']
        if agreed:
            d, lag = agreed['direction'], agreed['lag'] or {}
            rows.append(_row(escape(run['name']), (
                agreed['compared'], _number(d['mean_cosine']), _percent(d['within_30_deg']),
                _percent(d['moving_alike']), _percent(d['turning_alike']),
                _number(lag.get('seconds')), _number(lag.get('correlation')))))
    return first + _table(('run', 'images compared', 'mean cosine', 'within 30°',
                           'both fly or both rest', 'turn to the same side', 'lag, s',
                           'correlation there'), rows)


def _differences(report: dict[str, Any]) -> str:
    rows = []
    for d in report['differences']:
        if d['identical']:
            rows.append(_row(escape(d['name']), ('identical', *[NOTHING] * 4)))
            continue
        a = d['agreement']
        rows.append(_row(escape(d['name']), (
            _number(a['velocity_rmse']), _number(a['axes']['yaw_rate']['rmse']),
            _percent(a['direction']['within_30_deg']), _number(d['largest']['m_s']),
            f'{d["largest"]["s"]:.1f}')))
    return _table(('run', 'velocity difference, m/s', 'yaw rate difference, rad/s',
                   'direction within 30°', 'largest, m/s', 'at, s'), rows)


def _adaptation(runs: Sequence[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        a = run['adaptation']
        if a:
            states = ', '.join(f'{k} {v}' for k, v in a['states'].items())
            rows.append(_row(escape(run['name']), (
                a['heard'], states, _number(a['mean_error']), _number(a['mean_error_without']),
                _number(a['max_compensation']))))
    return _table(('run', 'heard', 'images', 'mean error, m/s', 'without, m/s',
                   'largest compensation, m/s'), rows)


def _provenance(report: dict[str, Any]) -> str:
    used = ' · '.join(f'{escape(kind)} {escape(topic)}' for kind, topic
                      in report['topics'].items())
    rows = []
    for run in report['runs']:
        model = run['model']
        changed = ', '.join(f'{k}={v}' for k, v in run['settings'].items()) or 'as they come'
        rows.append(_row(escape(run['name']), (
            escape(run['topic']), escape(model['name']), f'<code>{model["sha256"]}</code>',
            escape(changed), escape(run['understood'] or NOTHING))))
    return (f'<p class="about">edge_vla {escape(report["version"])} · {used}. How long steps '
            'took is in latency.json and latency.svg beside this file; everything else is the '
            'same each time.</p>'
            + _table(('run', 'camera', 'pilot', 'sha256', 'settings', 'understood'), rows))


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    top = ''.join(f'<th>{escape(name)}</th>' for name in head)
    return (f'<div class="wide"><table><thead><tr>{top}</tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table></div>')


def _row(name: str, cells: Iterable[Any]) -> str:
    return f'<tr><th>{name}</th>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>'


def _agreed(run: dict[str, Any]) -> tuple[str, ...]:
    agreed = run['agreement']
    if not agreed:
        return (NOTHING,) * 4
    lag = agreed['lag'] or {}
    return (_number(agreed['velocity_rmse']), _percent(agreed['direction']['within_30_deg']),
            _number(lag.get('correlation')), _number(lag.get('seconds')))


def _number(value: float | None) -> str:
    return NOTHING if value is None else f'{value:.3f}'.replace('-', '−')


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f'{100 * value:.0f} %'
