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
What the small head's reading saves the planner.

A large model with random weights computes everything and then writes a given plan. It is asked to
plan held-out instructions with and without a look at what the small head, the real one, reads.
"""

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

from edge_vla.datatypes import Context
from edge_vla.evaluation.answers import SURE
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.grammar import EOL
from edge_vla.language.plan import COLOURS, MAX_STEPS, MOVING, Plan, SHAPES, THEN
from edge_vla.language.planner import Planner
from edge_vla.sim.instructions import sample_instruction, sample_mission
import numpy as np


class PlanRecital:
    """
    A decoder that computes everything, and then writes a given plan.

    Parameters
    ----------
    decoder : Decoder
        What it costs.
    tokenizer : TextTokenizer
        No larger than the decoder's vocabulary.

    """

    chat = None

    def __init__(self, decoder: Any, tokenizer: Any) -> None:
        self._decoder, self.tokenizer = decoder, tokenizer
        self.config, self.cache = decoder.config, decoder.cache
        self._first, self._plan = 0, np.zeros(0, np.int64)

    def say(self, first: int, plan: Sequence[int]) -> None:
        """Write a plan after so many tokens."""
        self._first, self._plan = first, np.array(plan, np.int64)

    def logits(self, ids: Sequence[int], tokens: np.ndarray) -> np.ndarray:
        """Append tokens and return the logits after each, of given ones, float32 [T, k]."""
        first = self.cache.length + 1 - self._first
        out = self._decoder.logits(ids, tokens)
        for k, row in enumerate(out, first):
            if 0 <= k < len(self._plan):
                row[tokens == self._plan[k]] = SURE
        return out


def measure_plans(decoder: Any, head: Any, tokenizer: Any, count: int) -> dict[str, Any]:
    """
    Plan instructions of one to four steps with and without the small head's reading.

    Parameters
    ----------
    decoder : Decoder
        The large model; weights do not matter.
    head : LanguageHead
        The small one.
    tokenizer : TextTokenizer
        Of the large model.
    count : int
        Instructions.

    Returns
    -------
    dict
        ``right``: share of the instructions that the small head reads as they were meant;
        ``tokens``: of a plan, median; ``writing``: time of writing all plans, plain over guessed,
        what reading the instructions alone takes left out of both; ``whole`` and ``least``:
        median and least, of one instruction, of reading it and writing its plan.

    Raises
    ------
    EdgeVlaError
        Another plan was written with a guess, which is a fault.

    """
    recital = PlanRecital(decoder, tokenizer)
    planner = Planner(recital)
    planner.read('hover')
    end = next(t for t in range(tokenizer.size) if planner._allowed.bytes_of(t) == EOL)
    rng, rows = np.random.default_rng(5), []
    for k in range(count + 1):
        plans = [Plan(str(rng.choice(MOVING)), str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))
                 for _ in range(1 + k % MAX_STEPS)]
        told = (sample_mission(rng, plans, 'held_out', typos=0) if k % MAX_STEPS else
                sample_instruction(rng, plans[0], 'held_out', typos=0))
        first = head.read(told)
        prompt, meant = planner._prompt(told), f' {THEN} '.join(
            ' '.join(plan.words()) for plan in plans)
        ids = [*tokenizer.encode(meant), end]
        recital.say(len(prompt), ids)
        took = {}
        for way in (('plain', 'guessed') if k % 2 else ('guessed', 'plain')):
            planner.read('hover')
            recital.say(len(prompt), ids)
            took[way], planned = _timed(planner, told, first if way == 'guessed' else None)
            if [step.plan for step in planned.steps] != plans:
                raise EdgeVlaError('another plan was written than the model had in mind')
        planner.read('hover')
        reused = planner._cached.reuse(recital.cache, prompt)
        began = perf_counter()
        decoder.logits(prompt[reused:], np.array([end]))
        alone = perf_counter() - began
        planner._cached.ids += prompt[reused:]
        if k:  # the first one compiles
            rows.append((took['plain'], took['guessed'], alone, len(ids),
                         [step.plan for step in first.steps] == plans))
    plain, guessed, alone = (sum(row[k] for row in rows) for k in range(3))
    whole = [row[0] / row[1] for row in rows]
    return {'instructions': count, 'right': round(sum(row[4] for row in rows) / count, 3),
            'tokens': median(row[3] for row in rows),
            'writing': round((plain - alone) / (guessed - alone), 3),
            'whole': round(median(whole), 3), 'least': round(min(whole), 3)}


def _timed(planner: Planner, told: str, first: Context | None) -> tuple[float, Context]:
    began = perf_counter()
    planned = planner.read(told, first=first)
    return perf_counter() - began, planned
