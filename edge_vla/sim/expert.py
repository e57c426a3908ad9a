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
The privileged expert: flies every task with full knowledge of the scene.

It is the teacher of imitation learning and the upper bound of what a pilot can reach.
"""

import math

from edge_vla.sim.raycast import A, BOX, C, SPHERE, X, Y, Z
from numba import njit
import numpy as np

# Verb codes are indices into language.plan.VERBS: go, orbit_left, orbit_right, search, hover.
GO, ORBIT_LEFT, ORBIT_RIGHT, SEARCH, HOVER = range(5)
STAND_OFF = 1.2  # m between body and target surface
SEARCH_RATE = 0.8  # rad/s
CIRCLE_SPEED = 0.9  # m/s
IN_VIEW = 0.70  # rad, a little inside half the camera's field of view


@njit(cache=True, nogil=True)
def heading(state):  # noqa: ANN001, ANN201
    """Yaw of a state row, rad."""
    w, x, y, z = state[6], state[7], state[8], state[9]
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


@njit(cache=True, nogil=True)
def bearing_and_range(state, obj):  # noqa: ANN001, ANN201
    """Bearing (left positive, rad) and horizontal distance to an object's centre (m)."""
    dx = obj[X] - state[0]
    dy = obj[Y] - state[1]
    b = math.atan2(dy, dx) - heading(state)
    return math.atan2(math.sin(b), math.cos(b)), math.sqrt(dx * dx + dy * dy)


@njit(cache=True, nogil=True)
def _clip(x, low, high):  # noqa: ANN001, ANN202
    return min(high, max(low, x))


@njit(cache=True, nogil=True)
def expert(state, objects, count, verb, seen, out, sighted=True):  # noqa: ANN001, ANN201
    """
    Write the expert's command for one world.

    Parameters
    ----------
    state : float64 [STATE_COLUMNS]
        See sim.dynamics.
    objects : float64 [N, OBJECT_COLUMNS]
        Target first.
    count : int
        Objects in use.
    verb : int
        Index into language.plan.VERBS.
    seen : bool
        Whether the target has been in view since the instruction came.
    out : float64 [4], written
        Heading-frame velocity (m/s) and yaw rate (rad/s).
    sighted : bool
        Whether the camera shows anything: who sees nothing finds nothing.

    Returns
    -------
    bool
        The new value of `seen`.

    """
    out[:] = 0.0
    if verb == HOVER:
        return seen
    target = objects[0]
    bearing, distance = bearing_and_range(state, target)
    if sighted and abs(bearing) < IN_VIEW:
        seen = True
    if not seen:
        out[2] = _clip(.8 * (1.3 - state[2]), -.8, .8)
        out[3] = SEARCH_RATE
        return seen
    height = target[Z] if target[0] == SPHERE else min(1.4, target[Z] + .3)
    gap = distance - target[A] - STAND_OFF
    vx = _clip(.9 * gap, -1., 1.4) * max(0., math.cos(bearing)) ** 2
    vy = 0.0
    vz = _clip(.9 * (height - state[2]), -.8, .8)
    rate = _clip(1.6 * bearing, -1.1, 1.1)
    if verb == ORBIT_LEFT or verb == ORBIT_RIGHT:
        sign = 1. if verb == ORBIT_LEFT else -1.
        k = math.exp(-(max(gap, 0.) / .8) ** 2) * (1. if abs(bearing) < .5 else .2)
        vy = sign * CIRCLE_SPEED * k
        rate = _clip(rate - vy / (distance + 1e-3), -1.2, 1.2)
    yaw = heading(state)
    cy, sy = math.cos(yaw), math.sin(yaw)
    for j in range(1, count):  # slide around what stands in the way
        o = objects[j]
        r = o[A] * (1.3 if o[0] == BOX else 1.0)
        ex = o[X] - state[0]
        ey = o[Y] - state[1]
        fx = cy * ex + sy * ey
        fy = -sy * ex + cy * ey
        centre = math.sqrt(fx * fx + fy * fy)
        if o[0] == SPHERE and abs(o[Z] - state[2]) > r + .6:
            continue
        if o[0] != SPHERE and state[2] - (o[Z] + o[C]) > .5:
            continue
        ahead = centre - r
        if ahead < 1.8 and fx > -.3 and centre < distance + .3:
            k = min(1., (1.8 - ahead) / 1.1)
            side = abs(fy) - r
            if side < .95:
                vy += -k if fy > 0 else k
                vx *= 1 - .6 * k * (1. if side < .55 else .3)
    out[0] = _clip(vx, -1., 1.5)
    out[1] = _clip(vy, -1.0, 1.0)
    out[2] = vz
    out[3] = rate
    return seen


@njit(cache=True, nogil=True)
def expert_batch(states, objects, counts, verbs, seen, out, dark):  # noqa: ANN001, ANN201
    """`expert` for every world; `seen` uint8 [B] is updated, `dark` bool [B] shows nothing."""
    for i in range(states.shape[0]):
        seen[i] = expert(states[i], objects[i], counts[i], verbs[i], seen[i] != 0, out[i],
                         not dark[i])


class Expert:
    """The expert as an object with memory, for one world."""

    def __init__(self, verb: int) -> None:
        self._verb = verb
        self._seen = False
        self._out = np.zeros(4)

    def act(self, state: np.ndarray, objects: np.ndarray, count: int) -> np.ndarray:
        """Return the command float64 [4] for a state row and object rows (target first)."""
        self._seen = bool(expert(state, objects, count, self._verb, self._seen, self._out))
        return self._out.copy()
