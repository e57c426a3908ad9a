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

from statistics import median
from time import perf_counter
from typing import Any

from edge_vla.datatypes import Context
from edge_vla.evaluation.answers import Recital
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.grammar import EOL
from edge_vla.language.plan import COLOURS, join, MAX_STEPS, MOVING, Plan, SHAPES
from edge_vla.language.planner import Planner
from edge_vla.sim.instructions import sample_instruction, sample_mission
import numpy as np


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
    recital = Recital(decoder, (), tokenizer)
    planner = Planner(recital)
    rng, rows = np.random.default_rng(5), []
    for k in range(count + 1):
        plans = [Plan(str(rng.choice(MOVING)), str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))
                 for _ in range(1 + k % MAX_STEPS)]
        told = (sample_mission(rng, plans, 'held_out', typos=0) if k % MAX_STEPS else
                sample_instruction(rng, plans[0], 'held_out', typos=0))
        first = head.read(told)
        prompt, written = planner._prompt(told), tokenizer.encode(join(plans) + EOL.decode())
        recital.text = prompt + written
        took = []
        for guess in (None, first, None):  # plainly before and after: memory may change
            planner.read('hover')
            seconds, planned = _timed(planner, told, guess)
            took.append(seconds)
            if [step.plan for step in planned.steps] != plans:
                raise EdgeVlaError('another plan was written than the model had in mind')
        planner.read('hover')
        reused = planner._cached.reuse(recital.cache, prompt)
        began = perf_counter()
        decoder.logits(prompt[reused:], np.array(written[-1:]))
        alone = perf_counter() - began
        planner._cached.add(recital.cache, prompt[reused:])
        if k:  # the first one compiles
            rows.append(((took[0] + took[2]) / 2, took[1], alone, len(written),
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
