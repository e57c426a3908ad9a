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
What speculative decoding brings on this machine, for every kind of draft.

A large model with random weights computes everything and then says a given text, so the cost is
real and the text is what the stack says: an instruction and its plan, and what is narrated as it
is flown. A draft of the size of the shipped head says the same text, and is wrong in a given share
of tokens. Every text is said plainly before and after it is said with a draft, for how fast memory
is may change in a minute.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

from edge_vla.evaluation.answers import question, Recital, SURE
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.drafts import (
    Bridge,
    IntersectionDraft,
    ModelDraft,
    TextDraft,
)
from edge_vla.language.generation import generate
from edge_vla.language.ngram import NGramDraft
from edge_vla.language.speculative import Draft, DraftLength, length_for
from edge_vla.language.text_tokenizer import TextTokenizer
import numpy as np

AGREEMENTS = (1.0, .8, .5, 0.0)  # of the small drafts
KINDS = ('n-gram', 'n-gram, remembering', 'same vocabulary', 'text (SLEM)', 'intersection (TLI)')


class Case(NamedTuple):
    """
    A kind of draft.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    agreement : float or None
        Share of the tokens that the draft has right; None of n-grams, which have no say in it.
        Those that remember know the texts before.

    """

    kind: str
    agreement: float | None


class TextRecital:
    """
    A small decoder that computes everything, and then says a given text, sometimes wrongly.

    Parameters
    ----------
    decoder : Decoder
        What it costs.
    tokenizer : TextTokenizer
        Of its own vocabulary.
    text : str
        ASCII.
    agreement : float
        Share of the tokens that are right.
    seed : int
        Which are wrong.

    """

    def __init__(self, decoder: Any, tokenizer: TextTokenizer, text: str, agreement: float,
                 seed: int) -> None:
        self._decoder, self.tokenizer, self._text = decoder, tokenizer, text
        self.config, self.cache = decoder.config, decoder.cache
        self._said = [0]  # bytes, after every token that the cache holds
        self._next: dict[int, int] = {}  # token that begins at a byte, as far as one is known
        said = 0
        for token in tokenizer.encode(text):
            self._next[said] = token
            said += len(tokenizer.bytes_of(token))
        self._right = np.random.default_rng(seed).random(len(text) + 1) < agreement

    def forward(self, ids: Sequence[int]) -> np.ndarray:
        """Append tokens and return the logits of the last one, float32 [vocab]."""
        del self._said[self.cache.length + 1:]
        for i in ids:
            self._said.append(self._said[-1] + len(self.tokenizer.bytes_of(i)))
        out, said = self._decoder.forward(ids), self._said[-1]
        if said not in self._next and said < len(self._text):
            self._next[said] = self.tokenizer.encode(self._text[said:])[0]
        if said in self._next:
            wrong = 0 if self._right[said] else 1
            out[(self._next[said] + wrong) % self.tokenizer.size] = SURE
        return out


def cases() -> list[Case]:
    """Return what is measured."""
    return [*(Case(kind, None) for kind in KINDS[:2]),
            *(Case(kind, a) for kind in KINDS[2:] for a in AGREEMENTS)]


def measure(decoder: Any, small: Any, tokenizers: tuple[TextTokenizer, TextTokenizer], rounds: int,
            say: Callable[[str], None] = lambda line: None) -> Iterator[dict[str, Any]]:
    """
    Measure every case beside plain decoding.

    Parameters
    ----------
    decoder, small : Decoder
        The model that is to agree and the draft; weights do not matter.
    tokenizers : tuple of TextTokenizer
        Two vocabularies: the model's, and another one for a draft.
    rounds : int
        Texts, each said with every draft, and plainly between them.
    say : callable
        Called with a line of text before each text.

    Yields
    ------
    dict
        Of a case: ``kind``, ``agreement``, ``speedup`` (median over the texts of the time of
        a token, plain over speculative), ``least`` and ``most`` of these, ``proposed`` (tokens),
        ``kept`` (share of them) and ``tokens_per_second``.

    Raises
    ------
    EdgeVlaError
        Another text was said than without a draft, which is a fault.

    """
    mine = tokenizers[0]
    bridge = Bridge(*tokenizers, *(tokenizer.size for tokenizer in tokenizers))
    lengths = {case: length_for(decoder) for case in cases()}
    remembering = NGramDraft()
    took: dict[Case, list[tuple[float, float, int, int]]] = {case: [] for case in cases()}
    for number in range(rounds + 1):
        say(f'text {number} of {rounds}' if number else 'compiling, and a first text')
        asked = question(mine, number)
        target = Recital(decoder, asked.prompt + asked.answer)
        text = b''.join(map(mine.bytes_of, asked.prompt + asked.answer)).decode()
        before = _say(target, asked.prompt, asked.answer, None).decode_seconds
        for case in cases():
            draft = remembering if case.kind == KINDS[1] else _draft(
                case, decoder, small, bridge, text, number)
            fast = _say(target, asked.prompt, asked.answer, draft, lengths[case])
            after = _say(target, asked.prompt, asked.answer, None).decode_seconds
            if number:
                took[case].append(((before + after) / 2 / fast.decode_seconds,
                                   (len(asked.answer) - 1) / fast.decode_seconds,
                                   fast.drafted_tokens, fast.kept_tokens))
            before = after
    for case, rows in took.items():
        gains = [row[0] for row in rows]
        yield {'kind': case.kind, 'agreement': case.agreement,
               'speedup': round(median(gains), 3), 'least': round(min(gains), 3),
               'most': round(max(gains), 3),
               'tokens_per_second': round(median(row[1] for row in rows), 2),
               'proposed': sum(row[2] for row in rows),
               'kept': round(sum(row[3] for row in rows) / max(1, sum(row[2] for row in rows)), 3)}


def _draft(case: Case, decoder: Any, small: Any, bridge: Bridge, text: str, seed: int) -> Draft:
    if case.agreement is None:
        return NGramDraft()
    same = case.kind == KINDS[2]
    recital = TextRecital(small, bridge.tokenizer if same else bridge.other, text,
                          case.agreement, seed)
    if same:
        return ModelDraft(recital, small.config.vocab_size)
    if case.kind == KINDS[3]:
        return TextDraft(recital, bridge)
    return IntersectionDraft(recital, bridge, decoder.config.vocab_size)


def _say(target: Recital, prompt: list[int], answer: list[int], draft: Draft | None,
         length: DraftLength | None = None) -> Any:
    said = generate(target, prompt, max_tokens=len(answer), draft=draft, length=length)
    if list(said.ids) != answer:
        raise EdgeVlaError('another text was said than without a draft')
    return said
