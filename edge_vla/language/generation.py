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

"""Generate text, or bare tokens, with a decoder."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from edge_vla.exceptions import ConfigError, InstructionError
from edge_vla.language.chat import ChatTemplate
from edge_vla.language.config import BitNetConfig
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.sampling import Sampler, SamplingConfig
from edge_vla.language.speculative import Draft, DraftLength, likeliest, Speculation
from edge_vla.language.text_tokenizer import ENDS, TextStream, TextTokenizer
import numpy as np

_GREEDY = SamplingConfig()


class Cache(Protocol):
    """What generation needs of a cache."""

    length: int
    capacity: int
    appended: int

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""


class TextDecoder(Protocol):
    """What generation needs of a decoder; without a tokenizer it goes by token ids."""

    config: BitNetConfig | Lfm2Config
    cache: Cache
    tokenizer: TextTokenizer | None
    chat: ChatTemplate | None

    def forward(self, ids: Sequence[int]) -> np.ndarray:
        """Append tokens to the cache and return the logits of the last one."""


@dataclass(frozen=True)
class Generation:
    """
    What was generated, and how fast.

    Attributes
    ----------
    text : str
        Without special tokens and without the stop string; empty without a tokenizer.
    ids : tuple of int
        Every token chosen, the one that ends the text too.
    finish : str
        Why it ended: 'stop string', 'end of text', 'length' or 'context full'.
    prompt_tokens : int
        How many tokens the prompt has.
    reused_tokens : int
        How many of them were in the cache already.
    prefill_seconds : float
        Time the model took for the other ones.
    first_token_seconds : float
        Time from the call to the first token.
    decode_seconds : float
        Time for the tokens after the first, without what the caller does in between.
    drafted_tokens : int
        Tokens that a draft proposed.
    kept_tokens : int
        How many of them came to be.

    """

    text: str
    ids: tuple[int, ...]
    finish: str
    prompt_tokens: int
    reused_tokens: int
    prefill_seconds: float
    first_token_seconds: float
    decode_seconds: float
    drafted_tokens: int = 0
    kept_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first by the time they took, 0 if there are none."""
        return (len(self.ids) - 1) / self.decode_seconds if self.decode_seconds else 0.0

    @property
    def prompt_tokens_per_second(self) -> float:
        """Tokens of the prompt that were not reused, by the time they took."""
        return (self.prompt_tokens - self.reused_tokens) / self.prefill_seconds


@dataclass
class CachedIds:
    """
    The tokens a decoder's cache holds: the next prompt is read from where it differs.

    Belongs to one decoder, which between two calls may be used on another text: then nothing of
    it is taken for known.

    Attributes
    ----------
    ids : list of int
        What the cache held after the last call.

    """

    ids: list[int] = field(default_factory=list)
    _appended: int = -1  # what the cache had been given by then

    def add(self, cache: Cache, ids: Sequence[int]) -> None:
        """Take notice of tokens that were just appended to the cache."""
        self.ids += ids
        self._appended = cache.appended

    def reuse(self, cache: Cache, prompt: Sequence[int]) -> int:
        """
        Roll a cache back to what it shares with a prompt, and return how many tokens these are.

        Parameters
        ----------
        cache : Cache
            Of the decoder.
        prompt : sequence of int
            What comes next; its last token is always left to be read, as its logits are wanted.

        """
        same = 0
        if cache.appended == self._appended and cache.length == len(self.ids):
            same = shared(self.ids, prompt[:-1])
        cache.truncate(same)
        self.ids = []
        self.add(cache, prompt[:same])
        return same


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two texts have in common before they differ or one ends."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
                min(len(a), len(b)))


