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

`sample_instruction` writes one, composed of an object, a verb phrase, a direction, politeness
and asides; `reference_plan` reads known wording by rules. The pilot never uses either: it has
only its language head. Directions follow the commands: orbit_left is clockwise seen from above.
"""

from collections.abc import Sequence
import re

from edge_vla.language.plan import COLOURS, Plan
from edge_vla.sim import wording as w
import numpy as np

SPLITS = ('train', 'held_out')
_VERB_PHRASES = {'go': w.GO, 'search': w.SEARCH, 'orbit': w.ORBIT, 'stop': w.STOP, 'chat': w.CHAT}
_STATEMENTS = {'go': w.GO_STATEMENTS, 'search': w.SEARCH_STATEMENTS, 'orbit': w.ORBIT_STATEMENTS}
# an unknown word before these: they tell the verb
_LINKS = ('to', 'towards', 'near', 'around', 'for', 'round', 'toward', 'at', 'out')
_DOUBLED = ('stop', 'get', 'run', 'spin', 'sit', 'spot', 'nip', 'zip', 'let')


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _gerund(phrase: str) -> str:
    verb, _, rest = phrase.partition(' ')
    if verb in _DOUBLED:
        verb += verb[-1]
    elif verb.endswith('e') and not verb.endswith('ee') and len(verb) > 2:
        verb = verb[:-1]
    return f'{verb}ing {rest}'.strip()


def _object(rng: np.random.Generator, plan: Plan) -> str:
    return _pick(rng, w.OBJECTS).format(c=_pick(rng, w.COLOURS[plan.colour]),
                                        s=_pick(rng, w.SHAPES[plan.shape]), z=_pick(rng, w.SIZES))


def _distractor(rng: np.random.Generator, other: Plan, plan: Plan) -> str:
    """Name another object, now and then by what tells it from the one meant alone."""
    if rng.random() < .2 and other.shape != plan.shape:
        return f'the {_pick(rng, w.SHAPES[other.shape])}'
    if rng.random() < .1 and other.colour != plan.colour:
        return f'the {_pick(rng, w.COLOURS[other.colour])} one'
    return _object(rng, other)


def _noise_word(rng: np.random.Generator) -> str:
    if rng.random() < .5:
        return _pick(rng, w.WORDS)
    letters = 'aeioubcdfghjklmnprstvwxyz'
    return ''.join(_pick(rng, letters) for _ in range(int(rng.integers(2, 9))))


def _direction(rng: np.random.Generator, verb: str) -> str:
    kind = rng.random()
    if verb == 'orbit_left' and kind < .1:
        return ''
    if kind < .5:
        return _pick(rng, w.SIDEWAYS).format(w.SIDE[verb])
    if kind < .93:
        return _pick(rng, w.TURNWISE).format(_pick(rng, w.TURNING[verb]))
    return _pick(rng, w.KEEPING).format(w.KEPT[verb])


def _adjective(rng: np.random.Generator, verb: str) -> str:
    side = w.SIDE[verb]
    return _pick(rng, (*w.TURNING[verb], side, side + 'ward', side + 'wards', side + '-handed'))


def _unclear(rng: np.random.Generator, phrase: str) -> str:
    """Put an unknown word in place of a verb whose meaning its preposition tells."""
    *verb, link = phrase.split(' ')
    if not verb or link not in _LINKS:
        return phrase
    if len(verb) == 1 or rng.random() < .5:
        verb[0] = _noise_word(rng)
    else:
        verb = [_noise_word(rng) for _ in range(int(rng.integers(1, 4)))]
    return ' '.join((*verb, link))


def _polite(rng: np.random.Generator, phrase: str) -> str:
    kind = rng.random()
    if kind < .22:
        phrase = f'{_pick(rng, w.ASKING)} {phrase}'
    elif kind < .30:
        phrase = f'{_pick(rng, w.ASKING_ING)} {_gerund(phrase)}'
    if rng.random() < .25:
        phrase = f'{_pick(rng, w.OPENERS)} {phrase}'
    if rng.random() < .18:
        closer = _pick(rng, w.CLOSERS) if rng.random() < .85 else _noise_word(rng)
        phrase += (', ' if rng.random() < .4 else ' ') + closer
    return phrase


def _flight(rng: np.random.Generator, plan: Plan, split: str, thing: str, other: str) -> str:
    """Ask to fly to, around or in search of `thing`."""
    verb, held = plan.verb, split == 'held_out'
    family = 'orbit' if verb.startswith('orbit') else verb
    phrases = w.HELD_OUT[family] if held else _VERB_PHRASES[family]
    statements = w.HELD_OUT[family + '_statements'] if held else _STATEMENTS[family]
    before = after = ''
    if other:
        kind = rng.random()
        if kind < .3:
            before = _pick(rng, w.BEFORE_OTHER).format(x=other) + ' '
        elif kind < .6:
            after = ' ' + _pick(rng, w.AFTER_OTHER).format(x=other)
        elif kind < .8:
            options = [t for t in w.BESIDE_OTHER if family != 'orbit' or not re.search(
                'left|right', t)]
            thing += ' ' + _pick(rng, options).format(x=other)
        else:
            thing = _pick(rng, w.CORRECTIONS).format(x=other, o=thing)
    elif rng.random() < .08:
        options = [t for t in w.PLACES if family != 'orbit' or not re.search('left|right', t)]
        thing += ' ' + _pick(rng, options)
    if rng.random() < .3:  # a statement
        where = _direction(rng, verb) if family == 'orbit' else ''
        if family == 'orbit' and not held and rng.random() < .3:
            text = _pick(rng, w.ORBIT_ADJECTIVES).format(o=thing, a=_adjective(rng, verb))
        else:
            text = _pick(rng, statements).format(o=thing, d=where)
        if rng.random() < .2:
            text = f'{_pick(rng, w.OPENERS)} {text}'
        text += after
        if rng.random() < .12:
            text = f'{text}, {_pick(rng, w.CLOSERS)}'
        return before + text
    phrase = _pick(rng, phrases)
    if not held and rng.random() < .12:
        phrase = _unclear(rng, phrase)
    phrase = f'{phrase} {thing}'
    if family == 'orbit':
        where = _direction(rng, verb)
        if where and rng.random() < .12:
            return before + f'{where}, {_polite(rng, phrase)}' + after
        phrase = f'{phrase} {where}'
    elif rng.random() < .35:
        phrase += ' ' + _pick(rng, w.GO_TAILS if verb == 'go' else w.SEARCH_TAILS)
    return before + _polite(rng, phrase + after)


def _no_flight(rng: np.random.Generator, split: str, thing: str) -> str:
    """Ask to stop, or something that has no answer in flight."""
    held, kind = split == 'held_out', rng.random()
    if kind < .35:
        return _polite(rng, _pick(rng, w.HELD_OUT['stop'] if held else w.STOP))
    if kind < .58:
        return _pick(rng, w.HELD_OUT['chat'] if held else w.CHAT)
    if kind < .7:
        return ' '.join(_noise_word(rng) for _ in range(int(rng.integers(1, 8))))
    if kind < .82:
        phrase = _pick(rng, _VERB_PHRASES[_pick(rng, ('go', 'search', 'orbit'))])
        unknown = _pick(rng, w.THINGS)
        if rng.random() < .4:
            unknown = f'{_pick(rng, w.COLOURS[_pick(rng, COLOURS)])} {unknown}'
        return _polite(rng, f'{phrase} {_pick(rng, ("the", "a", "my"))} {unknown}')
    if kind < .88:
        return _pick(rng, w.AWAY).format(o=thing)
    if kind < .95:
        phrase = _pick(rng, _VERB_PHRASES[_pick(rng, ('go', 'search', 'orbit'))])
        return _pick(rng, w.NOT_DOING).format(v=phrase, g=_gerund(phrase), o=thing)
    return _pick(rng, w.ABOUT).format(o=thing)


def _finish(rng: np.random.Generator, text: str, typos: float) -> str:
    text = re.sub(r'\s+([,:;?.!])', r'\1', ' '.join(text.split()))
    if rng.random() < typos:
        words = text.split(' ')
        long = [k for k, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if long:
            k = long[int(rng.integers(len(long)))]
            words[k] = _typo(rng, words[k])
        text = ' '.join(words)
    if rng.random() < .2:
        text = text.replace(',', _pick(rng, ('', '', '.', ' -', ';')))
    if rng.random() < .6 and text[-1].isalnum():
        text += _pick(rng, '...!?')
    kind = rng.random()
    return (text if kind < .45 else text[:1].upper() + text[1:] if kind < .9
            else text.upper() if kind < .95 else text.title())


def _typo(rng: np.random.Generator, word: str) -> str:
    k, kind = int(rng.integers(1, len(word) - 1)), int(rng.integers(4))
    if kind == 0:
        return word[:k] + word[k + 1:]
    if kind == 1:
        return word[:k] + word[k + 1] + word[k] + word[k + 2:]
    if kind == 2:
        return word[:k] + word[k] + word[k:]
    return word[:k] + _pick(rng, 'abcdefghijklmnopqrstuvwxyz') + word[k + 1:]


def sample_instruction(rng: np.random.Generator, plan: Plan, split: str = 'train',
                       other: Plan | None = None, typos: float = .04) -> str:
    """
    Write one instruction that means `plan`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    plan : Plan
        What it has to mean.
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
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}; known: {", ".join(SPLITS)}')
    thing = _object(rng, plan)
    if plan.verb == 'hover':
        return _finish(rng, _no_flight(rng, split, thing), typos)
    distractor = ''
    if other is not None and (other.colour, other.shape) != (plan.colour, plan.shape):
        distractor = _distractor(rng, other, plan) if rng.random() < 1 / 3 else ''
    text = _flight(rng, plan, split, thing, distractor)
    kind = rng.random()
    if kind < .07:
        aside = _pick(rng, w.ASIDES) if kind < .04 else ' '.join(
            _noise_word(rng) for _ in range(int(rng.integers(1, 6))))
        text = f'{aside}. {text}' if rng.random() < .5 else f'{text}. {aside}'
    return _finish(rng, text, typos)


