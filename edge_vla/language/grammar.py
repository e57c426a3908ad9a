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
A grammar over the tokens of any model.

A grammar is an automaton over bytes. Over the tokens of a vocabulary it becomes another one, whose
arcs are whole tokens: those that end within a word or span several too, and none that leads where
the text could not be finished.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from edge_vla.exceptions import CheckpointError
from edge_vla.language.plan import (
    ANCHORED,
    COLOURS,
    END,
    MOVING,
    next_words,
    RELATIONS,
    SHAPES,
    THEN,
)
import numpy as np

Arcs = Callable[[Any], Iterable[tuple[bytes, Hashable | None]]]
_Items = frozenset[tuple[bytes, Hashable | None]]
EOL = b'\n'  # ends a plan
# what may follow depends on the kind of a word only: one word stands for all of its kind
_KIND = {word: kind[0] for kind in (MOVING, COLOURS, SHAPES, ANCHORED, RELATIONS[6:])
         for word in kind}


def plan_arcs(state: tuple[int, tuple[str, ...]]) -> Iterable[tuple[bytes, Hashable | None]]:
    """
    Yield the words of a plan that may follow, as `Automaton` takes them.

    Parameters
    ----------
    state : tuple
        Complete steps, and the words of this one, each replaced by the first of its kind; a plan
        begins with ``PLAN``.

    """
    steps, said = state
    for word in next_words(said, steps):
        if word == END:
            yield EOL, None
        else:
            yield spelled(word, not steps and not said), (
                (steps + 1, ()) if word == THEN else (steps, (*said, _KIND.get(word, word))))


def spelled(word: str, first: bool) -> bytes:
    """Return how a word is written, the end of a plan too: a space before all but the first."""
    return EOL if word == END else word.encode() if first else b' ' + word.encode()


PLAN = (0, ())


class Automaton:
    """
    Accepts the texts of a grammar, byte by byte.

    Parameters
    ----------
    start : Hashable
        A state of the grammar.
    arcs : callable
        From a state to the words that may come next, not empty ones, and the state after each,
        None after the last. No text may be the beginning of another.

    Attributes
    ----------
    steps : list of dict
        For every state the next one by byte; 0 is the first state.
    final : int
        The state after a whole text.
    longest : int
        Most bytes of a text.

    Raises
    ------
    ValueError
        A text is the beginning of another, or there is no longest one.

    """

    def __init__(self, start: Hashable, arcs: Arcs) -> None:
        end: _Items = frozenset({(b'', None)})
        first = _closed([(b'', start)], arcs)
        numbers: dict[_Items, int] = {first: 0}
        self.steps: list[dict[int, int]] = []
        todo = [first]
        for items in todo:  # grows
            if (b'', None) in items and items != end:
                raise ValueError('a text of the grammar is the beginning of another')
            self.steps.append({})
            for byte in sorted({rest[0] for rest, _ in items if rest}):
                after = _closed([(rest[1:], state) for rest, state in items
                                 if rest[:1] == bytes([byte])], arcs)
                if after not in numbers:
                    numbers[after] = len(todo)
                    todo.append(after)
                self.steps[-1][byte] = numbers[after]
        self.final = numbers.get(end, -1)
        self.longest = self._longest()

    def run(self, text: bytes, state: int = 0) -> int:
        """Return the state after a text, -1 if the grammar has nothing that begins so."""
        for byte in text:
            state = self.steps[state].get(byte, -1)
            if state < 0:
                break
        return state

    def _longest(self) -> int:
        """Count the bytes of the longest text, layer by layer."""
        reached, length = {0}, -1
        while reached:
            length += 1
            if length > len(self.steps):
                raise ValueError('the texts of the grammar have no longest one')
            reached = {after for state in reached for after in self.steps[state].values()}
        return length


def _closed(items: Iterable[tuple[bytes, Hashable | None]], arcs: Arcs) -> _Items:
    """Replace what has been spelled out by what may follow."""
    out, todo = set(), list(items)
    while todo:
        rest, state = todo.pop()
        if rest or state is None:
            out.add((rest, state))
        else:
            todo += arcs(state)
    return frozenset(out)


class Allowed:
    """
    Which tokens may come next, and where they lead.

    Parameters
    ----------
    automaton : Automaton
    vocabulary : sequence of bytes
        What each token stands for; b'' for none. What ends the model's turn stands for what ends
        a text.

    Raises
    ------
    CheckpointError
        No tokens spell any text of the grammar.

    """

    def __init__(self, automaton: Automaton, vocabulary: Sequence[bytes]) -> None:
        self._vocabulary, self.final = vocabulary, automaton.final
        letters = bytes(sorted({byte for step in automaton.steps for byte in step}))
        known: dict[bytes, list[int]] = {}
        begun: set[bytes] = set()
        for token, data in enumerate(vocabulary):
            if 0 < len(data) <= automaton.longest and not data.translate(None, letters):
                known.setdefault(data, []).append(token)
                begun.update(data[:n] for n in range(1, len(data) + 1))
        arcs: dict[int, list[tuple[int, int]]] = {}
        todo = [0]
        while todo:
            state = todo.pop()
            if state not in arcs:
                arcs[state] = list(_walk(automaton.steps, state, known, begun))
                todo += {after for _, after in arcs[state]}
        alive = _alive(arcs, self.final)
        if 0 not in alive:
            raise CheckpointError('the tokens of this model cannot spell a plan')
        self._next: dict[int, tuple[np.ndarray, list[int]]] = {}
        for state in alive - {self.final}:
            kept = [(token, after) for token, after in arcs[state] if after in alive]
            self._next[state] = (np.array([t for t, _ in kept], np.int64), [a for _, a in kept])

    def next(self, state: int) -> tuple[np.ndarray, list[int]]:  # noqa: A003
        """Return the ids of the tokens that may follow, int64 [k], and the state after each."""
        return self._next[state]

    def along(self, state: int, ids: Iterable[int]) -> list[np.ndarray]:
        """
        Return the tokens that may follow at a state, and after each of some.

        Up to the first of them that may not follow itself, or to the end of a text, after which
        there are none.
        """
        tokens, after = self.next(state)
        out = [tokens]
        for token in ids:
            at = np.flatnonzero(tokens == token)
            if not at.size:
                break
            state = after[int(at[0])]
            tokens, after = (np.zeros(0, np.int64), []) if state == self.final else (
                self.next(state))
            out.append(tokens)
        return out

    def bytes_of(self, token: int) -> bytes:
        """Return what a token stands for."""
        return self._vocabulary[token]


def _walk(steps: list[dict[int, int]], state: int, known: dict[bytes, list[int]],
          begun: set[bytes]) -> Iterable[tuple[int, int]]:
    """Yield every token that fits at a state, and the state after it."""
    todo = [(b'', state)]
    while todo:
        text, at = todo.pop()
        for token in known.get(text, ()):
            yield token, at
        todo += ((more, after) for byte, after in steps[at].items()
                 if (more := text + bytes([byte])) in begun)


def _alive(arcs: dict[int, list[tuple[int, int]]], final: int) -> set[int]:
    """Return the states from which a text can be finished."""
    before: dict[int, set[int]] = {}
    for state, tokens in arcs.items():
        for _, after in tokens:
            before.setdefault(after, set()).add(state)
    alive: set[int] = set()
    todo = [final] if final in arcs else []
    while todo:
        state = todo.pop()
        if state not in alive:
            alive.add(state)
            todo += before.get(state, ())
    return alive
