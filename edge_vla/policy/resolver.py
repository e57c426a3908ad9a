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
Which object is meant: "the box left of the blue pillar", "the nearest cone", "the sphere".

The grounding head is asked for every colour and shape at once; what it sees becomes a short
list of sightings, and the relation picks one of them. A relation compares, so at least two are
meant: what an instruction calls a sphere may be one that resembles a box a little more. Left,
right, behind and in front are as seen from the camera when the instruction is read. Once chosen,
the object is flown to by its colour and shape, so it may leave the view without being lost.
"""

from collections import Counter, deque
from collections.abc import Sequence
import math

from edge_vla.language.plan import ANCHORED, Plan
from edge_vla.policy.sightings import Sighting

DOUBT = 1.5  # log odds by which it may look more like something else than what it is called
SAME = 0.2  # rad, a choice this close to another is the same
LOOK_S = 0.4  # s of looking before a choice, at least
LOOKS = 4  # frames that must have agreed
LAST = 256  # frames that are looked back at: a question may stand for an hour
TURN_RATE = 0.6  # rad/s while what was named is not in view
FULL_TURN = 2 * math.pi + 0.5  # rad, then it is not there
LONGEST_S = 5 * FULL_TURN / TURN_RATE  # s of looking round, for who does not turn
IN_LINE = 0.5  # rad, what stands behind or in front of something is this close to its bearing
CHOSEN, LOOKING, AMBIGUOUS, MISSING = 'chosen', 'looking', 'ambiguous', 'missing'


def candidates(plan: Plan, seen: Sequence[Sighting]) -> list[Sighting]:
    """
    Return the sightings a plan may mean, the likeliest first.

    Without a relation these are all that fit; with one, those that stand so, nearest to the
    anchor first. An anchor that fits several sightings may be any of them.
    """
    fit = _fitting(seen, plan.colour, plan.shape, 1 if plan.relation == 'none' else 2)
    if plan.relation in ANCHORED:
        pairs = [(s.to(a), s) for a in _fitting(seen, plan.anchor_colour, plan.anchor_shape, 1)
                 for s in fit if s is not a and _stands(plan.relation, s, a)]
        return list(dict.fromkeys(s for _, s in sorted(pairs, key=lambda p: p[0])))
    key = {'nearest': lambda s: s.distance, 'farthest': lambda s: -s.distance,
           'leftmost': lambda s: -s.bearing, 'rightmost': lambda s: s.bearing,
           'none': lambda s: -s.presence}[plan.relation]
    return sorted(fit, key=key)


def _fitting(seen: Sequence[Sighting], colour: str, shape: str, least: int) -> list[Sighting]:
    """Return what may be called this; if fewer than `least`, the least doubtful others too."""
    doubts = [(s.doubt(colour, shape), k) for k, s in enumerate(seen)]
    found = [k for doubt, k in doubts if not doubt]
    found += [k for doubt, k in sorted(doubts) if 0 < doubt <= DOUBT][:max(least - len(found), 0)]
    return [seen[k] for k in found]


def _stands(relation: str, s: Sighting, anchor: Sighting) -> bool:
    turned = s.bearing - anchor.bearing
    if relation == 'left':
        return turned > 0
    if relation == 'right':
        return turned < 0
    if relation == 'near':
        return True
    behind = s.distance > anchor.distance
    return abs(turned) < IN_LINE and behind == (relation == 'behind')


class Resolver:
    """
    Looks until it is clear which object a plan means.

    Parameters
    ----------
    plan : Plan
        One that is not ``resolved``.

    Attributes
    ----------
    status : str
        'looking', 'chosen', 'ambiguous' or 'missing'.
    plan : Plan
        With its object named, once chosen.
    turn : float
        Yaw rate to look around with, rad/s.
    say : str
        What to tell whoever gave the instruction.

    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.status, self.turn = LOOKING, 0.0
        self.say = f'looking for {plan.text().split(" the ", 1)[-1]}'
        # bearing and name of the choice of each of the last frames, None for an open one
        self._choices: deque[tuple[float, tuple[str, str]] | None] = deque(maxlen=LAST)
        self._looked = self._turned = self._sought = 0.0

    def update(self, seen: Sequence[Sighting], dt: float, turning: float | None = None) -> str:
        """
        Take what one frame shows and return the new status.

        Parameters
        ----------
        seen : sequence of Sighting
            All objects in view.
        dt : float
            Seconds since the last frame.
        turning : float, optional
            Measured yaw rate, rad/s; as asked for by default.

        """
        if self.status in (CHOSEN, MISSING):
            return self.status
        options = candidates(self.plan, seen)
        if not options:
            # the question which one was meant stands, whatever leaves the view meanwhile
            return self.status if self.status == AMBIGUOUS else self._look_around(
                dt, self.turn if turning is None else min(max(turning, 0.0), 2 * TURN_RATE))
        self.turn = 0.0
        self._looked += dt
        names = dict.fromkeys((s.colour, s.shape) for s in options)
        several = self.plan.relation == 'none' and len(names) > 1  # of one name any will do
        first = options[0]
        self._choices.append(None if several else (
            first.bearing, first.called(self.plan.colour, self.plan.shape)))
        chosen = [c for c in self._choices if c is not None]
        agreed = [name for bearing, name in chosen if abs(bearing - first.bearing) <= SAME]
        count = len(self._choices) - len(chosen) if several else len(agreed)
        if self._looked < LOOK_S or count < LOOKS or 2 * count <= len(self._choices):
            return self.status
        if several:
            self.status = AMBIGUOUS
            self.say = f'which one: {" or ".join(f"the {c} {s}" for c, s in names)}?'
            return self.status
        (colour, shape), _ = Counter(agreed).most_common(1)[0]
        self.status = CHOSEN
        self.plan = Plan(self.plan.verb, colour, shape)
        self.say = f'that is the {colour} {shape}'
        return self.status

    def wait(self) -> float:
        """Return the yaw rate of a frame that shows nothing, which proves nothing either."""
        return TURN_RATE if self.status == LOOKING else 0.0

    def _look_around(self, dt: float, turning: float) -> str:
        self._turned += turning * dt
        self._sought += dt
        self._choices.clear()
        self._looked, self.turn = 0.0, TURN_RATE
        if self._turned > FULL_TURN or self._sought > LONGEST_S:
            self.status, self.turn = MISSING, 0.0
            self.say = f'I cannot see {self.plan.text().partition(" the ")[2]}'
        return self.status
