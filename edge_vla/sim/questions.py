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

"""Questions about a picture and their answers, from what the simulator knows of it."""

from collections.abc import Sequence
import math
from typing import NamedTuple

from edge_vla.language.plan import COLOURS, SHAPES
from edge_vla.language.sight import (
    describe,
    distance_of,
    listed,
    missing,
    NUMBERS,
    Seen,
    side_of,
)
from edge_vla.sim import wording
from edge_vla.sim.raycast import A, X
import numpy as np

VISIBLE = 12  # pixels of the pilot's picture that make an object seen; fewer but some: unclear
KINDS = ('where', 'absent', 'partly', 'sector', 'nearest', 'count', 'exists', 'colour')
ODDS = (.30, .20, .08, .14, .08, .05, .10, .05)
# By split: the first ones are trained on, the others never.
WHERE = (('where is the {o}?', 'where is {o}', 'where do you see the {o}?', 'find the {o}',
          'can you see the {o}?', 'look for the {o}', 'locate the {o}', 'how far is the {o}?',
          'which way is the {o}?'),
         ('do you see the {o}?', 'where can i find the {o}?', 'tell me where the {o} is'))
EXISTS = (('is there a {o}?', 'is a {o} in view?', 'is any {o} there?', 'is there any {o}?'),
          ('is there a {o} in sight?', 'is some {o} there?'))
SECTOR = (('what is {p}?', 'what do you see {p}?', "what's {p}?", 'list the things {p}'),
          ('which objects are {p}?', 'what can you see {p}?'))
PLACES = {'left': ('on the left', 'to the left', 'left of you'), 'ahead': ('ahead', 'in front'),
          'right': ('on the right', 'to the right', 'right of you')}
NEAREST = (('what is nearest?', 'what is the nearest object?', 'what is closest?',
            'which object is nearest?'),
           ('which object is closest?', 'what is the closest object?'))
COUNT = (('how many objects do you see?', 'how many things are there?', 'count the objects'),
         ('how many objects are there?', 'how many things do you see?'))
COLOUR = (('what colour is the {s}?', 'which colour is the {s}?', 'what color is the {s}?'),
          ('which color is the {s}?', 'what colour has the {s}?'))
_NAMES = 4  # so many words for a colour or shape are trained on, the next two never


class Visible(NamedTuple):
    """
    An object of the scene as the camera has it.

    Attributes
    ----------
    colour, shape : str
        Words of the plan grammar.
    bearing : float
        From the heading, rad, positive to the left.
    gap : float
        To its surface, m.
    pixels : int
        Of the pilot's picture that show it.

    """

    colour: str
    shape: str
    bearing: float
    gap: float
    pixels: int

    @property
    def seen(self) -> Seen:
        """Return what is to be said of it."""
        return Seen(self.colour, self.shape, side_of(self.bearing), distance_of(self.gap))


def in_view(colour: str, shape: str, row: np.ndarray, position: np.ndarray,
            rotation: np.ndarray, pixels: int) -> Visible:
    """
    Return an object of the scene as the camera at a pose has it.

    Parameters
    ----------
    colour, shape : str
        Words of the plan grammar.
    row : numpy.ndarray
        The ray-caster's, float64 [OBJECT_COLUMNS].
    position, rotation : numpy.ndarray
        Of the camera, float64 [3], m, and [3, 3] to the world.
    pixels : int
        Of the pilot's picture that show it.

    """
    away = row[X:X + 2] - position[:2]
    bearing = math.atan2(away[1], away[0]) - math.atan2(rotation[1, 0], rotation[0, 0])
    return Visible(colour, shape, math.remainder(bearing, 2 * math.pi),
                   max(0.0, math.hypot(*away) - row[A]), pixels)


