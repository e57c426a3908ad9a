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

SIDES = ('left', 'ahead left', 'ahead', 'ahead right', 'right')
_EDGES_RAD = (math.radians(24), math.radians(8), math.radians(-8), math.radians(-24))
DISTANCES = ('within one metre', 'about two metres', 'over three metres')
_STEPS_M = (1.0, 3.0)
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
