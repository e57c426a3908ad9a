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
The rows of the headline page, see `stack`: a claim, its source, our figure, and how it came to be.

Rows of kind ``measured`` are measured in the run that makes them, rows of kind ``model`` are
computed by the arithmetic-energy model, rows of kind ``missing`` say why there is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vla.adaptation.composite import Adaptation
from edge_vla.compression.kv_pruning import KeyPruningSettings
from edge_vla.config import CameraConfig
from edge_vla.evaluation import energy, watching
from edge_vla.evaluation.answers import Answer, LADDER
from edge_vla.evaluation.power import EnergyMeter
from edge_vla.evaluation.velocity_tracking import Fault, Frozen, mean_errors
from edge_vla.language.cache import KVCache
from edge_vla.language.engine import EngineModel
import numpy as np

WIND, WINDOW = 8.0, (2.0, 3.0)  # m/s, and seconds after it sets in
BITS = 1.58  # of a ternary weight, as its name says
DYCOKE = 'DyCoke, arXiv 2411.15024 (GPU)'
ERA = 'BitNet b1.58, arXiv 2402.17764, figure 3'
REPORT = 'BitNet b1.58 2B4T, arXiv 2504.12285, table 1'
NO_CLAIM = 'no figure was claimed'


@dataclass(frozen=True)
class Scale:
    """
    How much is measured.

    Attributes
    ----------
    shape : str
        One of SHAPES.
    threads : int
        Of the engine; BLAS has to be told before NumPy is loaded.
    rounds : int
        Questions that are answered in every way.
    frames : int
        A question shows so many.
    flight : int
        Frames of the flight.
    seeds : int
        Flights in the wind, with and without adaptation.
    videos : tuple of Path
        Real ones; without any the flight's pictures are taken.

    """

    shape: str = '0.1b'
    threads: int = 1
    rounds: int = 3
    frames: int = 8
    flight: int = 300
    seeds: int = 24
    videos: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Row:
    """
    A claim and what became of it.

    Attributes
    ----------
    group : str
        memory, speed, energy, tokens or adaptation.
    name : str
        What it is about.
    claimed, ours : float or None
        In `unit`; None where there is none.
    unit : str
        x is a factor, % a share.
    source : str
        Of the claim.
    method : str
        How ours came to be.
    better : str
        more, less, or equal (a figure to be reproduced).
    kind : str
        measured, model or missing.

    """

    group: str
    name: str
    claimed: float | None
    ours: float | None
    unit: str
    source: str
    method: str
    better: str = 'more'
    kind: str = 'measured'

    @property
    def ratio(self) -> float | None:
        """Ours over claimed, None without both."""
        return None if self.claimed is None or self.ours is None else self.ours / self.claimed


