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
Stage 2, imitation: the liquid policy learns to fly from the expert, by DAgger.

The policy flies (Ross et al. 2011), the expert says at every step what it would have done, and
the policy is fitted to all flights so far. The encoder is frozen, so a flight is stored as a
few numbers per frame. Every world has its own camera rate, so elapsed time is learned.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vla.language.plan import CONTEXT_SIZE
from edge_vla.policy.liquid import ACTION_SCALE, UNITS
from edge_vla.sim import judge
from edge_vla.sim.tasks import TASKS
from edge_vla.sim.worlds import Worlds
from edge_vla.training.grounding import augment, soften, TRAIN_STYLES
from edge_vla.training.pilot_torch import PilotNet
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

if TYPE_CHECKING:
    from edge_vla.training.policy import Recipe

SCALE = ACTION_SCALE
WINDOW, BURN_IN, SEQUENCES = 64, 8, 64
BLIND = .15  # share of flights without odometry


class Fleet:
    """Worlds, the pilot that flies them, and what has to be remembered between steps."""

    def __init__(self, worlds: Worlds, net: PilotNet, seed: int) -> None:
        self.worlds, self.net = worlds, net
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        b = worlds.count
        self.h = torch.zeros(b, UNITS)
        self.dt = np.full(b, .05, np.float32)
        self.reset = np.ones(b, bool)
        self.context = np.zeros((b, CONTEXT_SIZE), np.float32)
        self._plans: list = [None] * b
        self.pilots = np.zeros(b, bool)
        self.blind = np.zeros(b, bool)
        self.vary = np.zeros(b, bool)
        self.burst, self.noise = np.zeros(b, int), np.zeros((b, 4))

    def features(self, varied: bool) -> np.ndarray:
        """Return vision features, motion and context of the current frames [B, INPUTS]."""
        for i, plan in enumerate(self.worlds.plans):
            if plan is not self._plans[i]:
                self._plans[i] = plan
                self.context[i] = soften(self.rng, plan.vector())
        images = torch.as_tensor(self.worlds.images())
        if varied and self.vary.any():
            which = torch.as_tensor(self.vary)
            images[which] = augment(self.generator, images[which])
        seen = self.net.see(images, torch.as_tensor(self.context)).numpy()
        motion = self.worlds.motion()
        if varied:
            motion[:, :4] += self.rng.normal(0, .03, (len(motion), 4))
        motion[self.blind] = 0
        return np.concatenate([seen, motion, self.context], 1).astype(np.float32)

    @torch.no_grad()
    def act(self, x: np.ndarray) -> np.ndarray:
        """Return the pilot's commands [B, 4] and keep its state."""
        y, self.h = self.net.policy(
            torch.as_tensor(x)[None], torch.as_tensor(self.dt)[None],
            torch.as_tensor(self.reset.astype(np.float32))[None], self.h)
        return np.clip(y[0].numpy(), -1, 1) * SCALE

    def collect(self, steps: int, share: float) -> dict[str, np.ndarray]:
        """Fly `steps` frames; a `share` of the flights is flown by the pilot."""
        rng, w = self.rng, self.worlds
        rows: dict[str, list] = {'x': [], 'dt': [], 'reset': [], 'y': []}
        for _ in range(steps):
            new = self.reset
            self.pilots = np.where(new, rng.random(w.count) < share, self.pilots)
            self.blind = np.where(new, rng.random(w.count) < BLIND, self.blind)
            self.vary = np.where(new, rng.random(w.count) < .4, self.vary)
            x = self.features(True)
            wanted = w.expert()
            command = np.where(self.pilots[:, None], self.act(x), wanted)
            # bursts of disturbance (DART, Laskey et al. 2017): how to come back is shown too
            start = (self.burst == 0) & (rng.random(w.count) < .02)
            self.burst[start] = rng.integers(4, 16, start.sum())
            self.noise[start] = rng.normal(0, .5, (start.sum(), 4)) * SCALE
            command = command + self.noise * (self.burst > 0)[:, None]
            self.burst = np.maximum(self.burst - 1, 0)
            for key, value in (('x', x.astype(np.float16)), ('dt', self.dt),
                               ('reset', self.reset), ('y', wanted / SCALE)):
                rows[key].append(value.astype(np.float32) if key == 'y' else value)
            self.dt, self.reset = w.step(np.clip(command, -SCALE, SCALE))
        return {k: np.stack(v) for k, v in rows.items()}