def sample_vague(rng: np.random.Generator, plan: Plan) -> str:
    """Write an instruction that leaves the colour or the shape of `plan` open."""
    colour, shape = _pick(rng, w.COLOURS[plan.colour]), _pick(rng, w.SHAPES[plan.shape])
    family = 'orbit' if plan.verb.startswith('orbit') else plan.verb
    kind = rng.random()
    thing = (f'the {shape}' if kind < .35 else f'the {_pick(rng, w.STRANGE)} {shape}' if kind < .65
             else f'the {colour} {_pick(rng, w.NOTHING)}')
    where = ' ' + _direction(rng, plan.verb) if family == 'orbit' else ''
    return _finish(rng, _polite(rng, f'{_pick(rng, _VERB_PHRASES[family])} {thing}{where}'), .04)


# --- reading known wording by rules ---------------------------------------------------------

_NAMES = {tuple(phrase.split()): (kind, name) for kind, table in
          (('colour', w.COLOURS), ('shape', w.SHAPES)) for name, phrases in table.items()
          for phrase in phrases}
_REFUSALS = {'not', 'ignore', 'forget', 'pass', 'past', 'mind', 'leave', 'avoid', 'skip',
             'instead', 'away', 'rather', 'disregard', 'done', 'never', 'without', "don't",
             'distance', 'stop', 'cancel', 'quit'}
