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
import copy
from dataclasses import asdict, dataclass
import math
from pathlib import Path

from edge_vla.config import add_arguments, from_arguments, setting
from edge_vla.exceptions import ConfigError
from edge_vla.training.export import export_pilot
from edge_vla.training.grounding import Frames, grounding_loss
from edge_vla.training.optimise import (
    descend,
    digest,
    record,
    resumable,
    resume,
    save,
    schedule,
)
from edge_vla.training.pilot_torch import initial_weights, PilotNet
import torch
from tqdm import tqdm

STAGE_1 = 'seed', 'float_share', 'grounding_rate', 'half', 'wide', 'likeness'  # matter to stage 1


@dataclass(frozen=True)
class Recipe:
    """What was done to train a pilot; stored beside the weights."""

    seed: int = setting(0, 'seed of everything', '', 0, 2**31 - 1)
    threads: int = setting(1, 'torch threads; results depend on it', '', 1, 64)
    grounding_steps: int = setting(7500, 'optimiser steps of stage 1', '', 1, 10**7)
    float_share: float = setting(.65, 'part of stage 1 before the encoder is ternary', '', 0, 1)
    grounding_rate: float = setting(2e-3, 'peak learning rate of stage 1', '', 1e-6, 1.0)
    workers: int = setting(1, 'processes that render for stage 1, 0 for none', '', 0, 64)
    half: bool = setting(True, 'encode in bfloat16 while stage 1 learns')
    wide: bool = setting(False, 'more kinds of light, ground and dirt, exposed as in flight')
    likeness: float = setting(0., 'weight of seeing hard pictures as the pilot begun with sees '
                              'clear ones; wants wide', '', 0, 100)
    policy: str = setting('cfc', 'what stage 2 trains; most are baselines of cfc and exact',
                          choices=('cfc', 'cfc_no_dt', 'exact', 'exact_no_dt', 'lstm', 'gru',
                                   'tcn'))
    iterations: int = setting(45, 'DAgger iterations of stage 2', '', 1, 10**6)
    worlds: int = setting(96, 'worlds flown at once', '', 1, 10**4)
    horizon: int = setting(128, 'steps flown in an iteration', '', 9, 10**5)
    window: int = setting(64, 'frames of a sequence that is learned; no more than horizon and '
                          'batch', '', 9, 4096)
    batch: int = setting(4096, 'frames of a batch', '', 64, 10**6)
    blackout: float = setting(0., 'share of flights whose camera now and then is dark', '', 0, 1)
    longest_dark: float = setting(3., 'longest time for which a camera is dark', 's', .2, 60)
    recall: float = setting(0., 'weight of telling where the target is, seen or not', '', 0, 10)
    updates: int = setting(150, 'optimiser steps in an iteration', '', 1, 10**5)
    imitation_rate: float = setting(2e-3, 'peak learning rate of stage 2', '', 1e-6, 1.0)
    evaluated: int = setting(96, 'flights of an evaluation', '', 1, 10**4)
    evaluate_every: int = setting(10, 'iterations between evaluations', '', 1, 10**6)
    expert_iterations: int = setting(3, 'iterations flown by the expert', '', 0, 10**6)
    save_every: int = setting(300, 'steps between checkpoints of stage 1', '', 1, 10**6)


