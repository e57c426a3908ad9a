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


"""Camera pictures with what the pilot was told, understood, looked at and commanded."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_DUPLEX
LONGEST = 400  # characters of a line that are looked at
WHITE, GREY, DARK = (245, 245, 245), (176, 182, 190), (18, 20, 24)
ACCENT, WARNING, READ = (255, 176, 46), (255, 92, 80), (84, 170, 255)
FULL_SPEED = 1.8  # m/s that fill the dial
FULL_YAW_RATE = 1.2  # rad/s that fill the arc
MIN_WIDTH = 640  # px, smaller pictures are enlarged by a whole number


@dataclass(frozen=True)
class Overlay:
    """
    What is drawn over a picture; empty and None parts are left out.

    Attributes
    ----------
    instruction, narration : str
        What was asked, and what was understood.
    velocity : sequence of float or None
        Commanded (x, y, z), m/s, heading frame.
    yaw_rate : float
        Commanded, rad/s.
    speed : float or None
        Measured, m/s.
    state : str
        State of the safety gate; anything but 'ok' is shown.
    attention : numpy.ndarray or None
        float32 [rows, columns] in [0, 1], over the middle of the picture that has its aspect.
    time_s : float or None
        Time of flight.
    kept : numpy.ndarray or None
        uint8 [rows, columns], 0 where a patch is not read, because an earlier frame stands for it
        or because nothing was asked about it: it is shown grey. 1 is read; 2 is read because it
        is near what was asked for, and tinted; 3 is most like its words, and framed too.

    """

    instruction: str = ''
    narration: str = ''
    velocity: Sequence[float] | None = None
    yaw_rate: float = 0.0
    speed: float | None = None
    state: str = 'ok'
    attention: np.ndarray | None = None
    time_s: float | None = None
    kept: np.ndarray | None = None


def draw(image: np.ndarray, overlay: Overlay) -> np.ndarray:
    """
    Return an enlarged copy of a picture with the overlay on it.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 [H, W, 3], RGB.
    overlay : Overlay
        What to draw.

    Returns
    -------
    numpy.ndarray
        uint8 [kH, kW, 3], RGB, even sides, at least ``MIN_WIDTH`` wide.

    """
    height, width = image.shape[:2]
    zoom = max(1, math.ceil(MIN_WIDTH / width))
    height, width = height * zoom // 2 * 2, width * zoom // 2 * 2
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    unit = max(1.0, width / 640)  # type and lines grow with the picture
    if overlay.kept is not None:
        _leave_out(_middle(out, overlay.kept.shape), overlay.kept == 0)
        _expanded(_middle(out, overlay.kept.shape), overlay.kept, unit)
    if overlay.attention is not None:
        _attention(_middle(out, overlay.attention.shape), overlay.attention, unit)
    bar = round(30 * unit)
    _shade(out[:bar])
    _shade(out[-bar:])
    pad, base = round(12 * unit), round(20 * unit)
    clock = '' if overlay.time_s is None else f'{overlay.time_s:5.1f} s'
    room = width - 2 * pad - _width('000.0 s  ', unit)
    _text(out, overlay.instruction, (pad, base), WHITE, unit, room)
    _text(out, clock, (width - pad - _width(clock, unit), base), GREY, unit)
    measured = '' if overlay.speed is None else f'{overlay.speed:.1f} m/s'
    colour = GREY
    if overlay.state != 'ok':
        measured, colour = f'{overlay.state}  {measured}', WARNING
    foot = height - round(10 * unit)
    _text(out, overlay.narration, (pad, foot), ACCENT, unit,
          width - 3 * pad - _width(measured, unit))
    _text(out, measured, (width - pad - _width(measured, unit), foot), colour, unit)
    if overlay.velocity is not None:
        radius = round(42 * unit)
        centre = (width - radius - round(34 * unit), height - bar - radius - round(16 * unit))
        if centre[1] >= radius:  # a flat picture has no room for it
            _dial(out, centre, radius, overlay.velocity, overlay.yaw_rate, unit)
    return out


def _shade(area: np.ndarray) -> None:
    area[...] = cv2.addWeighted(area, 0.32, np.full_like(area, DARK), 0.68, 0)


def _width(text: str, unit: float) -> int:
    return cv2.getTextSize(text, FONT, 0.5 * unit, 1)[0][0]


def _text(out: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int],
          unit: float, room: int | None = None) -> None:
    # the stroke fonts know no more than ASCII; anybody may send a text of megabytes
    text = text[:LONGEST].encode('ascii', 'replace').decode()
    if room is not None and _width(text, unit) > room:
        fits = bisect_right(range(len(text)), room, key=lambda n: _width(text[:n] + '...', unit))
        text = text[:max(0, fits - 1)].rstrip() + '...'
    cv2.putText(out, text, at, FONT, 0.5 * unit, colour, max(1, int(unit)), cv2.LINE_AA)


def _middle(image: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Return a view of the largest middle part with square grid cells: what the pilot sees."""
    height, width = image.shape[:2]
    rows, columns = grid
    keep_w = min(width, round(height * columns / rows))
    keep_h = min(height, round(width * rows / columns))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    return image[top:top + keep_h, left:left + keep_w]


