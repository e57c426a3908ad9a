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
Constrained decoding: a model with any weights writes only what a grammar allows.

The logits of the tokens that are not allowed are never computed. What the model would have written
instead is kept, so that every word of a plan has a probability however its letters are cut into
tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_vla.language.grammar import Allowed, EOL, spelled
from edge_vla.language.plan import END, next_words, THEN
from edge_vla.language.sampling import probabilities, SamplingConfig
import numpy as np

_LAW = SamplingConfig(temperature=1.0)


@dataclass(frozen=True)
class Written:
    """
    A text of the grammar, and all others that could have been written.

    Attributes
    ----------
    text : bytes
        With what ends it.
    ids : tuple of int
        Its tokens.
    beginnings : list of tuple
        Beginnings of texts, and this text itself, with the logarithm of the probability of each;
        together they are all that the model could have begun.

    """

    text: bytes
    ids: tuple[int, ...]
    beginnings: list[tuple[bytes, float]]


class Reader(Protocol):
    """A model that can be asked about some tokens of its vocabulary, and take tokens back."""

    def logits(self, ids: list[int], tokens: np.ndarray) -> np.ndarray:
        """Append tokens, and return the logits of others after each, float [T, k]."""

    def take_back(self, count: int) -> None:
        """Forget the last tokens that were appended."""


def write(model: Reader, new: list[int], allowed: Allowed,
          choose: Callable[[np.ndarray], int] = np.argmax, guess: Sequence[int] = ()) -> Written:
    """
    Let a model write a text of the grammar.

    Parameters
    ----------
    model : Reader
        What writes.
    new : list of int
        The tokens before the text that the model has not read yet, at least one.
    allowed : Allowed
        The tokens of the grammar.
    choose : callable
        Takes the probabilities of the allowed tokens, float64 [k], and returns which; the
        likeliest by default.
    guess : sequence of int
        What the text may be: read along with `new`, so that what it has right needs no step of
        its own. It changes nothing of what is written.

    Raises
    ------
    CheckpointError
        The logits are not numbers.

    """
    new, text, state, past = list(new), b'', 0, 0.0
    ids: list[int] = []
    beginnings: list[tuple[bytes, float]] = []
    look = _Look(model, allowed, guess)
    while state != allowed.final:
        tokens, after = allowed.next(state)
        k = 0
        if len(tokens) > 1:  # what can only go on in one way is not asked about
            with np.errstate(divide='ignore'):
                law = probabilities(look.at(new, state, tokens), (), _LAW)
                logs = past + np.log(law)
            k, new = int(choose(law)), []
            beginnings += ((text + allowed.bytes_of(t), x) for i, (t, x) in enumerate(
                zip(tokens.tolist(), logs.tolist(), strict=True)) if i != k and law[i] > 0)
            past = float(logs[k])
        ids.append(int(tokens[k]))
        if not look.has_read(ids[-1]):
            new.append(ids[-1])
        text, state = text + allowed.bytes_of(ids[-1]), after[k]
    return Written(text, tuple(ids), [*beginnings, (text, past)])


class _Look:
    """What a model thinks along a guess, as far as the text is what was guessed."""

    def __init__(self, model: Reader, allowed: Allowed, guess: Sequence[int]) -> None:
        self._model, self._allowed, self._guess = model, allowed, list(guess)
        self._rows: np.ndarray | None = None  # logits after what is written, and further on
        self._asked = np.zeros(0, np.int64)  # the tokens they are of

    def at(self, new: list[int], state: int, tokens: np.ndarray) -> np.ndarray:
        """Return the logits of tokens at a state, after `new` was read unless it is known."""
        if self._rows is None:
            asked = self._allowed.along(state, self._guess)
            del self._guess[len(asked) - 1:]  # no text of the grammar
            self._asked = np.unique(np.concatenate(asked))
            rows = self._model.logits(new + self._guess, self._asked)
            self._rows = rows[len(new) - 1:]
        return self._rows[0, np.searchsorted(self._asked, tokens)]

    def has_read(self, token: int) -> bool:
        """Go on by a token; tell whether the model has read it already."""
        known = self._rows is not None
        if self._guess[:1] == [token]:
            del self._guess[0]
            self._rows = self._rows[1:] if known else None
            return known
        if known:
            self._model.take_back(len(self._guess))
        self._guess, self._rows = [], None
        return False


def readings(written: Written) -> Iterable[tuple[str, dict[str, float]]]:
    """
    Yield the words of a plan, each with the probability of all that could stand in its place.

    The probability of a beginning of several words is shared equally among them.

    Parameters
    ----------
    written : Written
        A text of `plan_arcs`.

    """
    at, steps, said = 0, 0, []
    for word in (*written.text.decode().split(), END):
        options = {w: spelled(w, at == 0) for w in next_words(said, steps)}
        logs = [([w for w, spelling in options.items() if _fits(text[at:], spelling)], x)
                for text, x in written.beginnings
                if len(text) > at and text.startswith(written.text[:at])]
        top = max(x for fitting, x in logs if fitting)
        weights = dict.fromkeys(options, 0.0)
        for fitting, x in logs:
            for w in fitting:
                weights[w] += np.exp(x - top) / len(fitting)
        total = sum(weights.values())
        yield word, {w: float(p / total) for w, p in weights.items()}
        at += len(options[word])
        if word == THEN:
            steps, said = steps + 1, []
        else:
            said.append(word)


def _fits(rest: bytes, spelling: bytes) -> bool:
    """Tell whether what was written may be, or begin with, a word."""
    end = rest[len(spelling):len(spelling) + 1]
    return spelling.startswith(rest) or (rest.startswith(spelling) and end in (b' ', EOL))
