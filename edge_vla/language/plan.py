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
The plan grammar and the context vector: what language hands to the policy.

A plan is one step ``verb colour shape``. The language head writes it token by token; the
probabilities of the allowed tokens at each of the three positions, side by side, are the
context vector. Any language model that can fill this grammar can fly the pilot.
"""

from dataclasses import dataclass

import numpy as np

VERBS = ('go', 'orbit_left', 'orbit_right', 'search', 'hover')
COLOURS = ('red', 'green', 'blue', 'yellow', 'purple', 'orange', 'white', 'black')
SHAPES = ('sphere', 'box', 'pillar', 'cone')
SLOTS = (VERBS, COLOURS, SHAPES)
CONTEXT_SIZE = sum(len(slot) for slot in SLOTS)
_WORDS = {
    'go': 'go to the {}', 'orbit_left': 'orbit the {} to the left',
    'orbit_right': 'orbit the {} to the right', 'search': 'search for the {} and go to it',
    'hover': 'hover'}


@dataclass(frozen=True)
class Plan:
    """One step the pilot knows. For 'hover' colour and shape mean nothing."""

    verb: str
    colour: str = COLOURS[0]
    shape: str = SHAPES[0]

    def text(self) -> str:
        """Return the plan in words."""
        return _WORDS[self.verb].format(f'{self.colour} {self.shape}')

    def vector(self) -> np.ndarray:
        """
        Return the context vector of full certainty, float32 [CONTEXT_SIZE].

        The object slots of 'hover' are zero.
        """
        out = np.zeros(CONTEXT_SIZE, np.float32)
        out[VERBS.index(self.verb)] = 1.0
        if self.verb != 'hover':
            out[len(VERBS) + COLOURS.index(self.colour)] = 1.0
            out[len(VERBS) + len(COLOURS) + SHAPES.index(self.shape)] = 1.0
        return out
