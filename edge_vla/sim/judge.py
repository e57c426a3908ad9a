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

"""The judge: was the instruction obeyed, and at what cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math

from edge_vla.language.plan import ALL_VERBS, MOVING, Plan
from edge_vla.sim.expert import GO, HOVER, ORBIT_LEFT, SEARCH
from edge_vla.sim.raycast import A, surface_distance, X, Y
from edge_vla.sim.scene import Scene
from edge_vla.sim.tasks import Success, TIMEOUT_S
from numba import njit
import numpy as np

STATUS = ('running', 'success', 'collision', 'timeout', 'lost')
RUNNING, SUCCESS, COLLISION, TIMEOUT, LOST = range(5)
# Columns of a judge row.
TIME, HELD, SWEPT, ANGLE, CLOSEST, GAP, BEST = range(7)
JUDGE_COLUMNS = 7
_S = Success()
NEAR, FAR, FACING, SPEED, HOLD = _S.near, _S.far, _S.facing, _S.speed, _S.hold
ORBIT_GAP, ORBIT_FACING, ORBIT_TURN = _S.orbit_gap, _S.orbit_facing, _S.orbit_turn
TOUCH, FLOOR, CEILING, BORDER = _S.touch, _S.floor, _S.ceiling, _S.border
LIMIT_S = np.array([TIMEOUT_S[v] for v in ALL_VERBS])
LAND, UNKNOWN = ALL_VERBS.index('land'), ALL_VERBS.index('unknown')
TOUCHDOWN, TOUCHDOWN_SPEED = _S.touchdown, _S.touchdown_speed


@njit(cache=True, nogil=True)
def judge_step(row, objects, count, verb, x, y, z, speed, yaw, dt):  # noqa: ANN001, ANN201
    """
    Advance one judge row by `dt` seconds and return the status code.

    Parameters
    ----------
    row : float64 [JUDGE_COLUMNS], changed
        Start with zeros, ANGLE nan, CLOSEST and GAP inf.
    objects : float64 [N, OBJECT_COLUMNS]
        Target first.
    count, verb : int
        Objects in use; index into language.plan.ALL_VERBS.
    x, y, z, speed, yaw : float
        Position (m), speed (m/s) and heading (rad) of the vehicle.
    dt : float
        Seconds since the last call.

    """
    row[TIME] += dt
    target = objects[0]
    dx = target[X] - x
    dy = target[Y] - y
    gap = math.sqrt(dx * dx + dy * dy) - target[A]
    bearing = math.atan2(dy, dx) - yaw
    bearing = abs(math.atan2(math.sin(bearing), math.cos(bearing)))
    row[GAP] = gap
    angle = math.atan2(-dy, -dx)
    if not math.isnan(row[ANGLE]):
        turn = angle - row[ANGLE]
        turn = math.atan2(math.sin(turn), math.cos(turn))
        if gap < ORBIT_GAP and bearing < ORBIT_FACING:
            row[SWEPT] += turn
    row[ANGLE] = angle
    if verb == LAND and z < TOUCHDOWN:
        row[BEST] = 1.0
        return SUCCESS if speed < TOUCHDOWN_SPEED else COLLISION
    if z < FLOOR:
        return COLLISION
    for j in range(count):
        d = surface_distance(objects[j], x, y, z)
        if j > 0 and d < row[CLOSEST]:
            row[CLOSEST] = d
        if d < TOUCH:
            return COLLISION
    if z > CEILING or math.sqrt(x * x + y * y) > BORDER:
        return LOST
    hovering = speed < SPEED
    if verb == GO or verb == SEARCH:
        hovering = hovering and NEAR < gap < FAR and bearing < FACING
    row[HELD] = row[HELD] + dt if hovering else 0.0
    if verb == GO or verb == SEARCH:
        row[BEST] = max(row[BEST], min(1.0, row[HELD] / HOLD))
        if row[HELD] >= HOLD:
            return SUCCESS
    elif verb == HOVER or verb == UNKNOWN:
        row[BEST] = max(row[BEST], min(1.0, row[HELD] / 3.0))
        if row[HELD] >= 3.0:
            return SUCCESS
    elif verb != LAND:  # from above, circling to the left is clockwise
        turned = -row[SWEPT] if verb == ORBIT_LEFT else row[SWEPT]
        row[BEST] = max(row[BEST], min(1.0, turned / ORBIT_TURN))
        if turned >= ORBIT_TURN:
            return SUCCESS
    if row[TIME] >= LIMIT_S[verb]:
        return TIMEOUT
    return RUNNING


def new_row(out: np.ndarray) -> None:
    """Reset judge row(s) in place."""
    out[...] = 0.0
    out[..., ANGLE] = np.nan
    out[..., CLOSEST] = np.inf
    out[..., GAP] = np.inf


@dataclass(frozen=True)
class Verdict:
    """
    State of one instruction.

    Attributes
    ----------
    status : str
        'running', 'success', 'collision', 'timeout' or 'lost'.
    distance : float
        Horizontal gap between vehicle and target surface, m.
    progress : float
        Fraction of the hover or the circle done, in [0, 1].
    closest_distractor : float
        Smallest distance so far to any other object's surface, m (inf if there is none).
    elapsed : float
        Seconds since the instruction.

    """

    status: str
    distance: float
    progress: float
    closest_distractor: float
    elapsed: float


class Judge:
    """
    Judges one instruction from the poses of a flight; make a new one per instruction.

    Parameters
    ----------
    scene : Scene
    plan : Plan
        What was asked; its object, if it needs one, must be in the scene.
    position : numpy.ndarray
        float64 [3], where the instruction was given, m.
    yaw : float
        Heading then, rad.
    time_ns : int
        When.

    Raises
    ------
    ValueError
        The scene has no such object.

    """

    def __init__(self, scene: Scene, plan: Plan, position: np.ndarray, yaw: float,
                 time_ns: int) -> None:
        target = scene.find(plan.colour, plan.shape) if plan.verb in MOVING else 0
        if target is None:
            raise ValueError(f'the scene has no {plan.colour} {plan.shape}')
        self._objects = Scene(scene.objects, target, scene.light, scene.start).rows()
        self._count = len(scene.objects)
        self._verb = ALL_VERBS.index(plan.verb)
        self._row = np.zeros(JUDGE_COLUMNS)
        new_row(self._row)
        self._time_ns = time_ns
        self._status = 'running'
        self.update(time_ns, position, np.zeros(3), yaw)

    def update(self, time_ns: int, position: np.ndarray, velocity_world: np.ndarray,
               yaw: float) -> Verdict:
        """Take one pose of the flight; after the end the verdict no longer changes."""
        if self._status == 'running':
            dt = max(0, time_ns - self._time_ns) * 1e-9
            self._time_ns = max(time_ns, self._time_ns)
            code = judge_step(self._row, self._objects, self._count, self._verb,
                              float(position[0]), float(position[1]), float(position[2]),
                              float(np.linalg.norm(velocity_world)), float(yaw), dt)
            self._status = STATUS[code]
        r = self._row
        return Verdict(self._status, float(r[GAP]), float(r[BEST]), float(r[CLOSEST]),
                       float(r[TIME]))


def _lifted(position: np.ndarray) -> np.ndarray:
    """Return a place no lower than one crashes at: who has landed has not."""
    return np.array([*position[:2], max(position[2], FLOOR)])


class MissionJudge:
    """
    Judges several steps in order; a step begins when the one before it succeeded.

    Parameters
    ----------
    scene : Scene
        Where it is flown.
    plans : sequence of Plan
        The steps; their objects must be in the scene.
    position : numpy.ndarray
        float64 [3], where the instruction was given, m.
    yaw : float
        Heading then, rad.
    time_ns : int
        When.

    Attributes
    ----------
    step : int
        The step being judged.

    """

    def __init__(self, scene: Scene, plans: Sequence[Plan], position: np.ndarray, yaw: float,
                 time_ns: int) -> None:
        self._scene, self._plans, self.step, self._began = scene, tuple(plans), 0, time_ns
        self._standing = bool(position[2] < TOUCHDOWN)  # who is asked on the ground has landed
        self._judge = Judge(scene, self._plans[0],
                            _lifted(position) if self._standing else position, yaw, time_ns)

    def update(self, time_ns: int, position: np.ndarray, velocity_world: np.ndarray,
               yaw: float) -> Verdict:
        """Take one pose; progress counts all steps, time runs from the instruction."""
        self._standing = self._standing and bool(position[2] < TOUCHDOWN)
        if self._standing:
            position = _lifted(position)
        verdict = self._judge.update(time_ns, position, velocity_world, yaw)
        status = verdict.status
        if status == 'success' and self.step + 1 < len(self._plans):
            if self._plans[self.step].verb == 'land':
                self._standing, position = True, _lifted(position)
            self.step += 1
            self._judge = Judge(self._scene, self._plans[self.step], position, yaw, time_ns)
            verdict = replace(verdict, progress=0.0)
            status = 'running'
        return replace(verdict, status=status,
                       progress=(self.step + verdict.progress) / len(self._plans),
                       elapsed=(time_ns - self._began) * 1e-9)
