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


"""A flight seen from above: the scene to scale, one colour of path per instruction."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from edge_vla.sim.scene import Scene, SceneObject
from edge_vla.visualization.style import blank, clean, FAINT, GREY, GROUND, INK, save
import numpy as np

PALETTE = ('#e4572e', '#2e86ab', '#7b4fa3', '#3a9d5d', '#c2185b', '#8a6d1d')
ARROW_EVERY_M = 1.3


@dataclass(frozen=True)
class Leg:
    """
    The part of a flight under one instruction.

    Attributes
    ----------
    instruction : str
        What was asked.
    outcome : str
        Shown behind it in the legend.
    positions : numpy.ndarray
        float64 [N, 3], m, world.
    yaws : numpy.ndarray
        float64 [N], rad.

    """

    instruction: str
    outcome: str
    positions: np.ndarray
    yaws: np.ndarray


def plot_flight(path: Path, scene: Scene, legs: Sequence[Leg], title: str = '') -> None:
    """
    Write a picture of the flight (PNG, or what the suffix of `path` says).

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    figure = blank((9, 9.6), 150)
    axes = figure.add_axes((.07, .2, .88, .72))
    _frame(axes, scene, legs)
    for obj in scene.objects:
        _draw_object(axes, obj)
    flown = [leg for leg in legs if len(leg.positions)]
    for k, leg in enumerate(flown):
        _draw_leg(axes, leg, PALETTE[k % len(PALETTE)], k + 1)
    x, y, yaw = (*flown[0].positions[0, :2], flown[0].yaws[0]) if flown else scene.start[[0, 1, 3]]
    _draw_vehicle(axes, float(x), float(y), float(yaw))
    if title:
        figure.text(.07, .945, title, fontsize=15, fontweight='bold', color=INK)
    for k, leg in enumerate(legs):
        colour, y_text = PALETTE[k % len(PALETTE)], .125 - min(.031, .11 / len(legs)) * k
        figure.text(.085, y_text, str(k + 1), ha='center', va='center', color='white',
                    fontsize=9, fontweight='bold',
                    bbox={'boxstyle': 'circle,pad=.28', 'fc': colour, 'ec': 'none'})
        figure.text(.11, y_text, leg.instruction, va='center', fontsize=11, color=INK)
        figure.text(.95, y_text, leg.outcome, va='center', ha='right', fontsize=10.5,
                    color=colour)
    save(figure, path)


def _frame(axes: Any, scene: Scene, legs: Sequence[Leg]) -> None:
    """Choose a square view around everything, and draw ground, grid and border."""
    points = [o.position[:2] + d for o in scene.objects for d in (-o.size[:2], o.size[:2])]
    points += [scene.start[:2]] + [leg.positions[:, :2] for leg in legs if len(leg.positions)]
    xy = np.vstack(points)
    low, high = xy.min(0), xy.max(0)
    half = max(3.0, float((high - low).max()) / 2 + 1.2)
    centre = (low + high) / 2
    axes.set_xlim(centre[0] - half * 1.1, centre[0] + half * 1.1)
    axes.set_ylim(centre[1] - half * .94, centre[1] + half * .94)
    axes.set_aspect('equal')
    axes.set_facecolor(GROUND)
    axes.grid(color=FAINT, linewidth=.8, zorder=0)
    from matplotlib.ticker import MultipleLocator
    step = 1 if half < 6 else 2 if half < 13 else 5
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.yaxis.set_major_locator(MultipleLocator(step))
    clean(axes)
    axes.tick_params(labelsize=9, labelcolor=GREY)
    axes.set_xlabel('east, m', fontsize=9.5, color=GREY)
    axes.set_ylabel('north, m', fontsize=9.5, color=GREY)


