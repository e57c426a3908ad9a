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
list of sightings, and the relation picks one of them. Left, right, behind and in front are as
seen from the camera when the instruction is read. Once chosen, the object is flown to by its
colour and shape, so it may leave the view without being lost.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Protocol

from edge_vla.language.plan import ANCHORED, ANY, COLOURS, Plan, SHAPES
from edge_vla.vision import layout
import numpy as np

SURE = 0.5  # probability from which a token counts
SAME = 0.2  # rad, what looks alike this close together is one object
LOOK_S = 0.4  # s of looking before a choice, at least
LOOKS = 4  # frames that must have agreed
TURN_RATE = 0.6  # rad/s while what was named is not in view
FULL_TURN = 2 * math.pi + 0.5  # rad, then it is not there
IN_LINE = 0.5  # rad, what stands behind or in front of something is this close to its bearing
CHOSEN, LOOKING, AMBIGUOUS, MISSING = 'chosen', 'looking', 'ambiguous', 'missing'


@dataclass(frozen=True)
class Sighting:
    """
    An object in view.

    Attributes
    ----------
    colour, shape : str
        What it looks like.
    bearing : float
        rad, left positive.
    distance : float
        m to its surface, roughly.
    presence : float
        Probability of its surest token.

    """

    colour: str
    shape: str
    bearing: float
    distance: float
    presence: float

    def fits(self, colour: str, shape: str) -> bool:
        """Tell whether it may be called this; ``ANY`` stands for every colour or shape."""
        return colour in (ANY, self.colour) and shape in (ANY, self.shape)

    def to(self, other: 'Sighting') -> float:
        """Return the horizontal distance to another sighting, m."""
        return abs(self.distance * complex(math.cos(self.bearing), math.sin(self.bearing))
                   - other.distance * complex(math.cos(other.bearing), math.sin(other.bearing)))


class Sight(Protocol):
    """What is needed of the grounding head, after its look at a frame."""

    features: np.ndarray

    def recognise(self) -> np.ndarray:
        """Return what every token shows, float32 [COLOURS x SHAPES, TOKENS]."""

    def place(self, pair: int) -> tuple[float, float, float]:
        """Return bearing (rad), elevation (m) and gap (m) of one of these pairs."""

    def located(self) -> tuple[float, float, float]:
        """Return bearing (rad), elevation (m) and gap (m) of the target."""


def sightings(sight: Sight) -> list[Sighting]:
    """
    List the objects in view; every token belongs to the pair it resembles most.

    What is seen at the same bearing in the same colour or shape is one object, of the kind that
    more of its tokens resemble.
    """
    probability = sight.recognise()
    best = probability.argmax(0)
    p = probability[best, np.arange(layout.TOKENS)]
    mass = {int(pair): float(p[(best == pair) & (p > SURE)].sum())
            for pair in np.unique(best[p > SURE])}
    found: list[Sighting] = []
    for pair in sorted(mass, key=lambda k: -mass[k]):
        bearing, _, gap = sight.place(pair)
        s = Sighting(COLOURS[pair // len(SHAPES)], SHAPES[pair % len(SHAPES)], bearing, gap,
                     float(p[best == pair].max()))
        if not any(abs(s.bearing - o.bearing) < SAME and (
                s.colour == o.colour or s.shape == o.shape) for o in found):
            found.append(s)
    return found


def candidates(plan: Plan, seen: Sequence[Sighting]) -> list[Sighting]:
    """
    Return the sightings a plan may mean, the likeliest first.

    Without a relation these are all that fit; with one, those that stand so, nearest to the
    anchor first. An anchor that fits several sightings may be any of them.
    """
    fit = [s for s in seen if s.fits(plan.colour, plan.shape)]
    if plan.relation in ANCHORED:
        pairs = [(s.to(a), s) for a in seen
                 if a.fits(plan.anchor_colour, plan.anchor_shape)
                 for s in fit if s is not a and _stands(plan.relation, s, a)]
        return list(dict.fromkeys(s for _, s in sorted(pairs, key=lambda p: p[0])))
    key = {'nearest': lambda s: s.distance, 'farthest': lambda s: -s.distance,
           'leftmost': lambda s: -s.bearing, 'rightmost': lambda s: s.bearing,
           'none': lambda s: -s.presence}[plan.relation]
    return sorted(fit, key=key)


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
        self._votes: Counter[tuple[str, str]] = Counter()
        self._looked = self._turned = 0.0

    def update(self, seen: Sequence[Sighting], dt: float) -> str:
        """
        Take what one frame shows and return the new status.

        Parameters
        ----------
        seen : sequence of Sighting
            All objects in view.
        dt : float
            Seconds since the last frame.

        """
        if self.status in (CHOSEN, MISSING):
            return self.status
        options = candidates(self.plan, seen)
        if not options:
            # the question which one was meant stands, whatever leaves the view meanwhile
            return self.status if self.status == AMBIGUOUS else self._look_around(dt)
        self.turn = 0.0
        self._looked += dt
        several = self.plan.relation == 'none' and len(options) > 1
        self._votes[('', '') if several else (options[0].colour, options[0].shape)] += 1
        (colour, shape), votes = self._votes.most_common(1)[0]
        if self._looked < LOOK_S or votes < LOOKS or 2 * votes <= self._votes.total():
            return self.status
        if not colour:
            self.status = AMBIGUOUS
            names = ' or '.join(f'the {s.colour} {s.shape}' for s in options)
            self.say = f'which one: {names}?' if several else self.say
            return self.status
        self.status = CHOSEN
        self.plan = Plan(self.plan.verb, colour, shape)
        self.say = f'that is the {colour} {shape}'
        return self.status

    def _look_around(self, dt: float) -> str:
        self._turned += TURN_RATE * dt
        self._looked, self.turn = 0.0, TURN_RATE
        if self._turned > FULL_TURN:
            self.status, self.turn = MISSING, 0.0
            self.say = f'I cannot see {self.plan.text().partition(" the ")[2]}'
        return self.status
