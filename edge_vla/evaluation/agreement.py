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
How far the pilot's commands agree with what was recorded.

All velocities are rows of forward, left, up (m/s) and yaw rate (rad/s) in the heading frame.
"""

from typing import Any

import numpy as np

AXES = ('forward', 'left', 'up', 'yaw_rate')
MOVING = 0.1  # m/s: below it a direction means nothing
CLOSE_DEG = 30.0
HELD_S = 0.5  # a recorded command holds this long
LONGEST_LAG_S = 2.0
STEADY = 0.02  # m/s or rad/s of standard deviation: below it a correlation means nothing
FEWEST = 10


def hold(times: np.ndarray, from_times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """
    Return at each time the newest value, as a vehicle would have held it.

    Parameters
    ----------
    times : numpy.ndarray
        int64 [N], ns.
    from_times : numpy.ndarray
        int64 [M], ns, ascending.
    values : numpy.ndarray
        float64 [M, 4].

    Returns
    -------
    numpy.ndarray
        float64 [N, 4]; NaN where there is none newer than ``HELD_S``.

    """
    out = np.full((len(times), 4), np.nan)
    if len(from_times):
        k = np.searchsorted(from_times, times, side='right') - 1
        known = (k >= 0) & (times - from_times[np.maximum(k, 0)] <= HELD_S * 1e9)
        out[known] = values[k[known]]
    return out


def interpolate(times: np.ndarray, from_times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return measured values at each time, linear between neighbours; see `hold`."""
    if len(from_times) < 2:
        return hold(times, from_times, values)
    out = np.full((len(times), 4), np.nan)
    k = np.clip(np.searchsorted(from_times, times, side='right') - 1, 0, len(from_times) - 2)
    gap = from_times[k + 1] - from_times[k]
    share = (times - from_times[k]) / np.maximum(gap, 1)
    known = (gap > 0) & (gap <= HELD_S * 1e9) & (share >= 0) & (share <= 1)
    s = share[known, None]
    out[known] = (1 - s) * values[k[known]] + s * values[k[known] + 1]
    return out


