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
The planner: a large language model turns free-form instructions into plans.

Any model that `load_decoder` reads. It is shown the grammar and examples, then writes under the
grammar (`constrained`), so whatever its weights it writes a plan. The small head reads everything
too: `objection` tells whose reading is flown.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
import os
from pathlib import Path
import threading
from typing import Any

from edge_vla.datatypes import Context
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.language.constrained import readings, write, Written
from edge_vla.language.decoder import DecoderSettings, load_decoder
from edge_vla.language.generation import CachedIds, check_vocabulary, ends_of, shared
from edge_vla.language.grammar import Allowed, Automaton, EOL, PLAN, plan_arcs
from edge_vla.language.head import check_instruction, context_of, understood
from edge_vla.language.plan import (
    ANCHORED,
    ANY,
    COLOURS,
    join,
    MAX_STEPS,
    Plan,
    RELATIONS,
    SHAPES,
    Step,
)
from edge_vla.language.text_tokenizer import ENDS
import numpy as np

SYSTEM = f"""You turn what somebody tells a drone into a plan. Answer with the plan alone.
A plan is one to {MAX_STEPS} steps with "then" between them. A step is one of
go OBJECT: fly to it; search OBJECT: look for it first;
orbit_left OBJECT: circle it clockwise; orbit_right OBJECT: circle it counterclockwise;
hover: stop and stay; land; unknown: anything else, and any other object.
OBJECT is a colour and a shape: {', '.join(COLOURS)} or {ANY}; {', '.join(SHAPES)} or {ANY}.
Of an object not fully named a relation may follow: {', '.join(RELATIONS[6:])}, or one of
{', '.join(ANCHORED)} and then the colour and shape of another object."""
EXAMPLES = (
    ('Please head over to the scarlet ball.', 'go red sphere'),
    ('Take a turn clockwise about the emerald crate, then come down', 'orbit_left green box then '
     'land'),
    ('there should be a violet column somewhere, locate it', 'search purple pillar'),
    ('counterclockwise round the snowy cone, next go over to the closest block',
     'orbit_right white cone then go any box nearest'),
    ('approach whatever is behind the azure cube', 'go any any behind blue box'),
    ('Freeze!', 'hover'),
    ('the tower right of the yellow thing, off you go', 'go any pillar right yellow any'),
    ('Wait a bit, then set yourself down.', 'hover then land'),
    ('Tell me a joke', 'unknown'),
    ('fly to the silver ball', 'unknown'))
_PIECE = 32  # tokens read at once: how long nothing can interrupt it
LIKELY = 0.5  # confidence from which the small head's reading is worth a look


class Planner:
    """
    Reads instructions with a large language model.

    Parameters
    ----------
    decoder : Decoder
        With a tokenizer. The model's form of conversation is used where its tokens have one.

    Raises
    ------
    CheckpointError
        It has no tokenizer, or one that cannot spell a plan; or the model's context is too short,
        or it has no end of a text.
    ConfigError
        The tokenizer is another model's.
    MissingDependencyError
        Its tokenizer or chat template needs a package that is not installed.

    """

    def __init__(self, decoder: Any) -> None:
        tokenizer = decoder.tokenizer
        if tokenizer is None:
            raise CheckpointError('the planner has no tokenizer: put its tokenizer.json next to '
                                  'it')
        check_vocabulary(decoder)
        ends = ends_of(decoder)
        if not ends:
            raise CheckpointError('the model names no token that ends a text, so no plan would '
                                  'end: set eos_token_id in its config.json')
        automaton = Automaton(PLAN, plan_arcs)
        self._allowed = Allowed(automaton, [
            EOL if i in ends else tokenizer.bytes_of(i) for i in range(tokenizer.size)])
        self._decoder, self._cached, self._lock = decoder, CachedIds(), threading.Lock()
        self._guesses = _Guesses(tokenizer, min(ends))
        self._chat = decoder.chat if tokenizer.special.keys() & ENDS[:2] else None
        self._room = decoder.cache.capacity - automaton.longest
        if not self._prompt('go'):
            raise CheckpointError("the model's chat template says nothing of what is said: no "
                                  'instruction would reach it')
        if len(self._prompt('go')) > self._room:
            raise CheckpointError(f'the model takes {decoder.cache.capacity} tokens, too few for '
                                  'a planner')

    @classmethod
    def load(cls, path: Path | str, threads: int = 0,
             on_progress: Callable[[str], None] | None = None) -> 'Planner':
        """
        Load a model, compile, and read what comes before every instruction.

        Parameters
        ----------
        path : Path or str
            As for `load_decoder`.
        threads : int
            0 leaves one core to what flies.
        on_progress : callable, optional
            Called with a line of text before something slow.

        Raises
        ------
        CheckpointError
            Missing, corrupt, of another architecture, or no planner (see the class).
        MissingDependencyError
            See the class.

        """
        threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
        planner = cls(load_decoder(path, DecoderSettings(threads=threads), on_progress))
        planner.read('hover')
        return planner

    def read(self, instruction: str, check: Callable[[], None] = lambda: None,
             first: Context | None = None) -> Context:
        """
        Understand one instruction; may be called from any thread.

        Where the letters it chose lead to another word than the likeliest one, what it means is
        not clear: that is not understood.

        Parameters
        ----------
        instruction : str
            At most 400 characters.
        check : callable
            Called every few tokens; what it raises ends the reading.
        first : Context, optional
            What the small head read. The model looks at that plan while it reads the instruction:
            what of it the model would write itself costs a third of what writing it does. The
            plan is the same with and without.

        Raises
        ------
        InstructionError
            Empty, not text, or too long.
        CheckpointError
            The model's answer is no number, or its chat template fails.

        """
        check_instruction(instruction)
        with self._lock:
            guess = self._guesses.of(first)
            written = self._write(instruction, check, guess)
            self._guesses.compare(guess, written.ids)
            spoken = list(readings(written))
        context = context_of(instruction, spoken)
        if all(choice[word] == max(choice.values()) for word, choice in spoken):
            return context
        plan = Plan('unknown')
        return replace(context, vector=plan.vector(), text=plan.text(),
                       steps=(Step(plan, plan.vector(), context.confidence),))

    def close(self) -> None:
        """End the threads; the next reading starts them again."""
        self._decoder.close()

    def _write(self, instruction: str, check: Callable[[], None],
               guess: Sequence[int] = ()) -> Written:
        """Let the model write a plan; what its cache holds of the prompt is not read again."""
        ids = self._prompt(instruction)
        if len(ids) > self._room:
            raise InstructionError(f'the instruction has {len(ids) - self._room} tokens more than '
                                   'the planner can read')
        reused = self._cached.reuse(self._decoder.cache, ids)
        return write(_Reader(self._decoder, self._cached, check), ids[reused:], self._allowed,
                     guess=guess)

    def _prompt(self, instruction: str) -> list[int]:
        """Return the tokens after which the plan comes."""
        tokenizer, instruction = self._decoder.tokenizer, ' '.join(instruction.split())
        if self._chat is None:
            shown = ''.join(f'Instruction: {text}\nPlan:\n{plan}\n' for text, plan in EXAMPLES)
            first = [] if tokenizer.begin is None else [tokenizer.begin]
            return first + tokenizer.encode(f'{SYSTEM}\n{shown}Instruction: {instruction}\n'
                                            'Plan:\n')
        turns = [{'role': role, 'content': text} for example in EXAMPLES
                 for role, text in zip(('user', 'assistant'), example, strict=True)]
        return self._chat.encode(tokenizer, [{'role': 'system', 'content': SYSTEM}, *turns,
                                             {'role': 'user', 'content': instruction}])


