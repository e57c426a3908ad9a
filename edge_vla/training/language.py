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
Train the language head: a BitNet b1.58 decoder that turns instructions into plans.

A sequence is ``<bos> instruction <plan> step <then> step <eos>`` in the grammar of
`language.plan`. Quantisation-aware from the first step; ``--unquantised true`` trains the same
network in float32, as the baseline. One seed, one result; resumable.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
from typing import Any

from edge_vla.checkpoints.packing import pack, ternarise, unpack
from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.config import add_arguments, from_arguments, setting
from edge_vla.exceptions import ConfigError, MissingDependencyError
from edge_vla.language.config import BitNetConfig
from edge_vla.language.head import BEGIN, canonical, END, PLAN, special_tokens
from edge_vla.language.plan import (
    ANCHORED,
    ANY,
    COLOURS,
    END as LAST,
    MOVING,
    next_words,
    Plan,
    RELATIONS,
    SHAPES,
    THEN,
    UNSEEN_PAIRS,
)
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.instructions import sample_instruction, sample_mission
from edge_vla.training.bitnet_torch import BitLinear, BitNet
from edge_vla.training.optimise import descend, optimiser_of, record, resume, save, schedule
from edge_vla.training.recipe import DecoderRecipe
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

PATTERN = r' ?[a-z]+| ?[0-9]| ?[^ \t\r\na-z0-9]+|[ \t\r\n]+'
KINDS = ('single', 'relation', 'two steps', 'mission', 'still', 'unseen')
VERB_SHARES = (.34, .22, .22, .22)  # of what moves
POOL = 8  # batches sampled together, then split by length
CAPACITY = 448  # a token for every character of the longest instruction, and the plan


@dataclass(frozen=True)
class LanguageRecipe(DecoderRecipe):
    """What was done to train a language head; stored beside the weights."""

    steps: int = setting(9000, 'optimiser steps', '', 1, 10**7)
    batch: int = setting(80, 'instructions in a step', '', 1, 10**5)
    relations: float = setting(.2, 'share of one step, object named in part', '', 0, 1)
    missions: float = setting(.36, 'share of several steps', '', 0, 1)
    still: float = setting(.13, 'share of stop, land and what is no instruction', '', 0, 1)
    language_weight: float = setting(.05, 'weight of the loss on the instruction itself', '', 0, 1)
    unquantised: bool = setting(False, 'train in plain float32 (baseline, not exported)')


def draw_object(rng: np.random.Generator, unseen: bool = False) -> tuple[str, str]:
    """Draw colour and shape of an object; `unseen` one that is never trained on, or never one."""
    if unseen:
        return UNSEEN_PAIRS[int(rng.integers(len(UNSEEN_PAIRS)))]
    while True:
        pair = str(rng.choice(COLOURS)), str(rng.choice(SHAPES))
        if pair not in UNSEEN_PAIRS:
            return pair


def draw_partial(rng: np.random.Generator, verb: str) -> Plan:
    """Draw a plan whose object is named in part, mostly with a relation."""
    colour, shape = draw_object(rng)
    kind = rng.random()
    if kind < .3:
        return Plan(verb, ANY, shape) if rng.random() < .6 else Plan(verb, colour, ANY)
    left_open = rng.random()
    if left_open > .15:
        colour = ANY
    if left_open < .3:
        shape = ANY
    if kind < .75:
        anchor_colour, anchor_shape = draw_object(rng)
        hidden = rng.random()
        return Plan(verb, colour, shape, str(rng.choice(ANCHORED)),
                    ANY if hidden < .12 else anchor_colour, ANY if hidden > .88 else anchor_shape)
    return Plan(verb, colour, shape, str(rng.choice(RELATIONS[1 + len(ANCHORED):])))


