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
Train the seeing head: a BitNet b1.58 decoder that answers questions about camera frames.

A sequence is ``<bos> visual tokens <question> ... <answer> ... <end>``. The visual tokens of all
frames are those of the shipped encoder, brought to the decoder's width by one float matrix. Many
questions are asked of one view: each sees the view and itself, and has the positions it would
have alone. One seed, one result; resumable.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
import shutil
from typing import NamedTuple

from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.config import add_arguments, from_arguments, setting
from edge_vla.language.config import BitNetConfig
from edge_vla.language.head import canonical
from edge_vla.language.seeing import ANSWER, BEGIN, END, QUESTION, special_tokens
from edge_vla.language.sight import DISTANCES, parse_seen, SIDES
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.questions import KINDS, sample_question
from edge_vla.training.bitnet_torch import Attention, BitNet
from edge_vla.training.clips import Clip, ClipSampler
from edge_vla.training.language import export, train_tokenizer
from edge_vla.training.optimise import descend, optimiser_of, record, save, schedule
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np
import torch
from torch import nn, Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

CAPACITY = 2048  # sixteen frames and a question


@dataclass(frozen=True)
class SeeingRecipe:
    """What was done to train a seeing head; stored beside the weights."""

    seed: int = setting(0, 'seed of everything', '', 0, 2**31 - 1)
    threads: int = setting(1, 'torch threads; results depend on it', '', 1, 64)
    steps: int = setting(4000, 'optimiser steps', '', 1, 10**7)
    clips: int = setting(16, 'clips of one frame in a step; fewer of longer ones', '', 1, 10**4)
    float_share: float = setting(.6, 'part of the steps before weights are ternary', '', 0, 1)
    questions: int = setting(16, 'questions about a clip', '', 1, 100)
    looking: float = setting(.2, 'weight of the loss on where an answer looks', '', 0, 10)
    rate: float = setting(3e-3, 'peak learning rate', '', 1e-6, 1.0)
    vocabulary: int = setting(384, 'tokens, special ones included', '', 300, 10**5)
    hidden: int = setting(128, 'width of the decoder', '', 8, 10**5)
    feed_forward: int = setting(320, 'width of its MLP', '', 8, 10**5)
    layers: int = setting(4, 'layers', '', 1, 100)
    heads: int = setting(4, 'attention heads', '', 1, 1000)
    kv_heads: int = setting(2, 'key and value heads', '', 1, 1000)
    augmentation: float = setting(.6, 'strength of what is done to the frames', '', 0, 1)
    half: bool = setting(True, 'products in bfloat16')
    save_every: int = setting(250, 'steps between checkpoints', '', 1, 10**6)


