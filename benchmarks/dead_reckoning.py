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
What true elapsed time is worth to the pilot's cell where memory counts: it learns to remember.

A vehicle turns, its gyroscope is read whenever a frame comes, and a target is seen for a while and
then no more: where is it now? Frames come at 5 to 60 Hz, each sequence at its own rate, and up to
half of them are lost. The CfC cell of the pilot (its units, its backbone) learns this with true
time and with every step taken for 1/30 s; same seeds, same sequences, same number of steps.

``python benchmarks/dead_reckoning.py --json benchmarks/results/dead_reckoning.json``
"""

import argparse
import json
from pathlib import Path

from edge_vla.evaluation.language_speed import machine
from edge_vla.policy.liquid import BACKBONE, TIME_UNIT, UNITS
from edge_vla.training.pilot_torch import CfCCell
import numpy as np
import torch
from torch import nn, Tensor
from tqdm import trange

LENGTH = 48  # frames
FINE_HZ = 240  # of the simulated turning
TURN, SETTLES_S = .8, .7  # rad/s, standard deviation of the yaw rate, and how fast it changes
RATES = {'5 Hz': (5, 0.), '10 Hz': (10, 0.), '20 Hz': (20, 0.), '30 Hz': (30, 0.),
         '60 Hz': (60, 0.), '30 Hz, 30 % lost': (30, .3), '30 Hz, 60 % lost': (30, .6)}
HIDDEN_S = .25, 1.0  # since the target was last seen, for the errors that are told


class Net(nn.Module):
    """The cell and what reads the direction off it."""

    def __init__(self, timed: bool) -> None:
        super().__init__()
        self.timed = timed
        self.cell, self.read = CfCCell(4, UNITS, BACKBONE), nn.Linear(UNITS, 2)

    def forward(self, x: Tensor, dt: Tensor) -> Tensor:
        """X [T, B, 4], dt [T, B] s -> cosine and sine of the direction [T, B, 2]."""
        h, out = x.new_zeros(x.shape[1], UNITS), []
        units = (dt / TIME_UNIT if self.timed else torch.ones_like(dt))[..., None]
        for k in range(len(x)):
            h = self.cell(x[k], h, units[k])
            out.append(h)
        return self.read(torch.stack(out))


def draw(rng: np.random.Generator, batch: int, rate: float | None = None,
         lost: float | None = None) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """
    Draw sequences.

    Returns
    -------
    tuple
        Inputs [T, B, 4] (cosine and sine of the direction and 1, all 0 where it is not seen; yaw
        rate), dt [T, B] s, directions [T, B] rad, and seconds since the target was last seen.

    """
    hz = np.full(batch, rate) if rate else np.exp(rng.uniform(np.log(5), np.log(60), batch))
    part = np.full(batch, lost) if lost is not None else rng.uniform(0, .5, batch)
    gaps = rng.geometric(1 - part[:, None].repeat(LENGTH, 1))  # frames, 1 where none is lost
    dt = gaps / hz[:, None]
    dt[:, 0] = 1 / 30  # nothing came before
    at = np.cumsum(dt, 1)
    fine = int(np.ceil(at.max() * FINE_HZ)) + 2
    fade = np.exp(-1 / (FINE_HZ * SETTLES_S))
    turn = np.zeros((batch, fine))
    turn[:, 0] = rng.normal(0, TURN, batch)
    push = rng.normal(0, TURN * np.sqrt(1 - fade ** 2), (batch, fine))
    for k in range(1, fine):
        turn[:, k] = fade * turn[:, k - 1] + push[:, k]
    index = np.round(at * FINE_HZ).astype(int)
    turned = np.cumsum(turn, 1) / FINE_HZ
    rows = np.arange(batch)[:, None]
    where = rng.uniform(-np.pi, np.pi, batch)[:, None] - turned[rows, index]
    last = rng.integers(2, 10, batch)  # frame that shows it last
    seen = np.arange(LENGTH) <= last[:, None]
    x = np.stack([np.cos(where) * seen, np.sin(where) * seen, seen, turn[rows, index]], -1)
    since = np.maximum(0, at - at[np.arange(batch), last][:, None])
    return (torch.as_tensor(x.swapaxes(0, 1), dtype=torch.float32),
            torch.as_tensor(dt.T, dtype=torch.float32), where.T, since.T)


def train(timed: bool, seed: int, steps: int) -> Net:
    """Return a trained net."""
    torch.manual_seed(seed)
    rng, net = np.random.default_rng([seed, 1]), Net(timed)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=.1)
    for _ in trange(steps, desc=f'timed {timed}, seed {seed}', mininterval=5):
        x, dt, where, _ = draw(rng, 64)
        wanted = torch.as_tensor(np.stack([np.cos(where), np.sin(where)], -1),
                                 dtype=torch.float32)
        loss = (net(x, dt) - wanted).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        plan.step()
    return net


def errors(net: Net, rate: float, lost: float) -> float:
    """Return the mean error of the direction while the target is hidden, degrees."""
    x, dt, where, since = draw(np.random.default_rng([99, int(rate), int(100 * lost)]), 1000, rate,
                               lost)
    with torch.no_grad():
        read = net(x, dt).numpy()
    off = np.arctan2(read[..., 1], read[..., 0]) - where
    hidden = (since >= HIDDEN_S[0]) & (since <= HIDDEN_S[1])
    return float(np.degrees(np.abs(np.arctan2(np.sin(off), np.cos(off)))[hidden].mean()))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {name: {'true': [], 'fixed': []} for name in RATES}
    for seed in range(args.seeds):
        for timed in (True, False):
            net = train(timed, seed, args.steps)
            for name, (rate, lost) in RATES.items():
                found[name]['true' if timed else 'fixed'].append(round(errors(net, rate, lost), 2))
    print(f'mean error {HIDDEN_S[0]} to {HIDDEN_S[1]} s after the target was last seen, degrees; '
          f'{args.seeds} seeds')
    for name, row in found.items():
        print(f'{name:>18}  true time {np.mean(row["true"]):5.1f} '
              f'({min(row["true"])} to {max(row["true"])})  1/30 s {np.mean(row["fixed"]):5.1f} '
              f'({min(row["fixed"])} to {max(row["fixed"])})')
    if args.json:
        args.json.write_text(json.dumps({'machine': machine(), 'steps': args.steps,
                                         'degrees': found}, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
