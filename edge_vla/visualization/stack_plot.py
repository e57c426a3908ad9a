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

"""The headline page as a picture: what was claimed, what is measured, and what an answer takes."""

from pathlib import Path
from typing import Any

from edge_vla.visualization.shift_plot import PALETTE
from edge_vla.visualization.style import blank, clean, FAINT, GREY, GROUND, INK, save
import numpy as np

COLOURS = {'measured': PALETTE[0], 'model': PALETTE[3]}
PARTS = (('prefill_s', 'reading the prompt', PALETTE[0]), ('decode_s', 'saying it', PALETTE[1]),
         ('compress_s', 'thinning frames', PALETTE[2]))


def plot_stack(path: Path, report: dict[str, Any]) -> None:
    """
    Write a picture of the headline page (PNG, or what the suffix of `path` says).

    On the left is every row with a figure, as what it is compared with the claim: right of the
    line is better than was claimed, and rows without a claim show their figure alone. On the right
    are the seconds of one answer with more and more of the stack.

    Parameters
    ----------
    path : Path
        File to write.
    report : dict
        As ``evaluation.stack.measure`` returns it.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    rows = [row for row in report['rows'] if row['ours'] is not None]
    height = 2.0 + .36 * len(rows)
    figure = blank((13, height), 90)
    left, right = figure.subplots(1, 2, gridspec_kw={'width_ratios': (1.5, 1)})
    _draw_rows(left, rows)
    _draw_ladder(right, report['ladder'])
    scale, machine = report['scale'], report['machine']
    figure.suptitle(f'Claimed and shown: shape {scale["shape"]}, threads {scale["threads"]}, '
                    f'{machine["cpu"]}', color=INK, fontsize=13)
    figure.tight_layout(rect=(0, 0, 1, .98))
    box = right.get_position()  # a small panel, however many rows there are
    share = min(box.height, 3.4 / height)
    right.set_position((box.x0, box.y1 - share, box.width, share))
    save(figure, path)


def _words(row: dict[str, Any]) -> str:
    unit = row['unit'] if row['unit'] == 'x' else f' {row["unit"]}'
    claimed = '' if row['claimed'] is None else f'  (claimed {row["claimed"]:.3g}{unit})'
    return f'{row["ours"]:.3g}{unit}{claimed}'


def _draw_rows(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Draw one row per claim, one band per group, first on top."""
    groups = list(dict.fromkeys(row['group'] for row in rows))
    for k, group in enumerate(groups):
        ys = [-i for i, row in enumerate(rows) if row['group'] == group]
        if k % 2 == 0:
            axes.axhspan(min(ys) - .5, max(ys) + .5, color=GROUND, zorder=0)
    reach = 1.0
    for i, row in enumerate(rows):
        ratio = row['ratio']
        if ratio is not None and ratio > 0:
            good = 1 / ratio if row['better'] == 'less' else ratio
            reach = max(reach, good, 1 / good)
            axes.plot([1, good], [-i, -i], color=COLOURS[row['kind']], linewidth=1.4, zorder=2)
            axes.plot([good], [-i], marker='o', color=COLOURS[row['kind']], markersize=6)
        axes.text(1.01, -i, _words(row), transform=axes.get_yaxis_transform(), fontsize=8,
                  color=INK, va='center')
    axes.axvline(1, color=GREY, linestyle='--', linewidth=.9, zorder=1)
    axes.set_xscale('log')
    axes.set_xlim(.8 / reach, 1.25 * reach)
    most = int(np.log2(1.25 * reach))
    axes.set_xticks([2.0 ** k for k in range(-most, most + 1)],
                    [f'{2 ** k}' if k >= 0 else f'1/{2 ** -k}' for k in range(-most, most + 1)])
    axes.set_xticks([], minor=True)
    axes.set_ylim(-len(rows) + .5, .5)
    axes.set_yticks([-i for i in range(len(rows))], [row['name'] for row in rows], fontsize=8)
    axes.grid(axis='x', color=FAINT, linewidth=.7)
    axes.set_xlabel('times as good as claimed (blue measured, violet computed by the model)',
                    color=GREY, fontsize=9)
    clean(axes)


def _draw_ladder(axes: Any, ladder: list[dict[str, Any]]) -> None:
    """Draw the seconds of an answer, one bar for each way."""
    for i, step in enumerate(ladder):
        start = 0.0
        for part, name, colour in PARTS:
            axes.barh(-i, step[part], left=start, height=.6, color=colour,
                      label=name if i == 0 else None)
            start += step[part]
        axes.text(start, -i, f' {step["seconds"]:.2f} s', va='center', fontsize=9, color=INK)
    axes.set_yticks([-i for i in range(len(ladder))], [step['way'] for step in ladder],
                    fontsize=9)
    axes.set_xlim(0, 1.25 * max(step['seconds'] for step in ladder))
    axes.set_xlabel('seconds of one answer', color=GREY, fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc='lower right')
    clean(axes)