class _Reader:
    """A decoder that can be interrupted, and the tokens in its cache."""

    def __init__(self, decoder: Any, cached: CachedIds, check: Callable[[], None]) -> None:
        self._decoder, self._cached, self._check = decoder, cached, check

    def logits(self, ids: list[int], tokens: np.ndarray) -> np.ndarray:
        rows, pieces = [], -(-len(ids) // _PIECE)
        for k in range(pieces):  # of the same length: a short one takes long for what it is
            self._check()
            part = ids[len(ids) * k // pieces:len(ids) * (k + 1) // pieces]
            rows.append(self._decoder.logits(part, tokens))
            self._cached.add(self._decoder.cache, part)
        return np.concatenate(rows)

    def take_back(self, count: int) -> None:
        cache = self._decoder.cache
        cache.truncate(cache.length - count)
        del self._cached.ids[cache.length:]


class _Guesses:
    """Plans of the small head in tokens of the large model, as long as they are mostly right."""

    SELDOM = 8  # instructions, of which one is guessed at where guesses are mostly wrong
    _FADES = .9

    def __init__(self, tokenizer: Any, end: int) -> None:
        self._tokenizer, self._end = tokenizer, end
        self._right, self._all, self._skipped = 1.0, 1.5, 0

    def of(self, first: Context | None) -> list[int]:
        """Return what the model may write, or nothing."""
        if first is None or first.confidence < LIKELY:
            return []
        self._skipped += 1
        if self._right < self._all / 2 and self._skipped < self.SELDOM:
            return []
        self._skipped = 0
        return [*self._tokenizer.encode(join(step.plan for step in first.steps)), self._end]

    def compare(self, guess: list[int], ids: Sequence[int]) -> None:
        """Learn how much of a guess was right."""
        if guess:
            right = shared(guess, ids)
            self._right = self._FADES * self._right + right
            self._all = self._FADES * self._all + len(guess)
            if right + 1 >= len(ids):
                self._end = ids[-1]  # of several, the one that this model says


def objection(first: Context, planned: Context, least: float) -> str:
    """
    Say why the small head's reading is flown and not the planner's, nothing if that is flown.

    Parameters
    ----------
    first : Context
        What the small head read.
    planned : Context
        What the planner read.
    least : float
        Confidence below which a reading is not understood.

    """
    known = understood(first, least)
    if known and all(step.plan.verb == 'hover' for step in first.steps):
        return 'a stop stays a stop'  # however well the planner could argue
    if not understood(planned, least):
        return f'it does not understand (confidence {planned.confidence:.2f})'
    if known and [s.plan for s in first.steps] == [s.plan for s in planned.steps]:
        return 'it reads the same'  # a plan that is being flown must not begin again
    return ''
