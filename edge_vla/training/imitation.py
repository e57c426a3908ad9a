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
Stage 2, imitation: the policy learns to fly from the expert, by DAgger.

The policy flies (Ross et al. 2011), the expert says at every step what it would have done, and
the policy is fitted to all flights so far. The encoder is frozen, so a flight is stored as a
few numbers per frame. Every world has its own camera rate, losses, latency, mount, wind and
vehicle, so elapsed time is learned and nothing of them can be relied on. A second process
flies with the policy of one iteration ago while this one learns.
"""

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from edge_vla.exceptions import CheckpointError, ConfigError
from edge_vla.language.plan import CONTEXT_SIZE, UNSEEN_PAIRS
from edge_vla.policy.liquid import ACTION_SCALE
from edge_vla.sim import judge
from edge_vla.sim.tasks import TASKS
from edge_vla.sim.worlds import LONGEST_LAG, Worlds
from edge_vla.training.blackouts import Blackouts
from edge_vla.training.grounding import (
    augment,
    DIRTY,
    draw_dirt,
    draw_tint,
    soften,
    tint,
    TRAIN_STYLES,
    WIDE_STYLES,
)
from edge_vla.training.optimise import descend, digest, record, resume, save, schedule
from edge_vla.training.pilot_torch import initial_weights, PilotNet
from edge_vla.vision import layout
from edge_vla.vision.exposure import expose
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F  # noqa: N812
from tqdm import tqdm

if TYPE_CHECKING:
    from edge_vla.training.policy import Recipe

SCALE = ACTION_SCALE
BURN_IN = 8  # frames before which no state has settled
KEYS = ('x', 'dt', 'reset', 'lit', 'y', 'where')
SIGHTS = 4  # pictures that tell enough to remember
BLIND = .15  # share of flights without odometry


class Fleet:
    """
    Worlds, and what has to be remembered of their flights between steps.

    Parameters
    ----------
    worlds : Worlds
        Where they fly.
    seed : int
        Of everything that is drawn here.
    blackout : float
        Share of flights whose camera now and then shows nothing.
    longest : float
        For how long at most, s.
    wide : bool
        Whether some lenses are dirty, some colours wrong and pictures exposed, as in a stage 1
        that is wide.

    """

    def __init__(self, worlds: Worlds, seed: int, blackout: float = 0.,
                 longest: float = 3., wide: bool = False) -> None:
        self.worlds, self.wide = worlds, wide
        self.rng = np.random.default_rng(seed)
        self.augmenting = np.random.default_rng(seed + 1)
        b = worlds.count
        self.blackouts = Blackouts(b, blackout, longest, np.random.default_rng(seed + 2))
        self.lit = np.ones(b, bool)  # whether the picture that the pilot has now shows anything
        self._late_lit = np.ones((LONGEST_LAG + 1, b), bool)
        self.h: Tensor | None = None
        self.dt = np.full(b, .05, np.float32)
        self.reset = np.ones(b, bool)
        self.context = np.zeros((b, CONTEXT_SIZE), np.float32)
        self._plans: list = [None] * b
        self._late = np.zeros((LONGEST_LAG + 1, b, layout.VISION_FEATURES), np.float32)
        self._tick = 0
        self.pilots = np.zeros(b, bool)
        self.blind = np.zeros(b, bool)
        self.vary = np.zeros(b, bool)
        self._dirt: list[tuple[np.ndarray, np.ndarray] | None] = [None] * b
        self._tints = np.ones((b, 3), np.float32)
        self.burst, self.noise = np.zeros(b, int), np.zeros((b, 4))

    def features(self, net: PilotNet, varied: bool) -> np.ndarray:
        """Return vision features, motion and context of the current frames [B, INPUTS]."""
        new = np.zeros(self.worlds.count, bool)
        for i, plan in enumerate(self.worlds.plans):
            if plan is not self._plans[i]:
                self._plans[i], new[i] = plan, True
                self.context[i] = soften(self.rng, plan.vector())
        self.blackouts.begin(new)
        pictures = self.worlds.images(~self.blackouts.dark)
        for picture, dirt in zip(pictures, self._dirt, strict=True):
            if dirt is not None:
                picture[dirt[0]] = dirt[1]
        images = torch.as_tensor(pictures)
        if varied and self.vary.any():
            which = torch.as_tensor(self.vary)
            generator = torch.Generator().manual_seed(int(self.augmenting.integers(2**40)))
            images[which] = augment(generator, images[which])
        if self.wide:
            tint(pictures, self._tints)
            for picture in pictures:
                expose(picture)
        self.blackouts.darken(images.numpy())
        now, worlds = self._tick % len(self._late), np.arange(self.worlds.count)
        self._late[now] = net.see(images, torch.as_tensor(self.context))
        self._late_lit[now] = ~self.blackouts.dark
        for late in (self._late, self._late_lit):
            late[:, self.reset] = late[now, self.reset]
        then = (self._tick - self.worlds.lags) % len(self._late)
        seen, self.lit = self._late[then, worlds], self._late_lit[then, worlds]
        self._tick += 1
        motion = self.worlds.motion()
        if varied:
            motion[:, :4] += self.rng.normal(0, .03, (len(motion), 4))
        motion[self.blind] = 0
        return np.concatenate([seen, motion, self.context], 1).astype(np.float32)

    @torch.no_grad()
    def act(self, net: PilotNet, x: np.ndarray) -> np.ndarray:
        """Return the pilot's commands [B, 4] and keep its state."""
        y, self.h = net.policy(
            torch.as_tensor(x)[None], torch.as_tensor(self.dt)[None],
            torch.as_tensor(self.reset.astype(np.float32))[None], self.h)
        return np.clip(y[0].numpy(), -1, 1) * SCALE

    def collect(self, net: PilotNet, steps: int, share: float) -> dict[str, np.ndarray]:
        """Fly `steps` frames; of the flights that begin a `share` is flown by the pilot."""
        rng, w = self.rng, self.worlds
        rows: dict[str, list] = {k: [] for k in KEYS}
        for _ in range(steps):
            new = self.reset
            self.pilots = np.where(new, rng.random(w.count) < share, self.pilots)
            self.blind = np.where(new, rng.random(w.count) < BLIND, self.blind)
            self.vary = np.where(new, rng.random(w.count) < .5, self.vary)
            for i in np.flatnonzero(new) if self.wide else ():
                self._dirt[i] = (draw_dirt(self.augmenting, layout.HEIGHT, layout.WIDTH)
                                 if self.augmenting.random() < DIRTY else None)
                self._tints[i] = draw_tint(self.augmenting)
            x = self.features(net, True)
            wanted = w.expert(~self.lit)
            command = np.where(self.pilots[:, None], self.act(net, x), wanted)
            # bursts of disturbance (DART, Laskey et al. 2017): how to come back is shown too
            start = (self.burst == 0) & (rng.random(w.count) < .02)
            self.burst[start] = rng.integers(4, 16, start.sum())
            self.noise[start] = rng.normal(0, .5, (start.sum(), 4)) * SCALE
            command = command + self.noise * (self.burst > 0)[:, None]
            self.burst = np.maximum(self.burst - 1, 0)
            for key, value in (('x', x.astype(np.float16)), ('dt', self.dt),
                               ('reset', self.reset), ('lit', self.lit),
                               ('y', wanted / SCALE), ('where', w.where())):
                rows[key].append(value.astype(np.float32) if key == 'y' else value)
            self.dt, self.reset = w.step(np.clip(command, -SCALE, SCALE))
            self.blackouts.advance(self.dt)
        return {k: np.stack(v) for k, v in rows.items()}


