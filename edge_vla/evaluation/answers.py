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
One answer of a decoder that is shown frames, with more and more of the stack switched on.

The same question is answered by the network in float32 with all visual tokens, by the ternary
engine, with fewer tokens, and with tokens proposed by the text itself; all of them in turn, round
after round. The weights are random and cannot say anything, so the text of the answer is given:
what the engine computes for it is computed, and what it says is what a mission would be told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

from edge_vla.compression.temporal import TemporalSettings, TemporalStream
from edge_vla.evaluation.power import EnergyMeter
from edge_vla.language.generation import generate
from edge_vla.language.ngram import NGramDraft
from edge_vla.language.plan import COLOURS, MOVING, Plan, SHAPES
from edge_vla.language.speculative import Draft
from edge_vla.language.text_tokenizer import TextTokenizer
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.instructions import sample_mission
import numpy as np

STEPS = 4  # of a mission
LADDER = ('float32', 'ternary', '+ fewer tokens', '+ speculation')
SURE = np.float32(1e30)  # logit of what is said whatever was computed


@dataclass(frozen=True)
class Question:
    """
    What is asked, and what is answered.

    Attributes
    ----------
    prompt, answer : list of int
        Tokens of the text.
    place : int
        Token that stands where a visual token is; no text has it, so no draft finds it there.

    """

    prompt: list[int]
    answer: list[int]
    place: int


def question(tokenizer: Tokenizer | TextTokenizer, seed: int) -> Question:
    """
    Return an instruction of several steps with its plan, and what is narrated while it is flown.

    The instruction is in wording that no training used, the plan as the head says it back; the
    answer is what `narration` then says, each step as it begins.

    Parameters
    ----------
    tokenizer : Tokenizer or TextTokenizer
        Of the shipped head.
    seed : int
        Of the mission.

    """
    rng = np.random.default_rng([seed, 7])
    plans = [Plan(str(rng.choice(MOVING)), str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))
             for _ in range(STEPS)]
    asked = sample_mission(rng, plans, 'held_out', typos=0)
    planned = ', then '.join(plan.text() for plan in plans)
    said = [f'step {k} of {STEPS}: {plan.text()}' for k, plan in enumerate(plans, 1)]
    return Question(tokenizer.encode(f'{asked}\n{planned}\n'), tokenizer.encode('\n'.join(said)),
                    min(tokenizer.special.values()))


class Recital:
    """
    A decoder that computes everything, and then says a given text.

    Parameters
    ----------
    decoder : Any
        As `generation.TextDecoder`; to look at proposals it needs ``logits`` too.
    text : sequence of int
        Prompt and answer.
    tokenizer : TextTokenizer, optional
        For who asks for it.

    Attributes
    ----------
    text : sequence of int
        May be changed.

    """

    chat = None

    def __init__(self, decoder: Any, text: Sequence[int], tokenizer: Any = None) -> None:
        self._decoder, self.text, self.tokenizer = decoder, text, tokenizer
        self.config, self.cache = decoder.config, decoder.cache
        self.sketched = getattr(decoder, 'sketched', False)
        self.at_once = getattr(decoder, 'at_once', 8)

    def forward(self, ids: Sequence[int], **how: Any) -> np.ndarray:
        """Append tokens and return the logits of the last one, float32 [vocab]."""
        out = self._decoder.forward(ids, **how)
        self._say(out, self.cache.length - 1)
        return out

    def logits(self, ids: Sequence[int], tokens: np.ndarray | None = None,
               **how: Any) -> np.ndarray:
        """Append tokens and return the logits after each, float32 [T, vocab], or of some."""
        first = self.cache.length
        out = self._decoder.logits(ids, **how) if tokens is None else (
            self._decoder.logits(ids, tokens, **how))
        for k, row in enumerate(out):
            self._say(row, first + k, tokens)
        return out

    def _say(self, row: np.ndarray, position: int, tokens: np.ndarray | None = None) -> None:
        if position + 1 < len(self.text):
            said = self.text[position + 1]
            row[said if tokens is None else tokens == said] = SURE


