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
The headline page: every claim the project began with, beside what this machine shows.

`stack_rows` has the rows; here is the run that measures them, and the page as text.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
import os
from time import perf_counter
from typing import Any

from edge_vla.evaluation import language_speed as speed, watching
from edge_vla.evaluation.answers import Answer, LADDER, Ladder, question
from edge_vla.evaluation.float_network import FloatDecoder
from edge_vla.evaluation.power import EnergyMeter
from edge_vla.evaluation.stack_rows import (
    adaptation_rows,
    energy_rows,
    memory_rows,
    of_way,
    Scale,
    speed_rows,
    token_rows,
)
from edge_vla.kernels.isa import best_isa
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import Decoder, DecoderSettings
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.memory import peak_memory_mb
from edge_vla.pipeline import SHIPPED_MODEL
import numpy as np

SHAPES = tuple(name for name, c in speed.SHAPES.items() if isinstance(c, BitNetConfig))
ROOM = 512  # tokens of text that fit beside the visual ones
QUIET = .9  # share of the time that a process runs on a machine with nothing else to do


def measure(scale: Scale, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """
    Measure everything and return the page.

    Parameters
    ----------
    scale : Scale
        How much.
    say : callable
        Called with a line of text before each part.

    Returns
    -------
    dict
        ``rows`` (as Row, with ``ratio``), ``answers`` (as Answer, of every round and way),
        ``ladder`` (median seconds of each way), ``float16_limit_s``, ``scale``, ``machine``,
        ``cpu_share`` (seconds of processor over seconds of all answers), ``memory_mb``,
        ``seconds``.

    Raises
    ------
    BagError
        A video cannot be read.

    """
    started = perf_counter()
    before = speed.machine()
    say('flying in the simulator')
    flight = watching.fly(scale.flight)
    say('counting visual tokens')
    rows = [*token_rows(scale, flight)]
    frames = np.stack(list(watching.visual_tokens(flight.images[:scale.frames])))
    every = frames.shape[0] * frames.shape[1]
    say(f'making weights of shape {scale.shape}, ternary and float32')
    config, meter = speed.SHAPES[scale.shape], EnergyMeter()
    settings = DecoderSettings(threads=scale.threads, kv='int8', capacity=every + ROOM)
    model = speed.random_weights(scale.shape, best_isa('auto'), settings)
    decoder = Decoder(model, settings)
    floats = FloatDecoder(config, settings.capacity)
    ladder = Ladder(decoder, floats, frames, meter)
    say('compiling kernels where they are not cached')
    ladder.warm_up()
    answers, reading = _answers(ladder, floats, decoder, scale, say)
    decoder.close()
    rows += memory_rows(scale, model, decoder.cache, every, ladder.kept)
    rows += speed_rows(scale, answers, reading, flight)
    rows += energy_rows(answers, meter)
    say('flying in the wind, with and without adaptation')
    rows += adaptation_rows(scale)
    order = ('memory', 'speed', 'energy', 'tokens', 'adaptation')
    rows.sort(key=lambda row: order.index(row.group))
    return {'scale': asdict(scale) | {'videos': [path.name for path in scale.videos]},
            'rows': [asdict(row) | {'ratio': row.ratio} for row in rows],
            'ladder': [_ladder_step(way, answers) for way in LADDER],
            'answers': [asdict(a) for a in answers], 'float16_limit_s': reading,
            'machine': before | {'blas_threads': os.environ.get('OPENBLAS_NUM_THREADS'),
                                 'load_average_after': os.getloadavg()[0]},
            'cpu_share': sum(a.cpu_s for a in answers) / sum(a.seconds for a in answers),
            'memory_mb': {'peak': peak_memory_mb()}, 'seconds': perf_counter() - started}


def _answers(ladder: Ladder, floats: FloatDecoder, decoder: Decoder, scale: Scale,
             say: Callable[[str], None]) -> tuple[list[Answer], list[float]]:
    """Return all answers, and in every round the time FP16 weights take to be read alone, s."""
    tokenizer = Tokenizer.load(SHIPPED_MODEL / 'language' / 'tokenizer.json')
    arrays = [w for layer in floats.layers for w in layer.values()] + [floats.head]
    readers = [speed.Bandwidth(decoder.isa, [a], scale.threads) for a in arrays]
    for read in readers:  # compiles
        read()
    answers, reading = [], []
    for number in range(scale.rounds):
        say(f'answering, round {number + 1} of {scale.rounds}')
        answers += ladder.answer(question(tokenizer, number), number)
        begun = perf_counter()
        for read in readers:
            read()
        elapsed = perf_counter() - begun
        reading.append(elapsed / sum(a.nbytes for a in arrays) * floats.weight_bytes / 2)
    return answers, reading


def _ladder_step(way: str, answers: Sequence[Answer]) -> dict[str, Any]:
    mine = of_way(way, answers)
    return {'way': way, 'visual': mine[0].visual} | {
        part: float(np.median([getattr(a, part) for a in mine]))
        for part in ('compress_s', 'prefill_s', 'decode_s', 'token_s', 'seconds')}


def as_text(report: dict[str, Any]) -> str:
    """
    Return the page as a table for a terminal.

    Parameters
    ----------
    report : dict
        As `measure` returns it.

    """
    lines, group = [], ''
    for row in report['rows']:
        if row['group'] != group:
            group = row['group']
            lines += ['', f'{group:66} {"claimed":>9} {"ours":>11} {"ratio":>6}']
        claimed, ours = (figure(row[key], row['unit']) for key in ('claimed', 'ours'))
        ratio = '' if row['ratio'] is None else f'{row["ratio"]:.2f}'
        lines += [f'  {row["name"]:64} {claimed:>9} {ours:>11} {ratio:>6}',
                  f'      claim: {row["source"]}', f'      ours:  {row["method"]}']
    lines += ['', f'{"a whole answer, median seconds":50}thinning  prefill  decoding    all']
    lines += [f'  {step["way"]:16} {step["visual"]:6} visual tokens {"":10}'
              f'{step["compress_s"]:9.3f} {step["prefill_s"]:8.2f} {step["decode_s"]:9.2f} '
              f'{step["seconds"]:6.2f}' for step in report['ladder']]
    if report['cpu_share'] < QUIET:
        lines += ['', f'the machine was busy: this process ran for {report["cpu_share"]:.0%} of '
                  'the time; measure times again on a quiet one']
    return '\n'.join(lines[1:])


def figure(value: float | None, unit: str) -> str:
    """Return a value with its unit, '-' for none."""
    if value is None:
        return '-'
    digits = f'{value:.{4 if abs(value) < .1 else 2 if abs(value) < 20 else 1}f}'
    return f'{digits} {unit}' if unit != 'x' else f'{digits}x'
