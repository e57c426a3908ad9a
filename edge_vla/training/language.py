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

A sequence is ``<bos> instruction <plan> <verb> <colour> <shape> <eos>`` (``<hover> <eos>`` for
what asks for no flight). Quantisation-aware from the first step; ``--unquantised true`` trains
the same network in float32, as the baseline. One seed, one result; resumable.
"""

import argparse
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from edge_vla.checkpoints.packing import pack, ternarise
from edge_vla.checkpoints.safetensors import write_safetensors
from edge_vla.config import add_arguments, from_arguments, setting
from edge_vla.exceptions import MissingDependencyError
from edge_vla.language.config import BitNetConfig
from edge_vla.language.head import BEGIN, canonical, END, PLAN, special_tokens
from edge_vla.language.plan import COLOURS, Plan, SHAPES, VERBS
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.instructions import sample_instruction, sample_vague
from edge_vla.training.bitnet_torch import BitLinear, BitNet
from edge_vla.training.policy import save, schedule
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

PATTERN = r' ?[a-z]+| ?[0-9]| ?[^ \t\r\na-z0-9]+|[ \t\r\n]+'
VERB_SHARES = (.28, .18, .18, .2, .16)
VAGUE = .03  # share of training instructions that leave colour or shape open
POOL = 8  # batches sampled together, then split by length
CAPACITY = 448  # a token for every character of the longest instruction, and the plan


@dataclass(frozen=True)
class LanguageRecipe:
    """What was done to train a language head; stored beside the weights."""

    seed: int = setting(0, 'seed of everything', '', 0, 2**31 - 1)
    threads: int = setting(1, 'torch threads; results depend on it', '', 1, 64)
    steps: int = setting(2000, 'optimiser steps', '', 1, 10**7)
    batch: int = setting(128, 'instructions in a step', '', 1, 10**5)
    rate: float = setting(3e-3, 'peak learning rate', '', 1e-6, 1.0)
    vocabulary: int = setting(768, 'tokens, special ones included', '', 300, 10**5)
    hidden: int = setting(128, 'width of the decoder', '', 8, 10**5)
    feed_forward: int = setting(320, 'width of its MLP', '', 8, 10**5)
    layers: int = setting(3, 'layers', '', 1, 100)
    heads: int = setting(4, 'attention heads', '', 1, 1000)
    kv_heads: int = setting(2, 'key and value heads', '', 1, 1000)
    language_weight: float = setting(.1, 'weight of the loss on the instruction itself', '', 0, 1)
    unquantised: bool = setting(False, 'train in plain float32 (baseline, not exported)')
    save_every: int = setting(250, 'steps between checkpoints', '', 1, 10**6)


def sample(rng: np.random.Generator, split: str, vague: float = 0) -> tuple[str, Plan]:
    """Sample an instruction and what it means."""
    verb = str(rng.choice(VERBS, p=VERB_SHARES))
    plan, other = (Plan(verb, str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))
                   for _ in range(2))
    if plan.verb != 'hover' and rng.random() < vague:
        return sample_vague(rng, plan), plan  # what is open stays a draw: learned as a doubt
    return sample_instruction(rng, plan, split, other), plan


def train_tokenizer(recipe: LanguageRecipe, path: Path) -> None:
    """Train a byte-level BPE on instructions and write tokenizer.json."""
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
    rng = np.random.default_rng(recipe.seed)
    corpus = [canonical(sample(rng, 'train')[0]) for _ in range(30_000)]
    tokenizer = Trained(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary, special_tokens=special_tokens(), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.save(str(path))


class Batches:
    """Token sequences with their targets; a batch holds sequences of like length."""

    def __init__(self, tokenizer: Tokenizer, rng: np.random.Generator, vague: float = 0) -> None:
        self._tokenizer, self._rng, self._vague = tokenizer, rng, vague
        self.id = tokenizer.special
        self.pending: list[list[tuple[list[int], int, Plan]]] = []

    def draw(self, count: int, split: str) -> tuple[Tensor, Tensor, Tensor, list[Plan]]:
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

    def _row(self, split: str) -> tuple[list[int], int, Plan]:
        text, plan = sample(self._rng, split, self._vague)
        ids = [self.id[BEGIN], *self._tokenizer.encode(canonical(text)), self.id[PLAN]]
        words = [plan.verb] if plan.verb == 'hover' else [plan.verb, plan.colour, plan.shape]
        return ids + [self.id[f'<{w}>'] for w in words] + [self.id[END]], len(ids), plan


def accuracy(net: BitNet, batches: Batches, split: str, count: int = 1000) -> float:
    """Return the share of instructions whose whole plan is decoded right, free running."""
    right, done = 0, 0
    slots = [torch.as_tensor([batches.id[f'<{w}>'] for w in slot])
             for slot in (VERBS, COLOURS, SHAPES)]
    with torch.no_grad():
        while done < count:
            ids, _, starts, plans = batches.draw(100, split)
            got = []
            rows = torch.arange(len(ids))
            for k, allowed in enumerate(slots):
                logits = net(ids)[rows, starts + k - 1][:, allowed]
                choice = logits.argmax(-1)
                got.append(choice)
                if k < 2:  # continue with its own words, not with the truth
                    width = int(starts.max()) + k + 1
                    if ids.shape[1] < width:
                        ids = F.pad(ids, (0, width - ids.shape[1]))
                    ids[rows, starts + k] = allowed[choice]
            for i, plan in enumerate(plans):
                same = VERBS[got[0][i]] == plan.verb
                if plan.verb != 'hover':
                    same &= COLOURS[got[1][i]] == plan.colour and SHAPES[got[2][i]] == plan.shape
                right += bool(same)
            done += len(plans)
    return right / done


def export(net: BitNet, recipe: LanguageRecipe, out: Path) -> None:
    """Write config.json and model.safetensors (ternary-packed) in Hugging Face's layout."""
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


