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
How fast a decoder runs, beside the memory bandwidth measured in the same rounds.

Weights are random, of the exact shape, so nothing needs to be downloaded; speed does not depend on
their values. Everything is measured in turn, round after round, so that a slow moment of the
machine hits all of it; what is reported are medians.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
import os
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import Any

from edge_vla.kernels.bandwidth import read_all
from edge_vla.kernels.isa import Isa
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import best_head, Decoder, DecoderSettings
from edge_vla.language.engine import AnyConfig, random_model
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import build_lfm2, RandomSource, WEIGHTS
from edge_vla.language.programs import AnyModel
from edge_vla.language.sketch import sketched
from edge_vla.language.threads import Crew
import numpy as np

SHAPES: dict[str, AnyConfig] = {
    '2b4t': BitNetConfig(),
    # BitNet b1.58 "large" (1bitLLM) and a head that a microcontroller-class board can hold
    '0.7b': BitNetConfig(hidden_size=1536, intermediate_size=4096, num_hidden_layers=24,
                         num_attention_heads=16, num_key_value_heads=16, vocab_size=32002),
    '0.1b': BitNetConfig(hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
                         num_attention_heads=12, num_key_value_heads=4, vocab_size=32000),
    # the language head in the package
    'shipped': BitNetConfig(hidden_size=128, intermediate_size=320, num_hidden_layers=4,
                            num_attention_heads=4, num_key_value_heads=2, vocab_size=1024),
    'lfm2-1.2b': Lfm2Config(),
    'lfm2-350m': Lfm2Config(hidden_size=1024, intermediate_size=4608, num_attention_heads=16),
}
CONTEXT = 64  # tokens in the cache when a step is timed
FEW = 16  # tokens of the vocabulary a restricted head computes