def evaluate(net: PilotNet, seed: int, count: int = 96) -> dict[str, float]:
    """Fly one flight per world and return success and collision rates."""
    worlds = Worlds(count, seed, ('meadow',), wind=1.0, rate=(20., 20.), restart=False)
    fleet = Fleet(worlds, net, seed)
    while worlds.live.any():
        fleet.dt, _ = worlds.step(fleet.act(fleet.features(False)))
        fleet.reset = np.zeros(count, bool)
    verbs = np.array([p.verb for p in worlds.plans])
    ok = worlds.status == judge.SUCCESS
    out = {'success': float(ok.mean()),
           'collision': float((worlds.status == judge.COLLISION).mean())}
    return out | {t: float(ok[verbs == t].mean()) for t in TASKS if (verbs == t).any()}


def _sample(blocks: list[dict[str, np.ndarray]],
            rng: np.random.Generator) -> tuple[Tensor, ...]:
    parts: dict[str, list] = {'x': [], 'dt': [], 'reset': [], 'y': []}
    for _ in range(SEQUENCES):
        block = blocks[int(rng.integers(len(blocks)))]
        start = int(rng.integers(len(block['dt']) - WINDOW + 1))
        world = int(rng.integers(block['dt'].shape[1]))
        for k in parts:
            parts[k].append(block[k][start:start + WINDOW, world])
    return tuple(torch.as_tensor(np.stack(parts[k], 1)).float() for k in ('x', 'dt', 'reset', 'y'))


def imitation_loss(net: PilotNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Smooth L1 to the expert; steps before the state has settled do not count."""
    x, dt, reset, y = batch
    actions, _ = net.policy(x, dt, reset)
    settled = (torch.cumsum(reset, 0) > 0) | (torch.arange(len(x))[:, None] >= BURN_IN)
    loss = F.smooth_l1_loss(actions, y, beta=.1, reduction='none').mean(-1)
    return (loss * settled).sum() / settled.sum()


def train_imitation(recipe: 'Recipe', out: Path, net: PilotNet | None) -> PilotNet:
    """Run stage 2, from its checkpoint if there is one; exports the shipped format."""
    from edge_vla.training.export import export_pilot
    from edge_vla.training.policy import save, schedule
    torch.manual_seed(recipe.seed + 1)
    if net is None:
        net = PilotNet()
        net.load_state_dict(torch.load(out / 'grounding.pt', weights_only=False)['net'])
    net.requires_grad_(False)
    net.policy.requires_grad_(True)
    path, start, blocks = out / 'imitation.pt', 0, []
    optimiser = torch.optim.AdamW(net.policy.parameters(), recipe.imitation_rate,
                                  weight_decay=1e-3)
    if path.exists():
        state = torch.load(path, weights_only=False)
        net.load_state_dict(state['net'])
        optimiser.load_state_dict(state['optimiser'])
        start = state['iteration']
        blocks = [dict(np.load(out / f'flights_{k:04d}.npz')) for k in range(start)]
    bar = tqdm(range(start, recipe.iterations), 'imitation', initial=start,
               total=recipe.iterations, mininterval=5)
    for k in bar:
        # worlds and noise of an iteration follow from its number, so a resumed run is the same
        seed = recipe.seed * 10_000 + k
        worlds = Worlds(recipe.worlds, seed, TRAIN_STYLES, wind=3.0, jitter=.15)
        share = 0. if k < recipe.expert_iterations else .8
        blocks.append(Fleet(worlds, net, seed).collect(recipe.horizon, share))
        np.savez(out / f'flights_{k:04d}.npz', **blocks[-1])
        rng, losses = np.random.default_rng(seed + 1), []
        for step in range(recipe.updates):
            done = (k * recipe.updates + step)
            for group in optimiser.param_groups:
                group['lr'] = schedule(done, recipe.iterations * recipe.updates,
                                       recipe.imitation_rate)
            loss = imitation_loss(net, _sample(blocks, rng))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.policy.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
        readings = {'iteration': k + 1, 'loss': round(float(np.mean(losses)), 5)}
        if (k + 1) % 5 == 0 or k + 1 == recipe.iterations:
            readings |= evaluate(net, 77, recipe.evaluated)
        with (out / 'imitation.jsonl').open('a') as log:
            log.write(json.dumps(readings) + '\n')
        bar.set_postfix({n: v for n, v in readings.items() if n != 'iteration'})
        save(path, net=net.state_dict(), optimiser=optimiser.state_dict(), iteration=k + 1)
    export_pilot(net, recipe, out)
    return net