def train_grounding(recipe: Recipe, out: Path, initial: Path | None = None) -> PilotNet:
    """
    Run stage 1, from its checkpoint if there is one.

    Parameters
    ----------
    recipe : Recipe
        Sizes, seed and rates.
    out : Path
        Folder of the run.
    initial : Path, optional
        ``grounding.pt`` or ``policy.safetensors`` of another run to go on from; layers it lacks
        begin small.

    Raises
    ------
    ConfigError
        The recipe wants clear pictures seen as by a pilot to go on from, and there is none; or
        it is not that of the checkpoint.
    CheckpointError
        A checkpoint is corrupt.

    """
    torch.manual_seed(recipe.seed)
    net, teacher = PilotNet(), None
    if recipe.likeness and not (recipe.wide and initial):
        raise ConfigError('likeness wants --wide true and a pilot to go on from: --initial')
    if initial is not None:
        known = initial_weights(initial, recipe.float_share == 0)
        with torch.no_grad():
            for name, p in net.encoder.named_parameters():
                if f'encoder.{name}' not in known:
                    p.mul_(.05)
        net.load_state_dict(known, strict=False)
        if recipe.likeness:
            teacher = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.grounding_rate, weight_decay=1e-3)
    path, sources = out / 'grounding.pt', digest(initial)
    start = resume(path, recipe, 'grounding_steps', STAGE_1, sources, net=net,
                   optimiser=optimiser).get('step', 0)
    frames = torch.utils.data.Subset(Frames(recipe.seed, recipe.grounding_steps, recipe.wide),
                                     range(start, recipe.grounding_steps))
    loader = torch.utils.data.DataLoader(frames, batch_size=None, num_workers=recipe.workers,
                                         prefetch_factor=8 if recipe.workers else None)
    means: dict[str, float] = {}
    bar = tqdm(loader, 'grounding', initial=start, total=recipe.grounding_steps, mininterval=5)
    for step, batch in enumerate(bar, start):
        net.encoder.quantise(step >= recipe.float_share * recipe.grounding_steps)
        loss, readings = grounding_loss(net, batch, recipe.half, teacher, recipe.likeness)
        readings['loss'] = descend(optimiser, loss, schedule(
            step, recipe.grounding_steps, recipe.grounding_rate))
        for k, v in readings.items():
            if math.isfinite(v):
                means[k] = .98 * means.get(k, v) + .02 * v
        if (step + 1) % 100 == 0:
            rounded = {k: round(v, 4) for k, v in means.items()}
            record(out / 'grounding.jsonl', {'step': step + 1} | rounded)
            bar.set_postfix({k: f'{v:.3f}' for k, v in means.items()})
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.grounding_steps:
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(), step=step + 1,
                 recipe=asdict(recipe), sources=sources)
    return net


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``edge-vla train policy``."""
    parser = argparse.ArgumentParser('edge-vla train policy', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/pilot'), help='folder of the run')
    parser.add_argument('--stage', choices=('grounding', 'imitation', 'all'), default='all')
    parser.add_argument('--config', type=Path, help='YAML file with the recipe; flags override it')
    parser.add_argument('--grounding', type=Path, metavar='FILE',
                        help='grounding.pt or policy.safetensors of another run, for stage 2')
    parser.add_argument('--initial', type=Path, metavar='FILE',
                        help='grounding.pt or policy.safetensors of another run to go on from; of '
                        'the latter stage 2 takes the policy too')
    parser.add_argument('--flights', type=Path, metavar='FOLDER',
                        help='learn from the flights of this run instead of flying')
    add_arguments(parser, Recipe)
    args = parser.parse_args(argv)
    recipe = from_arguments(Recipe, args, args.config)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    if args.stage != 'grounding':
        from edge_vla.training.imitation import check, train_imitation, train_on_flights
        check(recipe, args.flights is not None)  # now, not after stage 1
        if args.stage == 'all' and args.grounding is None:
            resumable(args.out / ('imitation.pt' if args.flights is None else 'on_flights.pt'),
                      recipe, 'iterations')
    whole = args.initial is not None and args.initial.suffix == '.safetensors'
    if args.stage in ('grounding', 'all') and args.grounding is None:
        net = train_grounding(recipe, args.out, args.initial)
        if whole and args.stage == 'grounding':  # the policy it came with flies on
            export_pilot(net, recipe, args.out)
    if args.stage != 'grounding':
        grounded = args.grounding or args.out / 'grounding.pt'
        if args.flights is None:
            train_imitation(recipe, args.out, grounded, whole)
        else:
            train_on_flights(recipe, args.out, grounded, args.flights)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