def agreement(times: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any] | None:
    """
    Compare two commands, image by image.

    Parameters
    ----------
    times : numpy.ndarray
        int64 [N], ns, ascending.
    ours, theirs : numpy.ndarray
        float64 [N, 4]; rows with NaN in `theirs` are not compared.

    Returns
    -------
    dict or None
        ``compared`` images; ``axes`` with mean absolute, root mean square and 95th percentile
        error, bias (ours - theirs) and correlation (None where one of both hardly moves);
        ``velocity_rmse`` m/s of the vector; ``direction``; ``lag``. None if nothing can be
        compared.

    """
    known = np.isfinite(theirs).all(1)
    if not known.any():
        return None
    a, b = ours[known], theirs[known]
    error = a - b
    axes = {}
    for k, name in enumerate(AXES):
        e = error[:, k]
        axes[name] = {'mae': rounded(np.abs(e).mean()), 'rmse': rounded(np.sqrt((e * e).mean())),
                      'p95': rounded(np.percentile(np.abs(e), 95)), 'bias': rounded(e.mean()),
                      'correlation': rounded(correlation(a[:, k], b[:, k]))}
    return {'compared': int(known.sum()), 'axes': axes,
            'velocity_rmse': rounded(np.sqrt((error[:, :3] ** 2).sum(1).mean())),
            'direction': direction(a, b), 'lag': lag(times, ours, theirs)['best']}


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Pearson's correlation of two vectors, or None where one hardly varies."""
    if len(a) < FEWEST or min(a.std(), b.std()) < STEADY:
        return None
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angles between velocities, deg, of the rows where both move."""
    u, v = a[:, :3], b[:, :3]
    lengths = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    moving = (lengths[0] > MOVING) & (lengths[1] > MOVING)
    cosine = (u[moving] * v[moving]).sum(1) / (lengths[0][moving] * lengths[1][moving])
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def direction(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """
    Return how far directions of flight agree where both fly, and whether both fly at all.

    Returns
    -------
    dict
        ``images`` where both move, mean cosine, share within 30 degrees, median angle (deg);
        ``moving_alike``: share of all rows where both move or both rest; ``turning_alike``: of
        the rows where both turn, the share that turns to the same side.

    """
    angle = angles(a, b)
    rest = [np.linalg.norm(x[:, :3], axis=1) <= MOVING for x in (a, b)]
    turning = (np.abs(a[:, 3]) > MOVING) & (np.abs(b[:, 3]) > MOVING)
    some = len(angle) > 0
    return {'images': len(angle),
            'mean_cosine': rounded(np.cos(np.radians(angle)).mean()) if some else None,
            'within_30_deg': rounded((angle <= CLOSE_DEG).mean()) if some else None,
            'median_deg': rounded(np.median(angle), 2) if some else None,
            'moving_alike': rounded((rest[0] == rest[1]).mean()),
            'turning_alike': rounded((a[turning, 3] * b[turning, 3] > 0).mean())
            if turning.any() else None}


def lag(times: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """
    Find by cross-correlation how much later ours is.

    Both are put on an even grid; every axis that varies in both is correlated at every shift of
    up to 2 s, and the mean over axes is taken. The peak is refined by a parabola.

    Returns
    -------
    dict
        ``shifts_s`` and ``curve`` (lists), and ``best``: None, or ``seconds`` (positive: ours
        comes later), ``correlation`` there, and ``at_limit`` if the peak may lie further out.

    """
    nothing: dict[str, Any] = {'shifts_s': [], 'curve': [], 'best': None}
    if len(times) < FEWEST:
        return nothing
    steps = np.diff(times)
    step = float(np.clip(np.median(steps[steps > 0]) if (steps > 0).any() else 0, 1e7, 2e8))
    if times[-1] - times[0] > 1e6 * step:
        return nothing  # a gap of days: an even grid would not fit into memory
    grid = np.arange(times[0], times[-1] + 1, step)
    a, b = _even(grid, times, ours), _even(grid, times, theirs)
    furthest = min(int(LONGEST_LAG_S * 1e9 / step), len(grid) // 3)
    shifts = np.arange(-furthest, furthest + 1)
    curves = [c for k in range(4) if (c := _cross(a[:, k], b[:, k], shifts)) is not None]
    if not curves or furthest < 2:
        return nothing
    curve = np.mean(curves, axis=0)
    k = int(curve.argmax())
    peak, offset, limit = float(curve[k]), 0.0, k in (0, len(curve) - 1)
    if not limit:
        left, middle, right = curve[k - 1:k + 2]
        bend = left - 2 * middle + right
        if bend < 0:
            offset = float(np.clip(.5 * (left - right) / bend, -.5, .5))
            peak = float(middle - .25 * (left - right) * offset)
    return {'shifts_s': (shifts * step * 1e-9).round(4).tolist(), 'curve': curve.tolist(),
            'best': {'seconds': rounded((shifts[k] + offset) * step * 1e-9),
                     'correlation': rounded(min(1.0, peak)), 'at_limit': limit}}


def _even(grid: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Hold values on an even grid; a gap longer than ``HELD_S`` is NaN."""
    k = np.searchsorted(times, grid, side='right') - 1
    out = values[k].copy()
    out[grid - times[k] > HELD_S * 1e9] = np.nan
    return out


def _cross(a: np.ndarray, b: np.ndarray, shifts: np.ndarray) -> np.ndarray | None:
    """Return the correlation of a(t) and b(t - shift), or None where one hardly varies."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < FEWEST or min(a[known].std(), b[known].std()) < STEADY:
        return None
    out = np.zeros(len(shifts))
    for i, s in enumerate(shifts):
        x, y = (a[s:], b[:len(b) - s]) if s >= 0 else (a[:s], b[-s:])
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        if len(x) >= FEWEST and min(x.std(), y.std()) > 1e-9:
            out[i] = np.corrcoef(x, y)[0, 1]
    return out


def jerk(times: np.ndarray, values: np.ndarray) -> dict[str, float] | None:
    """
    Return how jerky a commanded velocity is.

    Parameters
    ----------
    times : numpy.ndarray
        int64 [N], ns.
    values : numpy.ndarray
        float64 [N, 4].

    Returns
    -------
    dict or None
        Root mean square and 95th percentile of the length of the second derivative, m/s^3;
        None with less than three rows in a row.

    """
    j = np.linalg.norm(second_derivative(times, values[:, :3]), axis=1)
    j = j[np.isfinite(j)]
    if not len(j):
        return None
    return {'rms': rounded(np.sqrt((j * j).mean())), 'p95': rounded(np.percentile(j, 95))}


def second_derivative(times: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the second derivative of rows [N, C], [N - 2, C]; NaN across gaps and steps back."""
    if len(times) < 3:
        return np.zeros((0, v.shape[1]))
    dt = np.diff(times) * 1e-9
    dt = np.where((dt > 1e-4) & (dt <= HELD_S), dt, np.nan)[:, None]
    rate = np.diff(v, axis=0) / dt
    return np.diff(rate, axis=0) / (.5 * (dt[1:] + dt[:-1]))


def rounded(value: Any, digits: int = 4) -> Any:
    """Round for reports; None stays None, and no minus zero."""
    return None if value is None else round(float(value), digits) + 0.0
