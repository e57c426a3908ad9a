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
What proposes tokens for `speculative` beside the text itself: a smaller model.

A model with another vocabulary speaks through bytes. Its text is cut into the tokens of the model
that is to agree (string-level exact match), or its law is carried over to the tokens that both
have (token-level intersection): Timor et al., ICML 2025, arXiv 2502.05202.
"""

import codecs
from collections.abc import Sequence
from typing import Any

from edge_vla.exceptions import ConfigError
from edge_vla.language.generation import CachedIds, check_vocabulary
from edge_vla.language.sampling import pick, probabilities, SamplingConfig
from edge_vla.language.speculative import Draft, Proposal
import numpy as np

_BACK = (10, 4, 1, 0)  # tokens before the new text that are cut anew with it
_PIECES = 2  # most tokens of the draft for one of the model


class _Model:
    """
    A decoder that is asked what follows.

    Parameters
    ----------
    decoder : Any
        As `generation.TextDecoder`.

    """

    def __init__(self, decoder: Any) -> None:
        self.decoder, self._cached = decoder, CachedIds()
        self._random, self._seed = np.random.default_rng(), -1

    def start(self, ids: list[int], count: int) -> list[int]:
        """Return what must be read before the first guess, nothing where there is no room."""
        if not ids or len(ids) + count > self.decoder.cache.capacity:
            return []
        return ids[self._cached.reuse(self.decoder.cache, ids):]

    def read(self, new: list[int]) -> np.ndarray:
        """Return the logits after more tokens."""
        logits = self.decoder.forward(new)
        self._cached.add(self.decoder.cache, new)
        return logits

    def draw(self, law: np.ndarray, sampling: SamplingConfig) -> int:
        """
        Return a token of a law.

        Another seed begins other random numbers, none of which are those of the model that is to
        agree: over all seeds too its tokens have the model's law.
        """
        if sampling.seed != self._seed:
            self._seed = sampling.seed
            self._random = np.random.default_rng(np.random.SeedSequence(
                sampling.seed, spawn_key=(1,)))
        return pick(law, self._random.random())


class ModelDraft:
    """
    Proposes what a smaller model with the same vocabulary would say.

    Parameters
    ----------
    decoder : Any
        As `generation.TextDecoder`.
    vocabulary : int
        Of the model that is to agree.

    Raises
    ------
    ConfigError
        The sizes differ.

    """

    free = False

    def __init__(self, decoder: Any, vocabulary: int) -> None:
        if decoder.config.vocab_size != vocabulary:
            raise ConfigError(f'the draft has {decoder.config.vocab_size} tokens, the model '
                              f'{vocabulary}: a draft needs the same, or both need tokenizers')
        self._model = _Model(decoder)

    def propose(self, ids: Sequence[int], count: int, sampling: SamplingConfig) -> Proposal:
        """Guess what follows (see Draft)."""
        seen = list(ids)
        new, laws = self._model.start(seen, count), []
        for _ in range(count if new else 0):
            logits = self._model.read(new)
            if np.isnan(logits).any():  # a damaged draft is none
                break
            law = probabilities(logits, seen, sampling)
            seen.append(self._model.draw(law, sampling))
            new = seen[-1:]
            laws.append(law)
        return Proposal(seen[len(ids):], laws if sampling.temperature > 0 else None)


class Bridge:
    """
    Two vocabularies and what they have in common, by bytes.

    Parameters
    ----------
    tokenizer : Any
        Of the model that is to agree: ``encode``, ``bytes_of``, ``special``, ``size``.
    other : Any
        Of the draft.
    size : int
        Tokens of the model.
    other_size : int
        Tokens of the draft.

    Attributes
    ----------
    table : numpy.ndarray
        int64 [other_size]: the model's token of the same bytes for each of the draft's, -1 where
        there is none. Special tokens have none.

    """

    def __init__(self, tokenizer: Any, other: Any, size: int, other_size: int) -> None:
        self.tokenizer, self.other = tokenizer, other
        mine = _by_bytes(tokenizer, size)
        self._theirs = _by_bytes(other, other_size)
        self.table = np.full(other_size, -1, np.int64)
        for i in range(other_size):
            data = other.bytes_of(i)
            if data in mine:
                self.table[i] = mine[data]
        self._known: dict[int, list[int]] = {
            i: [other.special[name]] for name, i in tokenizer.special.items()
            if name in other.special}
        if tokenizer.begin is not None and other.begin is not None:
            self._known[tokenizer.begin] = [other.begin]

    def carried(self, ids: Sequence[int]) -> list[int]:
        """Return tokens of the draft for those of the model, each by itself."""
        out: list[int] = []
        for i in ids:
            if i not in self._known:
                self._known[i] = self._spelled(self.tokenizer.bytes_of(i))
            out += self._known[i]
        return out

    def cut(self, ids: Sequence[int], new: bytes) -> list[int]:
        """Return the model's tokens of a text that goes on after some tokens."""
        for back in _BACK:
            before = [self.tokenizer.bytes_of(i) for i in ids[len(ids) - back:]] if (
                0 < back <= len(ids)) else []
            if back and (not before or b'' in before):
                continue
            window = b''.join(before)
            try:  # a character that is not whole yet is left out
                text = codecs.getincrementaldecoder('utf-8')().decode(window + new)
            except UnicodeDecodeError:
                continue
            at = 0
            again = self.tokenizer.encode(text)
            for k, i in enumerate(again):
                if at == len(window):
                    return again[k:]
                at += len(self.tokenizer.bytes_of(i))
        return []

    def _spelled(self, data: bytes) -> list[int]:
        """Return tokens of the draft for some bytes; those that it cannot say are left out."""
        if data in self._theirs:
            return [self._theirs[data]]
        try:
            return self.other.encode(data.decode())
        except UnicodeDecodeError:
            single = (bytes([b]) for b in data)
            return [self._theirs[b] for b in single if b in self._theirs]


