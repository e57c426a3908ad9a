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
What fewer visual tokens cost and save: views from flights, read under every scheme in turn.

The same episodes are flown with every scheme, since the pilot flies by what the head says. Views
are recorded once, with all tokens; every scheme then answers the same questions about the same
views, so differences between schemes are theirs alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
import itertools
import statistics
import time
from typing import Any, NamedTuple

from edge_vla.compression.expand_merge import ExpandMergeSettings, TokenExpander
from edge_vla.compression.kv_pruning import KeyPruningSettings
from edge_vla.compression.temporal import compress_clip, TemporalSettings
from edge_vla.config import AdaptationConfig, PipelineConfig
from edge_vla.datatypes import Action
from edge_vla.evaluation.closed_loop import Episode, Flyer, Setting
from edge_vla.evaluation.metrics import wilson
from edge_vla.evaluation.workers import on_processes
from edge_vla.exceptions import ConfigError
from edge_vla.language.decoder import Decoder
from edge_vla.language.plan import COLOURS, SHAPES, UNSEEN_PAIRS
from edge_vla.language.seeing import Answer, Cost, SCHEMES, SeeingHead
from edge_vla.language.sight import parse_seen
from edge_vla.language.visual_decoder import VisualDecoder
from edge_vla.pipeline import Pipeline
from edge_vla.sim.questions import Asked, true_answer, Visible
from edge_vla.vision import layout
import numpy as np

EVERY = 20  # frames between the moments of a flight that may be kept
OTHERS = (('nearest', ('', ''), 'what is nearest?'), ('count', ('', ''), 'count the objects'),
          ('sector', ('left', ''), 'what is on the left?'),
          ('sector', ('ahead', ''), 'what is ahead?'),
          ('sector', ('right', ''), 'what is on the right?'))


class Moment(NamedTuple):
    """
    A view from a flight.

    Attributes
    ----------
    frames : numpy.ndarray
        float32 [F, N, C], tokens of the last frames.
    objects : list of Visible
        What there was to see.

    """

    frames: np.ndarray
    objects: list[Visible]


@dataclass
class Tally:
    """
    How a scheme did.

    Attributes
    ----------
    right, side, distance, asked : int
        Questions about visible objects of pairs that were trained on: answered right in all, the
        side, the distance bin, and how many there were.
    unseen_right, unseen : int
        Of pairs that never were: answered right in all, and how many there were.
    denied, falsely_denied, absent : int
        Of objects that are not in view: said so; of those in view: denied; how many are not.
    other, others : int
        Other questions answered word for word, and how many.
    costs : list of (Cost, int)
        Of every first answer about a view, and the tokens that view has in all.

    """

    right: int = 0
    side: int = 0
    distance: int = 0
    asked: int = 0
    unseen_right: int = 0
    unseen: int = 0
    denied: int = 0
    falsely_denied: int = 0
    absent: int = 0
    other: int = 0
    others: int = 0
    costs: list[tuple[Cost, int]] = field(default_factory=list)

    def add(self, asked: Asked, answer: Answer) -> None:
        """Count an answer."""
        text, said = answer.text.lower(), answer.seen
        denies = text.startswith('i cannot see')
        if asked.answer.startswith('i cannot see'):
            self.absent += 1
            self.denied += denies
        elif asked.kind != 'where':
            self.others += 1
            self.other += text == asked.answer
        else:
            truth = parse_seen(asked.answer)
            self.falsely_denied += denies
            if truth[:2] in UNSEEN_PAIRS:
                self.unseen += 1
                self.unseen_right += said == truth
                return
            self.asked += 1
            if said is not None and said[:2] == truth[:2]:
                self.right += said == truth
                self.side += said.side == truth.side
                self.distance += said.distance == truth.distance

    def report(self) -> dict[str, Any]:
        """Return shares, with 95 % intervals where they are claims."""
        def share(k: int, n: int) -> float | None:
            return round(k / n, 4) if n else None

        def median(values: Iterable[float]) -> float:
            return statistics.median(values)
        low, high = wilson(self.right, self.asked) if self.asked else (0.0, 1.0)
        c, whole = [cost for cost, _ in self.costs], [n for _, n in self.costs]
        return {
            'grounded': share(self.right, self.asked), 'asked': self.asked,
            'grounded_interval': [round(low, 4), round(high, 4)],
            'unseen': share(self.unseen_right, self.unseen), 'unseen_asked': self.unseen,
            'side': share(self.side, self.asked), 'distance': share(self.distance, self.asked),
            'absent_recall': share(self.denied, self.absent),
            'absent_precision': share(self.denied, self.denied + self.falsely_denied),
            'absent': self.absent, 'other': share(self.other, self.others),
            'retained': round(median(x.attended[-1] / n for x, n in zip(
                c, whole, strict=True)), 4),
            'tokens': [median(x.attended[k] for x in c) for k in range(len(c[0].attended))],
            'prefill_macs': median(x.prefill_macs for x in c),
            'prefill_ms': round(1e3 * median(x.prefill_s for x in c), 3),
            'answer_ms': round(1e3 * median(x.prefill_s + x.decode_s for x in c), 3),
            'decode_ms_per_token': round(1e3 * median(
                x.decode_s / max(1, x.tokens) for x in c), 3),
            'cache_bytes': median(x.cache_bytes for x in c)}