class Projection(nn.Module):
    """
    From the encoder to the decoder, with the place of a token in its picture.

    The encoder's tokens hardly tell where they are: it reads places off its grid.

    Parameters
    ----------
    hidden : int
        Width of the decoder.

    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, layout.CHANNELS) * layout.CHANNELS ** -.5)
        self.rows = nn.Parameter(torch.randn(layout.ROWS, hidden))
        self.columns = nn.Parameter(torch.randn(layout.COLUMNS, hidden))

    def forward(self, view: Tensor) -> Tensor:
        """View [B, F * TOKENS, CHANNELS] -> [B, F * TOKENS, hidden]."""
        place = (self.rows[:, None] + self.columns).flatten(0, 1)
        frames = view.shape[1] // layout.TOKENS
        return F.linear(view, self.weight) + place.repeat(frames, 1)


class SeeingNet(nn.Module):
    """
    The decoder with its eye.

    Parameters
    ----------
    config : BitNetConfig
        Of the decoder.

    """

    def __init__(self, config: BitNetConfig) -> None:
        super().__init__()
        self.decoder = BitNet(config)
        self.projection = Projection(config.hidden_size)
        # a read-out that only shapes what is learned
        self.reading = nn.Linear(config.head_dim, len(SIDES) + len(DISTANCES))

    def forward(self, ids: Tensor, view: Tensor, asked: Tensor, positions: Tensor) -> Tensor:
        """
        Return logits of the text.

        Parameters
        ----------
        ids : Tensor
            int64 [B, 1 + T]: what begins the sequence, then all questions and answers.
        view : Tensor
            float32 [B, V, CHANNELS].
        asked : Tensor
            int64 [B, T], number of the question each token belongs to.
        positions : Tensor
            int64 [B, T].

        Returns
        -------
        Tensor
            float32 [B, T, vocabulary].

        """
        b, v = view.shape[:2]
        text = self.decoder.model.embed_tokens(ids)
        h = torch.cat([text[:, :1], self.projection(view), text[:, 1:]], 1)
        owner = torch.cat([torch.full((b, 1 + v), -1), asked], 1)
        place = torch.cat([torch.arange(1 + v).expand(b, -1), positions], 1)
        mask = (owner[:, None] == -1) | (owner[:, None] == owner[:, :, None])
        mask = mask & torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).tril()
        return self.decoder.logits(self.decoder.decode(h, place, mask[:, None])[:, 1 + v:])


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
    table[..., 1] = 10**6  # padding is nobody's
    for i, row in enumerate(rows):
        table[i, :len(row)] = row
    t = torch.as_tensor(table)
    begin = torch.full((len(rows), 1), s[BEGIN])
    return Batch(torch.cat([begin, t[..., 0]], 1), t[..., 1], t[..., 2], t[..., 3] > 0)


def ask(rng: np.random.Generator, clip: Clip, count: int, split: str
        ) -> list[tuple[str, str, str]]:
    """Draw questions about a clip that have a clear answer: kind, question, answer."""
    out: list[tuple[str, str, str]] = []
    for _ in range(10 * count):
        drawn = sample_question(rng, clip.objects, split)
        if drawn is not None:
            out.append(drawn)
        if len(out) == count:
            break
    return out


def looking_loss(net: SeeingNet, watched: Attention, clips: Sequence[Clip],
                 asked: Sequence[Sequence[tuple[str, str]]], text: Batch) -> Tensor:
    """
    Return how badly the answers look at the object they speak of, and see where it is.

    That is learned very late from words alone, so one head of one layer is told, from the token
    after which an answer begins: the loss is minus the logarithm of its attention to the tokens
    of the object, and the cross-entropy of side and distance read off what it brings back.

    Parameters
    ----------
    net : SeeingNet
        Its `reading` reads.
    watched : Attention
        Of which the first head is told, after a pass over the batch.
    clips : sequence of Clip
        What was looked at.
    asked : sequence of sequence of (str, str)
        Questions with answers, of each clip.
    text : Batch
        The same, laid out.

    """
    view = watched.looks.shape[1] - text.asked.shape[1]
    losses, found, sides, distances = [], [], [], []
    for i, (clip, pairs) in enumerate(zip(clips, asked, strict=True)):
        for k, (_, answer) in enumerate(pairs):
            seen = parse_seen(answer)
            if seen is None:
                continue
            j = [(o.colour, o.shape) for o in clip.objects].index(seen[:2])
            rows = torch.nonzero((text.asked[i] == k) & text.answer[i])[:, 0] + view - 1
            tokens = torch.nonzero(torch.as_tensor(clip.covered[j]))[:, 0] + 1
            losses.append(-watched.looks[i, rows][:, tokens].logsumexp(-1))
            found.append(watched.found[i, rows])
            sides += [SIDES.index(seen.side)] * len(rows)
            distances += [DISTANCES.index(seen.distance)] * len(rows)
    if not losses:
        return watched.looks.new_zeros(())
    side, distance = net.reading(torch.cat(found)).split((len(SIDES), len(DISTANCES)), -1)
    return torch.cat(losses).mean() + F.cross_entropy(side, torch.tensor(sides)) + (
        F.cross_entropy(distance, torch.tensor(distances)))


def lengths(rng: np.random.Generator) -> Iterator[int]:
    """Draw how many frames the clips of each step have: long ones are dear, and seldom."""
    while True:
        yield int(rng.choice((1, 2, 4, 8), p=(.6, .2, .12, .08)))


def accuracy(net: SeeingNet, tokenizer: Tokenizer, sampler: ClipSampler, split: str, frames: int,
             clips: int = 60) -> dict[str, float]:
    """Return the share of answers that are right word for word, of all and of each kind."""
    rng, right = np.random.default_rng(99), {kind: [0, 0] for kind in KINDS}
    with torch.no_grad():
        for clip in sampler.batch(clips, frames):
            drawn = ask(rng, clip, 8, split)
            if not drawn:
                continue
            batch = batch_text(tokenizer, [[d[1:] for d in drawn]], len(clip.tokens))
            logits = net(batch.ids, torch.as_tensor(clip.tokens)[None], batch.asked,
                         batch.positions)
            wrong = (logits[0, :-1].argmax(-1) != batch.ids[0, 2:]) & batch.answer[0, 1:]
            for k, (kind, _, _) in enumerate(drawn):
                right[kind][0] += not bool(wrong[batch.asked[0, 1:] == k].any())
                right[kind][1] += 1
    done, total = (sum(r[i] for r in right.values()) for i in (0, 1))
    return {'all': round(done / max(total, 1), 4)} | {
        kind: round(a / b, 4) for kind, (a, b) in right.items() if b}


def train(recipe: SeeingRecipe, out: Path, model: Path = SHIPPED_MODEL,
          initial: Path | None = None) -> SeeingNet:
    """
    Run the training, from its checkpoint if there is one, and export.

    Parameters
    ----------
    recipe : SeeingRecipe
        Sizes, seed and rates.
    out : Path
        Folder of the run.
    model : Path
        Pilot whose encoder it sees with.
    initial : Path, optional
        ``seeing.pt`` of another run to go on from.

    """
    torch.manual_seed(recipe.seed)
    encoder = PatchEncoder(read_safetensors(model / 'policy.safetensors')[0])
    rng = np.random.default_rng([recipe.seed, 1])
    sampler = ClipSampler(rng, encoder, recipe.augmentation)
    if initial is not None:
        shutil.copy(initial.parent / 'tokenizer.json', out)
    if not (out / 'tokenizer.json').exists():
        drawn = (d for clip in sampler.batch(400, 1) for d in ask(rng, clip, 30, 'train'))
        train_tokenizer((canonical(t) for d in drawn for t in d[1:]), special_tokens(),
                        recipe.vocabulary, out / 'tokenizer.json')
    tokenizer = Tokenizer.load(out / 'tokenizer.json')
    net = SeeingNet(BitNetConfig(
        hidden_size=recipe.hidden, intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads, vocab_size=recipe.vocabulary,
        max_position_embeddings=CAPACITY, rope_theta=10000.0,
        bos_token_id=tokenizer.special[BEGIN], eos_token_id=tokenizer.special[END]))
    if initial is not None:
        known = torch.load(initial, weights_only=False)['net']
        net.load_state_dict({k: v for k, v in known.items() if k in net.state_dict()},
                            strict=False)
    optimiser = optimiser_of(net, recipe.rate)
    path, start = out / 'seeing.pt', 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        net.load_state_dict(state['net'])
        optimiser.load_state_dict(state['optimiser'])
        rng.bit_generator.state, start = state['rng'], state['step']
    length = lengths(rng)
    watched = net.decoder.model.layers[recipe.layers * 2 // 3].self_attn
    watched.watched = True
    bar = tqdm(range(start, recipe.steps), 'seeing', initial=start, total=recipe.steps,
               mininterval=5)
    for step in bar:
        net.decoder.quantise(step >= recipe.float_share * recipe.steps)
        frames = next(length)
        clips = sampler.batch(max(2, recipe.clips // frames), frames)
        asked = [[d[1:] for d in ask(rng, clip, recipe.questions, 'train')] for clip in clips]
        text = batch_text(tokenizer, asked, frames * layout.TOKENS)
        view = torch.as_tensor(np.stack([clip.tokens for clip in clips]))
        with torch.autocast('cpu', torch.bfloat16, enabled=recipe.half):
            logits = net(text.ids, view, text.asked, text.positions)
        # a token predicts the next, as long as that is part of the answer
        wanted = text.answer[:, 1:]
        loss = F.cross_entropy(logits[:, :-1][wanted].float(), text.ids[:, 2:][wanted])
        looking = looking_loss(net, watched, clips, asked, text)
        value = descend(optimiser, loss + recipe.looking * looking,
                        schedule(step, recipe.steps, recipe.rate))
        bar.set_postfix(words=float(loss.detach()), looking=float(looking.detach()),
                        refresh=False)
        done = step + 1
        if done % recipe.save_every == 0 or done == recipe.steps:
            watched.watched = False
            readings = {'step': done, 'loss': round(value, 4),
                        'looking': round(float(looking.detach()), 4)}
            last = done == recipe.steps
            for split in ('train', 'held_out'):
                for count in (1, 8) if last or split == 'train' else ():
                    readings[f'{split} {count}'] = accuracy(
                        net, tokenizer, ClipSampler(np.random.default_rng([7, count]), encoder, 0),
                        split, count, 500 if last else 60)
            watched.watched = True
            record(out / 'seeing.jsonl', readings)
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(),
                 rng=rng.bit_generator.state, step=done)
    export(net.decoder, recipe, out)
    write_safetensors(out / 'projection.safetensors', {
        name: p.detach().numpy() for name, p in net.projection.named_parameters()}, {
            'format': 'pt', 'recipe': json.dumps(asdict(recipe), sort_keys=True)})
    for name in ('model.safetensors', 'projection.safetensors', 'tokenizer.json', 'config.json'):
        print(f'{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {out / name}')
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train seeing``."""
    parser = argparse.ArgumentParser('edge-vla train seeing', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/seeing'), help='folder of the run')
    parser.add_argument('--config', type=Path, help='YAML file of the recipe; flags win')
    parser.add_argument('--model', type=Path, default=SHIPPED_MODEL,
                        help='pilot whose encoder it sees with (default: the shipped one)')
    parser.add_argument('--initial', type=Path, metavar='FILE',
                        help='seeing.pt of another run to go on from')
    add_arguments(parser, SeeingRecipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(SeeingRecipe, args, args.config)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    train(recipe, args.out, args.model, args.initial)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
