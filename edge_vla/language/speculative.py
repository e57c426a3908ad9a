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

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from edge_vla.exceptions import ConfigError
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
    chances : list of float or None
        With which probability each is right if those before it are; a draft that is free says so.

    """

    ids: list[int]
    laws: list[np.ndarray] | None = None
    chances: list[float] | None = None


_NOTHING = Proposal([])
_TICK = 1e-9  # s


class Draft(Protocol):
    """
    Proposes tokens.

    Attributes
    ----------
    free : bool
        Whether that costs next to nothing, so as many as possible are asked for, and what their
        `chances` make worth a look is taken.

    """

    free: bool

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

    With chances c_1, c_2, ... of being kept (of a draft that gives none, the share a that was kept
    lately), the time d of a proposed token and l(n) of a look at n of them, a round brings
    1 + c_1 + c_1 c_2 + ... tokens in time n d + l(n). Every length is timed apart, for kernels
    take several tokens at once and l has steps; one that was not tried lately is thought to cost
    no more than the next shorter one that was, so it is tried where it may pay. Where no length
    is better than none, one is tried again, ever more rarely unless it is kept, and not before
    plain decoding took so long that what trials lost is a trifle; so is a free draft that won
    nothing, all told. Other work on the computer makes single steps slow, and all of them for a
    while: the least of a few times counts, and plain steps are taken anew before a draft is given
    up.

    Attributes
    ----------
    most : int
        Longest proposal; with the token before it, as many as kernels take at once.

    """

    most: int = 7
    MARGIN = 1.05  # what must be won on paper
    OFTEN, SELDOM = 16, 256  # plain steps between trials
    LONGEST = 2048  # after a free draft lost much at once
    TRIFLE = .015  # share of the time that trials may lose
    LATELY = 64  # looks for which the time of another length is remembered
    WINDOW, FRESH = 5, 3  # times of a kind that are kept; of plain steps, that must be new
    _FADES = .95

    def __post_init__(self) -> None:
        self._kept, self._tried = 1.0, 1.5  # two of three, but any experience counts for more
        self._drafts: deque[float] = deque(maxlen=self.WINDOW)  # seconds of a proposed token
        self._looks: dict[int, deque[float]] = {}  # seconds, by length; a plain step is length 0
        self._since: dict[int, int] = {}  # looks since a length was tried
        self._stale = 0  # looks since the last plain step
        self._fresh = 0  # plain steps that were timed since the last look
        self._wait, self._left = self.OFTEN, 0
        # seconds that trials took in vain and are still to be made up for; below 0 in advance
        self._lost = 0.0
        self._asked, self._tokens, self._seconds = 0, 0.0, 0.0  # lately, of a free draft

    def rests(self) -> int:
        """Return for how many steps, with this one, it is not asked; the last FRESH are timed."""
        left = self._left
        self._left = max(0, left - 1)
        return left

    def choose(self, chances: Sequence[float] | None = None) -> int:
        """
        Return how many tokens to propose next, 0 for none.

        Parameters
        ----------
        chances : sequence of float, optional
            Of a free draft, for each token it has, of being kept if those before it are.

        """
        if 0 not in self._looks or self._stale >= self.LATELY // 2:
            return 0  # what a plain step costs must be known
        each, free = 0.0, chances is not None
        if chances is None:
            if len(self._drafts) < 3:  # the first one includes reading the prompt
                return min(1, self.most)
            each = min(self._drafts)
            chances = [min(self._kept / self._tried, .999)] * self.most
        known = {n: min(times) for n, times in self._looks.items()}
        best, gain = 0, self.MARGIN
        tokens = chance = 1.0
        for n, c in enumerate(chances[:self.most], 1):
            chance *= c
            tokens += chance
            now = tokens * known[0] / (n * each + _looking(known, n))
            if now > gain:
                best, gain = n, now
        if free:
            return best
        if best:
            self._wait = self.OFTEN
        elif self._lost > 0:
            owed = round(self._lost / (self.TRIFLE * known[0]))
            self._rest(min(max(self.OFTEN, owed), self.SELDOM))
        elif self._fresh >= self.FRESH:
            self._rest_longer()
            return min(1, self.most)  # the last trial for a while
        return best

    def plain(self, seconds: float, drafting: float | None = None) -> None:
        """
        Say how long a step without a proposal took.

        Parameters
        ----------
        seconds : float
            Of the model.
        drafting : float, optional
            Of a free draft that was asked in vain.

        """
        seconds = _elapsed(seconds)
        if 0 not in self._looks:
            self._looks[0] = deque(maxlen=self.WINDOW)
        self._looks[0].append(seconds)
        self._stale, self._fresh = 0, self._fresh + 1
        self._lost = max(0.0, self._lost - self.TRIFLE * seconds)
        if drafting is not None:
            self._weigh(1, _elapsed(drafting) + min(self._looks[0]))

    def looked(self, proposed: int, kept: int, drafting: float, looking: float,
               free: bool = False) -> None:
        """
        Say what a proposal came to.

        Parameters
        ----------
        proposed, kept : int
            Tokens.
        drafting, looking : float
            Seconds the draft and the model took.
        free : bool
            Whether the draft is.

        """
        drafting, looking = _elapsed(drafting), _elapsed(looking)
        self._drafts.append(drafting / proposed)
        self._looks.setdefault(proposed, deque(maxlen=self.WINDOW)).append(looking)
        self._stale, self._fresh = self._stale + 1, 0
        self._since = {k: n + 1 for k, n in self._since.items()} | {proposed: 0}
        for k in [k for k, n in self._since.items() if n > self.LATELY]:
            del self._since[k], self._looks[k]
        self._kept = self._FADES * self._kept + kept
        self._tried = self._FADES * self._tried + kept + (kept < proposed)
        if free:
            self._weigh(kept + 1, drafting + min(self._looks[proposed]))
        elif len(self._drafts) > 1 and 0 in self._looks:
            self._lost = max(0.0, self._lost + drafting + min(self._looks[proposed])
                             - (kept + 1) * min(self._looks[0]))
        if self._left and kept == proposed and not free:  # a trial that went well: not the last
            self._lost += self._earned(self._left)
            self._left, self._wait = 0, self.OFTEN

    def _rest(self, steps: int) -> None:
        self._left = steps
        self._lost -= self._earned(steps)

    def _earned(self, steps: int) -> float:
        """Return what trials may lose for a rest; its last steps are counted when timed."""
        return self.TRIFLE * max(0, steps - self.FRESH) * min(self._looks[0])

    def _rest_longer(self) -> None:
        self._rest(self._wait)
        self._wait = min(2 * self._wait, self.SELDOM)

    def _weigh(self, tokens: int, seconds: float) -> None:
        """Compare what asking a free draft came to, all told, with plain steps."""
        self._tokens = self._FADES * self._tokens + tokens
        self._seconds = self._FADES * self._seconds + seconds
        self._asked += 1
        if self._asked < self.OFTEN or 0 not in self._looks:
            return
        plain = min(self._looks[0])
        if self._tokens * plain > self._seconds:
            self._wait = self.OFTEN
            return
        self._rest_longer()
        lost = self._seconds / plain - self._tokens
        self._left = max(self._left, min(round(lost / self.TRIFLE), self.LONGEST))
        self._asked, self._tokens, self._seconds = 0, 0.0, 0.0
        self._looks = {0: self._looks[0]}  # one that was slow by accident is tried again
        self._since = {}


