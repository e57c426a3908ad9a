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
How long a step of a liquid cell takes, alone and in a batch, beside ncps on torch if installed.

``python benchmarks/liquid_cells.py [--rounds N] [--json FILE]``. The CfC is the pilot's size; the
LTC and the wired CfC have as many units as the published driving policies. Ours and theirs take
turns, one thread each; the median and the fastest of the rounds are reported, in microseconds.
"""

import argparse
from collections.abc import Callable
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from edge_vla.evaluation.language_speed import machine
from edge_vla.policy.cells import Cell
from edge_vla.policy.cfc import CfC
from edge_vla.policy.liquid import BACKBONE, INPUTS, LiquidPolicy, UNITS
from edge_vla.policy.ltc import LTC
from edge_vla.policy.wiring import AutoNCP, Wiring
from edge_vla.vision import layout
import numpy as np

MOTORS, NEURONS = 4, 28
CALLS = 100  # per round


def random_tensors(rng: np.random.Generator, shapes: dict[str, tuple[int, ...]],
                   prefix: str = 'rnn_cell.') -> dict[str, np.ndarray]:
    """Return small random weights; speed does not depend on what they are."""
    return {prefix + name: rng.uniform(.01, .1, shape).astype(np.float32)
            for name, shape in shapes.items()}


def cfc_shapes(joined: int, below: int, units: int, prefix: str = '') -> dict[str, tuple]:
    """Return shapes of a CfC; without a backbone `below` is `joined`."""
    shapes = {} if below == joined else {'backbone.0.weight': (below, joined),
                                         'backbone.0.bias': (below,)}
    for name in ('ff1', 'ff2', 'time_a', 'time_b'):
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = (units, below), (units,)
    return {prefix + name: shape for name, shape in shapes.items()}


def ltc_shapes(wiring: Wiring) -> dict[str, tuple]:
    """Return shapes of an LTC."""
    shapes = dict.fromkeys(('gleak', 'cm', 'vleak'), (wiring.units,))
    for kind, matrix in (('', wiring.adjacency), ('sensory_', wiring.sensory_adjacency)):
        shapes |= {f'{kind}{name}': matrix.shape for name in ('mu', 'sigma', 'w', 'erev')}
    return shapes


def our_cells() -> dict[str, Cell]:
    """Return the cells to time."""
    rng = np.random.default_rng(0)
    wiring = AutoNCP(NEURONS, MOTORS).build(INPUTS)
    wired = {}
    for i, mask in enumerate(wiring.masks()):
        wired |= cfc_shapes(mask.shape[0], mask.shape[0], mask.shape[1], f'layer_{i}.')
    return {
        'cfc': CfC.from_tensors(random_tensors(
            rng, cfc_shapes(INPUTS + UNITS, BACKBONE, UNITS))),
        'cfc_wired': CfC.from_tensors(random_tensors(rng, wired), wiring=wiring),
        'ltc_wired': LTC.from_tensors(random_tensors(rng, ltc_shapes(wiring)), wiring=wiring)}


def our_call(cell: Cell, batch: int) -> Callable[[], Any]:
    """Return a step to time."""
    x, dt = np.ones((batch, cell.inputs), np.float32), np.full(batch, .3, np.float32)
    state = cell.initial(batch)
    return lambda: cell.advance(x, dt, state)


def policy_call() -> Callable[[], Any]:
    """Return a step of the whole policy: features in, action out."""
    tensors = random_tensors(np.random.default_rng(0), {
        name.replace('backbone.0', 'backbone'): shape
        for name, shape in cfc_shapes(INPUTS + UNITS, BACKBONE, UNITS).items()}, 'policy.cell.')
    tensors |= random_tensors(np.random.default_rng(1), {
        'head.weight': (4, UNITS), 'head.bias': (4,)}, 'policy.')
    policy = LiquidPolicy(tensors)
    features = np.ones(layout.VISION_FEATURES, np.float32)
    context = np.ones(INPUTS - layout.VISION_FEATURES - layout.MOTION_FEATURES, np.float32)
    return lambda: policy.step(features, None, context, .03)


def their_calls() -> dict[tuple[str, int], Callable[[], Any]]:
    """Return the same steps by ncps, none where it or torch is not installed."""
    try:
        from ncps import wirings
        from ncps.torch import CfCCell, LTCCell, WiredCfCCell
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    cells = {'cfc': (CfCCell(INPUTS, UNITS, backbone_units=BACKBONE), UNITS),
             'cfc_wired': (WiredCfCCell(INPUTS, wirings.AutoNCP(NEURONS, MOTORS)), NEURONS),
             'ltc_wired': (LTCCell(wirings.AutoNCP(NEURONS, MOTORS), INPUTS,
                                   implicit_param_constraints=True), NEURONS)}

    def call(cell: Any, units: int, batch: int) -> Callable[[], Any]:
        # one elapsed time for all: the only batch that ncps gets right
        x, h = torch.ones(batch, INPUTS), torch.zeros(batch, units)

        def step() -> None:
            with torch.inference_mode():
                cell(x, h, .3)
        return step

    return {(name, batch): call(*cell, batch) for name, cell in cells.items()
            for batch in (1, 32)}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    calls = {('edge_vla', name, batch): our_call(cell, batch)
             for name, cell in our_cells().items() for batch in (1, 32)}
    calls['edge_vla', 'policy', 1] = policy_call()
    calls |= {('ncps', *key): call for key, call in their_calls().items()}
    times = {key: [] for key in calls}
    for call in calls.values():
        call()
    before = machine()
    for _ in range(args.rounds):
        for key, call in calls.items():
            start = perf_counter()
            for _ in range(CALLS):
                call()
            times[key].append((perf_counter() - start) / CALLS * 1e6)
    rows = [{'engine': engine, 'cell': name, 'batch': batch, 'median_us': round(median(found), 2),
             'fastest_us': round(min(found), 2)}
            for (engine, name, batch), found in times.items()]
    print(f'{"engine":9} {"cell":10} {"batch":>5} {"median us":>10} {"fastest us":>10}')
    for row in rows:
        print(f'{row["engine"]:9} {row["cell"]:10} {row["batch"]:5} {row["median_us"]:10.1f} '
              f'{row["fastest_us"]:10.1f}')
    if args.json:
        args.json.write_text(json.dumps({'machine': before, 'results': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
