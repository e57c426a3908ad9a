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

"""The language head: an instruction becomes a plan, its probabilities become the context."""

from collections.abc import Iterable, Iterator
from pathlib import Path
import threading

from edge_vla.datatypes import Context
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.language.decoder import Decoder, load_decoder
from edge_vla.language.plan import (
    ALL_VERBS,
    ANY,
    COLOURS,
    CONTEXT_SIZE,
    END as LAST,
    MAX_STEPS,
    MOVING,
    next_words,
    Plan,
    RELATIONS,
    SHAPES,
    Step,
    THEN,
    VERBS,
)
from edge_vla.language.tokenizer import Tokenizer
import numpy as np

LONGEST = 400  # characters
BEGIN, PLAN, END = '<bos>', '<plan>', f'<{LAST}>'
LONGEST_PLAN = 7 * MAX_STEPS  # tokens: six of a step and what joins it
Choice = dict[str, float]  # the words allowed at one place and their probabilities
Spoken = tuple[str, Choice]  # the word that was said there


def special_tokens() -> list[str]:
    """Return the special tokens in id order: frame of the sequence, then every plan word."""
    words = (*ALL_VERBS, *COLOURS, *SHAPES, ANY, *RELATIONS[1:], THEN)
    return [BEGIN, PLAN, END, *(f'<{word}>' for word in words)]


def canonical(instruction: str) -> str:
    """Return an instruction as the head reads it: lower case, single spaces."""
    return ' ' + ' '.join(instruction.lower().split())


class LanguageHead:
    """
    Reads instructions with a BitNet decoder.

    The decoder continues ``<bos> instruction <plan>`` under the plan grammar, one token per
    word. The probabilities of the allowed verbs, colours and shapes of a step, side by side,
    are its context vector.

    Parameters
    ----------
    decoder : Decoder
    tokenizer : Tokenizer

    Raises
    ------
    CheckpointError
        The tokenizer lacks a token of the grammar.

    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        missing = [t for t in special_tokens() if t not in tokenizer.special]
        if missing:
            raise CheckpointError(f'the tokenizer has no token {missing[0]!r}: not a pilot head')
        if tokenizer.size > decoder.config.vocab_size:
            raise CheckpointError(f'the tokenizer has {tokenizer.size} tokens, the model '
                                  f'{decoder.config.vocab_size}: they do not belong together')
        self._decoder, self._tokenizer = decoder, tokenizer
        self._begin, self._plan = tokenizer.special[BEGIN], tokenizer.special[PLAN]
        self._word = {token[1:-1]: tokenizer.special[token] for token in special_tokens()}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path | str) -> 'LanguageHead':
        """Load ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of a folder."""
        folder = Path(folder)
        return cls(load_decoder(folder), Tokenizer.load(folder / 'tokenizer.json'))

    def read(self, instruction: str) -> Context:
        """
        Understand one instruction; may be called from any thread.

        Raises
        ------
        InstructionError
            Empty, not text, or longer than 400 characters.

        """
        check_instruction(instruction)
        ids = self._tokenizer.encode(canonical(instruction))
        room = self._decoder.cache.capacity - 2 - LONGEST_PLAN
        if len(ids) > room:
            raise InstructionError(f'the instruction has {len(ids)} tokens, at most {room} can be '
                                   'read')
        with self._lock:
            return context_of(instruction, self._decode(ids))

    def _decode(self, ids: list[int]) -> Iterator[Spoken]:
        """Continue the instruction under the grammar, greedily."""
        self._decoder.cache.truncate(0)
        logits = self._decoder.forward([self._begin, *ids, self._plan])
        steps, said, word = 0, [], ''
        while word != LAST:
            allowed = next_words(said, steps)
            x = logits[[self._word[word] for word in allowed]].astype(np.float64)
            p = np.exp(x - x.max())
            p /= p.sum()
            word = allowed[int(p.argmax())]
            yield word, dict(zip(allowed, p.tolist(), strict=True))
            if word == THEN:
                steps, said = steps + 1, []
            else:
                said.append(word)
            if word != LAST:
                logits = self._decoder.forward([self._word[word]])


def check_instruction(instruction: str) -> None:
    """
    Refuse what is no instruction.

    Raises
    ------
    InstructionError
        Empty, not text, or longer than 400 characters.

    """
    if not isinstance(instruction, str):
        raise InstructionError(f'an instruction is text, not {type(instruction).__name__}')
    if not instruction.strip():
        raise InstructionError('the instruction is empty; say for example "fly to the red '
                               'sphere"')
    if len(instruction) > LONGEST:
        raise InstructionError(f'the instruction has {len(instruction)} characters, at most '
                               f'{LONGEST} can be read')


def context_of(instruction: str, spoken: Iterable[Spoken]) -> Context:
    """
    Make a context of the words of a plan.

    Parameters
    ----------
    instruction : str
        What they were read from.
    spoken : iterable of tuple
        Every word, those that join and end steps too, and the probability of each word that was
        allowed in its place. After 'unknown' none is asked for.

    """
    steps: list[Step] = []
    said: list[str] = []
    choices: list[Choice] = []
    for word, choice in spoken:
        choices.append(choice)
        if word == 'unknown':  # a half understood instruction is not understood
            steps = [_step([word], choices)]
            break
        if word in (THEN, LAST):
            steps.append(_step(said, choices))
            said, choices = [], []
        else:
            said.append(word)
    return Context(steps[0].vector, ', then '.join(step.plan.text() for step in steps),
                   instruction, min(step.confidence for step in steps), tuple(steps))


def understood(context: Context, least: float) -> bool:
    """
    Tell whether a context is sure enough to fly by, and an instruction at all.

    Parameters
    ----------
    context : Context
        What was read.
    least : float
        The confidence it must have.

    """
    return context.confidence >= least and all(s.plan.verb != 'unknown' for s in context.steps)


def _step(said: list[str], choices: list[Choice]) -> Step:
    """Make a step of its words and of all that could have been said."""
    vector = np.zeros(CONTEXT_SIZE)
    for verb, p in choices[0].items():
        vector[VERBS.index(verb if verb in MOVING else 'hover')] += p
    if said[0] in MOVING:
        moving = 1 - vector[VERBS.index('hover')]
        slots = zip((*COLOURS, *SHAPES), (1,) * len(COLOURS) + (2,) * len(SHAPES), strict=True)
        vector[len(VERBS):] = [choices[k].get(word, 0) * moving for word, k in slots]
    confidence = float(np.prod([max(choice.values()) for choice in choices]))
    return Step(Plan(*said), vector.astype(np.float32), confidence)