def length_for(decoder: Any) -> DraftLength:
    """Return what chooses lengths for a decoder: with the token before, no more than one pass."""
    return DraftLength(getattr(decoder, 'at_once', 8) - 1)


def _elapsed(seconds: float) -> float:
    """Return a time that took place, whatever a coarse or broken clock says."""
    return seconds if _TICK < seconds < math.inf else _TICK


def _looking(known: dict[int, float], n: int) -> float:
    """Return the seconds of a look at n proposed tokens, not too many where not known."""
    below = max(k for k in known if k <= n)
    if n > below == max(known):  # beyond all that was tried: as steep as up to there
        return known[0] + max(0.0, known[below] - known[0]) * n / max(below, 1)
    return min(known[k] for k in known if k >= below)  # more tokens take no less time


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
        self._length, self._clock = length or length_for(decoder), clock
        self.proposed = self.kept = 0
        self._counting = 0.0  # seconds that DraftLength took for the last look
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

        Raises
        ------
        ConfigError
            The draft is the model itself.

        """
        rests = self._length.rests()
        if rests > self._length.FRESH:  # as plain decoding, with nothing added
            return [self._plain(new, ids)]
        cache, started = self._decoder.cache, self._clock()
        start, free = cache.length, self._draft.free
        appended = cache.appended
        proposal = _NOTHING if rests else self._proposed(
            ids, min(most - 1, cache.capacity - start - len(new)))
        if cache.appended != appended:
            raise ConfigError('the draft is the model itself, whose cache it cannot use too: load '
                              'it a second time')
        drafted = self._clock()
        if not proposal.ids:
            token = self._plain(new, ids)
            self._length.plain(self._clock() - drafted,
                               drafted - started if free and not rests else None)
            return [token]
        drafting = drafted - started + self._counting  # a tenth of a small model's step
        logits = self._decoder.logits(new + proposal.ids, **self._how)[len(new) - 1:]
        tokens = agree(proposal, logits, ids, self._sampler)
        cache.truncate(start + len(new) + len(tokens) - 1)
        kept = len(tokens) - 1
        self.proposed, self.kept = self.proposed + len(proposal.ids), self.kept + kept
        ended = self._clock()
        self._length.looked(len(proposal.ids), kept, drafting, ended - drafted, free)
        self._counting = self._clock() - ended
        return tokens

    def _plain(self, new: list[int], ids: Sequence[int]) -> int:
        """Return the token that comes next, without a proposal."""
        return self._sampler(self._decoder.forward(new, **self._how), ids)

    def _proposed(self, ids: Sequence[int], room: int) -> Proposal:
        """Return what is worth a look, of no more than so many tokens."""
        free = self._draft.free
        count = min(self._length.most if free else self._length.choose(), room)
        if count < 1:
            return _NOTHING
        proposal = self._draft.propose(ids, count, self._sampler.config)
        return Proposal(proposal.ids[:self._length.choose(proposal.chances)]) if free else proposal
