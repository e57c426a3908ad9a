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

"""What the language head says of what it sees, in words, and back."""

from collections.abc import Sequence
import math
import re
from typing import NamedTuple

from edge_vla.language.plan import COLOURS, SHAPES
import numpy as np

SIDES = ('left', 'ahead left', 'ahead', 'ahead right', 'right')
_EDGES_RAD = (math.radians(24), math.radians(8), math.radians(-8), math.radians(-24))
_BEARINGS_RAD = np.radians((34, 16, 0, -16, -34))  # in the middle of each
DISTANCES = ('within one metre', 'about two metres', 'over three metres')
_STEPS_M = (1.0, 3.0)
_GAPS_M = np.array((.7, 2.0, 4.5))  # typical of each
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight')
NOTHING = 'nothing'
MOST_LISTED = 3
_SAID = re.compile(rf'(?:a )?({"|".join(COLOURS)}) ({"|".join(SHAPES)}) '
                   rf'({"|".join(sorted(SIDES, key=len, reverse=True))}), '
                   rf'({"|".join(DISTANCES)})')


class Seen(NamedTuple):
    """
    An object in view.

    Attributes
    ----------
    colour, shape : str
        Words of the plan grammar.
    side, distance : str
        One of ``SIDES`` and of ``DISTANCES``.

    """

    colour: str
    shape: str
    side: str
    distance: str


class Located(NamedTuple):
    """
    How sure the head is of where an object is.

    Attributes
    ----------
    seen : float
        Probability that it is in view.
    sides, distances : numpy.ndarray
        float64 [5] and [3], probability of each of ``SIDES`` and ``DISTANCES`` if it is.

    """

    seen: float
    sides: np.ndarray
    distances: np.ndarray

    @property
    def bearing(self) -> float:
        """Return the expected bearing, rad, positive to the left."""
        return float(self.sides @ _BEARINGS_RAD)

    @property
    def gap(self) -> float:
        """Return the expected distance to the surface, m."""
        return float(self.distances @ _GAPS_M)


def side_of(bearing: float) -> str:
    """Return the side of a bearing, rad, positive to the left."""
    return SIDES[sum(bearing < edge for edge in _EDGES_RAD)]


def distance_of(gap: float) -> str:
    """Return the words for the distance to a surface, m."""
    return DISTANCES[sum(gap >= step for step in _STEPS_M)]


def describe(seen: Seen) -> str:
    """Return 'red sphere ahead left, about two metres'."""
    return f'{seen.colour} {seen.shape} {seen.side}, {seen.distance}'


def missing(name: str) -> str:
    """Return what is said of an object, 'red sphere' or 'box', that is not in view."""
    return f'i cannot see {"an" if name[0] in "aeiou" else "a"} {name}'


def listed(names: Sequence[str]) -> str:
    """Return a list of objects as it is said, the first few of them."""
    return ', '.join(names[:MOST_LISTED]) if names else NOTHING


def parse_seen(text: str) -> Seen | None:
    """Return the object a sentence of `describe` speaks of, None for any other sentence."""
    match = _SAID.fullmatch(text.strip().lower())
    return Seen(*match.groups()) if match else None
