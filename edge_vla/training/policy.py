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
Train the pilot: grounding first, then imitation with DAgger; resumable, one seed one result.

``edge-vla train policy --out runs/pilot`` writes ``runs/pilot/grounding.pt``, ``imitation.pt``
and, at the end, the shipped format ``policy.safetensors``.
"""

import argparse
from collections import deque
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path
from typing import Any

from edge_vla.config import add_arguments, from_arguments, setting
from edge_vla.training.grounding import FrameSampler, grounding_loss
from edge_vla.training.pilot_torch import PilotNet
import numpy as np
import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Recipe:
    """What was done to train a pilot; stored beside the weights."""

    seed: int = setting(0, 'seed of everything', '', 0, 2**31 - 1)
    threads: int = setting(1, 'torch threads; results depend on it', '', 1, 64)
    grounding_steps: int = setting(9000, 'optimiser steps of stage 1', '', 1, 10**7)
    grounding_rate: float = setting(2e-3, 'peak learning rate of stage 1', '', 1e-6, 1.0)
    pool: int = setting(64, 'batches of frames kept for a second use', '', 1, 10**5)
    iterations: int = setting(45, 'DAgger iterations of stage 2', '', 1, 10**6)
    worlds: int = setting(96, 'worlds flown at once', '', 1, 10**4)
    horizon: int = setting(128, 'steps flown in an iteration', '', 8, 10**5)
    updates: int = setting(150, 'optimiser steps in an iteration', '', 1, 10**5)
    imitation_rate: float = setting(2e-3, 'peak learning rate of stage 2', '', 1e-6, 1.0)
    evaluated: int = setting(96, 'flights of an evaluation, every fifth iteration', '', 1, 10**4)
    expert_iterations: int = setting(3, 'iterations flown by the expert', '', 0, 10**6)
    save_every: int = setting(300, 'steps between checkpoints of stage 1', '', 1, 10**6)


def schedule(step: int, total: int, peak: float) -> float:
    """Linear warm-up over 3 %, then cosine to 2 % of the peak."""
    warm = max(1, int(.03 * total))
    return peak * min(1, (step + 1) / warm) * (.51 + .49 * math.cos(math.pi * step / total))


def save(path: Path, **state: Any) -> None:
    """Write a checkpoint so that an interruption never leaves half of one."""
    temporary = path.with_suffix('.tmp')
    torch.save(state, temporary)
    temporary.replace(path)


def train_grounding(recipe: Recipe, out: Path) -> PilotNet:
    """Run stage 1, from its checkpoint if there is one."""
    torch.manual_seed(recipe.seed)
    net = PilotNet()
    optimiser = torch.optim.AdamW(net.parameters(), recipe.grounding_rate, weight_decay=1e-3)
    rng = np.random.default_rng(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    path, start = out / 'grounding.pt', 0
    pool: deque = deque(maxlen=recipe.pool)
    if path.exists():
        state = torch.load(path, weights_only=False)
        net.load_state_dict(state['net'])
        optimiser.load_state_dict(state['optimiser'])
        rng.bit_generator.state, start = state['rng'], state['step']
        generator.set_state(state['generator'])
        pool.extend(state['pool'])
    sampler = FrameSampler(rng)
    log = (out / 'grounding.jsonl').open('a')
    means: dict[str, float] = {}
    bar = tqdm(range(start, recipe.grounding_steps), 'grounding', initial=start,
               total=recipe.grounding_steps, mininterval=5)
    for step in bar:
        if step % 2 == 0:  # every second batch is one seen before, augmented anew
            batch = sampler.batch()
            pool.append(batch)
        else:
            batch = pool[int(rng.integers(len(pool)))]
        for group in optimiser.param_groups:
            group['lr'] = schedule(step, recipe.grounding_steps, recipe.grounding_rate)
        loss, readings = grounding_loss(net, batch, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        for k, v in (readings | {'loss': float(loss.detach())}).items():
            if math.isfinite(v):
                means[k] = .98 * means.get(k, v) + .02 * v
        if (step + 1) % 100 == 0:
            rounded = {k: round(v, 4) for k, v in means.items()}
            log.write(json.dumps({'step': step + 1} | rounded) + '\n')
            log.flush()
            bar.set_postfix({k: f'{v:.3f}' for k, v in means.items()})
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.grounding_steps:
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(),
                 rng=rng.bit_generator.state, step=step + 1, generator=generator.get_state(),
                 pool=list(pool), recipe=asdict(recipe))
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train policy``."""
    parser = argparse.ArgumentParser('edge-vla train policy', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/pilot'), help='folder of the run')
    parser.add_argument('--stage', choices=('grounding', 'imitation', 'all'), default='all')
    add_arguments(parser, Recipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(Recipe, args)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    net = None
    if args.stage in ('grounding', 'all'):
        net = train_grounding(recipe, args.out)
    if args.stage in ('imitation', 'all'):
        from edge_vla.training.imitation import train_imitation
        train_imitation(recipe, args.out, net)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
