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
Rules that read the wording of `instructions`, for judging and for setting scenes.

The pilot never uses them: it has only its language head.
"""

import re

from edge_vla.language.plan import Plan
from edge_vla.sim import wording as w

_NAMES = {tuple(phrase.split()): (kind, name) for kind, table in
          (('colour', w.COLOURS), ('shape', w.SHAPES)) for name, phrases in table.items()
          for phrase in phrases}
_REFUSALS = {'not', 'ignore', 'forget', 'pass', 'past', 'mind', 'leave', 'avoid', 'skip',
             'instead', 'away', 'rather', 'disregard', 'done', 'never', 'without', "don't",
             'distance', 'stop', 'cancel', 'quit'}
# words that never stand between the colour and the shape of one object
_BETWEEN = {
    'left', 'right', 'leftward', 'rightward', 'leftwards', 'rightwards', 'near', 'next', 'beside',
    'behind', 'front', 'beyond', 'past', 'by', 'side', 'back', 'rear', 'adjacent', 'alongside',
    'close', 'neighbouring', 'nearby', 'bordering', 'vicinity', 'touching', 'ahead', 'before',
    'than', 'from', 'foreground', 'then', 'after', 'far', 'covered', 'to'}
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
_LANDING = re.compile(r"(?<!not )(?<!don't )\bland(ing)?\b|\btouch(ing)? down"
                      r'|\bset(ting)? (\w+ )?down')
_LINK = re.compile(r',?\s*(?:\band )?\b(?:then|after that|afterwards|finally)\b,?|;', re.I)
_WAIT = re.compile(r'\b(hover|wait|stop|hold|stay|pause)\b')
_STEPS = re.compile(r'\b(then|after|afterwards|before|finally|once|later|next(?! to))\b')
_THINGS = {*w.THINGS, *w.HELD_OUT['things']}
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
        apart = _BETWEEN & set(tokens[p:q])
        if kind != other_kind and q - p <= 7 and not taken and not apart:
            objects.append((p, *((name, other) if kind == 'colour' else (other, name))))
            k += 1
        k += 1
    return objects


def _kept(tokens: list[str], objects: list[tuple[int, str, str]]) -> list[tuple[str, str]]:
    """Return the objects that are not refused or taken back."""
    kept = []
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
        kept.append((colour, shape))
    return kept


def mentioned_objects(text: str) -> list[tuple[str, str]]:
    """Return (colour, shape) of every fully named object in `text`, those meant first."""
    tokens = _tokens(text)
    objects = _objects(tokens)
    kept = _kept(tokens, objects)
    return list(dict.fromkeys((*kept, *(o[1:] for o in objects))))


def reference_plan(text: str) -> Plan | None:
    """
    Read an instruction of one step by rules; None where they do not say what it means.

    What asks for no flight is to hover, and what is no instruction as well. Landing, several
    steps and objects named in part are beyond the rules.
    """
    tokens = _tokens(text)
    mentions, objects = _mentions(tokens), _objects(tokens)
    if any(tokens[end:end + 1] and tokens[end] in _THINGS for *_, end in mentions):
        return Plan('hover')
    spans = {k for start, _, _, end in mentions for k in range(start, end)}
    line = ' '.join(token for k, token in enumerate(tokens) if k not in spans)
    if not objects:
        return None if mentions or _LANDING.search(line) else Plan('hover')
    kept = _kept(tokens, objects)
    if not kept or _QUESTION.search(' '.join(tokens)):
        return Plan('hover')
    if _LANDING.search(line) or (_STEPS.search(line) and len(set(kept)) > 1):
        return None
    if _SEARCH.search(line):
        return Plan('search', *kept[0])
    line = _ASIDE.sub('', line)
    if not _ORBIT.search(line):
        return Plan('go', *kept[0])
    beside = _KEPT.search(line)
    if beside:
        right = beside.group(1) == 'left'
    elif _RIGHT_TURN.search(line) or _LEFT_TURN.search(line):
        right = bool(_RIGHT_TURN.search(line))
    else:
        right = bool(re.search(r'\bright', line))
    return Plan('orbit_right' if right else 'orbit_left', *kept[0])


def reference_mission(text: str) -> list[Plan]:
    """
    Read an instruction of one or more steps by rules, a step per clause; empty where they fail.

    Clauses are split at "then", "after that", "finally" and semicolons; a clause that does not
    name its object ("circle it") is beyond the rules.
    """
    plans: list[Plan] = []
    clauses = [c for c in _LINK.split(text) if re.search('[a-z]', c.lower())]
    for clause in clauses:
        plan = reference_plan(clause)
        if plan is None and not _mentions(_tokens(clause)) and _LANDING.search(clause.lower()):
            plan = Plan('land')
        if plan is None or len(clauses) > 1 and plan.verb == 'hover' and not _WAIT.search(
                clause.lower()):
            return []
        plans.append(plan)
    return plans