class Recorder:
    """
    Keeps some moments of a flight, every one as likely.

    Parameters
    ----------
    flyer : Flyer
        Of a pipeline that remembers all tokens (``pipeline.tokens`` is full).
    rng : numpy.random.Generator
        Source of every choice.
    most : int
        How many to keep.

    """

    def __init__(self, flyer: Flyer, rng: np.random.Generator, most: int) -> None:
        self._flyer, self._rng, self._most = flyer, rng, most
        self._frames = self._offered = 0
        self.kept: list[Moment] = []

    def __call__(self, action: Action) -> None:
        """Take an action of the flight as a sign that there is a new frame."""
        self._frames += 1
        view = self._flyer.pipeline.view()
        if self._frames % EVERY or len(view.tokens) < (
                self._flyer.pipeline.config.frames * layout.TOKENS):
            return
        self._offered += 1
        place = len(self.kept)
        if place == self._most:
            place = int(self._rng.integers(self._offered))
        if place < self._most:
            frames = view.tokens.reshape(-1, layout.TOKENS, layout.CHANNELS)
            self.kept[place:place + 1] = [Moment(frames, self._flyer.simulator.visible())]


def record(pipeline: Pipeline, setting: Setting, episodes: int, seed: int, most: int = 2,
           ) -> Iterator[tuple[Episode, list[Moment]]]:
    """
    Fly episodes and yield each with some moments of it.

    Parameters
    ----------
    pipeline : Pipeline
        A synchronous one that remembers all tokens.
    setting : Setting
        Where.
    episodes, seed : int
        How many, and of which seed.
    most : int
        Most moments of a flight.

    """
    flyer = Flyer(pipeline, setting)
    for index in range(episodes):
        recorder = Recorder(flyer, np.random.default_rng([seed, index]), most)
        episode = flyer.fly(seed, index, watch=recorder)
        yield episode, recorder.kept


def load_pilot(model: str, scheme: str = 'full') -> Pipeline:
    """
    Return a synchronous pipeline that sees.

    Raises
    ------
    ConfigError
        This pilot has no seeing head.

    """
    pipeline = Pipeline.load(PipelineConfig(model=model, tokens=scheme),
                             adaptation=AdaptationConfig())
    if pipeline.seeing is None:
        raise ConfigError(f'{model} has no seeing head: train one with edge-vla train seeing')
    return pipeline


_plan: tuple[str, Setting, int] = ('', Setting(), 0)
_flyers: dict[str, Flyer] = {}


def _start_worker(model: str, setting: Setting, seed: int) -> None:
    global _plan
    _plan = model, setting, seed
    _flyers.clear()


def _fly(job: tuple[str, int]) -> tuple[Episode, list[Moment]]:
    (model, setting, seed), (scheme, index) = _plan, job
    if scheme not in _flyers:
        _flyers[scheme] = Flyer(load_pilot(model, scheme), setting)
    flyer = _flyers[scheme]
    if scheme != 'full':
        return flyer.fly(seed, index), []
    recorder = Recorder(flyer, np.random.default_rng([seed, index]), 2)
    return flyer.fly(seed, index, watch=recorder), recorder.kept


def fly_schemes(model: str, setting: Setting, episodes: int, seed: int, jobs: int = 1,
                ) -> Iterator[tuple[str, Episode, list[Moment]]]:
    """
    Fly the same episodes with every scheme; yield each, those with all tokens with moments.

    Parameters
    ----------
    model : str
        Folder of a pilot.
    setting : Setting
        Where.
    episodes, seed : int
        How many, and of which seed.
    jobs : int
        Processes; the result does not depend on it, only the order.

    """
    work = [(scheme, index) for index in range(episodes) for scheme in SCHEMES]
    if jobs <= 1:
        _start_worker(model, setting, seed)
        yield from ((job[0], *_fly(job)) for job in work)
        return
    with closing(on_processes(_fly, work, jobs, _start_worker, (model, setting, seed))) as done:
        for (scheme, _), future in done:
            yield scheme, *future.result()