def evaluate(net: PilotNet, seed: int, count: int = 96, wide: bool = False) -> dict[str, float]:
    """Fly one flight per world and return success and collision rates; `wide` as of `Fleet`."""
    worlds = Worlds(count, seed, ('meadow',), wind=1.0, rate=(20., 20.), restart=False)
    fleet = Fleet(worlds, seed, wide=wide)
    while worlds.live.any():
        fleet.dt, _ = worlds.step(fleet.act(net, fleet.features(net, False)))
        fleet.reset = np.zeros(count, bool)
    verbs = np.array([p.verb for p in worlds.plans])
    ok = worlds.status == judge.SUCCESS
    out = {'success': float(ok.mean()),
           'collision': float((worlds.status == judge.COLLISION).mean())}
    return out | {t: float(ok[verbs == t].mean()) for t in TASKS if (verbs == t).any()}


def _sample(blocks: list[dict[str, np.ndarray]], rng: np.random.Generator,
            window: int, frames: int) -> tuple[Tensor, ...]:
    """Draw sequences of `window` frames, `frames` in all: the KEYS, each [window, N, ...]."""
    parts: dict[str, list] = {k: [] for k in KEYS}
    for _ in range(frames // window):
        block = blocks[int(rng.integers(len(blocks)))]
        start = int(rng.integers(len(block['dt']) - window + 1))
        world = int(rng.integers(block['dt'].shape[1]))
        for k in parts:
            parts[k].append(block[k][start:start + window, world])
    return tuple(torch.as_tensor(np.stack(parts[k], 1)).float() for k in KEYS)


def imitation_loss(net: PilotNet, batch: tuple[Tensor, ...], recall: torch.nn.Linear | None = None,
                   weight: float = 0.) -> Tensor:
    """
    Smooth L1 to the expert; steps before the state has settled do not count.

    Parameters
    ----------
    net : PilotNet
        What learns.
    batch : tuple of Tensor
        The KEYS.
    recall : torch.nn.Linear, optional
        Reads where the target is off what the policy remembers: more to learn from than actions,
        which far from the target are all alike.
    weight : float
        Of that.

    """
    x, dt, reset, lit, y, where = batch
    hidden, _ = net.policy.unroll(x, dt, reset)
    begun = torch.cumsum(reset, 0) > 0  # what was seen before the sequence nobody can know
    settled = ((begun | (torch.arange(len(x))[:, None] >= BURN_IN))
               & (begun | (torch.cumsum(lit, 0) >= SIGHTS)))
    loss = F.smooth_l1_loss(net.policy.head(hidden), y, beta=.1, reduction='none').mean(-1)
    loss = (loss * settled).sum() / settled.sum().clamp(min=1)
    if recall is None:
        return loss
    known = settled * where[..., 4]
    far = F.smooth_l1_loss(recall(hidden), where[..., :4], beta=.1, reduction='none').mean(-1)
    return loss + weight * (far * known).sum() / known.sum().clamp(min=1)


_net: PilotNet | None = None  # of the process that flies


def _start_flying(recipe: 'Recipe', state: dict[str, Tensor]) -> None:
    global _net
    torch.set_num_threads(1)
    _net = _make_net(recipe).eval()
    _net.load_state_dict(state)


def _make_net(recipe: 'Recipe') -> PilotNet:
    """Return a new net; a recipe that never makes the encoder ternary keeps it float."""
    net = PilotNet(recipe.policy)
    net.encoder.quantise(recipe.float_share < 1)
    return net


def _pilot(policy: dict[str, Tensor]) -> PilotNet:
    if _net is None:
        raise RuntimeError('the process was not started')
    _net.policy.load_state_dict(policy)
    return _net


def _fly(fleet: Fleet, policy: dict[str, Tensor], steps: int,
         share: float) -> tuple[Fleet, dict[str, np.ndarray]]:
    return fleet, fleet.collect(_pilot(policy), steps, share)


def _evaluate(policy: dict[str, Tensor], seed: int, count: int, wide: bool) -> dict[str, float]:
    return evaluate(_pilot(policy), seed, count, wide)


def learn(net: PilotNet, recall: torch.nn.Linear | None, optimiser: torch.optim.Optimizer,
          blocks: list[dict[str, np.ndarray]], rng: np.random.Generator, iteration: int,
          recipe: 'Recipe') -> float:
    """Take the steps of an iteration; return their mean loss."""
    total, first = recipe.iterations * recipe.updates, iteration * recipe.updates
    return float(np.mean([
        descend(optimiser, imitation_loss(
            net, _sample(blocks, rng, recipe.window, recipe.batch), recall, recipe.recall),
                schedule(step, total, recipe.imitation_rate))
        for step in range(first, first + recipe.updates)]))


def check(recipe: 'Recipe', flown: bool = False) -> None:
    """
    Refuse sequences that nothing can be learned from, or that cannot be drawn.

    Parameters
    ----------
    recipe : Recipe
        Its window.
    flown : bool
        Whether the flights are those of another run, whatever this one's horizon is.

    Raises
    ------
    ConfigError
        The window is too short or too long.

    """
    most = recipe.batch if flown else min(recipe.batch, recipe.horizon)
    if not BURN_IN < recipe.window <= most:
        raise ConfigError(f'window is {recipe.window}: it must be more than {BURN_IN}, and no '
                          f'more than {"batch" if flown else "batch and horizon"}, {most}')


def train_imitation(recipe: 'Recipe', out: Path, grounded: Path,
                    keep: bool = False) -> PilotNet:
    """
    Run stage 2, from its checkpoint if there is one; exports the shipped format.

    Parameters
    ----------
    recipe : Recipe
        Sizes, seed and rates.
    out : Path
        Folder of the run.
    grounded : Path
        ``grounding.pt`` of stage 1, or a pilot in the shipped format.
    keep : bool
        Go on from the policy in `grounded` instead of a new one.

    Raises
    ------
    ConfigError
        The window does not fit, or the recipe is not that of the checkpoint.
    CheckpointError
        A checkpoint, or a file of flights, is missing or corrupt.

    """
    from edge_vla.training.export import export_pilot
    check(recipe)
    net, recall, optimiser = _grounded(recipe, grounded, keep)
    path, sources = out / 'imitation.pt', digest(grounded)
    state = resume(path, recipe, 'iterations', sources=sources, net=net, recall=recall,
                   optimiser=optimiser)
    start = state.get('iteration', 0)
    blocks = [_load(out / f'flights_{k:04d}.npz') for k in range(start)]
    styles = WIDE_STYLES if recipe.wide else TRAIN_STYLES
    worlds = Worlds(recipe.worlds, recipe.seed, styles, wind=2.5, jitter=.15, shifted=.5,
                    rate=(10., 60.), without=UNSEEN_PAIRS)
    fleet = state.get('fleet') or Fleet(worlds, recipe.seed, recipe.blackout, recipe.longest_dark,
                                        recipe.wide)
    flying = state.get('flying') or _policy_state(net)

    def share(k: int) -> float:
        return 0. if k < recipe.expert_iterations else .8

    frozen = {k: v.clone() for k, v in net.state_dict().items()}
    bar = tqdm(range(start, recipe.iterations), 'imitation', initial=start,
               total=recipe.iterations, mininterval=5)
    with ProcessPoolExecutor(1, get_context('spawn'), _start_flying,
                             (recipe, frozen)) as pool:
        flight: Future = pool.submit(_fly, fleet, flying, recipe.horizon, share(start))
        for k in bar:
            fleet, rows = flight.result()
            blocks.append(rows)
            np.savez(out / f'flights_{k:04d}.npz', **rows)
            flying = _policy_state(net)
            if k + 1 < recipe.iterations:
                flight = pool.submit(_fly, fleet, flying, recipe.horizon, share(k + 1))
            rng = np.random.default_rng([recipe.seed, k])
            loss = learn(net, recall, optimiser, blocks, rng, k, recipe)
            readings = {'iteration': k + 1, 'loss': round(loss, 5)}
            if (k + 1) % recipe.evaluate_every == 0 or k + 1 == recipe.iterations:
                readings |= pool.submit(_evaluate, _policy_state(net), 77, recipe.evaluated,
                                        recipe.wide).result()
            record(out / 'imitation.jsonl', readings)
            bar.set_postfix({n: v for n, v in readings.items() if n != 'iteration'})
            save(path, net=net.state_dict(), optimiser=optimiser.state_dict(), iteration=k + 1,
                 fleet=fleet, flying=flying, recall=recall and recall.state_dict(),
                 recipe=asdict(recipe), sources=sources)
    export_pilot(net, recipe, out)
    return net


def _load(path: Path) -> dict[str, np.ndarray]:
    """Read an iteration's flights; old ones lack blackouts and where the targets are."""
    try:
        rows = dict(np.load(path))
        rows['dt'], rows['reset']
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise CheckpointError(f'{path} is missing or corrupt: fly again, in another '
                              '--out') from error
    return {'lit': np.ones_like(rows['reset']),
            'where': np.zeros((*rows['reset'].shape, 5), np.float32)} | rows


def _grounded(recipe: 'Recipe', path: Path,
              keep: bool = False
              ) -> tuple[PilotNet, torch.nn.Linear | None, torch.optim.Optimizer]:
    """Return a net that sees as stage 1 learned; its policy is the only part to learn."""
    torch.manual_seed(recipe.seed + 1)
    net = _make_net(recipe)
    recall = torch.nn.Linear(net.policy.head.in_features, 4) if recipe.recall else None
    seen = initial_weights(path, recipe.float_share < 1)
    net.load_state_dict({k: v for k, v in seen.items() if keep or not k.startswith('policy.')},
                        strict=False)
    net.requires_grad_(False)
    net.policy.requires_grad_(True)
    learned = [*net.policy.parameters(), *(recall.parameters() if recall else ())]
    return net, recall, torch.optim.AdamW(learned, recipe.imitation_rate, weight_decay=1e-3)


def _policy_state(net: PilotNet) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in net.policy.state_dict().items()}


