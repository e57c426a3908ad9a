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

from pathlib import Path
import threading

from edge_vla.datatypes import Context
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.language.decoder import Decoder, load_decoder
from edge_vla.language.plan import COLOURS, Plan, SHAPES, SLOTS, VERBS
from edge_vla.language.tokenizer import Tokenizer
import numpy as np

LONGEST = 400  # characters
BEGIN, PLAN, END = '<bos>', '<plan>', '<eos>'


def special_tokens() -> list[str]:
    """Return the special tokens in id order: frame of the sequence, then every slot word."""
    return [BEGIN, PLAN, END, *(f'<{word}>' for slot in SLOTS for word in slot)]


def canonical(instruction: str) -> str:
    """Return an instruction as the head reads it: lower case, single spaces."""
    return ' ' + ' '.join(instruction.lower().split())


class LanguageHead:
    """
    Reads instructions with a BitNet decoder.

    The decoder continues ``<bos> instruction <plan>`` under the plan grammar, one token per
    slot. The probabilities of the allowed tokens, side by side, are the context vector.

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
        self._slots = [np.array([tokenizer.special[f'<{w}>'] for w in slot]) for slot in SLOTS]
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
        if not isinstance(instruction, str):
            raise InstructionError(f'an instruction is text, not {type(instruction).__name__}')
        if not instruction.strip():
            raise InstructionError('the instruction is empty; say for example "fly to the red '
                                   'sphere"')
        if len(instruction) > LONGEST:
            raise InstructionError(f'the instruction has {len(instruction)} characters, at most '
                                   f'{LONGEST} can be read')
        ids = self._tokenizer.encode(canonical(instruction))
        room = self._decoder.cache.capacity - 2 - len(SLOTS)
        if len(ids) > room:
            raise InstructionError(f'the instruction has {len(ids)} tokens, at most {room} can be '
                                   'read')
        with self._lock:
            chosen, probabilities = self._decode(ids)
        return self._context(instruction, chosen, probabilities)

    def _decode(self, ids: list[int]) -> tuple[list[int], list[np.ndarray]]:
        """
        Continue the instruction under the grammar; greedy, with each slot's probabilities.

        The object is read after the likeliest flight even where to hover is likelier: after
        'hover' there is no object, and its slots only count as far as a flight is likely.
        """
        self._decoder.cache.truncate(0)
        logits = self._decoder.forward([self._begin, *ids, self._plan])
        chosen, probabilities, said = [], [], 0
        for k, allowed in enumerate(self._slots):
            if k:
                logits = self._decoder.forward([int(self._slots[k - 1][said])])
            x = logits[allowed].astype(np.float64)
            p = np.exp(x - x.max())
            probabilities.append(p / p.sum())
            chosen.append(int(p.argmax()))
            said = chosen[-1] if k else int(p[:VERBS.index('hover')].argmax())
        return chosen, probabilities

    @staticmethod
    def _context(instruction: str, chosen: list[int], probabilities: list[np.ndarray]) -> Context:
        plan = Plan(VERBS[chosen[0]], COLOURS[chosen[1]], SHAPES[chosen[2]])
        moving = 1 - probabilities[0][VERBS.index('hover')]
        vector = np.concatenate([probabilities[0], probabilities[1] * moving,
                                 probabilities[2] * moving]).astype(np.float32)
        used = probabilities[:1] if plan.verb == 'hover' else probabilities
        confidence = float(np.prod([p.max() for p in used]))
        return Context(vector, plan.text(), instruction, confidence)