_SEARCH = re.compile(
    r'search|\bf(i|ou)nd|look(ing)? (for|every|about|around|out)|\bto look\b|locat|seek|hunt|track'
    r'|\bspot|scan|discover|detect|explor|until you see|where (is|are|did)|(out|see) where|uncover'
    r'|identify|hidden|missing|pinpoint|survey|ferret|scout|(hav(e|ing)|tak(e|ing)) a look for'
    r'|eyes? (out|open)|sweep|lookout|check(ing)? (the area|for|around)|spy|watch(ing)? for|comb'
    r'|scour|brows|peer|poke|poking|fish|\b(sniff|root|dig)\w* out|sight of|patrol(ing|ling)? for'
    r'|rummag|(inspect|examin)\w* the (field|area)|around for')
_ORBIT = re.compile(r'\borbit|\bcircl|\b(a?round|rounding)\b|\blaps?\b|\bloop|revolv|circumnavig'
                    r'|encircl|\brings?\b|full round')
_RIGHT_TURN = re.compile(r'counter|anti|ccw')
_LEFT_TURN = re.compile(r'clock|\bcw\b')
_KEPT = re.compile(r'(?:keeping|with|stays) (?:\w+ ){0,3}(?:on|to) your (left|right)')
_ASIDE = re.compile(r'\bright (now|up|in front|to)\b|\ball? ?right\b|turn(ing)? around'
                    r'|around here|somewhere')
_QUESTION = re.compile(r'^(what (is|colour)|how (big|much)|who|why|is(?! it)|do you like'
                       r'|i (like|think|bought|dreamed)|paint|sell|describe|count|tell)\b')


