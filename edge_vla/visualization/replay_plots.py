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


"""Plots of a replay as SVG that can be put into a page: same numbers, same bytes."""

from collections.abc import Sequence
import io
import re
from typing import Any

from edge_vla.visualization.shift_plot import PALETTE
from edge_vla.visualization.style import GREY, INK, need_matplotlib
import numpy as np

FAINT, RECORDED = '#e3e6dd', INK
WIDTH = 10.4  # inches at 72 dpi; the page scales it
POINTS = 1200  # bins of a line; more would not be seen
AXES = ('forward, m/s', 'left, m/s', 'up, m/s', 'yaw rate, rad/s')
TARGET = ('in view', 'bearing, deg', 'distance, m')
ADAPTATION = ('velocity error, m/s', 'compensation, m/s')


def colour(k: int) -> str:
    """Return the colour of the k-th run."""
    return PALETTE[k % len(PALETTE)]


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Keep the smallest and the largest value of every part of a long line.

    Parameters
    ----------
    x, y : numpy.ndarray
        float64 [N].

    Returns
    -------
    tuple of numpy.ndarray
        At most ``2 * POINTS`` of the points, in order.

    """
    if len(x) <= 2 * POINTS:
        return x, y
    edges = np.linspace(0, len(x), POINTS + 1).astype(int)
    keep = []
    for a, b in zip(edges, edges[1:], strict=False):
        part = np.nan_to_num(y[a:b], nan=0.0)
        keep += sorted({a + int(part.argmin()), a + int(part.argmax())})
    return x[keep], y[keep]


def plot_commands(runs: Sequence[dict[str, Any]]) -> str:
    """
    Draw the four axes of every run's command over the recorded ones.

    Parameters
    ----------
    runs : sequence of dict
        As ``evaluation.replay_report.plot_data`` returns them.

    Returns
    -------
    str
        An ``svg`` element.

    """
    figure, axes = _figure(4, 1.45)
    first = runs[0]
    label = {'commands': 'recorded command', 'odometry': 'measured velocity'}.get(
        first['reference'])
    for k, ax in enumerate(axes):
        ax.axhline(0, color=FAINT, lw=.8, zorder=1)
        if label:
            ax.plot(*thin(first['reference_s'], first['reference_values'][:, k]), color=RECORDED,
                    lw=1.1, alpha=.75, label=label, drawstyle='steps-post', zorder=2)
        for i, run in enumerate(runs):
            ax.plot(*thin(run['s'], run['command'][:, k]), color=colour(i), lw=1.4,
                    label=run['name'], zorder=3)
        ax.set_ylabel(AXES[k])
    _legend(figure, axes[0])
    return _svg(figure, 'commands')


def plot_target(runs: Sequence[dict[str, Any]]) -> str:
    """Draw what every run takes for the target; see `plot_commands`."""
    figure, axes = _figure(3, 1.25)
    for i, run in enumerate(runs):
        visible, bearing, distance = run['target'].T
        seen = np.where(visible > .5, 1.0, np.nan)
        for ax, y in zip(axes, (visible, np.degrees(bearing) * seen, distance * seen),
                         strict=True):
            ax.plot(*thin(run['s'], y), color=colour(i), lw=1.3, label=run['name'])
    for ax, name in zip(axes, TARGET, strict=True):
        ax.set_ylabel(name)
    axes[0].set_ylim(-.05, 1.05)
    _legend(figure, axes[0], len(runs) > 1)
    return _svg(figure, 'target')


def plot_speed(runs: Sequence[dict[str, Any]]) -> str:
    """Draw commanded and measured speed, and which share of the tokens was kept."""
    several = any(run['tokens'].min() < 1 for run in runs)
    figure, axes = _figure(1 + several, 1.5)
    first = runs[0]
    if len(first['measured_s']):
        ax_speed = np.linalg.norm(first['measured'][:, :3], axis=1)
        axes[0].plot(*thin(first['measured_s'], ax_speed), color=RECORDED, lw=1.1, alpha=.75,
                     label='measured')
    for i, run in enumerate(runs):
        speed = np.linalg.norm(run['command'][:, :3], axis=1)
        axes[0].plot(*thin(run['s'], speed), color=colour(i), lw=1.4, label=run['name'])
        if several:
            axes[1].plot(*thin(run['s'], run['tokens']), color=colour(i), lw=1.3)
    axes[0].set_ylabel('speed, m/s')
    axes[0].set_ylim(bottom=0)
    if several:
        axes[1].set_ylabel('tokens kept')
        axes[1].set_ylim(0, 1.05)
    _legend(figure, axes[0])
    return _svg(figure, 'speed')


def plot_agreement(runs: Sequence[dict[str, Any]]) -> str:
    """Draw the cross-correlation with the recording, and how far directions are apart."""
    figure, (left, right) = _figure(1, 2.7, columns=2)
    for i, run in enumerate(runs):
        shifted = run['lag']
        if shifted and shifted['curve']:
            left.plot(shifted['shifts_s'], shifted['curve'], color=colour(i), lw=1.5,
                      label=run['name'])
        best = shifted and shifted['best']
        if best:
            left.plot(best['seconds'], best['correlation'], 'o', ms=6, mfc='white',
                      mec=colour(i), mew=1.8)
        if len(run['angles']):
            share, edges = np.histogram(run['angles'], 18, (0, 180))
            right.stairs(100 * share / share.sum(), edges, color=colour(i), lw=1.5,
                         fill=len(runs) == 1, alpha=.85 if len(runs) == 1 else 1)
    left.axvline(0, color=FAINT, lw=1)
    left.set_xlabel('shift, s (right of 0: the pilot comes later)')
    left.set_ylabel('correlation')
    right.set_xlabel('angle between the directions of flight, deg')
    right.set_ylabel('% of the images')
    right.set_xlim(0, 180)
    right.set_xticks(range(0, 181, 30))
    for ax, empty in ((left, not left.lines[:-1]), (right, not right.patches)):
        if empty:
            ax.text(.5, .5, 'too little motion to tell', transform=ax.transAxes, ha='center',
                    va='center', color=GREY)
    _legend(figure, left, len(runs) > 1)
    return _svg(figure, 'agreement')


def plot_adaptation(runs: Sequence[dict[str, Any]]) -> str:
    """Draw the velocity error that adaptation sees, and what it adds to the command."""
    figure, axes = _figure(2, 1.4)
    for i, run in enumerate(runs):
        if not run['adapting'].any():
            continue
        _, error, without, compensation = run['adaptation'].T
        axes[0].plot(*thin(run['s'], error), color=colour(i), lw=1.4, label=run['name'])
        axes[0].plot(*thin(run['s'], without), color=colour(i), lw=1, ls='--', alpha=.7,
                     label='as it would be without')
        axes[1].plot(*thin(run['s'], compensation), color=colour(i), lw=1.4)
        idle = run['adapting'] >= 2
        if idle.any():
            axes[1].fill_between(run['s'], 0, 1, where=idle, color=GREY, alpha=.15, lw=0,
                                 transform=axes[1].get_xaxis_transform())
    for ax, name in zip(axes, ADAPTATION, strict=True):
        ax.set_ylabel(name)
        ax.set_ylim(bottom=0)
    _legend(figure, axes[0])
    return _svg(figure, 'adaptation')


def plot_latency(milliseconds: np.ndarray, read: np.ndarray | None = None,
                 read_all: float | None = None) -> str:
    """
    Draw how long steps took: over time, and how often.

    Parameters
    ----------
    milliseconds : numpy.ndarray
        float64 [N].
    read : numpy.ndarray, optional
        float64 [M], how long the seeing head read at each look.
    read_all : float, optional
        How long it takes to read all tokens.

    """
    looked = read is not None and len(read) and read_all is not None
    figure, (left, right, *more) = _figure(1, 2.6, columns=2 + bool(looked))
    for ax in more:
        typical = float(np.median(read))
        ax.barh(('all tokens', 'as read'), (read_all, typical), color=(RECORDED, colour(0)),
                alpha=.85, height=.5)
        ax.set_xlabel(f'reading the view, ms: {read_all / typical:.1f} times as fast')
    left.plot(*thin(np.arange(len(milliseconds), dtype=float), milliseconds), color=colour(0),
              lw=.9)
    left.set_xlabel('image')
    left.set_ylabel('step, ms')
    left.set_ylim(bottom=0)
    shown = np.percentile(milliseconds, 99.5)
    right.hist(np.minimum(milliseconds, shown), 40, color=colour(0), alpha=.85)
    for p in (50, 95, 99):
        value = float(np.percentile(milliseconds, p))
        right.axvline(value, color=INK, lw=.9, ls=':')
        right.annotate(f'p{p} {value:.1f}', (value, 1), xycoords=('data', 'axes fraction'),
                       rotation=90, ha='right', va='top', fontsize=8, color=INK)
    right.set_xlabel('step, ms')
    right.set_ylabel('images')
    return _svg(figure, 'latency')


def _figure(rows: int, height: float, columns: int = 1) -> tuple[Any, Any]:
    """Return a figure and its axes, below each other with one time, or beside each other."""
    need_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    figure = Figure(figsize=(WIDTH, rows * height + .75), layout='constrained',
                    facecolor='none')
    FigureCanvasSVG(figure)
    axes = figure.subplots(rows, columns, sharex=columns == 1, squeeze=False).ravel()
    for ax in axes:
        ax.set_facecolor('none')
        ax.set_axisbelow(True)
        ax.grid(color=FAINT, linewidth=.7)
        ax.margins(x=.01)
        for name, spine in ax.spines.items():
            spine.set_color(FAINT)
            spine.set_visible(name in ('left', 'bottom'))
        ax.tick_params(length=0, labelsize=9, labelcolor=GREY)
        ax.xaxis.label.set(color=GREY, fontsize=9.5)
        ax.yaxis.label.set(color=INK, fontsize=9.5)
    if columns == 1:
        axes[-1].set_xlabel('s since the recording began')
        figure.align_ylabels(axes)
    return figure, axes


def _legend(figure: Any, axes: Any, wanted: bool = True) -> None:
    handles, names = axes.get_legend_handles_labels()
    if wanted and handles:
        figure.legend(handles, names, loc='outside upper left', ncols=4, frameon=False,
                      fontsize=9.5, labelcolor=INK)


def _svg(figure: Any, salt: str) -> str:
    """Return a figure as an ``svg`` element without names that could clash on a page."""
    import matplotlib
    out = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': f'edge_vla {salt}'}):
        figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
    text = out.getvalue()
    text = text[text.index('<svg'):]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    used = set(re.findall(r'#([\w-]+)', text))
    text = re.sub(r' id="([\w-]+)"', lambda m: m[0] if m[1] in used else '', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1', text, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1', text, count=1)
