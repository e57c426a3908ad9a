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
What the pilot's eye tells right in labelled pictures under shifts, without flying.

Every object of 16 pixels or more is asked for, and in every picture one that is not there but has
its colour or its shape. ``python benchmarks/sight_under_shifts.py --json out/sight.json``
"""

import argparse
from collections.abc import Iterator
import json
from pathlib import Path
from typing import NamedTuple

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import CameraConfig
from edge_vla.evaluation.language_speed import machine
from edge_vla.language.plan import COLOURS, Plan, SHAPES
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.policy.liquid import Grounding
from edge_vla.sim.raycast import render
from edge_vla.sim.scene import sample_scene
from edge_vla.sim.scene_shift import shift_scene
from edge_vla.sim.sensors import Lens
from edge_vla.sim.shifts import find
from edge_vla.sim.tasks import TASKS
from edge_vla.training.grounding import FrameSampler, labels
from edge_vla.vision import encoder as eye, layout
import numpy as np

SHIFTS = ('none', 'winter', 'autumn', 'urban', 'sunset', 'night', 'gamma', 'occlusion', 'fog')
CAMERA = CameraConfig(width=160, height=120)
POSES = 4  # in every scene
LEAST_PX = 16
SURE = .5
NEAR, FREE, CLOSE = .2, .03, .3  # nearness that counts as an obstacle, as none, as a close one


class Picture(NamedTuple):
    """A picture uint8 [120, 160, 3], what each small pixel shows, its distance, the names."""

    image: np.ndarray
    ids: np.ndarray
    depth: np.ndarray
    names: list[tuple[str, str]]


def pictures(shift: str, scenes: int, seed: int) -> Iterator[Picture]:
    """Yield labelled pictures of random scenes under a shift, from random places."""
    effect = find(shift)
    for k in range(scenes):
        rng, *others = (np.random.default_rng([seed, k, part]) for part in range(4))
        task = str(rng.choice(TASKS))
        scene = shift_scene(sample_scene(rng, task), effect, task, *others[:2])
        lens = Lens(effect, CAMERA, others[2])
        rows, count = scene.rows(), len(scene.objects)
        for _ in range(POSES):
            position, rotation = FrameSampler(rng).pose(rows, count)
            if lens.mount is not None:
                rotation = rotation @ lens.mount
            image = np.empty((CAMERA.height, CAMERA.width, 3), np.uint8)
            small = (layout.HEIGHT, layout.WIDTH)
            ids, depth = np.empty(small, np.int8), np.empty(small, np.float32)
            for out in ((image, np.zeros((0, 0), np.int8), np.zeros((0, 0), np.float32)),
                        (np.empty((*small, 3), np.uint8), ids, depth)):
                render(*out, rows, count, position, rotation, lens.tan_half, scene.light)
            lens.spoil(image, 0)
            yield Picture(image, ids, depth, [(o.colour, o.shape) for o in scene.target_first])


def absent(rng: np.random.Generator, names: list[tuple[str, str]]) -> tuple[str, str]:
    """Return what is not there, with the colour or the shape of the first that is."""
    near = [pair for pair in ((c, s) for c in COLOURS for s in SHAPES) if pair not in names
            and (pair[0] == names[0][0] or pair[1] == names[0][1])]
    return near[int(rng.integers(len(near)))]


def ask(grounding: Grounding, tokens: np.ndarray, pair: tuple[str, str]) -> int | None:
    """Return the token where a colour and shape are seen, or None."""
    grounding.attend(Plan('go', *pair).vector())
    grounding.look(tokens)
    seen = grounding.probability
    return int(seen.argmax()) if seen.max() > SURE else None


def measure(model: Path, shift: str, scenes: int, seed: int) -> dict[str, float]:
    """Return shares: targets found, taken for others, false alarms, ghosts, obstacles."""
    tensors = read_safetensors(model / 'policy.safetensors')[0]
    encoder, grounding = eye.PatchEncoder(tensors), Grounding(tensors)
    rng = np.random.default_rng([seed, 9])
    found, elsewhere, alarms, ghosts, obstacles = [], [], [], [], []
    for picture in pictures(shift, scenes, seed):
        encoder.reset()
        tokens = encoder.encode(picture.image)
        names, n = picture.names, len(picture.names)
        coverage, (near, *_), _ = labels(*(np.repeat(a[None], n, 0) for a in (
            picture.ids, picture.depth)), np.arange(n))
        for j, pair in enumerate(names):
            if (picture.ids == j).sum() < LEAST_PX:
                continue
            token = ask(grounding, tokens, pair)
            found.append(token is not None and coverage[j, token] > 0)
            elsewhere.append(token is not None and coverage[j, token] == 0)
        alarms.append(ask(grounding, tokens, absent(rng, names)) is not None)
        told = np.maximum(tokens @ tensors['grounding.near.weight'][0]
                          + tensors['grounding.near.bias'][0], 0)
        ghosts += list(told[near < FREE] > NEAR)
        obstacles += list(told[near > CLOSE] > NEAR)
    return {'found': np.mean(found), 'elsewhere': np.mean(elsewhere), 'asked': len(found),
            'false_alarms': np.mean(alarms), 'ghosts': np.mean(ghosts),
            'obstacles': np.mean(obstacles)}


def main() -> int:
    """Print a row for every shift."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', type=Path, default=SHIPPED_MODEL, help='folder of a pilot')
    parser.add_argument('--shifts', default=','.join(SHIFTS), metavar='A,B,...')
    parser.add_argument('--scenes', type=int, default=150, help=f'of {POSES} pictures each')
    parser.add_argument('--seed', type=int, default=3)
    parser.add_argument('--as-it-comes', action='store_true', help='dark pictures stay dark')
    parser.add_argument('--json', type=Path, metavar='FILE')
    args = parser.parse_args()
    if args.as_it_comes:
        eye.expose = lambda image: None
    rows = {}
    print(f'{"shift":>14} {"found":>7} {"elsewhere":>10} {"false alarms":>13} {"ghosts":>7} '
          f'{"obstacles":>10}')
    for shift in args.shifts.split(','):
        row = rows[shift] = {k: round(float(v), 4) for k, v in measure(
            args.model, shift, args.scenes, args.seed).items()}
        print(f'{shift:>14} {row["found"]:7.3f} {row["elsewhere"]:10.3f} '
              f'{row["false_alarms"]:13.3f} {row["ghosts"]:7.3f} {row["obstacles"]:10.3f}',
              flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({
            'machine': machine(), 'exposed': not args.as_it_comes, 'scenes': args.scenes,
            'seed': args.seed, 'shifts': rows}, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