def _tokens(text: str) -> list[str]:
    text = re.sub(r'\b(counter|anti)[- ](?=clock)', r'\1', text.lower().replace('\u2019', "'"))
    for spoken, plain in ((' - ', ' , '), ('would you mind', ''), ('no need', 'not'),
                          ('can not see', 'cannot see'), ('why not', ''), ('not near', 'avoid')):
        text = text.replace(spoken, plain)
    return re.findall(r"[a-z']+|[.,!?;:]", text)


def _mentions(tokens: list[str]) -> list[tuple[int, str, str, int]]:
    """Find colours and shapes: (start, kind, name, end); of adjacent colours the last counts."""
    found, k = [], 0
    while k < len(tokens):
        for n in (3, 2, 1):
            hit = _NAMES.get(tuple(tokens[k:k + n]))
            if hit:
                if hit[0] == 'colour' and found and found[-1][1] == 'colour' and (
                        found[-1][3] == k):
                    found.pop()
                found.append((k, *hit, k + n))
                k += n - 1
                break
        k += 1
    return found


def _objects(tokens: list[str]) -> list[tuple[int, str, str]]:
    """Pair colours with shapes: (position, colour, shape) in the order of mention."""
    mentions, objects, k = _mentions(tokens), [], 0
    while k + 1 < len(mentions):
        (p, kind, name, _), (q, other_kind, other, _) = mentions[k:k + 2]
        # "not the cone, the yellow pillar": the colour belongs to what follows it at once
        taken = kind == 'shape' and k + 2 < len(mentions) and (
            mentions[k + 2][0] == mentions[k + 1][3] and mentions[k + 2][1] == 'shape')
        if kind != other_kind and q - p <= 7 and not taken:
            objects.append((p, *((name, other) if kind == 'colour' else (other, name))))
            k += 1
        k += 1
    return objects


def _meant(tokens: list[str], objects: list[tuple[int, str, str]]) -> tuple[str, str] | None:
    """Return the first object that is not refused or taken back."""
    for k, (p, colour, shape) in enumerate(objects):
        start = p
        while start and tokens[start - 1] not in (*'.,!?;:', 'and', 'then', 'but', 'i'):
            start -= 1
        clause = ' '.join(tokens[start:p])
        if _REFUSALS & set(re.sub(r'\bstop (?=at|in|next|near)', '', clause).split()):
            continue
        gap = tokens[p:objects[k + 1][0]] if k + 1 < len(objects) else []
        if {'no', 'sorry', 'mean', 'correction'} & set(gap) and 'not' not in gap:
            continue
        if re.search(r'is not (what|the target)|\bbe and\b', ' '.join(gap)):
            continue
        return colour, shape
    return None


def mentioned_objects(text: str) -> list[tuple[str, str]]:
    """Return (colour, shape) of every object in `text`, the one that is meant first."""
    tokens = _tokens(text)
    objects = _objects(tokens)
    names = list(dict.fromkeys(o[1:] for o in objects))
    meant = _meant(tokens, objects)
    return sorted(names, key=lambda name: name != meant)


def reference_plan(text: str) -> Plan | None:
    """
    Read an instruction by rules; None where they do not say what it means.

    For judging and for setting scenes, with the wording of this module (without typos).
    """
    tokens = _tokens(text)
    mentions, objects = _mentions(tokens), _objects(tokens)
    if any(tokens[end:end + 1] and tokens[end] in w.THINGS for *_, end in mentions):
        return Plan('hover')
    if not objects:
        return None if mentions else Plan('hover')
    spans = {k for start, _, _, end in mentions for k in range(start, end)}
    line = ' '.join(token for k, token in enumerate(tokens) if k not in spans)
    meant = _meant(tokens, objects)
    if meant is None or _QUESTION.search(' '.join(tokens)):
        return Plan('hover')
    if _SEARCH.search(line):
        return Plan('search', *meant)
    line = _ASIDE.sub('', line)
    if not _ORBIT.search(line):
        return Plan('go', *meant)
    kept = _KEPT.search(line)
    if kept:
        right = kept.group(1) == 'left'
    elif _RIGHT_TURN.search(line) or _LEFT_TURN.search(line):
        right = bool(_RIGHT_TURN.search(line))
    else:
        right = bool(re.search(r'\bright', line))
    return Plan('orbit_right' if right else 'orbit_left', *meant)
