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

"""What the seeing head learns from: clips, and questions and answers about them, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge_vla.compression.temporal import compress_clip, LIVE, TemporalSettings
from edge_vla.config import setting
from edge_vla.language.head import canonical
from edge_vla.language.plan import UNSEEN_PAIRS
from edge_vla.language.seeing import ANSWER, BEGIN, END, QUESTION
from edge_vla.language.sight import DISTANCES, SIDES
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.questions import Asked, clear, matching, name_of, sample_question
from edge_vla.training.clips import Clip, ClipSampler
from edge_vla.training.flown import Flown
from edge_vla.training.recipe import DecoderRecipe
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np
import torch
from torch import Tensor

CAPACITY = 2048  # sixteen frames and a question
MOST_FRAMES = 8  # of a clip
LOOKED_FOR = ('where', 'absent', 'partly', 'exists', 'colour')  # questions about some object
IGNORED = -100  # as torch's cross-entropy has it


@dataclass(frozen=True)
class SeeingRecipe(DecoderRecipe):
    """What was done to train a seeing head; stored beside the weights."""

    steps: int = setting(5000, 'optimiser steps', '', 1, 10**7)
    clips: int = setting(16, 'clips of one frame in a step; fewer of longer ones', '', 1, 10**4)
    workers: int = setting(1, 'processes that draw the clips', '', 0, 64)
    flights: int = setting(240, 'flights of the pilot that clips are taken from', '', 0, 10**5)
    float_share: float = setting(.5, 'part of the steps before weights are ternary', '', 0, 1)
    questions: int = setting(12, 'questions about a clip', '', 1, 100)
    looking: float = setting(.3, 'weight of the loss on where an answer looks', '', 0, 10)
    alignment: float = setting(.3, 'weight of the loss on what a token is called', '', 0, 10)
    vocabulary: int = setting(384, 'tokens, special ones included', '', 300, 10**5)
    dropped: float = setting(0.0, 'part of the steps that read what the live scheme keeps', '', 0,
                            1)
    augmentation: float = setting(.6, 'strength of what is done to the frames', '', 0, 1)


class Batch(NamedTuple):
    """
    Text of a batch.

    Attributes
    ----------
    ids : Tensor
        int64 [B, 1 + T], the beginning and all questions and answers.
    asked, positions : Tensor
        int64 [B, T], number of its question and place of each token.
    answer : Tensor
        bool [B, T], whether it belongs to an answer.

    """

    ids: Tensor
    asked: Tensor
    positions: Tensor
    answer: Tensor


def batch_text(tokenizer: Tokenizer, asked: Sequence[Sequence[tuple[str, str]]],
               view: int) -> Batch:
    """
    Lay out questions and answers, several of each clip.

    Parameters
    ----------
    tokenizer : Tokenizer
        Of the head.
    asked : sequence of sequence of (str, str)
        Questions with answers, of each clip.
    view : int
        Visual tokens of a clip.

    """
    s, rows = tokenizer.special, []
    for pairs in asked:
        row: list[tuple[int, int, int, bool]] = []
        for k, (question, answer) in enumerate(pairs):
            ids = [s[QUESTION], *tokenizer.encode(canonical(question)), s[ANSWER]]
            said = [*tokenizer.encode(canonical(answer)), s[END]]
            row += [(token, k, 1 + view + j, j >= len(ids)) for j, token in enumerate(ids + said)]
        rows.append(row)
    width = max(map(len, rows))
    table = np.zeros((len(rows), width, 4), np.int64)
    table[..., 1] = 10**6  # what fills up is nobody's
    for i, row in enumerate(rows):
        table[i, :len(row)] = np.reshape(row, (-1, 4))  # there may be no question
    t = torch.as_tensor(table)
    begin = torch.full((len(rows), 1), s[BEGIN])
    return Batch(torch.cat([begin, t[..., 0]], 1), t[..., 1], t[..., 2], t[..., 3] > 0)


def ask(rng: np.random.Generator, clip: Clip, count: int, split: str
        ) -> list[Asked]:
    """Draw questions about a clip that have a clear answer."""
    out: list[Asked] = []
    for _ in range(10 * count):
        drawn = sample_question(rng, clip.objects, split, UNSEEN_PAIRS)
        if drawn is not None:
            out.append(drawn)
        if len(out) == count:
            break
    return out


class Lesson(NamedTuple):
    """
    What one step learns from.

    Attributes
    ----------
    view : Tensor
        float32 [B, V, CHANNELS].
    where : Tensor
        int64 [B, V], the place of each of its tokens had nothing been dropped; -1 fills up.
    text : Batch
        Questions and answers.
    answers : Tensor
        int64 [A, 5], for every question about some object: clip, question, object, and its side
        and distance. Of what is not in view the object is the last one, side and distance -100.
    covered : Tensor
        bool [B, objects + 1, 1 + V], the tokens on which an object is, after what begins the
        sequence; that is where the last one is.
    owner : Tensor
        int64 [B, V], index into `names` of what a token shows, -1 for nothing.
    names : list of Tensor
        Token ids of what each thing in the clips is called.

    """

    view: Tensor
    where: Tensor
    text: Batch
    answers: Tensor
    covered: Tensor
    owner: Tensor
    names: list[Tensor]


class Lessons(torch.utils.data.Dataset):
    """
    Lessons, each a pure function of seed and step.

    Parameters
    ----------
    recipe : SeeingRecipe
    encoder : PatchEncoder
        Of the pilot.
    tokenizer : Tokenizer
        Of the head.
    flights : Flown or None
        Where the pilot flew.

    """

    def __init__(self, recipe: SeeingRecipe, encoder: PatchEncoder, tokenizer: Tokenizer,
                 flights: Flown | None) -> None:
        self._recipe, self._encoder = recipe, encoder
        self._tokenizer, self._flights = tokenizer, flights

    def __len__(self) -> int:
        """Return the number of steps."""
        return self._recipe.steps

    def __getitem__(self, step: int) -> Lesson:
        """Return the lesson of a step."""
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, 2, step])
        # long clips are dear, and seldom
        frames = int(rng.choice((1, 2, 4, MOST_FRAMES), p=(.55, .2, .12, .13)))
        sampler = ClipSampler(rng, self._encoder, recipe.augmentation, self._flights)
        clips = sampler.batch(max(4, recipe.clips // frames), frames)
        asked = [ask(rng, clip, recipe.questions, 'train') for clip in clips]
        return lesson(rng, self._tokenizer, clips, asked,
                      LIVE if rng.random() < recipe.dropped else None)


def lesson(rng: np.random.Generator, tokenizer: Tokenizer, clips: Sequence[Clip],
           asked: Sequence[Sequence[Asked]],
           temporal: TemporalSettings | None = None) -> Lesson:
    """
    Make tensors of clips and of what is asked about them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws what things are called.
    tokenizer : Tokenizer
        Of the head.
    clips : sequence of Clip
        Of as many frames each.
    asked : sequence of sequence of Asked
        Questions about each clip.
    temporal : TemporalSettings, optional
        What drops tokens; nothing by default.

    """
    known = sorted({(o.colour, o.shape) for clip in clips for o in clip.objects})
    whole = len(clips[0].tokens)
    kept = [_kept(clip, temporal) for clip in clips]
    shape = len(clips), max(map(len, kept))
    view, where = np.zeros((*shape, layout.CHANNELS), np.float32), np.full(shape, -1)
    nothing = max(len(clip.objects) for clip in clips)
    covered = np.zeros((shape[0], nothing + 1, 1 + shape[1]), bool)
    covered[:, nothing, 0] = True
    owner, answers = np.full(shape, -1), []
    for i, (clip, drawn, at) in enumerate(zip(clips, asked, kept, strict=True)):
        view[i, :len(at)], where[i, :len(at)] = clip.tokens[at], at
        covered[i, :len(clip.objects), 1:1 + len(at)] = clip.covered[:, at]
        for j, o in enumerate(clip.objects):
            owner[i, covered[i, j, 1:]] = known.index((o.colour, o.shape))
        for k, one in enumerate(drawn):
            if one.kind not in LOOKED_FOR:
                continue
            like = matching(clear(clip.objects), one.colour, one.shape)
            if not like:
                answers.append((i, k, nothing, IGNORED, IGNORED))
                continue
            j, seen = clip.objects.index(like[0]), like[0].seen
            if covered[i, j].any():  # what was dropped is nowhere
                answers.append((i, k, j, SIDES.index(seen.side), DISTANCES.index(seen.distance)))
    return Lesson(
        torch.as_tensor(view), torch.as_tensor(where),
        batch_text(tokenizer, [[(one.question, one.answer) for one in drawn] for drawn in asked],
                   whole),
        torch.tensor(answers, dtype=torch.int64).reshape(-1, 5), torch.as_tensor(covered),
        torch.as_tensor(owner),
        [torch.tensor(tokenizer.encode(canonical(name_of(rng, *name)))) for name in known])


def _kept(clip: Clip, temporal: TemporalSettings | None) -> np.ndarray:
    """Return which tokens of a clip are read, int64, ascending."""
    if temporal is None:
        return np.arange(len(clip.tokens))
    frames = clip.tokens.reshape(-1, layout.TOKENS, layout.CHANNELS)
    return compress_clip(frames, temporal).positions(layout.TOKENS)