def true_answer(kind: str, asked: tuple[str, str], objects: Sequence[Visible]) -> str | None:
    """
    Answer a question as somebody would who sees perfectly.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    asked : tuple of str
        Colour and shape asked for, empty where left open; of a sector its name and ''.
    objects : sequence of Visible
        All of the scene.

    Returns
    -------
    str or None
        None where what there is to see is unclear: too few pixels, or too close a call.

    """
    seen = sorted((o for o in objects if o.pixels >= VISIBLE), key=lambda o: o.gap)
    unclear = [o for o in objects if 0 < o.pixels < VISIBLE]
    if kind == 'sector':
        inside = [o for o in seen if _sector(o) == asked[0]]
        return None if any(_sector(o) == asked[0] for o in unclear) else listed(
            [f'{o.colour} {o.shape}' for o in inside])
    if kind == 'count':
        return None if unclear else f'{NUMBERS[len(seen)]} object' + 's' * (len(seen) != 1)
    colour, shape = asked
    like = [o for o in seen if colour in ('', o.colour) and shape in ('', o.shape)]
    if any(colour in ('', o.colour) and shape in ('', o.shape) for o in unclear):
        return None
    if len(like) > 1 and like[1].gap < 1.3 * like[0].gap:
        return None
    name = f'{colour} {shape}'.strip()
    if kind == 'exists':
        return 'yes' if like else 'no'
    if kind == 'colour':
        return like[0].colour if like else missing(name)
    return describe(like[0].seen) if like else missing(name or 'object')


def sample_question(rng: np.random.Generator, objects: Sequence[Visible],
                    split: str = 'train') -> tuple[str, str, str] | None:
    """
    Draw a question about a picture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    objects : sequence of Visible
        All of the scene.
    split : str
        'train' or 'held_out': wording that is never trained on.

    Returns
    -------
    tuple of str or None
        Kind, question and answer; None where the one drawn has no clear answer.

    """
    kind = KINDS[int(rng.choice(len(KINDS), p=ODDS))]
    there = {(o.colour, o.shape) for o in objects}
    o = objects[int(rng.integers(len(objects)))]
    asked, forms = (o.colour, o.shape), WHERE
    if kind == 'absent' or (kind == 'exists' and rng.random() < .5):
        while asked in there:
            u = rng.random()  # near misses: one property right
            asked = (o.colour if u < .35 else _pick(rng, COLOURS),
                     o.shape if u > .65 else _pick(rng, SHAPES))
    if kind == 'exists':
        forms = EXISTS
    elif kind == 'partly':
        asked = (o.colour, '') if rng.random() < .5 else ('', o.shape)
        if rng.random() < .3:
            asked = ('', _pick(rng, SHAPES))
    elif kind == 'sector':
        asked, forms = (_pick(rng, list(PLACES)), ''), SECTOR
    elif kind == 'nearest':
        asked, forms = ('', ''), NEAREST
    elif kind == 'count':
        forms = COUNT
    elif kind == 'colour':
        asked, forms = ('', o.shape), COLOUR
    answer = true_answer(kind, asked, objects)
    if answer is None:
        return None
    k = int(split != 'train')
    form = _pick(rng, forms[k])
    name = ' '.join(filter(None, (_name(rng, wording.COLOURS, asked[0], k),
                                  _name(rng, wording.SHAPES, asked[1], k)))) or 'object'
    if asked[0] and not asked[1]:
        name += ' object'
    place = _pick(rng, PLACES[asked[0]]) if kind == 'sector' else ''
    shape = name if kind == 'colour' else ''
    return kind, form.format(o=name, s=shape, p=place), answer


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _name(rng: np.random.Generator, words: dict[str, list[str]], plain: str, held_out: int) -> str:
    """Return a word for a colour or shape: mostly the plain one."""
    if not plain or plain not in words or rng.random() < .6:
        return plain
    return _pick(rng, words[plain][_NAMES:_NAMES + 2] if held_out else words[plain][:_NAMES])


def _sector(o: Visible) -> str:
    return o.seen.side.rpartition(' ')[2] if 'ahead' not in o.seen.side else 'ahead'