def _draw_object(axes: Any, obj: SceneObject) -> None:
    """Draw one primitive as seen from above, shaded enough to tell the shapes apart."""
    from matplotlib.patches import Circle, Polygon
    (x, y), r = obj.position[:2], obj.radius
    rgb = np.clip(obj.rgb, 0, 1)
    edge = tuple(rgb * .55)
    light = tuple(rgb + (1 - rgb) * .45)

    def add(patch: Any) -> None:
        axes.add_patch(patch)

    shadow = {'fc': '#1b2a10', 'ec': 'none', 'alpha': .16, 'zorder': 2}
    shape = {'fc': tuple(rgb), 'ec': edge, 'lw': 1.3, 'zorder': 3}
    if obj.shape == 'box':
        c, s = math.cos(obj.yaw), math.sin(obj.yaw)
        a, b = obj.size[:2]
        corners = np.array([[a, b], [-a, b], [-a, -b], [a, -b]]) @ np.array([[c, s], [-s, c]])
        add(Polygon(corners + (x + .09, y - .09), **shadow))
        add(Polygon(corners + (x, y), joinstyle='round', **shape))
    else:
        add(Circle((x + .09, y - .09), r, **shadow))
        add(Circle((x, y), r, **shape))
    if obj.shape == 'sphere':
        for k in np.linspace(.1, .9, 12):
            add(Circle((x - .32 * k * r, y + .32 * k * r), r * .9 * (1 - k), fc=light, ec='none',
                       alpha=.12, zorder=3))
    elif obj.shape == 'pillar':
        add(Circle((x, y), r * .72, fc=light, ec=edge, lw=.8, zorder=3))
    elif obj.shape == 'cone':
        for angle in np.arange(8) * math.pi / 4:
            axes.plot([x, x + r * math.cos(angle)], [y, y + r * math.sin(angle)], color=edge,
                      lw=.6, alpha=.55, zorder=3)
        add(Circle((x, y), r * .12, fc=light, ec=edge, lw=.8, zorder=3))
    axes.annotate(f'{obj.colour} {obj.shape}', (x, y - r), (0, -5), textcoords='offset points',
                  ha='center', va='top', fontsize=9, color=INK, zorder=8,
                  path_effects=_halo(GROUND))


def _draw_leg(axes: Any, leg: Leg, colour: str, number: int) -> None:
    """Draw a path with its direction of flight and of view, and its number where it began."""
    xy = leg.positions[:, :2]
    axes.plot(*xy.T, color='white', lw=5, alpha=.9, solid_capstyle='round', zorder=4)
    axes.plot(*xy.T, color=colour, lw=2.6, solid_capstyle='round', zorder=5)
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    for mark in np.arange(ARROW_EVERY_M, way[-1], ARROW_EVERY_M):
        i = int(np.searchsorted(way, mark))
        yaw = leg.yaws[i]
        axes.annotate('', xy[i] + .42 * np.array([math.cos(yaw), math.sin(yaw)]), xy[i], zorder=6,
                      arrowprops={'arrowstyle': '-|>,head_width=.22,head_length=.38',
                                  'color': colour, 'lw': 1.2, 'alpha': .75, 'shrinkA': 0})
    if number > 1:
        axes.annotate(str(number), xy[0], ha='center', va='center', color='white', fontsize=9,
                      fontweight='bold', zorder=9,
                      bbox={'boxstyle': 'circle,pad=.28', 'fc': colour, 'ec': 'white', 'lw': 1.3})
    axes.plot(*xy[-1], 'o', ms=8, mfc='white', mec=colour, mew=2.4, zorder=7)


def _draw_vehicle(axes: Any, x: float, y: float, yaw: float) -> None:
    """Draw a quadrotor where the flight began."""
    from matplotlib.patches import Circle, Polygon
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, s], [-s, c]])
    for angle in (.25, .75, 1.25, 1.75):
        arm = .3 * np.array([math.cos(angle * math.pi), math.sin(angle * math.pi)]) @ turn
        axes.plot([x, x + arm[0]], [y, y + arm[1]], color=INK, lw=2, zorder=10)
        axes.add_patch(Circle((x + arm[0], y + arm[1]), .13, fc='white', ec=INK, lw=1.4,
                              zorder=10))
    nose = np.array([[.42, 0], [.24, .1], [.24, -.1]]) @ turn + (x, y)
    axes.add_patch(Polygon(nose, fc=PALETTE[0], ec='none', zorder=11))
    axes.add_patch(Circle((x, y), .1, fc=INK, ec='none', zorder=11))
    axes.annotate('start', (x, y - .45), ha='center', va='top', fontsize=9, color=INK, zorder=10,
                  fontstyle='italic', path_effects=_halo(GROUND))


def _halo(colour: str) -> list[Any]:
    from matplotlib.patheffects import withStroke
    return [withStroke(linewidth=3, foreground=colour)]
