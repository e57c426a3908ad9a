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

"""How people put words: drawing, gerunds, unknown words, case, punctuation and typos."""

from collections.abc import Sequence
import re

from edge_vla.sim import wording as w
import numpy as np

_DOUBLED = ('stop', 'get', 'run', 'spin', 'sit', 'spot', 'nip', 'zip', 'let', 'set', 'put')


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Draw one."""
    return options[int(rng.integers(len(options)))]


def gerund(phrase: str) -> str:
    """Return 'flying to it' of 'fly to it'."""
    verb, _, rest = phrase.partition(' ')
    if verb in _DOUBLED:
        verb += verb[-1]
    elif verb.endswith('e') and not verb.endswith('ee') and len(verb) > 2:
        verb = verb[:-1]
    return f'{verb}ing {rest}'.strip()


def noise_word(rng: np.random.Generator) -> str:
    """Return an unrelated or an invented word."""
    if rng.random() < .5:
        return pick(rng, w.WORDS)
    letters = 'aeioubcdfghjklmnprstvwxyz'
    return ''.join(pick(rng, letters) for _ in range(int(rng.integers(2, 9))))


def finish(rng: np.random.Generator, text: str, typos: float) -> str:
    """Write a sentence the way people type: case, punctuation, `typos` of them mistyped."""
    text = re.sub(r'\s+([,:;?.!])', r'\1', ' '.join(text.split()))
    if rng.random() < typos:
        words = text.split(' ')
        long = [k for k, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if long:
            k = long[int(rng.integers(len(long)))]
            words[k] = _typo(rng, words[k])
        text = ' '.join(words)
    if rng.random() < .2:
        text = text.replace(',', pick(rng, ('', '', '.', ' -', ';')))
    if rng.random() < .6 and text[-1].isalnum():
        text += pick(rng, '...!?')
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
    return word[:k] + pick(rng, 'abcdefghijklmnopqrstuvwxyz') + word[k + 1:]
