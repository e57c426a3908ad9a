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
The plan grammar and the context vector: what language hands to the pilot.

An instruction becomes one to four steps; a step is a plan ``verb colour shape``. What was left
open is ``any``, and then a relation may tell which object is meant ("the box left of the blue
pillar", "the nearest cone"). Any language model that can fill this grammar can fly the pilot.
The policy knows only `VERBS` and fully named objects: the context vector, one probability per
word. Who flies a plan that is not `resolved` has to find its object first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

VERBS = ('go', 'orbit_left', 'orbit_right', 'search', 'hover')  # what the policy knows
ALL_VERBS = (*VERBS, 'land', 'unknown')
COLOURS = ('red', 'green', 'blue', 'yellow', 'purple', 'orange', 'white', 'black')
SHAPES = ('sphere', 'box', 'pillar', 'cone')
SLOTS = (VERBS, COLOURS, SHAPES)
CONTEXT_SIZE = sum(len(slot) for slot in SLOTS)
ANY = 'any'
RELATIONS = ('none', 'left', 'right', 'near', 'behind', 'front', 'nearest', 'farthest',
             'leftmost', 'rightmost')
ANCHORED = RELATIONS[1:6]  # relations to another object, the anchor
# colour and shape of one object that no training data shows or names together
UNSEEN_PAIRS = (('yellow', 'sphere'), ('orange', 'box'), ('purple', 'pillar'), ('green', 'cone'))
MAX_STEPS = 4
THEN, END = 'then', 'eos'  # words between steps and after the last
MOVING = tuple(verb for verb in VERBS if verb != 'hover')
_WORDS = {
    'go': 'go to {}', 'orbit_left': 'orbit {} to the left', 'orbit_right': 'orbit {} to the right',
    'search': 'search for {} and go to it', 'hover': 'hover', 'land': 'land',
    'unknown': 'I did not understand'}
_RELATION_WORDS = {'left': 'left of', 'right': 'right of', 'near': 'near', 'behind': 'behind',
                   'front': 'in front of'}


@dataclass(frozen=True)
class Plan:
    """
    One step.

    Attributes
    ----------
    verb : str
        One of ``ALL_VERBS``. 'hover' is to stop where it is; 'unknown' stands for everything
        that is no instruction the pilot knows. After 'hover', 'land' and 'unknown' the other
        attributes mean nothing.
    colour, shape : str
        The object; either may be ``ANY``, both only with a relation.
    relation : str
        One of ``RELATIONS``; 'none' for a fully named object.
    anchor_colour, anchor_shape : str
        The object that an ``ANCHORED`` relation refers to; one of them may be ``ANY``.

    """

    verb: str
    colour: str = COLOURS[0]
    shape: str = SHAPES[0]
    relation: str = 'none'
    anchor_colour: str = ANY
    anchor_shape: str = ANY

    @property
    def resolved(self) -> bool:
        """Whether the policy can fly it as it is: no object needed, or one fully named."""
        return self.verb not in MOVING or ANY not in (self.colour, self.shape)

    def text(self) -> str:
        """Return the plan in words."""
        if self.verb not in MOVING:
            return _WORDS[self.verb]
        first = '' if self.relation in ('none', *ANCHORED) else self.relation
        thing = _object(self.colour, self.shape, first)
        if self.relation in ANCHORED:
            anchor = _object(self.anchor_colour, self.anchor_shape)
            thing += f' {_RELATION_WORDS[self.relation]} {anchor}'
        return _WORDS[self.verb].format(thing)

    def words(self) -> tuple[str, ...]:
        """Return the plan as words of the grammar."""
        if self.verb not in MOVING:
            return (self.verb,)
        out = (self.verb, self.colour, self.shape)
        if self.relation == 'none':
            return out
        anchor = (self.anchor_colour, self.anchor_shape)
        return (*out, self.relation, *(anchor if self.relation in ANCHORED else ()))

    def vector(self) -> np.ndarray:
        """
        Return the context vector of full certainty, float32 [CONTEXT_SIZE].

        What the policy does not know is to hover, and the object slots of 'hover' are zero, as
        is a slot left open.
        """
        out = np.zeros(CONTEXT_SIZE, np.float32)
        out[VERBS.index(self.verb if self.verb in MOVING else 'hover')] = 1.0
        if self.verb in MOVING:
            if self.colour != ANY:
                out[len(VERBS) + COLOURS.index(self.colour)] = 1.0
            if self.shape != ANY:
                out[len(VERBS) + len(COLOURS) + SHAPES.index(self.shape)] = 1.0
        return out


@dataclass(frozen=True)
class Step:
    """
    One step of an instruction as it was read.

    Attributes
    ----------
    plan : Plan
        The likeliest one.
    vector : numpy.ndarray
        float32 [CONTEXT_SIZE], probabilities: of each verb ('land' and 'unknown' count as
        'hover'), then of each colour and shape, times that of moving. Of a slot left open only
        what is not ``ANY``.
    confidence : float
        Product of the largest probability of each slot that was read, in [0, 1].

    """

    plan: Plan
    vector: np.ndarray
    confidence: float


def _object(colour: str, shape: str, first: str = '') -> str:
    return ' '.join(word for word in (
        'the', first, '' if colour == ANY else colour, 'object' if shape == ANY else shape)
        if word)


def next_words(said: Sequence[str], steps: int = 0) -> tuple[str, ...]:
    """
    Return the words that may follow in a step.

    Parameters
    ----------
    said : sequence of str
        The words of this step so far.
    steps : int, optional
        Complete steps before it: the last possible one has no `THEN`.

    Returns
    -------
    tuple of str

    """
    done = (END,) if steps >= MAX_STEPS - 1 else (END, THEN)
    if not said:
        return ALL_VERBS
    if said[0] not in MOVING:
        return done if said[0] != 'unknown' else (END,)
    if len(said) == 3:
        if tuple(said[1:]) == (ANY, ANY):
            return RELATIONS[1:]
        return done if ANY not in said[1:] else (*done, *RELATIONS[1:])
    if len(said) == 6 or (len(said) == 4 and said[3] not in ANCHORED):
        return done
    if len(said) in (1, 4):
        return (*COLOURS, ANY)
    return SHAPES if len(said) == 5 and said[4] == ANY else (*SHAPES, ANY)


def not_understood(instruction: str) -> str:
    """Return what is said of an instruction that means nothing to the pilot."""
    return f'I do not understand "{instruction}"; hovering'


def join(plans: Iterable[Plan]) -> str:
    """Return plans as one text of the grammar, which `parse` takes word by word."""
    return f' {THEN} '.join(' '.join(plan.words()) for plan in plans)


def parse(words: Sequence[str]) -> list[Plan]:
    """Return the plans of complete steps joined by `THEN`, as ``Plan.words`` writes them."""
    plans, said = [], []
    for word in (*words, THEN):
        if word == THEN:
            plans.append(Plan(*said))
            said = []
        else:
            said.append(word)
    return plans
