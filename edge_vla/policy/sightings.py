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

"""What is in view: the objects that the grounding head tells from the tokens of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
import math
from typing import Protocol

import cv2
from edge_vla.language.plan import ANY, COLOURS, SHAPES
from edge_vla.vision import layout
import numpy as np

# probability from which a token counts; objects that touch fall apart when more is asked
LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95)
LEAST = 0.6  # sum of the probabilities of the tokens of an object
SUREST = 3  # tokens that tell what it is
CENTRES = layout.token_centres()


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
    scores : numpy.ndarray or None
        Log odds of every colour and shape, float32 [COLOURS, SHAPES]; None where what it looks
        like is certain.

    """

    colour: str
    shape: str
    bearing: float
    distance: float
    presence: float
    scores: np.ndarray | None = field(default=None, compare=False, repr=False)

    def doubt(self, colour: str, shape: str) -> float:
        """Return by how much it resembles another thing more, log odds; ``ANY`` is anything."""
        if colour in (ANY, self.colour) and shape in (ANY, self.shape):
            return 0.0
        if self.scores is None:
            return math.inf
        return float(self.scores.max() - self.scores[_named(colour, shape)].max())

    def called(self, colour: str, shape: str) -> tuple[str, str]:
        """Return what it resembles most of what may be called this."""
        if self.scores is None:
            return self.colour, self.shape
        fits = np.full(self.scores.shape, -np.inf)
        fits[_named(colour, shape)] = self.scores[_named(colour, shape)]
        c, s = np.unravel_index(fits.argmax(), fits.shape)
        return COLOURS[c], SHAPES[s]

    def to(self, other: 'Sighting') -> float:
        """Return the horizontal distance to another sighting, m."""
        return abs(self.distance * complex(math.cos(self.bearing), math.sin(self.bearing))
                   - other.distance * complex(math.cos(other.bearing), math.sin(other.bearing)))


def _named(colour: str, shape: str) -> tuple[slice, slice]:
    """Return the rows and columns of scores of what may be called this."""
    def part(name: str, names: Sequence[str]) -> slice:
        at = 0 if name == ANY else names.index(name)
        return slice(at, len(names) if name == ANY else at + 1)
    return part(colour, COLOURS), part(shape, SHAPES)


class Sight(Protocol):
    """What is needed of the grounding head, after its look at a frame."""

    features: np.ndarray

    def recognise(self) -> np.ndarray:
        """Return what every token shows, float32 [COLOURS x SHAPES, TOKENS]."""

    def place(self, pair: int, tokens: np.ndarray) -> tuple[float, float, float]:
        """Return bearing (rad), elevation (m) and gap (m) of a pair that these tokens show."""

    def located(self) -> tuple[float, float, float]:
        """Return bearing (rad), elevation (m) and gap (m) of the target."""


def sightings(sight: Sight) -> list[Sighting]:
    """
    List the objects in view, the surest first.

    Tokens of one colour that touch, at a side or a corner, are an object; those that show it best
    say what it is, and where.
    """
    probability = sight.recognise()
    best, p = probability.argmax(0) // len(SHAPES), probability.max(0)
    odds = np.clip(probability, 1e-6, 1 - 1e-6)
    odds = np.log(odds / (1 - odds))
    found: list[Sighting] = []
    for colour in np.unique(best[p > LEVELS[0]]):
        for tokens in _apart(np.where(best == colour, p, 0), LEVELS):
            scores = np.sort(odds[:, tokens], 1)[:, -SUREST:].mean(1)
            pair, weight = int(scores.argmax()), p[tokens] ** 2
            x = weight @ CENTRES[tokens, 0] / weight.sum()
            found.append(Sighting(
                COLOURS[pair // len(SHAPES)], SHAPES[pair % len(SHAPES)],
                -math.atan(x * layout.TAN_HALF), sight.place(pair, tokens)[2],
                float(p[tokens].max()), scores.reshape(len(COLOURS), len(SHAPES))))
    return sorted(found, key=lambda s: -s.presence)


def _apart(p: np.ndarray, levels: Sequence[float]) -> list[np.ndarray]:
    """Return the tokens of each object, of the probabilities of the tokens of a colour."""
    if not levels:
        return []
    above = (p > levels[0]).astype(np.uint8).reshape(layout.ROWS, layout.COLUMNS)
    count, labels = cv2.connectedComponents(above)
    out = []
    for k in range(1, count):
        alone = np.where(labels.ravel() == k, p, 0)
        if alone.sum() >= LEAST:
            parts = _apart(alone, levels[1:])
            out += parts if len(parts) > 1 else [np.flatnonzero(alone)]
    return out