class StopStrings:
    """
    Ends a text before the first string of several, however the text is cut into pieces.

    Parameters
    ----------
    strings : sequence of str
        What ends it.

    Attributes
    ----------
    found : bool
        One has come.

    Raises
    ------
    ConfigError
        One is empty.

    """

    def __init__(self, strings: Sequence[str]) -> None:
        if '' in strings:
            raise ConfigError('a stop string is empty, which would end every text at once')
        self.found = False
        self._strings, self._held = tuple(strings), ''

    def push(self, piece: str) -> str:
        """Return what is certain to come before any stop string."""
        text, self._held = self._held + piece, ''
        hits = [(start + len(s), start) for s in self._strings if (start := text.find(s)) >= 0]
        if hits:  # the first to be complete; of those the longest
            self.found = True
            return text[:min(hits)[1]]
        longest = max(map(len, self._strings), default=1) - 1
        for start in range(max(0, len(text) - longest), len(text)):
            if any(s.startswith(text[start:]) for s in self._strings):
                self._held = text[start:]
                return text[:start]
        return text

    def finish(self) -> str:
        """Return what was held back, at the end of the text."""
        return self._held


def stream(decoder: TextDecoder, prompt: str | Sequence[int], *, max_tokens: int = 128,
           sampling: SamplingConfig = _GREEDY, stop: str | Sequence[str] = (), chat: bool = False,
           system: str = '', cached: CachedIds | None = None, draft: Draft | None = None,
           length: DraftLength | None = None) -> Generator[str, None, Generation]:
    """
    Generate text and yield it as it becomes certain; a Generation is the generator's value.

    Parameters
    ----------
    decoder : TextDecoder
        Its cache is used, and truncated at the start.
    prompt : str or sequence of int
        Text, in which special tokens are text too, or token ids as they are.
    max_tokens : int
        Most tokens to generate.
    sampling : SamplingConfig
        How tokens are chosen; the likeliest by default.
    stop : str or sequence of str
        The text ends before any of them.
    chat : bool
        The prompt is what a user says, in the form of conversation the model was tuned on.
    system : str
        In a chat, what is said before the user.
    cached : CachedIds, optional
        Kept by the caller from call to call: the beginning that two prompts share is read once.
    draft : Draft, optional
        Proposes tokens: faster, the same text, or where tokens are drawn the same law of it (see
        `speculative`); a seed repeats a text only with drafts that are no models, for how much
        is proposed hangs on time.
    length : DraftLength, optional
        Kept by the caller from call to call: how much to propose is learned once.

    Raises
    ------
    InstructionError
        The prompt is empty, longer than the cache, or has unknown token ids.
    ConfigError
        An argument is out of range, or needs a tokenizer and there is none.
    CheckpointError
        The model's answer is no number, or its chat template fails.

    """
    started = perf_counter()
    tokenizer = decoder.tokenizer
    if not isinstance(max_tokens, int | np.integer) or max_tokens < 1:
        raise ConfigError(f'max_tokens is {max_tokens}, expected a whole number, at least 1')
    if stop and tokenizer is None:
        raise ConfigError('stop strings need a tokenizer, which this model has not: give none')
    ids = _prompt_ids(decoder, prompt, chat, system)
    if not ids:
        raise InstructionError('the prompt is empty: give at least one token')
    if min(ids) < 0 or max(ids) >= decoder.config.vocab_size:
        raise InstructionError(f'the ids of tokens lie in [0, {decoder.config.vocab_size})')
    if len(ids) > decoder.cache.capacity:
        raise InstructionError(f'the prompt has {len(ids)} tokens, at most '
                               f'{decoder.cache.capacity} fit into the cache: shorten it')
    stops = StopStrings([stop] if isinstance(stop, str) else stop)
    sampler = Sampler(sampling)
    speculation = None if draft is None else Speculation(decoder, draft, sampler, length)
    return _run(decoder, ids, max_tokens, sampler, stops,
                CachedIds() if cached is None else cached, speculation, started)


def generate(decoder: TextDecoder, prompt: str | Sequence[int], *,
             on_text: Callable[[str], None] | None = None, **how: Any) -> Generation:
    """
    Generate text.

    Parameters
    ----------
    decoder : TextDecoder
        Its cache is used, and truncated at the start.
    prompt : str or sequence of int
        Text, in which special tokens are text too, or token ids as they are.
    on_text : callable, optional
        Called with each piece of the text as it becomes certain.
    **how
        As for `stream`, which raises the same errors.

    """
    pieces = stream(decoder, prompt, **how)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return end.value
        if on_text is not None:
            on_text(piece)