def train(recipe: LanguageRecipe, out: Path) -> BitNet:
    """Run the training, from its checkpoint if there is one; exports unless ``unquantised``."""
    torch.manual_seed(recipe.seed)
    if not (out / 'tokenizer.json').exists():
        train_tokenizer(recipe, out / 'tokenizer.json')
    tokenizer = Tokenizer.load(out / 'tokenizer.json')
    config = BitNetConfig(
        hidden_size=recipe.hidden, intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads, vocab_size=recipe.vocabulary,
        max_position_embeddings=CAPACITY, rope_theta=10000.0,
        bos_token_id=tokenizer.special[BEGIN], eos_token_id=tokenizer.special[END])
    net = BitNet(config, quantised=not recipe.unquantised)
    decayed = [p for p in net.parameters() if p.dim() == 2]
    plain = [p for p in net.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW([{'params': decayed, 'weight_decay': .05},
                                   {'params': plain, 'weight_decay': 0.}], recipe.rate,
                                  betas=(.9, .98))
    rng = np.random.default_rng(recipe.seed + 1)
    path, start = out / 'language.pt', 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        net.load_state_dict(state['net'])
        optimiser.load_state_dict(state['optimiser'])
        rng.bit_generator.state, start = state['rng'], state['step']
    batches = Batches(tokenizer, rng, VAGUE)
    batches.pending = state['pending'] if start else []
    bar = tqdm(range(start, recipe.steps), 'language', initial=start, total=recipe.steps,
               mininterval=5)
    for step in bar:
        for group in optimiser.param_groups:
            group['lr'] = schedule(step, recipe.steps, recipe.rate)
        ids, weight, _, _ = batches.draw(recipe.batch, 'train')
        weight = torch.where(weight < 0, recipe.language_weight, weight)[:, 1:]
        loss = F.cross_entropy(net(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(),
                               reduction='none').view_as(weight)
        loss = (loss * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        done = step + 1
        if done % recipe.save_every == 0 or done == recipe.steps:
            readings = {'step': done, 'loss': round(float(loss.detach()), 4)}
            check = np.random.default_rng(99)
            for split in ('train', 'held_out'):
                count = 100 * POOL * (5 if done == recipe.steps else 1)
                readings[split] = round(accuracy(net, Batches(tokenizer, check), split, count), 4)
            bar.set_postfix(readings)
            with (out / 'language.jsonl').open('a') as log:
                log.write(json.dumps(readings) + '\n')
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(),
                 rng=rng.bit_generator.state, step=done, pending=batches.pending)
    if not recipe.unquantised:
        export(net, recipe, out)
        for name in ('model.safetensors', 'tokenizer.json', 'config.json'):
            print(f'{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {out / name}')
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train language``."""
    parser = argparse.ArgumentParser('edge-vla train language', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/language'), help='folder')
    add_arguments(parser, LanguageRecipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(LanguageRecipe, args)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    train(recipe, args.out)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