def draw_mission(rng: np.random.Generator, count: int) -> list[Plan]:
    """Draw several steps; often a second one has the same object, or the last is to land."""
    plans: list[Plan] = []
    while len(plans) < count:
        kind, last = rng.random(), len(plans) == count - 1
        before = plans[-1] if plans else None
        verb = str(rng.choice(MOVING, p=VERB_SHARES))
        if last and kind < .22:
            plans.append(Plan('land'))
        elif kind > .93 and not (last and before.verb in ('go', 'search')) and not (
                before and before.verb == 'hover'):
            plans.append(Plan('hover'))
        elif kind > .91:
            plans.append(Plan('unknown'))
        elif before and before.verb in MOVING and before.verb != verb and (
                'orbit' in before.verb + verb) and rng.random() < .4:
            plans.append(Plan(verb, *before.words()[1:]))
        elif kind > .72:
            plans.append(draw_partial(rng, verb))
        else:
            plans.append(Plan(verb, *draw_object(rng)))
    return plans


def sample(rng: np.random.Generator, split: str, kind: str) -> tuple[str, list[Plan]]:
    """Sample an instruction of one of `KINDS` and the steps it means."""
    if kind in ('mission', 'two steps'):
        plans = draw_mission(rng, 2 if kind == 'two steps' else 2 + int(
            rng.choice(3, p=(.6, .27, .13))))
        return sample_mission(rng, plans, split, other=Plan('go', *draw_object(rng))), plans
    verb = str(rng.choice(MOVING, p=VERB_SHARES))
    if kind == 'still':
        verb = str(rng.choice(('hover', 'land', 'unknown'), p=(.32, .2, .48)))
    if kind == 'relation' or (kind == 'still' and rng.random() < .15):
        plan = draw_partial(rng, verb)
    else:
        plan = Plan(verb, *draw_object(rng, kind == 'unseen'))
    return sample_instruction(rng, plan, split, Plan(verb, *draw_object(rng))), [plan]


def shares(recipe: LanguageRecipe) -> dict[str, float]:
    """Return how often each kind is trained on."""
    rest = 1 - recipe.relations - recipe.missions - recipe.still
    return {'single': rest, 'relation': recipe.relations, 'mission': recipe.missions,
            'still': recipe.still}


def plan_words(plans: Sequence[Plan]) -> list[str]:
    """Return the words of the grammar that stand for `plans`, END included."""
    words: list[str] = []
    for plan in plans:
        words += [*plan.words(), THEN]
    return [*words[:-1], LAST]


