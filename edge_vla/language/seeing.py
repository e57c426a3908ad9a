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
The seeing head: questions about the last camera frames, answered in words.

A BitNet decoder reads ``<bos> visual tokens <question> ... <answer>`` and goes on with the answer.
The visual tokens are those of the pilot's encoder, brought to the decoder's width by one float
matrix, and told where they are. How many it reads is up to a scheme; it was trained with all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import threading
import time
from typing import NamedTuple

from edge_vla.checkpoints.safetensors import read_safetensors, take
from edge_vla.compression.expand_merge import ExpandMergeSettings, TokenExpander
from edge_vla.compression.kv_pruning import KeyPruningSettings
from edge_vla.compression.temporal import LIVE, TemporalSettings
from edge_vla.compression.visual_tokens import VisualTokens
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.kernels.dense import dense
from edge_vla.language.decoder import Decoder, load_decoder
from edge_vla.language.head import canonical, LONGEST
from edge_vla.language.sight import (
    describe,
    DISTANCES,
    Located,
    missing,
    parse_seen,
    Seen,
    SIDES,
)
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.language.visual_decoder import Mark, VisualDecoder
from edge_vla.vision import layout
import numpy as np

BEGIN, QUESTION, ANSWER, END = '<bos>', '<question>', '<answer>', '<end>'
LONGEST_ANSWER = 32  # tokens
DENIAL = .85  # how sure it must be to say that it cannot see something


@dataclass(frozen=True)
class Scheme:
    """
    How many visual tokens are read.

    Attributes
    ----------
    temporal : TemporalSettings
        Over time, before the decoder.
    pruning : KeyPruningSettings or None
        Over decoding, in it.
    expansion : ExpandMergeSettings or None
        Of each frame, before the decoder.
    merging : ExpandMergeSettings or None
        In it.
    evict : bool
        Pruned keys are given up.

    """

    temporal: TemporalSettings
    pruning: KeyPruningSettings | None = None
    expansion: ExpandMergeSettings | None = None
    merging: ExpandMergeSettings | None = None
    evict: bool = False


FULL = TemporalSettings(pruning_rate=0.0, window=1)
SCHEMES = {
    'full': Scheme(FULL),
    'live': Scheme(LIVE),
    'dycoke': Scheme(TemporalSettings(renew=True), KeyPruningSettings(layer=2)),
    # without the merging, which costs a head of four layers a third of the objects
    'team': Scheme(FULL, expansion=ExpandMergeSettings(seeds=1))}


class Answer(NamedTuple):
    """
    What was answered.

    Attributes
    ----------
    text : str
        In words.
    seen : Seen or None
        The object it speaks of; None if it says that there is none, or something else.
    confidence : float
        Probability of the whole answer, in [0, 1].

    """

    text: str
    seen: Seen | None
    confidence: float


class Cost(NamedTuple):
    """
    What the last answer cost.

    Attributes
    ----------
    attended : tuple of int
        Visual tokens that each layer attended to.
    prefill_macs : int
        Multiplications of reading the view.
    prefill_s, decode_s : float
        Time for reading the view (0 if it had been read) and for question and answer, s.
    tokens : int
        Tokens of the answer.
    cache_bytes : int
        Of keys and values.

    """

    attended: tuple[int, ...]
    prefill_macs: int
    prefill_s: float
    decode_s: float
    tokens: int
    cache_bytes: int


def special_tokens() -> list[str]:
    """Return the special tokens in the order of their ids."""
    return [BEGIN, QUESTION, ANSWER, END]


def question_about(colour: str, shape: str) -> str:
    """Return the question where an object is."""
    return f'where is the {colour} {shape}?'