def _prompt_ids(decoder: TextDecoder, prompt: str | Sequence[int], chat: bool,
                system: str) -> list[int]:
    tokenizer = decoder.tokenizer
    if not isinstance(prompt, str):
        if chat or system:
            raise ConfigError('a chat needs text, not token ids')
        return [int(i) for i in prompt]
    if tokenizer is None:
        raise ConfigError('the model has no tokenizer: put its tokenizer.json next to it, or give '
                          'token ids')
    check_vocabulary(decoder)
    if not chat:
        if system:
            raise ConfigError('what the system says needs a chat')
        return ([] if tokenizer.begin is None else [tokenizer.begin]) + tokenizer.encode(prompt)
    if decoder.chat is None:
        raise ConfigError('the model has no chat template')
    said = [{'role': 'system', 'content': system}] if system else []
    return decoder.chat.encode(tokenizer, [*said, {'role': 'user', 'content': prompt}])


def check_vocabulary(decoder: TextDecoder) -> None:
    """
    Refuse a model whose tokenizer, if it has one, knows more tokens than it does.

    Raises
    ------
    ConfigError
        It does.

    """
    size = 0 if decoder.tokenizer is None else decoder.tokenizer.size
    if size > decoder.config.vocab_size:
        raise ConfigError(f'the tokenizer has {size} tokens, the model '
                          f'{decoder.config.vocab_size}: they do not belong together')


def _run(decoder: TextDecoder, prompt: list[int], max_tokens: int, sampler: Sampler,
         stops: StopStrings, cached: CachedIds, speculation: Speculation | None,
         started: float) -> Generator[str, None, Generation]:
    cache, tokenizer = decoder.cache, decoder.tokenizer
    text = None if tokenizer is None else TextStream(tokenizer)
    ends = ends_of(decoder)
    said: list[str] = []
    reused, how = cached.reuse(cache, prompt), likeliest(decoder, sampler.config)
    ids, new = list(prompt), prompt[reused:]
    prefill = first = decode = 0.0
    finish = ''
    while not finish:
        since = perf_counter()
        if speculation is None or len(ids) == len(prompt):
            logits = decoder.forward(new, **how)
            read = perf_counter()
            cached.add(cache, new)
            tokens = [sampler(logits, ids)]
        else:
            tokens = speculation.step(new, ids, len(prompt) + max_tokens - len(ids))
            cached.add(cache, new + tokens[:-1])
        for token in tokens:
            ids.append(token)
            piece = '' if text is None or token in ends else stops.push(text.push(token))
            now = perf_counter()
            if len(ids) == len(prompt) + 1:
                prefill, first = read - since, now - started
            else:
                decode += now - since
            finish = ('stop string' if stops.found else 'end of text' if token in ends else
                      'length' if len(ids) == len(prompt) + max_tokens else
                      'context full' if len(ids) - 1 == cache.capacity else '')
            if piece:
                said.append(piece)
                yield piece
            if finish:
                break
            since = perf_counter()
        new = ids[-1:]
    if cache.length >= len(ids):  # some that came with the last one are not wanted
        cache.truncate(len(ids) - 1)
        del cached.ids[len(ids) - 1:]
    if text is not None and not stops.found:
        piece = stops.push(text.finish()) + stops.finish()
        if stops.found:
            finish = 'stop string'
        if piece:
            said.append(piece)
            yield piece
    return Generation(''.join(said), tuple(ids[len(prompt):]), finish, len(prompt), reused,
                      prefill, first, decode,
                      *((speculation.proposed, speculation.kept) if speculation else ()))


def ends_of(decoder: TextDecoder) -> set[int]:
    """Return the tokens after which a model has nothing more to say."""
    end = decoder.config.eos_token_id
    ends = {end} if isinstance(end, int) else set(end)
    special = {} if decoder.tokenizer is None else decoder.tokenizer.special
    return ends | {special[name] for name in ENDS if name in special}
