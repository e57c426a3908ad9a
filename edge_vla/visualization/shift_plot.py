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


"""Success under every shift: one marker per pilot with its 95 % interval."""

from pathlib import Path
from typing import Any

from edge_vla.visualization.style import blank, clean, FAINT, GREY, GROUND, INK, save

PALETTE = ('#2e86ab', '#e4572e', '#3a9d5d', '#7b4fa3', '#c2185b', '#8a6d1d', '#4c5b66', '#00897b')
MARKERS = 'os^Dv<>P'
NONE = 'none'


def plot_shifts(path: Path, summary: dict[str, Any], strength: str = '') -> None:
    """
    Write a picture of a shift suite (PNG, or what the suffix of `path` says).

    On the left is every shift, with a dashed line at what each pilot does without one; on the
    right are averages over all shifts against their strength.

    Parameters
    ----------
    path : Path
        File to write.
    summary : dict
        As ``evaluation.shift_report.summarise_suite`` returns it.
    strength : str, optional
        The one to show on the left; by default medium, or else the first there is.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    strengths = list(dict.fromkeys(a['strength'] for a in summary['averages']))
    if not strength:
        strength = 'medium' if 'medium' in strengths or not strengths else strengths[0]
    rows = list(dict.fromkeys((c['group'], c['shift']) for c in summary['cells']
                              if c['strength'] == strength))
    groups = list(dict.fromkeys(group for group, _ in rows))
    rows.sort(key=lambda row: groups.index(row[0]))
    height = 2.2 + max(12, len(rows)) * (.16 + .07 * min(6, len(summary['pilots'])))
    figure = blank((12, height), 130)
    left, right = figure.subplots(1, 2, gridspec_kw={'width_ratios': (2.2, 1)})
    _draw_shifts(left, summary, rows, strength)
    _draw_strengths(right, summary, strengths)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc='lower center', ncol=min(4, max(1, len(names))),
                  frameon=False)
    figure.suptitle(f'Success under distribution shift ({strength}): {summary["episodes"]} '
                    'episodes per marker, 95 % intervals', color=INK, fontsize=13)
    figure.tight_layout(rect=(0, .5 / height, 1, .99))
    box = right.get_position()  # a small panel, however many shifts there are
    share = min(box.height, 4.5 / height)
    right.set_position((box.x0, box.y1 - share, box.width, share))
    save(figure, path)


def _look(k: int) -> dict[str, Any]:
    """Return colour and marker of the k-th pilot."""
    return {'color': PALETTE[k % len(PALETTE)], 'marker': MARKERS[k % len(MARKERS)]}


def _whiskers(values: list[float], intervals: list[list[float]]) -> list[list[float]]:
    return [[max(0.0, v - low) for v, (low, _) in zip(values, intervals, strict=True)],
            [max(0.0, high - v) for v, (_, high) in zip(values, intervals, strict=True)]]


def _draw_shifts(axes: Any, summary: dict[str, Any], rows: list[tuple[str, str]],
                 strength: str) -> None:
    """Draw one row per shift, one band per group, first on top."""
    cells = {(c['pilot'], c['shift'], c['strength']): c for c in summary['cells']}
    pilots = summary['pilots']
    groups = list(dict.fromkeys(group for group, _ in rows))
    for group in groups:
        ys = [-i for i, (g, _) in enumerate(rows) if g == group]
        if groups.index(group) % 2 == 0:
            axes.axhspan(min(ys) - .5, max(ys) + .5, color=GROUND, zorder=0)
        axes.text(.01, max(ys) + .42, group, fontsize=7.5, color=GREY, va='top')
    for k, pilot in enumerate(pilots):
        offset = .7 * ((k + .5) / len(pilots) - .5)
        known = [(-i - offset, cells[pilot, shift, strength])
                 for i, (_, shift) in enumerate(rows) if (pilot, shift, strength) in cells]
        values = [c['success_rate'] for _, c in known]
        axes.errorbar(values, [y for y, _ in known],
                      xerr=_whiskers(values, [c['success_interval'] for _, c in known]),
                      linestyle='none', markersize=4.5, linewidth=1.1, label=pilot, **_look(k))
        plain = cells.get((pilot, NONE, ''))
        if plain is not None:
            axes.axvline(plain['success_rate'], color=_look(k)['color'], linestyle='--',
                         linewidth=.9, alpha=.8, zorder=1)
    axes.set_yticks([-i for i in range(len(rows))], [shift for _, shift in rows], fontsize=8.5)
    axes.set_ylim(-len(rows) + .4, .6)
    axes.set_xlim(0, 1.02)
    axes.grid(axis='x', color=FAINT, linewidth=.7)
    axes.set_xlabel('success (dashed: without a shift)', color=GREY, fontsize=9.5)
    clean(axes)


def _draw_strengths(axes: Any, summary: dict[str, Any], strengths: list[str]) -> None:
    """Draw the average over the shifts against their strength."""
    plain = {c['pilot']: c for c in summary['cells'] if c['shift'] == NONE}
    places = [NONE, *strengths]
    for k, pilot in enumerate(summary['pilots']):
        points = [(a['strength'], a['mean'], a['interval']) for a in summary['averages']
                  if a['pilot'] == pilot]
        if pilot in plain:
            c = plain[pilot]
            points.insert(0, (NONE, c['success_rate'], c['success_interval']))
        offset = .16 * ((k + .5) / len(summary['pilots']) - .5)
        values = [v for _, v, _ in points]
        axes.errorbar([places.index(s) + offset for s, _, _ in points], values,
                      yerr=_whiskers(values, [i for _, _, i in points]), markersize=5,
                      linewidth=1.3, capsize=2, **_look(k))
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-.4, len(places) - .6)
    axes.set_ylim(0, 1.02)
    axes.grid(axis='y', color=FAINT, linewidth=.7)
    axes.set_ylabel('success, average over all shifts', color=GREY, fontsize=9.5)
    clean(axes)
