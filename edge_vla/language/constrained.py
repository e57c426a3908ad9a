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

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


def write(forward: Callable[[list[int], np.ndarray], np.ndarray], new: list[int],
          allowed: Allowed, choose: Callable[[np.ndarray], int] = np.argmax) -> Written:
    """
    Let a model write a text of the grammar.

    Parameters
    ----------
    forward : callable
        Appends tokens and returns the logits after the last one, of the given tokens only:
        ``Decoder.forward``.
    new : list of int
        The tokens before the text that `forward` has not read yet, at least one.
    allowed : Allowed
        The tokens of the grammar.
    choose : callable
        Takes the probabilities of the allowed tokens, float64 [k], and returns which; the
        likeliest by default.

    Raises
    ------
    CheckpointError
        The logits are not numbers.

    """
    new, text, state, past = list(new), b'', 0, 0.0
    ids: list[int] = []
    beginnings: list[tuple[bytes, float]] = []
    while state != allowed.final:
        tokens, after = allowed.next(state)
        k = 0
        if len(tokens) > 1:  # what can only go on in one way is not asked about
            with np.errstate(divide='ignore'):
                law = probabilities(forward(new, tokens), (), _LAW)
                logs = past + np.log(law)
            k, new = int(choose(law)), []
            beginnings += ((text + allowed.bytes_of(t), x) for i, (t, x) in enumerate(
                zip(tokens.tolist(), logs.tolist(), strict=True)) if i != k and law[i] > 0)
            past = float(logs[k])
        ids.append(int(tokens[k]))
        new.append(ids[-1])
        text, state = text + allowed.bytes_of(ids[-1]), after[k]
    return Written(text, tuple(ids), [*beginnings, (text, past)])


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
