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
Speculative decoding: several tokens for the price of one, and exactly the law of plain decoding.

A draft proposes tokens, the model looks at all of them at once, and they are kept as far as they
agree (Leviathan et al. 2023; Chen et al. 2023). What is proposed without probabilities is compared
with what the model itself draws, so even the random numbers are those of plain decoding. How much
is proposed follows from what it brought lately, down to nothing where it does not pay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from edge_vla.language.sampling import probabilities, Sampler, SamplingConfig
import numpy as np


class Proposal(NamedTuple):
    """
    What a draft thinks comes next.

    Attributes
    ----------
    ids : list of int
        Tokens of the model that is to agree.
    laws : list of numpy.ndarray or None
        The distribution each was drawn from, float64 [vocab]; None where nothing was drawn, the
        tokens being the only ones that this draft would propose.

    """

    ids: list[int]
    laws: list[np.ndarray] | None = None


class Draft(Protocol):
    """Proposes tokens."""

    def propose(self, ids: Sequence[int], count: int, sampling: SamplingConfig) -> Proposal:
        """
        Guess what follows.

        Parameters
        ----------
        ids : sequence of int
            The prompt and what was generated so far, in tokens of the model that is to agree.
        count : int
            Most tokens to propose; fewer, or none, are fine.
        sampling : SamplingConfig
            How the model's own tokens are chosen.

        """


def likeliest(decoder: Any, sampling: SamplingConfig) -> dict[str, int]:
    """Return what tells a decoder that only some of the likeliest tokens can come next."""
    return {'best': sampling.best} if sampling.best and getattr(decoder, 'sketched', False) else {}


def acceptance(p: np.ndarray, q: np.ndarray, token: int) -> float:
    """Return with which probability a token drawn from `q` is kept under the model's law `p`."""
    return min(1.0, float(p[token] / q[token])) if q[token] > 0 else 0.0


