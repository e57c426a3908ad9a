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
from dataclasses import asdict
import hashlib
import json
from pathlib import Path
import shutil

from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.config import add_arguments, from_arguments
from edge_vla.exceptions import ConfigError
from edge_vla.language.config import BitNetConfig
from edge_vla.language.head import canonical
from edge_vla.language.seeing import BEGIN, END, special_tokens
from edge_vla.language.sight import DISTANCES, SIDES
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.questions import KINDS
from edge_vla.training.bitnet_torch import Attention, BitNet
from edge_vla.training.clips import ClipSampler
from edge_vla.training.flown import flown
from edge_vla.training.language import adopt, export, train_tokenizer
from edge_vla.training.lessons import (
    ask,
    CAPACITY,
    IGNORED,
    Lesson,
    lesson,
    Lessons,
    MOST_FRAMES,
    SeeingRecipe,
)
from edge_vla.training.optimise import (
    descend,
    digest,
    optimiser_of,
    record,
    resume,
    save,
    schedule,
)
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np
import torch
from torch import nn, Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

LOOKING = 1  # the layer that is told where to look: layers after it need only what was found
FLIGHTS_SEED = 7001  # flights to learn from are none that anything is measured on
FILES = 'model.safetensors', 'projection.safetensors', 'tokenizer.json', 'config.json'
SHARPNESS = 10.0  # of the likeness between tokens and names


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

    def forward(self, view: Tensor, where: Tensor) -> Tensor:
        """View [B, V, CHANNELS], places int64 [B, V] -> [B, V, hidden]."""
        place = (self.rows[:, None] + self.columns).flatten(0, 1)
        return self.content(view) + place[where % layout.TOKENS]

    def content(self, view: Tensor) -> Tensor:
        """Return what there is, without the place."""
        return F.linear(view, self.weight)


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
        # these two only shape what is learned
        self.reading = nn.Linear(config.head_dim, len(SIDES) + len(DISTANCES))
        self.nothing = nn.Parameter(torch.zeros(()))  # how like a name the background is

    def forward(self, ids: Tensor, view: Tensor, where: Tensor, asked: Tensor,
                positions: Tensor) -> Tensor:
        """
        Return logits of the text.

        Parameters
        ----------
        ids : Tensor
            int64 [B, 1 + T]: what begins the sequence, then all questions and answers.
        view : Tensor
            float32 [B, V, CHANNELS].
        where : Tensor
            int64 [B, V], the place of each visual token had nothing been dropped; -1 is none.
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
        h = torch.cat([text[:, :1], self.projection(view, where), text[:, 1:]], 1)
        nobody = torch.where(where < 0, -2, -1)
        owner = torch.cat([nobody.new_full((b, 1), -1), nobody, asked], 1)
        place = torch.cat([where.new_zeros(b, 1), where.clamp(min=0) + 1, positions], 1)
        mask = (owner[:, None] == -1) | (owner[:, None] == owner[:, :, None])
        mask = mask & torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).tril()
        return self.decoder.logits(self.decoder.decode(h, place, mask[:, None])[:, 1 + v:])


def looking_loss(net: SeeingNet, watched: Attention, told: Lesson) -> Tensor:
    """
    Return how badly the answers look at the object they speak of, and see where it is.

    That is learned very late from words alone, so one head of one layer is told, from the token
    after which an answer begins: the loss is minus the logarithm of its attention to the tokens
    of the object, or to what begins the sequence if there is none, and the cross-entropy of side
    and distance read off what it brings back.

    Parameters
    ----------
    net : SeeingNet
        Its `reading` reads.
    watched : Attention
        Of which the first head is told, after a pass over the batch.
    told : Lesson
        What was passed.

    """
    text, size = told.text, told.view.shape[1]
    if not len(told.answers):
        return watched.looks.new_zeros(())
    clip, question = told.answers[:, 0], told.answers[:, 1]
    own = (text.asked[clip] == question[:, None]) & text.answer[clip]
    which, place = torch.nonzero(own, as_tuple=True)
    rows = watched.looks[clip[which], place + size, :1 + size]
    there = told.covered[clip, told.answers[:, 2]][which]
    look = -rows.masked_fill(~there, -torch.inf).logsumexp(-1)
    side, distance = net.reading(watched.found[clip[which], place + size]).split(
        (len(SIDES), len(DISTANCES)), -1)
    seen = max(1, int((told.answers[which, 3] != IGNORED).sum()))
    return look.mean() + sum(F.cross_entropy(
        read, told.answers[which, k], ignore_index=IGNORED, reduction='sum') / seen
        for k, read in ((3, side), (4, distance)))


def alignment_loss(net: SeeingNet, told: Lesson) -> Tensor:
    """
    Return how unlike its name a visual token is, as the decoder's embeddings have it.

    The cross-entropy of the cosines with the mean embedding of every name there is, and with
    nothing. It gives TEAM-VLA's salience, a cosine with the words of the question, its meaning.

    Parameters
    ----------
    net : SeeingNet
        Its projection and embeddings are compared.
    told : Lesson
        Its view, owners and names.

    """
    embedded = net.decoder.model.embed_tokens.weight
    names = torch.stack([embedded[ids].mean(0) for ids in told.names])
    content = net.projection.content(told.view).flatten(0, 1)
    like = SHARPNESS * F.normalize(content.float(), dim=-1) @ F.normalize(names, dim=-1).T
    logits = torch.cat([like, net.nothing.expand(len(like), 1) * SHARPNESS], 1)
    owner = told.owner.flatten()
    return F.cross_entropy(logits, torch.where(owner < 0, len(names), owner))


def accuracy(net: SeeingNet, tokenizer: Tokenizer, sampler: ClipSampler, split: str, frames: int,
             clips: int = 60) -> dict[str, float]:
    """Return the share of answers that are right word for word, of all and of each kind."""
    rng, right = np.random.default_rng(99), {kind: [0, 0] for kind in KINDS}
    with torch.no_grad():
        for clip in sampler.batch(clips, frames):
            drawn = ask(rng, clip, 8, split)
            if not drawn:
                continue
            told = lesson(rng, tokenizer, [clip], [drawn])
            batch = told.text
            logits = net(batch.ids, told.view, told.where, batch.asked, batch.positions)
            wrong = (logits[0, :-1].argmax(-1) != batch.ids[0, 2:]) & batch.answer[0, 1:]
            for k, (kind, *_) in enumerate(drawn):
                right[kind][0] += not bool(wrong[batch.asked[0, 1:] == k].any())
                right[kind][1] += 1
    done, total = (sum(r[i] for r in right.values()) for i in (0, 1))
    return {'all': round(done / max(total, 1), 4)} | {
        kind: round(a / b, 4) for kind, (a, b) in right.items() if b}


def train(recipe: SeeingRecipe, out: Path, model: Path = SHIPPED_MODEL,
          begin: Path | None = None) -> SeeingNet:
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
    begin : Path, optional
        Folder of a trained head to go on from; from nothing by default.

    Raises
    ------
    ConfigError
        There is no head to go on from, or one of another shape.

    """
    torch.manual_seed(recipe.seed)
    encoder = PatchEncoder(read_safetensors(model / 'policy.safetensors')[0])
    path, sources = out / 'seeing.pt', digest(model / 'policy.safetensors')
    if begin is not None:
        if not all((begin / name).is_file() for name in FILES):
            raise ConfigError(f'{begin} holds no trained seeing head, which is {", ".join(FILES)}')
        shutil.copyfile(begin / 'tokenizer.json', out / 'tokenizer.json')
    elif not (path.exists() and (out / 'tokenizer.json').exists()):  # of a run before
        rng = np.random.default_rng([recipe.seed, 1])
        drawn = (d for clip in ClipSampler(rng, encoder, 0).batch(400, 1)
                 for d in ask(rng, clip, 30, 'train'))
        train_tokenizer((canonical(t) for one in drawn for t in (one.question, one.answer)),
                        special_tokens(), recipe.vocabulary, out / 'tokenizer.json')
    tokenizer = Tokenizer.load(out / 'tokenizer.json')
    net = SeeingNet(recipe.config(
        max_position_embeddings=CAPACITY, rope_theta=500000.0,
        bos_token_id=tokenizer.special[BEGIN], eos_token_id=tokenizer.special[END]))
    if begin is not None:
        adopt(net.decoder, begin, recipe.seed)
        eye, _ = read_safetensors(begin / 'projection.safetensors')
        net.projection.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in eye.items()})
    optimiser = optimiser_of(net, recipe.rate)
    start = resume(path, recipe, 'steps', sources=sources, net=net,
                   optimiser=optimiser).get('step', 0)
    if not start:  # those of a run before
        (out / 'flights.npz').unlink(missing_ok=True)
    flights = flown(out / 'flights.npz', model, recipe.flights, MOST_FRAMES,
                    recipe.seed + FLIGHTS_SEED) if recipe.flights else None
    lessons = torch.utils.data.DataLoader(
        torch.utils.data.Subset(Lessons(recipe, encoder, tokenizer, flights),
                                range(start, recipe.steps)),
        batch_size=None, num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None)
    watched = net.decoder.model.layers[LOOKING].self_attn
    watched.watched = True
    means: dict[str, float] = {}
    bar = tqdm(lessons, 'seeing', initial=start, total=recipe.steps, mininterval=5)
    for step, told in enumerate(bar, start):
        net.decoder.quantise(step >= recipe.float_share * recipe.steps)
        text = told.text
        with torch.autocast('cpu', torch.bfloat16, enabled=recipe.half):
            logits = net(text.ids, told.view, told.where, text.asked, text.positions)
        # a token predicts the next, as long as that is part of the answer
        wanted = text.answer[:, 1:]
        losses = {'words': F.cross_entropy(logits[:, :-1][wanted].float(),
                                           text.ids[:, 2:][wanted]),
                  'looking': looking_loss(net, watched, told),
                  'alignment': alignment_loss(net, told)}
        descend(optimiser, losses['words'] + recipe.looking * losses['looking']
                + recipe.alignment * losses['alignment'],
                schedule(step, recipe.steps, recipe.rate))
        for name, loss in losses.items():
            value = float(loss.detach())
            means[name] = .98 * means.get(name, value) + .02 * value
        bar.set_postfix(means, refresh=False)
        done = step + 1
        if done % recipe.save_every == 0 or done == recipe.steps:
            watched.watched = False
            readings = {'step': done} | {k: round(v, 4) for k, v in means.items()}
            last = done == recipe.steps
            for split in ('train', 'held_out'):
                for count in (1, MOST_FRAMES) if last or split == 'train' else ():
                    readings[f'{split} {count}'] = accuracy(net, tokenizer, ClipSampler(
                        np.random.default_rng([7, count]), encoder, 0, flights), split, count,
                        500 if last else 60)
            watched.watched = True
            record(out / 'seeing.jsonl', readings)
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(), step=done,
                 recipe=asdict(recipe), sources=sources)
    export(net.decoder, recipe, out)
    write_safetensors(out / 'projection.safetensors', {
        name: p.detach().numpy() for name, p in net.projection.named_parameters()}, {
            'format': 'pt', 'recipe': json.dumps(asdict(recipe), sort_keys=True)})
    for name in FILES:
        print(f'{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {out / name}')
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train seeing``."""
    parser = argparse.ArgumentParser('edge-vla train seeing', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/seeing'), help='folder of the run')
    parser.add_argument('--config', type=Path, help='YAML file of the recipe; flags win')
    parser.add_argument('--model', type=Path, default=SHIPPED_MODEL,
                        help='pilot whose encoder it sees with (default: the shipped one)')
    parser.add_argument('--begin', type=Path, metavar='FOLDER',
                        help='trained head to go on from, of the same shape (default: nothing)')
    add_arguments(parser, SeeingRecipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(SeeingRecipe, args, args.config)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    train(recipe, args.out, args.model, args.begin)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