def train_tokenizer(corpus: Iterable[str], special: list[str], size: int, path: Path) -> None:
    """
    Train a byte-level BPE and write tokenizer.json.

    Parameters
    ----------
    corpus : iterable of str
        Canonical sentences.
    special : list of str
        Tokens that text never produces, in the order of their ids.
    size : int
        Tokens of the vocabulary, special ones included.
    path : Path
        Where to write.

    Raises
    ------
    MissingDependencyError
        Without the extra `train`.

    """
    try:
        from tokenizers import (
            decoders,
            models,
            pre_tokenizers,
            Regex,
            Tokenizer as Trained,
            trainers,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "tokenizers is not installed: pip install 'edge_vla[train]'") from error
    tokenizer = Trained(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.save(str(path))


def corpus_of(recipe: LanguageRecipe) -> Iterator[str]:
    """Draw the sentences that the tokenizer is made for."""
    rng = np.random.default_rng(recipe.seed)
    kinds, odds = zip(*shares(recipe).items(), strict=True)
    for _ in range(30_000):
        yield canonical(sample(rng, 'train', str(rng.choice(kinds, p=odds)))[0])


Row = tuple[list[int], int, list[Plan]]  # tokens, where the plan starts, the plan


class Batches:
    """
    Token sequences with their targets; a batch holds sequences of like length.

    Parameters
    ----------
    tokenizer : Tokenizer
    rng : numpy.random.Generator
        Source of the instructions.
    mix : dict of str to float
        How often each kind is drawn.

    """

    def __init__(self, tokenizer: Tokenizer, rng: np.random.Generator,
                 mix: dict[str, float]) -> None:
        self._tokenizer, self._rng = tokenizer, rng
        self._kinds, self._odds = zip(*mix.items(), strict=True)
        self.id = tokenizer.special
        self.pending: list[list[Row]] = []

    def draw(self, count: int, split: str) -> tuple[Tensor, Tensor, Tensor, list[list[Plan]]]:
        """Return ids [B, T], weights [B, T] of predicting each, plan starts [B], plans."""
        if not self.pending:
            pool = sorted((self._row(split) for _ in range(count * POOL)),
                          key=lambda row: len(row[0]))
            order = self._rng.permutation(POOL)
            self.pending = [pool[k * count:(k + 1) * count] for k in order]
        rows, starts, plans = zip(*self.pending.pop(), strict=True)
        width = max(map(len, rows))
        out, weight = np.zeros((count, width), np.int64), np.zeros((count, width), np.float32)
        for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
            out[i, :len(row)] = row
            weight[i, start:len(row)] = 1
            weight[i, 1:start] = -1  # the instruction itself
        return (torch.as_tensor(out), torch.as_tensor(weight), torch.as_tensor(starts),
                list(plans))

    def _row(self, split: str) -> Row:
        kind = self._kinds[int(np.searchsorted(np.cumsum(self._odds)[:-1], self._rng.random()))]
        text, plans = sample(self._rng, split, kind)
        ids = [self.id[BEGIN], *self._tokenizer.encode(canonical(text)), self.id[PLAN]]
        return ids + [self.id[f'<{w}>'] for w in plan_words(plans)], len(ids), plans


def read_right(logits: Tensor, plans: Sequence[Plan], ids: dict[str, int]) -> bool:
    """
    Tell whether greedy decoding under the grammar says `plans`.

    Parameters
    ----------
    logits : Tensor
        [T, vocabulary], of the first word of the plan and those after it. That they were
        computed after the right words changes nothing: a plan is right if every word is.
    plans : sequence of Plan
        What was meant.
    ids : dict of str to int
        Token of each word.

    """
    said: list[str] = []
    steps = 0
    for k, word in enumerate(plan_words(plans)):
        allowed = next_words(said, steps)
        choice = int(logits[k, [ids[f'<{w}>'] for w in allowed]].argmax())
        if allowed[choice] != word:
            return False
        if word == 'unknown':
            return True
        said, steps = ([], steps + 1) if word == THEN else ([*said, word], steps)
    return True


def accuracy(net: BitNet, tokenizer: Tokenizer, split: str, kind: str,
             count: int = 800) -> float:
    """Return the share of instructions of a kind that are read exactly."""
    batches = Batches(tokenizer, np.random.default_rng(99), {kind: 1.0})
    right = done = 0
    with torch.no_grad():
        while done < count:
            ids, _, starts, plans = batches.draw(100, split)
            logits = net(ids)
            right += sum(read_right(logits[i, start - 1:], plans[i], batches.id)
                         for i, start in enumerate(starts.tolist()))
            done += len(plans)
    return right / done


def export(net: BitNet, recipe: Any, out: Path) -> None:
    """
    Write config.json and model.safetensors (ternary-packed) in Hugging Face's layout.

    Parameters
    ----------
    net : BitNet
        What was trained.
    recipe : dataclass
        How; kept in the file's metadata.
    out : Path
        Folder.

    """
    tensors = {}
    for name, module in net.named_modules():
        if isinstance(module, BitLinear):
            trits, scale = ternarise(module.weight.detach().numpy())
            tensors[f'{name}.weight'] = pack(trits)
            tensors[f'{name}.weight_scale'] = np.array([scale], np.float32)
    for name, p in net.named_parameters():
        if name not in tensors:
            tensors[name] = p.detach().numpy()
    (out / 'config.json').write_text(net.config.to_json(), encoding='utf-8')
    write_safetensors(out / 'model.safetensors', tensors, {
        'format': 'pt', 'recipe': json.dumps(asdict(recipe), sort_keys=True)})


def adopt(net: BitNet, folder: Path, seed: int) -> None:
    """
    Go on from what `export` wrote: the network computes what the file says, and can learn.

    The float weights behind the ternary ones are not in the file. They are drawn anew: what is
    not zero from beyond half of the scale, what is zero from within, with the scale as their mean.

    Parameters
    ----------
    net : BitNet
        Written; of the shape of the file.
    folder : Path
        What `export` wrote.
    seed : int
        Of what is drawn.

    Raises
    ------
    ConfigError
        The decoder in the folder has another shape.

    """
    if BitNetConfig.load(folder / 'config.json') != net.config:
        raise ConfigError(f'the decoder in {folder} has another shape than the recipe: give its '
                          'sizes and its vocabulary as flags')
    tensors, _ = read_safetensors(folder / 'model.safetensors')
    rng, state = np.random.default_rng(seed), {}
    for name, p in net.named_parameters():
        value = tensors[name]
        if value.dtype == np.uint8:
            scale = float(tensors[f'{name}_scale'][0])
            trits = unpack(value, p.shape[0]).astype(np.float64)
            size = np.where(trits == 0, rng.uniform(0, .4, trits.shape),
                            rng.uniform(.7, 1.3, trits.shape))
            rest = trits.size - size[trits == 0].sum()
            size[trits != 0] *= rest / size[trits != 0].sum()
            value = scale * size * np.where(trits == 0, rng.choice((-1, 1), trits.shape), trits)
        state[name] = torch.as_tensor(np.array(value, np.float32))
    net.load_state_dict(state)


def train(recipe: LanguageRecipe, out: Path) -> BitNet:
    """Run the training, from its checkpoint if there is one; exports unless ``unquantised``."""
    torch.manual_seed(recipe.seed)
    path = out / 'language.pt'
    if not (path.exists() and (out / 'tokenizer.json').exists()):  # of a run before
        train_tokenizer(corpus_of(recipe), special_tokens(), recipe.vocabulary,
                        out / 'tokenizer.json')
    tokenizer = Tokenizer.load(out / 'tokenizer.json')
    config = recipe.config(
        max_position_embeddings=CAPACITY, rope_theta=10000.0,
        bos_token_id=tokenizer.special[BEGIN], eos_token_id=tokenizer.special[END])
    net = BitNet(config, quantised=not recipe.unquantised)
    optimiser = optimiser_of(net, recipe.rate)
    rng = np.random.default_rng(recipe.seed + 1)
    state = resume(path, recipe, 'steps', net=net, optimiser=optimiser)
    start = state.get('step', 0)
    rng.bit_generator.state = state.get('rng', rng.bit_generator.state)
    batches = Batches(tokenizer, rng, shares(recipe))
    batches.pending = state.get('pending', [])
    bar = tqdm(range(start, recipe.steps), 'language', initial=start, total=recipe.steps,
               mininterval=5)
    for step in bar:
        ids, weight, _, _ = batches.draw(recipe.batch, 'train')
        weight = torch.where(weight < 0, recipe.language_weight, weight)[:, 1:]
        with torch.autocast('cpu', torch.bfloat16, enabled=recipe.half):
            logits = net(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(),
                               reduction='none').view_as(weight)
        loss = (loss * weight).sum() / weight.sum()
        value = descend(optimiser, loss, schedule(step, recipe.steps, recipe.rate))
        done = step + 1
        if done % recipe.save_every == 0 or done == recipe.steps:
            readings = {'step': done, 'loss': round(value, 4)}
            last = done == recipe.steps
            for split in ('train', 'held_out'):
                for kind in KINDS if last or split == 'held_out' else ():
                    readings[f'{split} {kind}'] = round(accuracy(
                        net, tokenizer, split, kind, 4000 if last else 300), 4)
            bar.set_postfix(readings)
            record(out / 'language.jsonl', readings)
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(),
                 rng=rng.bit_generator.state, step=done, pending=batches.pending,
                 recipe=asdict(recipe))
    if not recipe.unquantised:
        export(net, recipe, out)
        for name in ('model.safetensors', 'tokenizer.json', 'config.json'):
            print(f'{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {out / name}')
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train language``."""
    parser = argparse.ArgumentParser('edge-vla train language', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/language'), help='folder')
    parser.add_argument('--config', type=Path, help='YAML file of the recipe; flags win')
    add_arguments(parser, LanguageRecipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(LanguageRecipe, args, args.config)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    train(recipe, args.out)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