def residual(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the law of what comes instead of a token that was not kept, float64 [vocab]."""
    left = np.maximum(p - q, 0)
    total = left.sum()
    return left / total if total > 0 else p


def agree(proposal: Proposal, logits: np.ndarray, ids: Sequence[int],
          sampler: Sampler) -> list[int]:
    """
    Return the tokens that come next: those kept, and one more.

    Parameters
    ----------
    proposal : Proposal
        K tokens, drawn independently of the sampler's random numbers.
    logits : numpy.ndarray
        float [K + 1, vocab] of the model, after the tokens so far and after each proposed one.
    ids : sequence of int
        The prompt and what was generated so far.
    sampler : Sampler
        Of the model.

    """
    seen, first = list(ids), len(ids)
    for k, token in enumerate(proposal.ids):
        if proposal.laws is None:
            seen.append(sampler(logits[k], seen))
            if seen[-1] != token:
                return seen[first:]
            continue
        p, q = probabilities(logits[k], seen, sampler.config), proposal.laws[k]
        if sampler.uniform() >= acceptance(p, q, token):
            return [*seen[first:], sampler.draw(residual(p, q))]
        seen.append(token)
    return [*seen[first:], sampler(logits[len(proposal.ids)], seen)]


@dataclass
class DraftLength:
    """
    Chooses how many tokens to propose by what they cost and how often they were kept.

    With acceptance a, length n, the time d of a proposed token and l(n) of a look at n of them, a
    round brings (1 - a^(n + 1)) / (1 - a) tokens in time n d + l(n). Every length is timed apart,
    for kernels take several tokens at once and l has steps; one that was not tried lately is
    thought to cost no more than the next shorter one that was, so it is tried where it may pay.
    Where no length is better than none, one is tried again ever more rarely.

    Attributes
    ----------
    most : int
        Longest proposal.

    """

    most: int = 8
    MARGIN = 1.05  # what must be won on paper
    OFTEN, SELDOM = 16, 256  # plain steps between trials
    LATELY = 64  # looks for which the time of another length is remembered
    _FADES = .95

    def __post_init__(self) -> None:
        self._kept, self._tried = 1.0, 1.5  # two of three, but any experience counts for more
        self._draft: float | None = None  # seconds of a proposed token
        self._look: dict[int, float] = {}  # seconds, by length; a plain step is length 0
        self._since: dict[int, int] = {}  # looks since a length was tried
        self._wait, self._left = self.OFTEN, 0

    def choose(self) -> int:
        """Return how many tokens to propose next, 0 for none."""
        if self._left > 0:
            self._left -= 1
            return 0
        if 0 not in self._look:  # first learn what a plain step costs
            return 0
        if self._draft is None:  # then, at little risk, what looking at more does
            return min(1, self.most)
        best, gain = 0, self.MARGIN
        a = min(self._kept / self._tried, .999)
        for n in range(1, self.most + 1):
            seconds = n * self._draft + self._looking(n)
            now = (1 - a ** (n + 1)) / (1 - a) * self._look[0] / seconds
            if now > gain:
                best, gain = n, now
        if best == 0:
            self._left, self._wait = self._wait, min(2 * self._wait, self.SELDOM)
            return 1  # the last trial for a while
        self._wait = self.OFTEN
        return best

    def plain(self, seconds: float) -> None:
        """Say how long a step without a proposal took."""
        self._look[0] = self._mixed(self._look.get(0), seconds)

    def looked(self, proposed: int, kept: int, drafting: float, looking: float) -> None:
        """
        Say what a proposal came to.

        Parameters
        ----------
        proposed, kept : int
            Tokens.
        drafting, looking : float
            Seconds the draft and the model took.

        """
        self._draft = self._mixed(self._draft, drafting / proposed)
        self._look[proposed] = self._mixed(self._look.get(proposed), looking)
        self._since = {k: n + 1 for k, n in self._since.items()} | {proposed: 0}
        for k in [k for k, n in self._since.items() if n > self.LATELY]:
            del self._since[k], self._look[k]
        self._kept = self._FADES * self._kept + kept
        self._tried = self._FADES * self._tried + kept + (kept < proposed)

    def _looking(self, n: int) -> float:
        """Return the seconds of a look at n proposed tokens, not too many where not known."""
        below = max(k for k in self._look if k <= n)
        if n > below == max(self._look):  # beyond all that was tried: as steep as up to there
            return self._look[0] + max(0.0, self._look[below] - self._look[0]) * n / below
        return self._look[below]

    def _mixed(self, before: float | None, now: float) -> float:
        return now if before is None else .8 * before + .2 * now


class Speculation:
    """
    Takes steps of several tokens.

    Parameters
    ----------
    decoder : Any
        What `generation.TextDecoder` says, with ``logits`` too.
    draft : Draft
        What proposes.
    sampler : Sampler
        Chooses tokens.
    length : DraftLength, optional
        How many to propose.
    clock : callable
        Seconds.

    Attributes
    ----------
    proposed, kept : int
        Tokens so far.

    """

    def __init__(self, decoder: Any, draft: Draft, sampler: Sampler,
                 length: DraftLength | None = None,
                 clock: Callable[[], float] = perf_counter) -> None:
        self._decoder, self._draft, self._sampler = decoder, draft, sampler
        self._length, self._clock = length or DraftLength(), clock
        self.proposed = self.kept = 0
        self._how = likeliest(decoder, sampler.config)

    def step(self, new: list[int], ids: Sequence[int], most: int) -> list[int]:
        """
        Return the tokens that come next, at least one; all but the last are in the cache.

        Parameters
        ----------
        new : list of int
            The last of `ids`, which the cache lacks.
        ids : sequence of int
            The prompt and what was generated so far.
        most : int
            Most tokens wanted.

        """
        cache, started = self._decoder.cache, self._clock()
        start = cache.length
        count = min(self._length.choose(), most - 1, cache.capacity - start - len(new))
        proposal = self._draft.propose(ids, count, self._sampler.config) if count > 0 else (
            Proposal([]))
        drafted = self._clock()
        if not proposal.ids:
            token = self._sampler(self._decoder.forward(new, **self._how), ids)
            self._length.plain(self._clock() - drafted)
            return [token]
        logits = self._decoder.logits(new + proposal.ids, **self._how)[len(new) - 1:]
        tokens = agree(proposal, logits, ids, self._sampler)
        cache.truncate(start + len(new) + len(tokens) - 1)
        kept = len(tokens) - 1
        self.proposed, self.kept = self.proposed + len(proposal.ids), self.kept + kept
        self._length.looked(len(proposal.ids), kept, drafted - started, self._clock() - drafted)
        return tokens