def train_on_flights(recipe: 'Recipe', out: Path, grounded: Path, flights: Path) -> PilotNet:
    """
    Fit a policy to the flights of another run, with as many steps: same data, same budget.

    Goes on from its checkpoint, ``on_flights.pt``, if there is one.

    Parameters
    ----------
    recipe : Recipe
        Sizes, seed and rates.
    out : Path
        Folder of the run.
    grounded : Path
        ``grounding.pt`` of stage 1, or a pilot in the shipped format.
    flights : Path
        Folder of the run whose ``flights_*.npz`` to learn from.

    Raises
    ------
    ConfigError
        `flights` holds none, or shorter ones than the window; or the recipe, the flights or
        what is grounded are not those of the checkpoint.
    CheckpointError
        A checkpoint, or a file of flights, is corrupt.

    """
    from edge_vla.training.export import export_pilot
    files = sorted(flights.glob('flights_*.npz'))
    if not files:
        raise ConfigError(f'{flights} holds no flights_*.npz: run the imitation stage there first')
    check(recipe, True)
    blocks = [_load(f) for f in files]
    shortest = min(len(block['dt']) for block in blocks)
    if shortest < recipe.window:
        raise ConfigError(f'window is {recipe.window}: the flights in {flights} have {shortest} '
                          'frames; choose a smaller one')
    net, recall, optimiser = _grounded(recipe, grounded)
    path = out / 'on_flights.pt'
    sources = [(f.name, f.stat().st_size) for f in files], digest(grounded)
    start = resume(path, recipe, 'iterations', sources=sources, net=net, recall=recall,
                   optimiser=optimiser).get('iteration', 0)
    bar = tqdm(range(start, recipe.iterations), f'{recipe.policy} on flights', initial=start,
               total=recipe.iterations, mininterval=5)
    for k in bar:
        rng = np.random.default_rng([recipe.seed, k])
        loss = learn(net, recall, optimiser, blocks, rng, k, recipe)
        bar.set_postfix({'loss': f'{loss:.4f}'})
        record(out / 'imitation.jsonl', {'iteration': k + 1, 'loss': round(loss, 5)})
        if k + 1 == recipe.iterations:
            record(out / 'imitation.jsonl', evaluate(net, 77, recipe.evaluated, recipe.wide))
        save(path, net=net.state_dict(), optimiser=optimiser.state_dict(), iteration=k + 1,
             recall=recall and recall.state_dict(), recipe=asdict(recipe), sources=sources)
    export_pilot(net, recipe, out)
    return net