def _leave_out(out: np.ndarray, dropped: np.ndarray) -> None:
    """Grey the patches that are not read again."""
    height, width = out.shape[:2]
    where = cv2.resize(dropped.astype(np.uint8), (width, height),
                       interpolation=cv2.INTER_NEAREST) > 0
    grey = out[where].mean(-1, keepdims=True)
    out[where] = (.25 * out[where] + .55 * grey).astype(np.uint8)


def _expanded(out: np.ndarray, kept: np.ndarray, unit: float) -> None:
    """Tint the patches that a question chose, and frame those most like its words."""
    height, width = out.shape[:2]
    where = cv2.resize((kept > 1).astype(np.uint8), (width, height),
                       interpolation=cv2.INTER_NEAREST) > 0
    out[where] = (.78 * out[where] + .22 * np.array(READ)).astype(np.uint8)
    _frame(out, kept > 2, READ, unit)


def _attention(out: np.ndarray, attention: np.ndarray, unit: float) -> None:
    """Warm the patches that were taken for the target, and frame the sure ones."""
    height, width = out.shape[:2]
    p = np.clip(np.nan_to_num(attention), 0, 1).astype(np.float32)
    weight = cv2.resize(p, (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * 0.45
    out[...] = (out * (1 - weight) + np.array(ACCENT, np.float32) * weight).astype(np.uint8)
    _frame(out, p > 0.5, ACCENT, unit)


def _frame(out: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int],
           unit: float) -> None:
    """Draw the border of some patches."""
    height, width = out.shape[:2]
    rows, columns = inside.shape
    ys = np.linspace(0, height, rows + 1).round().astype(int)
    xs = np.linspace(0, width, columns + 1).round().astype(int)
    edges = [((x, y0), (x, y1)) for i, (y0, y1) in enumerate(zip(ys, ys[1:], strict=False))
             for j, x in enumerate(xs) if _differ(inside[i], j)]
    edges += [((x0, y), (x1, y)) for j, (x0, x1) in enumerate(zip(xs, xs[1:], strict=False))
              for i, y in enumerate(ys) if _differ(inside[:, j], i)]
    picture = np.ascontiguousarray(out)
    for a, b in edges:
        cv2.line(picture, tuple(map(int, a)), tuple(map(int, b)), colour,
                 max(1, round(1.5 * unit)), cv2.LINE_AA)
    out[...] = picture


def _differ(line: np.ndarray, k: int) -> bool:
    """Tell whether the cells before and after border `k` differ; outside counts as unsure."""
    before = line[k - 1] if k else 0
    after = line[k] if k < len(line) else 0
    return bool(before != after)


def _dial(out: np.ndarray, centre: tuple[int, int], radius: int, velocity: Sequence[float],
          yaw_rate: float, unit: float) -> None:
    """Draw the command seen from above: forward is up, left is left; climb at the side."""
    x, y = centre
    side = radius + round(20 * unit)
    top, left = max(0, y - side), max(0, x - side)
    _shade_round(out[top:y + side, left:x + side], (x - left, y - top),
                 radius + round(11 * unit))
    cv2.circle(out, centre, radius, GREY, 1, cv2.LINE_AA)
    cv2.circle(out, centre, round(radius / 2), (96, 100, 108), 1, cv2.LINE_AA)
    vx, vy, vz = (float(np.clip(v / FULL_SPEED, -1, 1)) for v in velocity)
    tip = (round(x - vy * radius), round(y - vx * radius))
    thick = max(2, round(2.5 * unit))
    if math.hypot(vx, vy) > 0.04:
        cv2.arrowedLine(out, centre, tip, ACCENT, thick, cv2.LINE_AA, tipLength=0.28)
    cv2.circle(out, centre, round(2.5 * unit), WHITE, -1, cv2.LINE_AA)
    turn = float(np.clip(yaw_rate / FULL_YAW_RATE, -1, 1)) * 90
    if abs(turn) > 2:  # image angles run clockwise from the right; a left turn runs to the left
        cv2.ellipse(out, centre, (radius + round(6 * unit),) * 2, 0, -90 - max(turn, 0),
                    -90 - min(turn, 0), WHITE, thick, cv2.LINE_AA)
    bar = x + radius + round(18 * unit)
    cv2.line(out, (bar, y - radius), (bar, y + radius), GREY, 1, cv2.LINE_AA)
    end = round(y - vz * radius)
    if abs(end - y) > 1:
        cv2.line(out, (bar, y), (bar, end), ACCENT, 2 * thick)
    cv2.line(out, (bar - 4, y), (bar + 4, y), WHITE, 1, cv2.LINE_AA)


def _shade_round(area: np.ndarray, centre: tuple[int, int], radius: int) -> None:
    mask = np.zeros(area.shape[:2], np.uint8)
    cv2.circle(mask, centre, radius, 255, -1, cv2.LINE_AA)
    weight = mask[..., None] * (0.55 / 255)
    area[...] = (area * (1 - weight) + np.array(DARK) * weight).astype(np.uint8)