class SeeingHead:
    """
    Answers questions about a view; one thread at a time does, others wait.

    Parameters
    ----------
    decoder : Decoder
    tokenizer : Tokenizer
    weight, place : numpy.ndarray
        float32 [hidden_size, CHANNELS], from the encoder to the decoder, and [TOKENS,
        hidden_size], what tells where in its picture a token is.
    scheme : str
        One of ``SCHEMES``.

    Attributes
    ----------
    cost : Cost or None
        Of the last answer.
    read_s : float
        How long it took to read the last view, s.
    chosen : numpy.ndarray or None
        uint8 [TOKENS], the patches of the last frame that were read for the last question, where
        that depends on it: 0 left out, 1 drawn at random, 2 near what is asked for, 3 most like
        its words.

    Raises
    ------
    CheckpointError
        The parts do not belong together.

    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, weight: np.ndarray,
                 place: np.ndarray, scheme: str = 'full') -> None:
        absent = [t for t in special_tokens() if t not in tokenizer.special]
        if absent or tokenizer.size > decoder.config.vocab_size:
            raise CheckpointError('tokenizer and model do not belong together: ' + (
                f'no token {absent[0]!r}' if absent else
                f'{tokenizer.size} tokens, the model has {decoder.config.vocab_size}'))
        self._decoder, self._tokenizer = decoder, tokenizer
        self._weight, self._place = np.ascontiguousarray(weight.T), place
        self._denial = tokenizer.encode(canonical(missing('thing')))[0]
        self._nothing = np.zeros(place.shape[1], np.float32)
        self._lock = threading.Lock()
        self.use(SCHEMES[scheme])

    @classmethod
    def load(cls, folder: Path | str, scheme: str = 'full') -> 'SeeingHead':
        """
        Load a folder that ``edge-vla train seeing`` wrote.

        Raises
        ------
        CheckpointError
            Something is missing or corrupt; the message names it.

        """
        folder = Path(folder)
        decoder = load_decoder(folder)
        tensors, _ = read_safetensors(folder / 'projection.safetensors')
        d = decoder.config.hidden_size
        place = (take(tensors, 'rows', (layout.ROWS, d))[:, None]
                 + take(tensors, 'columns', (layout.COLUMNS, d))).reshape(-1, d)
        return cls(decoder, Tokenizer.load(folder / 'tokenizer.json'),
                   take(tensors, 'weight', (d, layout.CHANNELS)), place, scheme)

    def use(self, scheme: Scheme) -> None:
        """Read fewer tokens, or more, from the next view on."""
        self.scheme = scheme
        self.decoder = VisualDecoder(self._decoder, scheme.pruning, scheme.merging, scheme.evict)
        self._expander = TokenExpander(layout.ROWS, layout.COLUMNS, scheme.expansion) \
            if scheme.expansion else None
        self.chosen = np.zeros(layout.TOKENS, np.uint8) if scheme.expansion else None
        self._view: VisualTokens | None = None
        self._mark: Mark | None = None
        self.cost: Cost | None = None
        self.read_s = 0.0

    def answer(self, question: str, view: VisualTokens) -> Answer:
        """
        Answer a question about a view.

        Parameters
        ----------
        question : str
            In English, such as 'where is the red sphere?' or 'what is on the left?'.
        view : VisualTokens
            Of the pilot's encoder, float32 [T, CHANNELS]. The same object as last time is not
            read again.

        Raises
        ------
        InstructionError
            The question is empty or too long, or there is nothing in view.

        """
        special, tokenizer = self._tokenizer.special, self._tokenizer
        ids = self._asked(question)
        with self._lock:
            began = time.perf_counter()
            self._open(view, ids)
            read = time.perf_counter()
            said: list[int] = []
            logits, sure = self.decoder.forward(ids), 0.0
            while len(said) < LONGEST_ANSWER:
                best = self._next(logits, bool(said))
                sure -= float(np.log(np.exp(logits - logits[best]).sum()))
                if best == special[END]:
                    break
                said.append(best)
                logits = self.decoder.forward([best])
            self.cost = Cost(tuple(self.decoder.attended), self.decoder.prefill_macs,
                             read - began, time.perf_counter() - read, len(said),
                             self.decoder.cache_bytes)
        text = tokenizer.decode(said).strip()
        seen = parse_seen(text)
        return Answer('I' + text[1:] if text.startswith('i ') else text, seen, math.exp(sure))

    def _asked(self, question: str) -> list[int]:
        """Return a question as it is read."""
        if not question.strip() or len(question) > LONGEST:
            raise InstructionError(f'a question has 1 to {LONGEST} characters, this one has '
                                   f'{len(question.strip())}')
        special, tokenizer = self._tokenizer.special, self._tokenizer
        return [special[QUESTION], *tokenizer.encode(canonical(question)), special[ANSWER]]

    def _open(self, view: VisualTokens, ids: list[int]) -> None:
        """Read a view unless that was done, so that a question may follow."""
        if not len(view.tokens):
            raise InstructionError('there is no camera frame to ask about yet')
        if self._expander is not None or view is not self._view:
            began = time.perf_counter()
            # with an expander what is read depends on the question
            self._read(view, ids if self._expander is not None else [])
            self.read_s = time.perf_counter() - began
        self._view = view
        self.decoder.rewind(self._mark)

    def locate(self, colour: str, shape: str, view: VisualTokens) -> Located:
        """
        Tell how sure it is of where an object is: every answer that may be given is scored.

        Parameters
        ----------
        colour, shape : str
            Words of the plan grammar.
        view : VisualTokens
            As for `answer`.

        Raises
        ------
        InstructionError
            There is nothing in view.

        """
        ids = self._asked(question_about(colour, shape))
        texts = [describe(Seen(colour, shape, side, distance))
                 for side in SIDES for distance in DISTANCES]
        end, encode = self._tokenizer.special[END], self._tokenizer.encode
        answers = [(*encode(canonical(text)), end)
                   for text in (*texts, missing(f'{colour} {shape}'))]
        with self._lock:
            self._open(view, ids)
            odds = np.zeros(len(answers))
            self._score(answers, range(len(answers)), ids, 0, 0.0, odds)
        odds = np.exp(odds - odds.max())
        places = odds[:-1].reshape(len(SIDES), len(DISTANCES))
        seen = places.sum()
        return Located(float(seen / odds.sum()), places.sum(1) / seen, places.sum(0) / seen)

    def _score(self, answers: Sequence[tuple[int, ...]], which: Sequence[int], new: list[int],
               at: int, past: float, out: np.ndarray) -> None:
        """
        Write the log-likelihood of answers that are alike up to `at`, as the head may choose.

        `new` are the tokens before that which the decoder has not read. What can go on in one
        way only is not asked about.
        """
        following: dict[int, list[int]] = {}
        for k in which:
            if at == len(answers[k]):
                out[k] = past
                return
            following.setdefault(answers[k][at], []).append(k)
        if len(following) == 1:
            (token, which), = following.items()
            self._score(answers, which, [*new, token], at + 1, past, out)
            return
        tokens = list(following)
        logits = self.decoder.forward(new, tokens).astype(np.float64)
        logits -= logits.max()
        logs = past + logits - np.log(np.exp(logits).sum())
        here = self.decoder.mark()
        for token, log in zip(tokens, logs.tolist(), strict=True):
            self.decoder.rewind(here)
            self._score(answers, following[token], [token], at + 1, log, out)

    def _next(self, logits: np.ndarray, begun: bool) -> int:
        """Return the likeliest token; what begins a denial has to be as likely as `DENIAL`."""
        best = int(logits.argmax())
        if begun or best != self._denial or DENIAL * np.exp(logits - logits[best]).sum() <= 1:
            return best
        others = logits.copy()
        others[best] = -np.inf
        return int(others.argmax())

    def _read(self, view: VisualTokens, guides: list[int]) -> None:
        """Let the decoder read a view; `guides` is the question if what is read depends on it."""
        rows = np.empty((len(view.tokens), len(self._nothing)), np.float32)
        dense(view.tokens, self._weight, self._nothing, False, rows)
        sizes, positions, patches = view.sizes, view.positions(layout.TOKENS), view.patches
        span = (int(positions[-1]) // layout.TOKENS + 1) * layout.TOKENS
        if self._expander is not None:  # what a token shows is like its name; its place is not
            kept = self._expanded(rows, view.frames, guides)
            rows, sizes, positions, patches = (a[kept] for a in (rows, sizes, positions, patches))
        rows += self._place[patches]
        self._mark = self.decoder.look(
            rows, positions, None if (sizes == 1).all() else sizes, span=span,
            before=[self._tokenizer.special[BEGIN]], guides=guides)

    def _expanded(self, rows: np.ndarray, frames: np.ndarray, guides: list[int]) -> np.ndarray:
        """Return which rows TEAM-VLA keeps, frame by frame; frames must be whole."""
        words = np.empty((len(guides), rows.shape[1]), np.float32)
        for row, token in zip(words, guides, strict=True):
            self._decoder.embed(token, row)
        e = self._expander
        kept = np.concatenate([
            start + e.choose(rows[start:start + layout.TOKENS], words, int(frames[start]))
            for start in range(0, len(rows), layout.TOKENS)])
        self.chosen = np.maximum(e.context, np.maximum(2 * e.expanded, 3 * e.seeds))
        return kept

    def cost_of_all(self, frames: int) -> Cost:
        """
        Read all tokens of so many frames once, to know what that costs.

        What they show makes no difference, so it is nothing.
        """
        rows = np.zeros((frames * layout.TOKENS, len(self._nothing)), np.float32)
        whole = VisualDecoder(self._decoder)
        with self._lock:
            began = time.perf_counter()
            whole.look(rows, np.arange(len(rows)), before=[self._tokenizer.special[BEGIN]])
            took = time.perf_counter() - began
        return Cost(tuple(whole.attended), whole.prefill_macs, took, 0.0, 0, whole.cache_bytes)