@contextmanager
def others(count: int) -> Iterator[None]:
    """Keep `count` processes busy meanwhile, as other programs of a robot do."""
    spin = 'import os; parent = os.getppid()\nwhile os.getppid() == parent: pass'
    busy = [subprocess.Popen([sys.executable, '-c', spin]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def cpu_name() -> str:
    """Return the CPU's name, as the system has it."""
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def random_weights(shape: str, isa: Isa, settings: DecoderSettings) -> AnyModel:
    """
    Return a model with random weights.

    Parameters
    ----------
    shape : str
        A key of SHAPES.
    isa : Isa
        For which ternary weights are packed.
    settings : DecoderSettings
        Its `head` and, for LFM2, `weights` (int4 for auto) count.

    """
    config = SHAPES[shape]
    head = best_head(config) if settings.head == 'auto' else settings.head
    if not isinstance(config, Lfm2Config):
        return sketched(random_model(config, isa.packing, head))
    weights = 'int4' if settings.weights == 'auto' else settings.weights
    kind = WEIGHTS['int8' if weights == 'float32' else weights]
    return sketched(build_lfm2(RandomSource(config, kind), config, weights, head))


def bytes_per_token(model: AnyModel) -> dict[str, int]:
    """Return the bytes that decoding one token reads: body, head."""
    head = model.tensors['head'].nbytes
    if model.head != 'float32':
        head += model.tensors['head_scales'].nbytes
    return {'body': model.tensors['body'].nbytes, 'head': head}


class Bandwidth:
    """
    Reads large arrays with some threads, each its own part of each, when it is called.

    Parameters
    ----------
    isa : Isa
        With which instructions.
    arrays : sequence of numpy.ndarray
        Contiguous, of any type.
    threads : int
        How many.

    """

    def __init__(self, isa: Isa, arrays: Sequence[np.ndarray], threads: int) -> None:
        self._isa, self._threads, self._crew = isa, threads, Crew(threads)
        self._parts = [np.array_split(a.reshape(-1).view(np.uint8), threads) for a in arrays]

    def __call__(self) -> None:
        """Read it once."""
        finished = [False] * self._threads

        def job(me: int) -> None:
            for parts in self._parts:
                read_all(self._isa, parts[me])
            finished[me] = True
        self._crew.run(job, self._threads)
        while not all(finished):
            time.sleep(0)


def _timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _actions(decoder: Decoder, prompt: int) -> dict[str, Callable[[], Any]]:
    ids = np.random.default_rng(0).integers(0, decoder.config.vocab_size, max(prompt, CONTEXT)
                                            ).tolist()
    few = list(range(min(FEW, decoder.config.vocab_size)))
    context = min(CONTEXT, prompt)

    def step(tokens: int, subset: list[int] | None = None, best: int = 0) -> Callable[[], Any]:
        def action() -> None:
            decoder.cache.truncate(context)
            decoder.forward(ids[:tokens], subset, best)
        return action

    def prefill() -> None:
        decoder.cache.truncate(0)
        decoder.forward(ids[:prompt])
    return {'token': step(1), 'greedy': step(1, best=1), 'restricted': step(1, few),
            'two': step(2, best=1),
            'four': step(4, best=1), 'eight': step(8, best=1), 'four_all': step(4),
            'prefill': prefill}


def measure(model: AnyModel, settings: DecoderSettings, threads: list[int], rounds: int = 7,
            prompt: int = 128) -> Iterator[dict[str, Any]]:
    """
    Measure a decoder at each thread count, in turn.

    Parameters
    ----------
    model : EngineModel or Lfm2Model
        What to run.
    settings : DecoderSettings
        How; its `threads` is not looked at.
    threads : list of int
        Which thread counts.
    rounds : int
        How often each is measured.
    prompt : int
        Tokens of the prefill.

    Yields
    ------
    dict
        For each thread count the medians: tokens_per_second, greedy_tokens_per_second (where only
        the likeliest token is wanted), restricted_tokens_per_second (a head of 16 tokens),
        prefill_tokens_per_second, cost_of_two, _four, _eight (in units of one greedy token),
        cost_of_four_with_all_logits (of one with all),
        bandwidth_gb_s (measured), used_gb_s and share_of_bandwidth.

    """
    arrays = [model.tensors['body'], model.tensors['head']]
    runs = []
    for count in threads:
        decoder = Decoder(model, replace(settings, threads=count))
        decoder.warm_up()
        decoder.forward([0] * CONTEXT)
        actions = _actions(decoder, prompt)
        actions['read'] = Bandwidth(decoder.isa, arrays, count)
        runs.append((count, actions, {}))
    for turn in range(rounds + 1):
        for _, actions, times in runs:
            for name, action in actions.items():
                for _ in range(3 if name in ('token', 'greedy', 'read', 'restricted') else 1):
                    elapsed = _timed(action)
                    if turn:  # the first round only warms up
                        times.setdefault(name, []).append(elapsed)
    size = bytes_per_token(model)
    for count, _, times in runs:
        t = {name: float(np.median(values)) for name, values in times.items()}
        used = sum(size.values()) / t['token'] / 1e9
        read = sum(a.nbytes for a in arrays) / t['read'] / 1e9
        yield {'threads': count, 'tokens_per_second': 1 / t['token'],
               'greedy_tokens_per_second': 1 / t['greedy'],
               'restricted_tokens_per_second': 1 / t['restricted'],
               'prefill_tokens_per_second': prompt / t['prefill'],
               'cost_of_two': t['two'] / t['greedy'], 'cost_of_four': t['four'] / t['greedy'],
               'cost_of_eight': t['eight'] / t['greedy'],
               'cost_of_four_with_all_logits': t['four_all'] / t['token'], 'bandwidth_gb_s': read,
               'used_gb_s': used, 'share_of_bandwidth': used / read}


def machine() -> dict[str, Any]:
    """Say what this was measured on."""
    import llvmlite
    import numba
    return {'cpu': cpu_name(), 'cpus': len(os.sched_getaffinity(0)),
            'python': platform.python_version(), 'numba': numba.__version__,
            'llvmlite': llvmlite.__version__, 'load_average': os.getloadavg()[0]}