def of_way(way: str, answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of one way of LADDER, round by round."""
    return [a for a in answers if a.way == way]


def gain(answers: Sequence[Answer], slow: int, fast: int, part: str) -> float:
    """
    Return how many times faster one way was than another, median over the rounds.

    Parameters
    ----------
    answers : sequence of Answer
        Of every round and way.
    slow, fast : int
        Places in LADDER.
    part : str
        Attribute of Answer: seconds, prefill_s, token_s...

    """
    pairs = zip(of_way(LADDER[slow], answers), of_way(LADDER[fast], answers), strict=True)
    return float(np.median([getattr(a, part) / getattr(b, part) for a, b in pairs]))


def memory_rows(scale: Scale, model: EngineModel, cache: KVCache, every: int,
                kept: int) -> list[Row]:
    """
    Return the rows about memory.

    Parameters
    ----------
    scale : Scale
        As measured.
    model : EngineModel
        Whose tensors are counted.
    cache : KVCache
        Whose arrays are.
    every, kept : int
        Visual tokens before and after thinning.

    """
    c = model.config
    linear = c.num_hidden_layers * sum(r * k for r, k in c.linears().values())
    tables = c.vocab_size * c.hidden_size * (1 if c.tie_word_embeddings else 2)
    norms = c.num_hidden_layers * sum(c.norms().values()) + c.hidden_size
    body = model.tensors['body'].nbytes
    token = sum(a.nbytes for a in cache.arrays) / cache.rows
    half_token = 4 * c.num_hidden_layers * c.kv_size  # keys and values, two bytes each
    weights, tokens = 2 * linear / body, every / kept
    half = 2 * (linear + tables + norms) + every * half_token
    ours = sum(t.nbytes for t in model.tensors.values()) + kept * token
    text = f'bytes of the arrays of shape {scale.shape} in this run'
    rows = [
        Row('memory', 'ternary weights: FP16 linear layers over packed', 16 / BITS, weights, 'x',
            f'16 bits over {BITS}, {ERA}', f'{text}: {body / 1e6:.1f} MB in {model.packing}'),
        Row('memory', 'visual keys and values: all tokens over kept', 1.42, tokens, 'x', DYCOKE,
            f'DyCoke stage 1 (K = 0.7) keeps {kept} of {every} tokens of {scale.frames} frames; '
            'claimed is the memory of the whole program'),
        Row('memory', 'both multiplied, as the claim is made', 14.0, weights * tokens, 'x',
            f'founding article; 16/{BITS} x 1.42 is its order', 'product of the two rows above'),
        Row('memory', 'both in bytes, nothing left out', 14.0, half / ours, 'x',
            'founding article', f'{text}: FP16 weights, embedding and cache of all tokens '
            f'{half / 1e6:.1f} MB, over ternary body, {model.head} embedding and int8 cache of '
            f'kept tokens {ours / 1e6:.1f} MB')]
    if scale.shape == '2b4t':
        rows.append(Row('memory', 'weights without embedding', .4, body / 1e9, 'GB', REPORT,
                        text, 'less'))
    return rows


def speed_rows(scale: Scale, answers: Sequence[Answer], reading: Sequence[float],
               flight: watching.Flight) -> list[Row]:
    """
    Return the rows about speed: each layer alone, all together, the fast loop.

    Parameters
    ----------
    scale : Scale
        As measured.
    answers : sequence of Answer
        Of every round and way.
    reading : sequence of float
        Seconds to read FP16 weights once, of every round.
    flight : Flight
        What the fast loop took.

    """
    how = (f'shape {scale.shape}, {scale.threads} threads, {len(reading)} rounds in turn, median '
           'of their ratios')
    fast = of_way(LADDER[1], answers)
    limit = float(np.median([r / a.token_s for r, a in zip(reading, fast, strict=True)]))
    last = of_way(LADDER[3], answers)
    drafted, kept = sum(a.drafted for a in last), sum(a.kept for a in last)
    step, period = 1e3 * float(np.median(flight.step_s)), 1e3 / CameraConfig().rate
    rows = [
        Row('speed', 'ternary engine, decoding, over FP16 at the limit of memory', 6.17, limit,
            'x', 'bitnet.cpp, arXiv 2410.16144: 2.37 to 6.17 over llama.cpp FP16 (x86)',
            f'{how}; FP16 is the time its weights take to be read, and nothing else'),
        Row('speed', 'ternary engine, decoding, over float32', None,
            gain(answers, 0, 1, 'token_s'), 'x', NO_CLAIM,
            f'{how}; NumPy and BLAS, the same shape'),
        Row('speed', 'ternary engine, prefill, over float32', None,
            gain(answers, 0, 1, 'prefill_s'), 'x', NO_CLAIM,
            f'{how}; NumPy and BLAS, {fast[0].visual} visual tokens and the text'),
        Row('speed', 'token compression, prefill', 1.54, gain(answers, 1, 2, 'prefill_s'), 'x',
            f'{DYCOKE}, whole answer', f'{how}; {fast[0].visual} over {last[0].visual} visual '
            'tokens, DyCoke stage 1, K = 0.7'),
        Row('speed', 'speculation, decoding', 2.8, gain(answers, 2, 3, 'token_s'), 'x',
            'Timor et al., ICML 2025, arXiv 2502.05202 (GPU)',
            f'{how}; n-gram drafts, narration of a plan that is in the prompt; {kept} of '
            f'{drafted} proposed tokens kept of {sum(a.tokens for a in last)}, the same text'),
        Row('speed', 'all together: a whole answer over float32', None,
            gain(answers, 0, 3, 'seconds'), 'x', NO_CLAIM,
            f'{how}; all frames, prompt and {last[0].tokens} tokens of answer'),
        Row('speed', 'fast loop: pixels to limited command', period, step, 'ms',
            'one frame of the default camera', f'the pilot flying in the simulator, median of '
            f'{len(flight.step_s)} frames, p99 '
            f'{1e3 * np.percentile(flight.step_s, 99):.1f} ms', 'less')]
    if scale.shape == '2b4t':
        rows.insert(0, Row(
            'speed', 'ternary engine, one decoded token', 29.0,
            1e3 * float(np.median([a.token_s for a in fast])), 'ms',
            f'{REPORT} (i7-13800H, 8 threads)', f'{how}; {fast[0].visual} visual tokens in the '
            'cache', 'less'))
    return rows


def energy_rows(answers: Sequence[Answer], meter: EnergyMeter) -> list[Row]:
    """
    Return the rows about energy: the published model, and stated apart what was measured.

    Parameters
    ----------
    answers : sequence of Answer
        Of every round and way.
    meter : EnergyMeter
        With which they were measured.

    """
    model = 'arithmetic of matrix products only, 7 nm, no memory; edge_vla/evaluation/energy.py'
    big, small = energy.BITNET_30B, energy.BITNET_2B4T
    rows = [
        Row('energy', 'model: ternary layer against FP16', 71.4, energy.layer_ratio(), 'x', ERA,
            f'{model}; at 45 nm {energy.layer_ratio("45 nm"):.0f}x', 'equal', 'model'),
        Row('energy', 'model: forward pass of 30B against FP16', 38.8,
            energy.forward_ratio(big, energy.TOKENS), 'x', 'BitNet, arXiv 2310.11453, figure 1',
            f'{model}; {big.layers} layers of {big.hidden}, {energy.TOKENS} tokens', 'equal',
            'model'),
        Row('energy', 'model: forward pass of 2B4T', .028,
            energy.forward_joules(small, energy.TOKENS, True).total, 'J', REPORT,
            f'{model}; {energy.TOKENS} tokens', 'equal', 'model')]
    name, source = 'measured: joules of a whole answer, float32 over all layers', NO_CLAIM
    if meter.missing or any(a.joules is None or a.joules <= 0 for a in answers):
        why = meter.missing or 'the counters did not move'
        return [*rows, Row('energy', name, None, None, 'x', source, f'not available here: {why}',
                           kind='missing')]
    spent = [float(np.median([a.joules for a in of_way(way, answers)])) for way in LADDER]
    return [*rows, Row('energy', name, None, gain(answers, 0, 3, 'joules'), 'x', source,
                       'RAPL of all packages, everything that ran on them meanwhile: '
                       f'{spent[0]:.2f} J over {spent[3]:.2f} J')]


def token_rows(scale: Scale, flight: watching.Flight) -> list[Row]:
    """
    Return the rows about visual tokens.

    Parameters
    ----------
    scale : Scale
        As measured.
    flight : Flight
        Whose pictures are taken where there are no videos.

    """
    sources = [(path.name, watching.video_images(path)) for path in scale.videos] or [
        ('a simulated flight', flight.images)]
    rows, rate = [], KeyPruningSettings().pruning_rate
    for name, images in sources:
        kept, tokens = watching.kept_per_frame(watching.visual_tokens(images))
        rows.append(Row(
            'tokens', f'tokens a frame that are kept, {name}', 47.5, 100 * kept.mean() / tokens,
            '%', 'DyCoke, arXiv 2411.15024, stage 1 at K = 0.7: 1 - 0.75 K',
            f'{kept.mean():.1f} of {tokens} tokens of the shipped encoder, {len(kept)} frames, '
            f'live setting; attended to after stage 2 (P = {rate}): '
            f'{100 * (1 - rate) * kept.mean() / tokens:.1f} %, claimed 14.25 %', 'less'))
    return rows


def adaptation_rows(scale: Scale) -> list[Row]:
    """
    Return the row about adaptation.

    Parameters
    ----------
    scale : Scale
        Its `seeds` count.

    """
    fault, seeds = Fault(wind=WIND), range(scale.seeds)
    without = float(mean_errors(Frozen, fault, seeds, WINDOW).mean())
    adapted = float(mean_errors(Adaptation, fault, seeds, WINDOW).mean())
    return [Row('adaptation', f'velocity error in wind of {WIND:g} m/s, without over with', None,
                without / adapted, 'x', NO_CLAIM,
                f'simulated vehicle, {scale.seeds} flights, {WINDOW[0]:g} to {WINDOW[1]:g} s '
                f'after the wind sets in: {without:.2f} and {adapted:.3f} m/s')]