@dataclass(frozen=True)
class Answer:
    """
    What an answer took.

    Attributes
    ----------
    way : str
        One of LADDER.
    round : int
        Which question.
    visual, tokens : int
        Visual tokens that were read, tokens of text that were said.
    drafted, kept : int
        Tokens that were proposed, and came to be.
    compress_s, prefill_s, decode_s : float
        Seconds for thinning the frames, for reading the prompt, for saying all but the first
        token.
    cpu_s : float
        Seconds of the processor that the whole took, of all threads.
    joules : float or None
        Energy of the processor meanwhile, None where it is not shown.

    """

    way: str
    round: int
    visual: int
    tokens: int
    drafted: int
    kept: int
    compress_s: float
    prefill_s: float
    decode_s: float
    cpu_s: float
    joules: float | None

    @property
    def seconds(self) -> float:
        """Whole answer, s."""
        return self.compress_s + self.prefill_s + self.decode_s

    @property
    def token_s(self) -> float:
        """Time of one decoded token, s."""
        return self.decode_s / (self.tokens - 1)


class Ladder:
    """
    Answers questions in all ways of LADDER.

    Parameters
    ----------
    decoder : Decoder
        The ternary engine; its cache holds all frames, the prompt and the answer.
    floats : FloatDecoder
        The same shape in float32.
    frames : numpy.ndarray
        float32 [F, N, C], visual tokens.
    meter : EnergyMeter
        Asked before and after each answer.
    settings : TemporalSettings, optional
        How the frames are thinned; the paper's by default.

    Attributes
    ----------
    kept : int
        Visual tokens after thinning.

    """

    def __init__(self, decoder: Any, floats: Any, frames: np.ndarray, meter: EnergyMeter,
                 settings: TemporalSettings | None = None) -> None:
        self._decoder, self._floats, self._frames, self._meter = decoder, floats, frames, meter
        self._stream = TemporalStream(*frames.shape[1:], settings, len(frames))
        self._draft = NGramDraft()
        self.kept = self._thin()

    def warm_up(self) -> None:
        """Compile, and touch the memory of both networks once."""
        for decoder in (self._decoder, self._floats):
            decoder.cache.truncate(0)
            decoder.forward([0, 0, 0])
            decoder.forward([0])
        self._decoder.logits([0, 0])

    def answer(self, asked: Question, number: int) -> list[Answer]:
        """
        Answer a question in every way, in the order of LADDER.

        Parameters
        ----------
        asked : Question
            What is asked and answered.
        number : int
            Of the round.

        Raises
        ------
        RuntimeError
            A way did not say the text, which is a fault in the decoder.

        """
        every = self._frames.shape[0] * self._frames.shape[1]

        def nothing() -> int:
            return every
        return [self._say(asked, number, LADDER[0], self._floats, nothing),
                self._say(asked, number, LADDER[1], self._decoder, nothing),
                self._say(asked, number, LADDER[2], self._decoder, self._thin),
                self._say(asked, number, LADDER[3], self._decoder, self._thin, self._draft)]

    def _thin(self) -> int:
        self._stream.reset()
        for frame in self._frames:
            self._stream.push(frame)
        return len(self._stream.gather().tokens)

    def _say(self, asked: Question, number: int, way: str, decoder: Any,
             thin: Callable[[], int], draft: Draft | None = None) -> Answer:
        before, cpu, started = self._meter.joules(), process_time(), perf_counter()
        visual = thin()
        compressed = perf_counter() - started
        prompt = [asked.place] * visual + asked.prompt
        said = generate(Recital(decoder, prompt + asked.answer), prompt,
                        max_tokens=len(asked.answer), draft=draft)
        cpu, used = process_time() - cpu, self._meter.joules() - before
        if list(said.ids) != asked.answer:
            raise RuntimeError(f'{way}: another text was said than the one given')
        return Answer(way, number, visual, len(asked.answer), said.drafted_tokens,
                      said.kept_tokens, compressed, said.prefill_seconds, said.decode_seconds,
                      cpu, None if self._meter.missing else used)