def _by_bytes(tokenizer: Any, size: int) -> dict[bytes, int]:
    """Return the first token of every byte string; special tokens stand for none."""
    out: dict[bytes, int] = {}
    for i in range(min(size, tokenizer.size)):
        data = tokenizer.bytes_of(i)
        if data:
            out.setdefault(data, i)
    return out


class TextDraft:
    """
    Proposes the text of a model with any vocabulary (string-level exact match).

    Parameters
    ----------
    decoder : Any
        As `generation.TextDecoder`.
    bridge : Bridge
        Between the vocabularies.

    """

    free = False

    def __init__(self, decoder: Any, bridge: Bridge) -> None:
        self._model, self._bridge = _Model(decoder), bridge

    def propose(self, ids: Sequence[int], count: int, sampling: SamplingConfig) -> Proposal:
        """Guess what follows (see Draft)."""
        most = _PIECES * (count + 1)
        new, said = self._model.start(self._bridge.carried(ids), most), b''
        cut: list[int] = []
        for k in range(most if new else 0):
            token = int(self._model.read(new).argmax())
            piece = self._bridge.other.bytes_of(token)
            if not piece:  # it has nothing more to say
                break
            said, new = said + piece, [token]
            if k >= count:
                cut = self._bridge.cut(ids, said)
                if len(cut) > count:  # what comes next would be part of the last one, perhaps
                    break
        return Proposal((cut or self._bridge.cut(ids, said))[:count])


class IntersectionDraft:
    """
    Proposes tokens that both vocabularies have (token-level intersection).

    Parameters
    ----------
    decoder : Any
        As `generation.TextDecoder`.
    bridge : Bridge
        Between the vocabularies.
    vocabulary : int
        Tokens of the model that is to agree.

    """

    free = False

    def __init__(self, decoder: Any, bridge: Bridge, vocabulary: int) -> None:
        self._model, self._bridge, self._size = _Model(decoder), bridge, vocabulary

    def propose(self, ids: Sequence[int], count: int, sampling: SamplingConfig) -> Proposal:
        """Guess what follows (see Draft)."""
        context, out, laws = self._bridge.carried(ids), [], []
        new = self._model.start(context, count)
        for _ in range(count if new else 0):
            law = self.law(self._model.read(new), context, sampling)
            if law is None or len(context) >= self._model.decoder.cache.capacity:
                break
            out.append(self._model.draw(law, sampling))
            laws.append(law)
            new = self._bridge.carried(out[-1:])[:1]
            context += new
        return Proposal(out, laws if sampling.temperature > 0 else None)

    def law(self, logits: np.ndarray, context: Sequence[int],
            sampling: SamplingConfig) -> np.ndarray | None:
        """Return the draft's law on the model's tokens, None where they share none of it."""
        table = self._bridge.table
        shared = np.where(table >= 0, logits[:len(table)].astype(np.float64), -np.inf)
        if not np.isfinite(shared.max()):
            return None
        law = np.zeros(self._size)
        q = probabilities(shared, context, sampling)
        both = np.flatnonzero(q)
        np.add.at(law, table[both], q[both])  # several of the draft's may be one of the model's
        return law


def draft_for(decoder: Any, draft: Any, sampling: SamplingConfig) -> Draft:
    """
    Return what makes proposals of a model, by what the two vocabularies have in common.

    Parameters
    ----------
    decoder : Any
        The model that is to agree, as `generation.TextDecoder`.
    draft : Any
        The smaller one.
    sampling : SamplingConfig
        How tokens are chosen; where the likeliest is taken, text is best compared as text.

    Raises
    ------
    ConfigError
        Without tokenizers the vocabularies must be of one size; a tokenizer is not the model's.

    """
    mine, theirs = decoder.tokenizer, draft.tokenizer
    for model in (decoder, draft):
        check_vocabulary(model)
    if mine is None or theirs is None or _same(mine, theirs, decoder, draft):
        return ModelDraft(draft, decoder.config.vocab_size)
    bridge = Bridge(mine, theirs, decoder.config.vocab_size, draft.config.vocab_size)
    if sampling.temperature == 0:
        return TextDraft(draft, bridge)
    return IntersectionDraft(draft, bridge, decoder.config.vocab_size)


def _same(mine: Any, theirs: Any, decoder: Any, draft: Any) -> bool:
    """Tell whether both vocabularies are one."""
    size = decoder.config.vocab_size
    return size == draft.config.vocab_size and mine.special == theirs.special and all(
        mine.bytes_of(i) == theirs.bytes_of(i) for i in range(size))
