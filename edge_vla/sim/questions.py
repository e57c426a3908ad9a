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

from collections.abc import Collection, Sequence
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
from edge_vla.sim.phrasing import pick
from edge_vla.sim.raycast import A, X
import numpy as np

# Pixels of the pilot's picture that make an object seen: it fills most of a token. Fewer but some
# are unclear.
VISIBLE = 40
KINDS = ('where', 'absent', 'partly', 'sector', 'nearest', 'count', 'exists', 'colour')
ODDS = (.50, .20, .06, .08, .04, .03, .05, .04)
# By split: the first ones are trained on, the others never.
WHERE = (('where is the {o}?', 'where is the {o}', 'where is {o}', "where's the {o}?",
          'where do you see the {o}?', 'where is that {o}?', 'where would the {o} be?',
          'find the {o}', 'find me the {o}', 'can you see the {o}?', 'can you find the {o}?',
          'can you tell me where the {o} is?', 'look for the {o}', 'locate the {o}',
          'show me the {o}', 'point at the {o}', 'how far is the {o}?',
          'how far away is the {o}?', 'which way is the {o}?', 'in which direction is the {o}?',
          'have you seen the {o}?', 'have you found the {o}?', 'say where the {o} is',
          'describe where the {o} is', 'i am looking for the {o}', 'do you know where the {o} is?',
          'the {o}?', 'the {o}, where is it?', 'and the {o}?', 'please find a {o}'),
         ('do you see the {o}?', 'where can i find the {o}?', 'tell me where the {o} is',
          'please locate the {o}', 'how far off is the {o}?'))
EXISTS = (('is there a {o}?', 'is a {o} in view?', 'is any {o} there?', 'is there any {o}?',
           'is there a {o} here?', 'is there a {o} in front of you?', 'is some {o} in view?',
           'is a {o} visible?'),
          ('is there a {o} in sight?', 'is some {o} there?', 'is there a {o} in view?'))
SECTOR = (('what is {p}?', 'what do you see {p}?', "what's {p}?", 'list the things {p}',
           'what things are {p}?', 'what objects do you see {p}?', 'name the objects {p}',
           'which things can you see {p}?', 'what is there {p}?'),
          ('which objects are {p}?', 'what can you see {p}?', 'list the objects {p}'))
PLACES = {'left': ('on the left', 'to the left', 'left of you', 'on your left'),
          'ahead': ('ahead', 'in front', 'ahead of you', 'straight ahead'),
          'right': ('on the right', 'to the right', 'right of you', 'on your right')}
NEAREST = (('what is nearest?', 'what is the nearest object?', 'what is closest?',
            'which object is nearest?', 'what is the nearest thing?', 'which thing is closest?',
            'what is closest to you?'),
           ('which object is closest?', 'what is the closest object?', 'which thing is nearest?'))
COUNT = (('how many objects do you see?', 'how many things are there?', 'count the objects',
          'how many objects are in view?', 'count the things you see',
          'how many things can you see?'),
         ('how many objects are there?', 'how many things do you see?', 'count the things'))
COLOUR = (('what colour is the {s}?', 'which colour is the {s}?', 'what color is the {s}?',
           'what is the colour of the {s}?', 'tell me the colour of the {s}'),
          ('which color is the {s}?', 'what colour has the {s}?', 'what is the color of the {s}?'))
NAMES = 4  # so many words for a colour or shape are known


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


class Asked(NamedTuple):
    """
    A question with its answer.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    question, answer : str
        In words.
    colour, shape : str
        What is asked for, as in `true_answer`.

    """

    kind: str
    question: str
    answer: str
    colour: str
    shape: str


def clear(objects: Sequence[Visible]) -> list[Visible]:
    """Return the objects that are seen, the nearest first."""
    return sorted((o for o in objects if o.pixels >= VISIBLE), key=lambda o: o.gap)


def matching(objects: Sequence[Visible], colour: str, shape: str) -> list[Visible]:
    """Return the objects of a colour and shape, '' for any."""
    return [o for o in objects if colour in ('', o.colour) and shape in ('', o.shape)]


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
    seen = clear(objects)
    unclear = [o for o in objects if 0 < o.pixels < VISIBLE]
    if kind == 'sector':
        inside = [o for o in seen if _sector(o) == asked[0]]
        return None if any(_sector(o) == asked[0] for o in unclear) else listed(
            [f'{o.colour} {o.shape}' for o in inside])
    if kind == 'count':
        return None if unclear else f'{NUMBERS[len(seen)]} object' + 's' * (len(seen) != 1)
    colour, shape = asked
    like = matching(seen, colour, shape)
    if matching(unclear, colour, shape):
        return None
    if len(like) > 1 and like[1].gap < 1.3 * like[0].gap:
        return None
    name = f'{colour} {shape}'.strip()
    if kind == 'exists':
        return 'yes' if like else 'no'
    if kind == 'colour':
        return like[0].colour if like else missing(name)
    return describe(like[0].seen) if like else missing(name or 'object')


def sample_question(rng: np.random.Generator, objects: Sequence[Visible], split: str = 'train',
                    without: Collection[tuple[str, str]] = ()) -> Asked | None:
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
    without : collection of (str, str)
        Pairs of colour and shape that are not said to be absent: who never sees them must not
        learn that they never are.

    Returns
    -------
    Asked or None
        None where the one drawn has no clear answer.

    """
    kind = KINDS[int(rng.choice(len(KINDS), p=ODDS))]
    there = {(o.colour, o.shape) for o in objects}
    mostly = [o for o in objects if o.pixels >= VISIBLE] if rng.random() < .85 else []
    o = pick(rng, mostly or objects)  # about what can be seen
    asked, forms = (o.colour, o.shape), WHERE
    if kind == 'absent' or (kind == 'exists' and rng.random() < .5):
        while asked in there or asked in without:
            u = rng.random()  # near misses: one property right
            asked = (o.colour if u < .35 else pick(rng, COLOURS),
                     o.shape if u > .65 else pick(rng, SHAPES))
    if kind == 'exists':
        forms = EXISTS
    elif kind == 'partly':
        asked = (o.colour, '') if rng.random() < .5 else ('', o.shape)
        if rng.random() < .3:
            asked = ('', pick(rng, SHAPES))
    elif kind == 'sector':
        asked, forms = (pick(rng, list(PLACES)), ''), SECTOR
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
    form = pick(rng, forms[k])
    name = name_of(rng, *asked) or 'object'
    if asked[0] and not asked[1]:
        name += ' object'
    place = pick(rng, PLACES[asked[0]]) if kind == 'sector' else ''
    shape = name if kind == 'colour' else ''
    return Asked(kind, form.format(o=name, s=shape, p=place), answer, *asked)


def name_of(rng: np.random.Generator, colour: str, shape: str) -> str:
    """Return what somebody may call an object; colour or shape may be empty."""
    return ' '.join(_word(rng, words, plain) for words, plain in (
        (wording.COLOURS, colour), (wording.SHAPES, shape)) if plain)


def _word(rng: np.random.Generator, words: dict[str, list[str]], plain: str) -> str:
    """Return a word for a colour or shape: mostly the plain one."""
    if plain not in words or rng.random() < .6:
        return plain
    return pick(rng, words[plain][:NAMES])


def _sector(o: Visible) -> str:
    return o.seen.side.rpartition(' ')[2] if 'ahead' not in o.seen.side else 'ahead'
