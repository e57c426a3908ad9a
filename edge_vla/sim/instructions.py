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
Instructions in plain English and the plans they stand for.

`sample_instruction` writes one step, composed of an object, a verb phrase, a direction,
politeness and asides; `sample_mission` links several. Directions follow the commands:
orbit_left is clockwise seen from above.
"""

from collections.abc import Sequence
import re

from edge_vla.language.plan import ANCHORED, ANY, COLOURS, MAX_STEPS, MOVING, Plan
from edge_vla.sim import wording as w, wording_steps as ws
from edge_vla.sim.phrasing import finish, gerund, noise_word, pick
from edge_vla.sim.reference import mentioned_objects, reference_plan
import numpy as np

__all__ = ['SPLITS', 'mentioned_objects', 'reference_plan', 'sample_instruction',
           'sample_mission']
SPLITS = ('train', 'held_out')
_VERB_PHRASES = {'go': w.GO, 'search': w.SEARCH, 'orbit': w.ORBIT}
_STATEMENTS = {'go': w.GO_STATEMENTS, 'search': w.SEARCH_STATEMENTS, 'orbit': w.ORBIT_STATEMENTS}
# an unknown word before these: they tell the verb
_LINKS = ('to', 'towards', 'near', 'around', 'for', 'round', 'toward', 'at', 'out')
# between two steps of which the second only names another object
_BRIEF = (' and then ', ', then ', ' then ', ' and ', ', and then ', '. then ', ', ', ', and ')


def _family(verb: str) -> str:
    return 'orbit' if verb.startswith('orbit') else verb


def _partial(plan: Plan) -> bool:
    return ANY in (plan.colour, plan.shape)


# --- objects ---------------------------------------------------------------------------------

def _named(rng: np.random.Generator, colour: str, shape: str) -> str:
    """Name an object as far as it is known."""
    words = {'c': '', 's': '', 'n': pick(rng, w.NOTHING)}
    if colour != ANY:
        words['c'] = pick(rng, w.COLOURS[colour])
    if shape != ANY:
        words['s'] = pick(rng, w.SHAPES[shape])
    if ANY not in (colour, shape):
        return pick(rng, w.OBJECTS).format(z=pick(rng, w.SIZES), **words)
    templates = ws.OPEN if colour == shape else ws.SHAPE_ONLY if colour == ANY else ws.COLOUR_ONLY
    return pick(rng, templates).format(z=pick(rng, ws.SIZES), **words)


def _relation(rng: np.random.Generator, relation: str, held: bool) -> str:
    phrases = (ws.ANCHORED_HELD if held else ws.ANCHORED)[relation]
    return f'{pick(rng, ws.RELATION_OPENERS)} {pick(rng, phrases)}'.strip()


def _object(rng: np.random.Generator, plan: Plan, held: bool) -> str:
    """Name the object of a plan, with its relation."""
    if plan.relation == 'none' or not _partial(plan):
        return _named(rng, plan.colour, plan.shape)
    if plan.relation in ANCHORED:
        anchor = _named(rng, plan.anchor_colour, plan.anchor_shape)
        return (f'{_named(rng, plan.colour, plan.shape)} {_relation(rng, plan.relation, held)} '
                f'{anchor}')
    if plan.shape != ANY:
        noun = pick(rng, w.SHAPES[plan.shape])
    else:
        noun = pick(rng, w.NOTHING)
        if plan.colour != ANY:
            noun = f'{pick(rng, w.COLOURS[plan.colour])} {noun}'
    phrases = (ws.SUPERLATIVE_HELD if held else ws.SUPERLATIVE)[plan.relation]
    return pick(rng, phrases).format(t=noun)


def _distractor(rng: np.random.Generator, other: Plan, plan: Plan) -> str:
    """Name another object, now and then by what tells it from the one meant alone."""
    if rng.random() < .2 and other.shape != plan.shape != ANY:
        return f'the {pick(rng, w.SHAPES[other.shape])}'
    if rng.random() < .1 and other.colour != plan.colour != ANY:
        return f'the {pick(rng, w.COLOURS[other.colour])} one'
    return _named(rng, other.colour, other.shape)


def _strange(rng: np.random.Generator, held: bool) -> str:
    """Name something the pilot does not know."""
    kind, article = rng.random(), pick(rng, ('the', 'the', 'a', 'my'))
    if kind < .5:  # a known shape of an unknown colour
        colour = (pick(rng, w.HELD_OUT['strange'] if held else w.STRANGE) if rng.random() < .75
                  else noise_word(rng))
        shape = (pick(rng, w.SHAPES[pick(rng, tuple(w.SHAPES))]) if rng.random() < .8
                 else pick(rng, w.NOTHING))
        return f'{article} {colour} {shape}'
    thing = pick(rng, w.HELD_OUT['things'] if held else w.THINGS)
    if not held and rng.random() < .4:
        thing = noise_word(rng)
    if rng.random() < .4:
        thing = f'{pick(rng, w.COLOURS[pick(rng, COLOURS)])} {thing}'
    return f'{article} {thing}'


# --- verbs and manners -----------------------------------------------------------------------

def _direction(rng: np.random.Generator, verb: str, always: bool = False) -> str:
    """Say the direction of an orbit; to the left goes without saying, unless `always`."""
    kind = rng.uniform(.1, 1) if always else rng.random()
    if verb == 'orbit_left' and kind < .1:
        return ''
    if kind < .5:
        return pick(rng, w.SIDEWAYS).format(w.SIDE[verb])
    if kind < .93:
        return pick(rng, w.TURNWISE).format(pick(rng, w.TURNING[verb]))
    return pick(rng, w.KEEPING).format(w.KEPT[verb])


def _adjective(rng: np.random.Generator, verb: str) -> str:
    side = w.SIDE[verb]
    return pick(rng, (*w.TURNING[verb], side, side + 'ward', side + 'wards', side + '-handed'))


def _unclear(rng: np.random.Generator, phrase: str) -> str:
    """Put an unknown word in place of a verb whose meaning its preposition tells."""
    *verb, link = phrase.split(' ')
    if not verb or link not in _LINKS:
        return phrase
    if len(verb) == 1 or rng.random() < .5:
        verb[0] = noise_word(rng)
    else:
        verb = [noise_word(rng) for _ in range(int(rng.integers(1, 4)))]
    return ' '.join((*verb, link))


def _polite(rng: np.random.Generator, phrase: str) -> str:
    kind = rng.random()
    if kind < .22:
        phrase = f'{pick(rng, w.ASKING)} {phrase}'
    elif kind < .30:
        phrase = f'{pick(rng, w.ASKING_ING)} {gerund(phrase)}'
    if rng.random() < .25:
        phrase = f'{pick(rng, w.OPENERS)} {phrase}'
    if rng.random() < .18:
        closer = pick(rng, w.CLOSERS) if rng.random() < .85 else noise_word(rng)
        phrase += (', ' if rng.random() < .4 else ' ') + closer
    return phrase


def _beside(rng: np.random.Generator, plan: Plan, thing: str, other: str
            ) -> tuple[str, str, str]:
    """Mention another object or a place: what to say before, the object, what to say after."""
    if _partial(plan):  # where it is would tell which one is meant
        if other:
            return '', thing, ' ' + pick(rng, ws.AFTER_OTHER).format(x=other)
        if rng.random() < .08 and plan.relation == 'none':
            thing += ' ' + pick(rng, ws.PLACES)
        return '', thing, ''
    sideless = plan.verb.startswith('orbit')
    if other:
        kind = rng.random()
        if kind < .3:
            return pick(rng, w.BEFORE_OTHER).format(x=other) + ' ', thing, ''
        if kind < .6:
            return '', thing, ' ' + pick(rng, w.AFTER_OTHER).format(x=other)
        if kind < .8:
            options = [t for t in w.BESIDE_OTHER if not sideless or not re.search(
                'left|right', t)]
            return '', thing + ' ' + pick(rng, options).format(x=other), ''
        return '', pick(rng, w.CORRECTIONS).format(x=other, o=thing), ''
    if rng.random() < .08:
        options = [t for t in w.PLACES if not sideless or not re.search('left|right', t)]
        thing += ' ' + pick(rng, options)
    return '', thing, ''


def _there(rng: np.random.Generator, plan: Plan, held: bool) -> str:
    """Say where it is before what to do with it."""
    family = _family(plan.verb)
    text = pick(rng, ws.THERE_HELD if held else ws.THERE).format(
        r=pick(rng, (ws.ANCHORED_HELD if held else ws.ANCHORED)[plan.relation]),
        x=_named(rng, plan.anchor_colour, plan.anchor_shape),
        t=_named(rng, plan.colour, plan.shape),
        v=pick(rng, w.HELD_OUT[family] if held else _VERB_PHRASES[family]))
    return text + (f' {_direction(rng, plan.verb, True)}' if family == 'orbit' else '')


def _flight(rng: np.random.Generator, plan: Plan, split: str, other: str) -> str:
    """Ask to fly to, around or in search of an object."""
    verb, held, family = plan.verb, split == 'held_out', _family(plan.verb)
    if plan.relation in ANCHORED and rng.random() < .1:
        return _there(rng, plan, held)
    told = plan.relation != 'none'  # its left and right must not pass for the direction
    phrases = w.HELD_OUT[family] if held else _VERB_PHRASES[family]
    statements = w.HELD_OUT[family + '_statements'] if held else _STATEMENTS[family]
    before, thing, after = _beside(rng, plan, _object(rng, plan, held), other)
    if rng.random() < .3:  # a statement
        where = _direction(rng, verb, told) if family == 'orbit' else ''
        if family == 'orbit' and not held and not told and rng.random() < .3:
            text = pick(rng, w.ORBIT_ADJECTIVES).format(o=thing, a=_adjective(rng, verb))
        else:
            text = pick(rng, statements).format(o=thing, d=where)
        if rng.random() < .2:
            text = f'{pick(rng, w.OPENERS)} {text}'
        text += after
        if rng.random() < .12:
            text = f'{text}, {pick(rng, w.CLOSERS)}'
        return before + text
    phrase = pick(rng, phrases)
    if not held and rng.random() < .12:
        phrase = _unclear(rng, phrase)
    phrase = f'{phrase} {thing}'
    if family == 'orbit':
        where = _direction(rng, verb, told)
        if where and rng.random() < .12:
            return before + f'{where}, {_polite(rng, phrase)}' + after
        phrase = f'{phrase} {where}'
    elif rng.random() < .35:
        phrase += ' ' + pick(rng, w.GO_TAILS if verb == 'go' else w.SEARCH_TAILS)
    return before + _polite(rng, phrase + after)


def _no_flight(rng: np.random.Generator, plan: Plan, split: str) -> str:
    """Ask to stop, to land, or something that has no answer in flight."""
    held, kind = split == 'held_out', rng.random()
    if plan.verb == 'land':
        if kind < .25:
            return pick(rng, ws.LAND_STATEMENTS_HELD if held else ws.LAND_STATEMENTS)
        return _polite(rng, _still(rng, 'land', held))
    thing = _object(rng, plan, held)
    if plan.verb == 'hover':
        if kind < .55:
            return _polite(rng, pick(rng, w.HELD_OUT['stop'] if held else w.STOP))
        if kind < .72:
            return pick(rng, w.AWAY).format(o=thing)
        phrase = pick(rng, _VERB_PHRASES[pick(rng, ('go', 'search', 'orbit'))])
        return pick(rng, w.NOT_DOING).format(v=phrase, g=gerund(phrase), o=thing)
    if kind < .35:
        return pick(rng, w.HELD_OUT['chat'] if held else w.CHAT)
    if kind < .47:
        return ' '.join(noise_word(rng) for _ in range(int(rng.integers(1, 8))))
    if kind < .9:
        verb = pick(rng, MOVING)
        phrase = pick(rng, _VERB_PHRASES[_family(verb)])
        where = _direction(rng, verb) if verb.startswith('orbit') else ''
        return _polite(rng, f'{phrase} {_strange(rng, held)} {where}')
    return pick(rng, w.ABOUT).format(o=thing)


def _check(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}; known: {", ".join(SPLITS)}')


def sample_instruction(rng: np.random.Generator, plan: Plan, split: str = 'train',
                       other: Plan | None = None, typos: float = .04) -> str:
    """
    Write one instruction that means `plan`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    plan : Plan
        What it has to mean. Of a fully named object the relation is not said. Colour and shape
        of 'hover' and 'unknown' are what is refused or asked about.
    split : {'train', 'held_out'}
        'held_out' uses templates and verbs that 'train' never does.
    other : Plan, optional
        Another object, which a third of the instructions mention ("not the blue box").
    typos : float, optional
        Share of instructions with one mistyped letter.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        `split` is unknown.

    """
    _check(split)
    if not _partial(plan):
        plan = Plan(plan.verb, plan.colour, plan.shape)
    if plan.verb not in MOVING:
        return finish(rng, _no_flight(rng, plan, split), typos)
    distractor = ''
    if other is not None and (other.colour, other.shape) != (plan.colour, plan.shape):
        distractor = _distractor(rng, other, plan) if rng.random() < 1 / 3 else ''
    text = _flight(rng, plan, split, distractor)
    kind = rng.random()
    if kind < .07:
        aside = pick(rng, w.ASIDES) if kind < .04 else ' '.join(
            noise_word(rng) for _ in range(int(rng.integers(1, 6))))
        text = f'{aside}. {text}' if rng.random() < .5 else f'{text}. {aside}'
    return finish(rng, text, typos)


# --- missions --------------------------------------------------------------------------------

def _still(rng: np.random.Generator, verb: str, held: bool) -> str:
    """Ask to wait or to land, now and then by a word unknown."""
    if not held and rng.random() < .15:
        return f'{noise_word(rng)} {pick(rng, ws.WHILE if verb == "hover" else ws.GROUND)}'
    if verb == 'hover':
        return pick(rng, ws.WAIT_HELD if held else ws.WAIT)
    return pick(rng, ws.LAND_HELD if held else ws.LAND)


def _clause(rng: np.random.Generator, plan: Plan, held: bool, before: Plan | None) -> str:
    """Write one step as an imperative; `before` is the flight said before it."""
    if plan.verb in ('hover', 'land'):
        return _still(rng, plan.verb, held)
    if plan.verb == 'unknown':
        return f'{pick(rng, _VERB_PHRASES[pick(rng, ("go", "search", "orbit"))])} ' + _strange(
            rng, held)
    family = _family(plan.verb)
    phrases = w.HELD_OUT[family] if held and rng.random() < .5 else _VERB_PHRASES[family]
    same = before is not None and before.words()[1:] == plan.words()[1:]
    thing = (pick(rng, ws.PRONOUNS) if same and rng.random() < .75
             else _object(rng, plan, held))
    where = f' {_direction(rng, plan.verb, plan.relation != "none")}' if family == 'orbit' else ''
    phrase = pick(rng, phrases)
    if not held and rng.random() < .1:
        phrase = _unclear(rng, phrase)
    return f'{phrase} {thing}{where}'


def _brief(rng: np.random.Generator, plan: Plan, held: bool) -> str:
    """Write a step as its object alone, after one of the same verb."""
    thing, kind = _object(rng, plan, held), rng.random()
    if plan.verb == 'go' and kind < .4:
        return pick(rng, ('to', 'to', 'over to', 'on to')) + ' ' + thing
    return f'for {thing}' if plan.verb == 'search' and kind < .3 else thing


def _verbless(rng: np.random.Generator, plan: Plan) -> str:
    """Write a flight to or around an object without saying to fly."""
    thing = _object(rng, plan, False)
    if plan.verb == 'go':
        return pick(rng, ('{}', '{}', 'to {}', 'over to {}')).format(thing)
    return pick(rng, w.ORBIT_ADJECTIVES).format(o=thing, a=_adjective(rng, plan.verb))


def _chain(rng: np.random.Generator, plans: Sequence[Plan], held: bool, text: str = '',
           before: Plan | None = None) -> str:
    """Say steps in their order, after `text`."""
    last, k = len(plans) - 1, 0
    while k <= last:
        plan, join, clause = plans[k], '', ''
        follower = plans[k + 1] if k < last else None
        if plan.verb == 'go' and follower and follower.verb == 'land' and rng.random() < .25:
            clause = pick(rng, ws.LAND_AT_HELD if held else ws.LAND_AT).format(
                o=_object(rng, plan, held))
            k += 1
        elif (before and plan.verb == before.verb and plan != before and k
              and plans[k - 1] is before and plan.relation == 'none' and rng.random() < .4):
            join, clause = pick(rng, _BRIEF), _brief(rng, plan, held)
        elif (plan.verb in MOVING and plan.verb != 'search' and plan.relation == 'none'
              and not held and rng.random() < .1):
            clause = _verbless(rng, plan)
        clause = clause or _clause(rng, plan, held, before)
        if text:
            if not join and not held and rng.random() < .08:
                join = pick(rng, ws.JOIN_UNCLEAR).format(*(noise_word(rng) for _ in range(3)))
            join = join or pick(rng, ws.JOIN_HELD if held and rng.random() < .7 else ws.JOIN)
            if k == last and rng.random() < .15:
                join = pick(rng, (', and ', ' and ', '. ', ', ', '; ')) + pick(
                    rng, ws.LAST) + ' '
            text += join + clause
        else:
            text = clause
        before = plan if plan.verb in MOVING else before
        k += 1
    return text


def _pair(rng: np.random.Generator, first: Plan, second: Plan, held: bool) -> str:
    """Say two steps by a sentence that holds both."""
    if rng.random() < .45:
        text = pick(rng, ws.PAIRS_REVERSED_HELD if held else ws.PAIRS_REVERSED)
        b = _clause(rng, second, held, None)
        a = _clause(rng, first, held, second if second.verb in MOVING else None)
    else:
        text = pick(rng, ws.PAIRS_HELD if held else ws.PAIRS)
        a = _clause(rng, first, held, None)
        b = _clause(rng, second, held, first if first.verb in MOVING else None)
    return text.format(a=a, b=b, ga=gerund(a), gb=gerund(b))


def sample_mission(rng: np.random.Generator, plans: Sequence[Plan], split: str = 'train',
                   typos: float = .04, other: Plan | None = None) -> str:
    """
    Write one instruction that means several plans, one after the other.

    To end at an object is to hover there: a mission that ends with 'go' or 'search' and 'hover'
    reads the same as one without that 'hover', so leave it away.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    plans : sequence of Plan
        Two to four, in the order of flight; some sentences say them in another.
    split : {'train', 'held_out'}
        'held_out' links and names them in ways that 'train' never does.
    typos : float, optional
        Share of instructions with one mistyped letter.
    other : Plan, optional
        An object to refuse, in every tenth.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        `split` is unknown, or there are too few or too many plans.

    """
    _check(split)
    if not 2 <= len(plans) <= MAX_STEPS:
        raise ValueError(f'a mission has 2 to {MAX_STEPS} steps, not {len(plans)}')
    held, kind = split == 'held_out', rng.random()
    if kind < (.45 if len(plans) == 2 else .2):
        text = _pair(rng, plans[0], plans[1], held)
        if len(plans) > 2:
            moving = [p for p in plans[:2] if p.verb in MOVING]
            text = _chain(rng, plans[2:], held, text, moving[-1] if len(moving) == 1 else None)
    elif kind > .93:
        mark, text, before = pick(rng, ws.LISTED), '', None
        for k, plan in enumerate(plans):
            text += mark.format(k=k + 1, w=ws.COUNTED[k]) + _clause(rng, plan, held, before)
            text += pick(rng, ('. ', ', ', ' ', '; ')) if k < len(plans) - 1 else ''
            before = plan if plan.verb in MOVING else before
    else:
        text = _chain(rng, plans, held)
        kind = rng.random()
        text = f'{pick(rng, ws.FIRST)} {text}' if kind < .3 else _polite(rng, text)
    if plans[-1].verb in ('go', 'search') and rng.random() < .08:
        text += ' ' + pick(rng, w.GO_TAILS)
    if other is not None and rng.random() < .1:
        text += ' ' + pick(rng, ws.AFTER_OTHER).format(x=_named(rng, other.colour, other.shape))
    return finish(rng, text, typos)