def questions(rng: np.random.Generator, objects: Sequence[Visible]) -> list[Asked]:
    """Return what is asked about a moment: every object, one that is missing, and some more."""
    wanted = [('where', (o.colour, o.shape), f'where is the {o.colour} {o.shape}?')
              for o in objects if o.colour in COLOURS]
    there = {(o.colour, o.shape) for o in objects}
    o = objects[int(rng.integers(len(objects)))]
    near = [(c, s) for c in COLOURS for s in SHAPES
            if (c, s) not in there and (c == o.colour or s == o.shape)]
    c, s = near[int(rng.integers(len(near)))]
    wanted += [('where', (c, s), f'where is the {c} {s}?'), *OTHERS]
    out = []
    for kind, asked, question in wanted:
        truth = true_answer(kind, asked, objects)
        if truth is not None:
            out.append(Asked(kind, question, truth, *asked))
    return out


def compare(heads: dict[str, SeeingHead], moments: Sequence[Moment], seed: int = 0,
            progress: Callable[[Iterable[Moment]], Iterable[Moment]] = iter) -> dict[str, Tally]:
    """
    Ask every head the same about the same moments, in turn.

    Parameters
    ----------
    heads : dict of str to SeeingHead
        By the name of their scheme.
    moments : sequence of Moment
        From `record`.
    seed : int
        Of the questions.
    progress : callable, optional
        Wraps the moments, as tqdm does.

    """
    tallies, names = {name: Tally() for name in heads}, list(heads)
    for k, moment in enumerate(progress(moments)):
        asked = questions(np.random.default_rng([seed, k]), moment.objects)
        for name in names[k % len(names):] + names[:k % len(names)]:
            head, tally = heads[name], tallies[name]
            view = compress_clip(moment.frames, head.scheme.temporal)
            for i, one in enumerate(asked):
                tally.add(one, head.answer(one.question, view))
                if i == 0:
                    tally.costs.append((head.cost, len(moment.frames) * layout.TOKENS))
    return tallies


def drifting_frames(frames: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    """
    Return random tokens of a clip in which 3 of 10 change from frame to frame.

    Parameters
    ----------
    frames, side, channels : int
        A frame has side x side tokens.
    seed : int
        Of the draws.

    Returns
    -------
    numpy.ndarray
        float32 [frames, side * side, channels].

    """
    rng = np.random.default_rng(seed)
    out = np.empty((frames, side * side, channels), np.float32)
    out[0] = rng.normal(0, 1, out[0].shape)
    for before, now in itertools.pairwise(out):
        fresh = rng.random(len(now)) < .3
        now[:] = before
        now[fresh] = rng.normal(0, 1, (int(fresh.sum()), channels))
    return out


def costs_at_scale(decoder: Decoder, frames: int, side: int = 14, text: int = 32, steps: int = 8,
                   ) -> Iterator[dict[str, Any]]:
    """
    Measure what a view costs a decoder with random weights, under every scheme.

    Which tokens are kept says nothing here, only how many: pruning begins at layer 3 and merging
    at the middle, as their authors have it.

    Parameters
    ----------
    decoder : Decoder
        Of a BitNet, with room for all tokens.
    frames, side : int
        The view has frames x side x side tokens.
    text, steps : int
        Tokens of text after the view, and of the answer.

    Yields
    ------
    dict
        Scheme, shares of tokens and multiplications, times and bytes.

    """
    c = decoder.config
    clip, n = drifting_frames(frames, side, c.hidden_size), side * side
    expander = ExpandMergeSettings(layer=c.num_hidden_layers // 2)
    words = np.random.default_rng(1).normal(0, 1, (4, c.hidden_size)).astype(np.float32)
    for name, scheme in SCHEMES.items():
        temporal = TemporalSettings() if name == 'dycoke' else scheme.temporal
        view = compress_clip(clip, temporal)
        chosen = np.arange(len(view.tokens))
        if scheme.expansion:
            expand = TokenExpander(side, side, expander)
            chosen = np.concatenate([f * n + expand.choose(clip[f], words, f)
                                     for f in range(frames)])
        visual = VisualDecoder(decoder, KeyPruningSettings() if scheme.pruning else None,
                               expander if scheme.expansion else None)
        rows, positions = view.tokens[chosen], view.positions(n)[chosen]
        guides = list(range(text))
        if scheme.expansion:
            visual.look(rows[:128], positions[:128], before=guides[:1], guides=guides)  # compiles
        began = time.perf_counter()
        visual.look(rows, positions, span=frames * n, before=guides[:1],
                    guides=guides if scheme.expansion else ())
        visual.forward(guides)
        read = time.perf_counter()
        for _ in range(steps):
            visual.forward([1], range(16))
        done = time.perf_counter()
        yield {'scheme': name, 'frames': frames, 'tokens': frames * n,
               'retained': round(visual.attended[-1] / (frames * n), 4),
               'prefill_macs': visual.prefill_macs, 'prefill_ms': round((read - began) * 1e3, 2),
               'decode_ms_per_token': round((done - read) * 1e3 / steps, 3),
               'cache_bytes': visual.cache_bytes}
