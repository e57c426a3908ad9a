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
The text itself as the draft: what followed the same tokens before.

Prompt lookup (Saxena 2023) with a memory of earlier texts (SuffixDecoding, Oliaro et al. 2024,
arXiv 2411.04975), and with the chance that each guess has been right in, learned while it is used.
"""

from collections.abc import Sequence
from typing import NamedTuple

from edge_vla.language.sampling import SamplingConfig
from edge_vla.language.speculative import Proposal

_FADES = .97
_UNLIKELY = .1  # a look costs more than what is right so seldom brings
_PAIR = 2  # tokens whose last continuation in this text tells more than their usual one


class _Guess(NamedTuple):
    token: int
    case: tuple[int, ...]  # guesses of one case have been right equally often


class NGramDraft:
    """
    Proposes what followed the last tokens, in this text and in those it was asked about before.

    There are two guesses at each token: what came most often after the longest context that is
    known, and what came after the last two tokens when, as now, something certain had followed
    them the time before, which counts on ("step 1", "step 2") and goes on in lists. The guess
    that was right more often in cases like this is taken.

    Parameters
    ----------
    longest : int
        Most tokens of a context.
    memory : int
        Contexts that are remembered, about 300 bytes each; with more all is forgotten but the
        text at hand.

    """

    free = True

    def __init__(self, longest: int = 3, memory: int = 50_000) -> None:
        self._longest, self._memory = longest, memory
        self._rates: dict[tuple[int, ...], tuple[float, float]] = {}
        self._after: dict[tuple[int, ...], dict[int, int]] = {}  # counts, the latest last
        self._next: dict[tuple[int, ...], int] = {}  # by a pair and what followed it before
        self._own = 0  # contexts of the text at hand, which are not forgotten, as far as counted
        self._begin()

    def propose(self, ids: Sequence[int], count: int, sampling: SamplingConfig) -> Proposal:
        """Guess what follows (see Draft)."""
        ids = list(ids)
        if ids[:len(self._ids)] != self._ids:
            self._begin()
            self._own = 0
        self._settle(ids)
        forget = len(self._after) + len(self._next) > self._memory + self._own
        if forget:
            self._after, self._next = {}, {}
            self._begin()
        for at in range(max(1, len(self._ids)), len(ids)):
            self._learn(ids, at)
        if forget:
            self._own = len(self._after) + len(self._next)
        self._ids, self._asked = ids, []
        seen = ids[-max(self._longest, _PAIR):]
        said: dict[tuple[int, ...], int] = {}
        out: list[int] = []
        chances: list[float] = []
        likely = 1.0
        for _ in range(count):
            guesses = self._guesses(seen, said)
            if not guesses:
                break
            best = max(guesses, key=lambda guess: self._chance(guess.case))
            self._asked.append((best.token, guesses))
            out.append(best.token)
            chances.append(self._chance(best.case))
            likely *= chances[-1]
            if likely < _UNLIKELY:
                break
            said[tuple(seen[-_PAIR:])] = best.token
            seen.append(best.token)
        return Proposal(out, chances=chances)

    def _begin(self) -> None:
        """Forget the text at hand."""
        self._ids: list[int] = []
        self._lately: dict[tuple[int, ...], int] = {}  # what followed a pair in this text
        self._asked: list[tuple[int, list[_Guess]]] = []  # what was proposed, and all guesses

    def _settle(self, ids: list[int]) -> None:
        """Count which guesses were right, up to the first token that was not proposed."""
        for token, (proposed, guesses) in zip(ids[len(self._ids):], self._asked, strict=False):
            for guess in guesses:
                kept, tried = self._rates.get(guess.case, (0.0, 0.0))
                self._rates[guess.case] = (_FADES * kept + (guess.token == token),
                                           _FADES * tried + 1)
            if proposed != token:
                break

    def _learn(self, ids: list[int], at: int) -> None:
        """Take notice of a token of the text."""
        token = ids[at]
        for n in range(1, min(self._longest, at) + 1):
            counts = self._after.setdefault(tuple(ids[at - n:at]), {})
            counts[token] = counts.pop(token, 0) + 1
        pair = tuple(ids[max(0, at - _PAIR):at])
        if pair in self._lately:
            self._next[(*pair, self._lately[pair])] = token
        self._lately[pair] = token

    def _guesses(self, seen: list[int], said: dict[tuple[int, ...], int]) -> list[_Guess]:
        """Guess what follows; what was said after pairs is proposed, but not yet in the text."""
        out: list[_Guess] = []
        pair = tuple(seen[-_PAIR:])
        before = said.get(pair, self._lately.get(pair))
        if (*pair, before) in self._next:
            out.append(_Guess(self._next[(*pair, before)], ()))
        for n in range(min(self._longest, len(seen)), 0, -1):
            counts = self._after.get(tuple(seen[-n:]))
            if counts:
                total = sum(counts.values())
                token = max(reversed(counts), key=counts.__getitem__)
                out.append(_Guess(token, (n, 4 * counts[token] // total, min(total, 3))))
                break
        return out

    def _chance(self, case: tuple[int, ...]) -> float:
        kept, tried = self._rates.get(case, (0.0, 0.0))
        return (kept + 1) / (tried + 2)
