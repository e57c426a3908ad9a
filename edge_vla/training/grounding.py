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
Stage 1, grounding: which patch of the picture is what the instruction asks for.

Random scenes from random poses, every patch labelled by the ray-caster. The labels are what a
policy loss could only hint at, so the encoder is good before the first flight.
"""

from functools import lru_cache
import math

import cv2
from edge_vla.language.plan import COLOURS, CONTEXT_SIZE, Plan, SHAPES, UNSEEN_PAIRS, VERBS
from edge_vla.sim.raycast import A, FAR, OBJECT_COLUMNS, render_batch, surface_distance
from edge_vla.sim.scene import MAX_OBJECTS, sample_light, sample_scene, Scene
from edge_vla.sim.sensors import nearest
from edge_vla.sim.tasks import TASKS
from edge_vla.training.pilot_torch import PilotNet
from edge_vla.vision import layout
from edge_vla.vision.exposure import expose
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F  # noqa: N812

RECOGNITION = 4.0  # weight of the loss that asks for every pair
TRAIN_STYLES = ('meadow', 'random')  # the named seasons stay unseen, for the shift suite
WIDE_STYLES = ('meadow', 'wide')
CLEAR = .4  # share of pictures that are not spoilt while hard ones are learned from clear ones
DIRTY = .15  # share of lenses with dirt on them there
TINTED = .5  # share of cameras with a wrong white balance there
TINT = .3  # by how much red and blue are wrong at most, one up and the other down


def soften(rng: np.random.Generator, vector: np.ndarray) -> np.ndarray:
    """Make a certain context vector as uncertain as a language head might."""
    out = vector.copy()
    start = 0
    for size in (len(VERBS), len(COLOURS), len(SHAPES)):
        slot = slice(start, start + size)
        e = rng.uniform(0, .12) if rng.random() < .3 else rng.uniform(0, .01)
        out[slot] = (1 - e) * out[slot] + e * out[slot].sum() * rng.dirichlet(np.ones(size))
        start += size
    return out


def labels(ids: np.ndarray, depth: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """
    Turn per-pixel object indices into per-token labels.

    Parameters
    ----------
    ids : int8 [N, 72, 96]
        Object seen by each pixel.
    depth : float32 [N, 72, 96]
        Its distance, m.
    target : int [N]
        Object index asked for, -1 for one that is not in the scene.

    Returns
    -------
    tuple
        coverage float32 [N, TOKENS] of the target; nearness float32 [N, TOKENS], 1/(1+m) of
        the nearest object surface, 0 without one; kind int64 [N, TOKENS], index of the object
        that covers most, -1 where objects cover less than 30 %.

    """
    n, p = len(ids), layout.PATCH
    patches = ids.reshape(n, layout.ROWS, p, layout.COLUMNS, p).transpose(0, 1, 3, 2, 4)
    patches = patches.reshape(n, layout.TOKENS, p * p)
    near = depth.reshape(n, layout.ROWS, p, layout.COLUMNS, p).transpose(0, 1, 3, 2, 4)
    near = near.reshape(n, layout.TOKENS, p * p)
    wanted = np.where(target < 0, 99, target)[:, None, None]
    coverage = (patches == wanted).mean(-1, dtype=np.float32)
    nearness = (1 / (1 + np.where(patches >= 0, near, FAR))).max(-1).astype(np.float32)
    counts = np.stack([(patches == k).sum(-1) for k in range(MAX_OBJECTS)], -1)
    kind = np.where(counts.max(-1) > .3 * p * p, counts.argmax(-1), -1)
    return coverage, nearness, kind


class FrameSampler:
    """
    Random scenes from random poses with labels.

    Parameters
    ----------
    rng : numpy.random.Generator
    scenes, poses : int
        A batch holds scenes x poses frames.
    wide : bool
        More kinds of light and ground; every frame comes in the light of a meadow too.

    """

    def __init__(self, rng: np.random.Generator, scenes: int = 16, poses: int = 8,
                 wide: bool = False) -> None:
        self.rng, self.scenes, self.poses, self.wide = rng, scenes, poses, wide

    def pose(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw where the camera is, m [3], and its rotation to the world [3, 3]."""
        rng = self.rng
        while True:
            o = rows[rng.integers(count)]
            away = o[A] + math.exp(rng.uniform(math.log(.5), math.log(9.)))
            angle = rng.uniform(-math.pi, math.pi)
            p = np.array([o[1] + away * math.cos(angle), o[2] + away * math.sin(angle),
                          rng.uniform(.3, 2.8)])
            if min(surface_distance(rows[k], *p) for k in range(count)) > .15:
                break
        yaw = angle + math.pi + rng.uniform(-.8, .8)
        if rng.random() < .2:
            yaw = rng.uniform(-math.pi, math.pi)
        roll, pitch = rng.normal(0, .08), rng.normal(0, .12)  # cameras are mounted askew
        cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
        cy, sy = math.cos(yaw), math.sin(yaw)
        r = np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                      [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                      [-sp, cp * sr, cp * cr]])
        return p, r

    def _query(self, scene: Scene) -> tuple[int, np.ndarray]:
        rng = self.rng
        verb = VERBS[rng.integers(4)]
        k = int(rng.integers(len(scene.objects)))
        o = scene.objects[k]
        plan = Plan(verb, o.colour, o.shape)
        if rng.random() < .2:
            while scene.find(plan.colour, plan.shape) is not None:
                u = rng.random()  # near misses: one property right
                plan = Plan(verb, o.colour if u < .4 else COLOURS[rng.integers(8)],
                            o.shape if u > .6 else SHAPES[rng.integers(4)])
                if (plan.colour, plan.shape) in UNSEEN_PAIRS:
                    plan = Plan(verb, o.colour, o.shape)
            k = -1
        return k, soften(rng, plan.vector())

    def batch(self) -> dict[str, np.ndarray]:
        """Return images, perhaps clear ones, contexts, labels and places of one batch."""
        rng, n = self.rng, self.scenes * self.poses
        styles, share = (WIDE_STYLES, .5) if self.wide else (TRAIN_STYLES, .6)
        rows = np.zeros((n, MAX_OBJECTS, OBJECT_COLUMNS))
        counts = np.zeros(n, np.int64)
        positions, rotations = np.zeros((n, 3)), np.zeros((n, 3, 3))
        scenes, target = [], np.zeros(n, np.int64)
        context, clear = np.zeros((n, CONTEXT_SIZE), np.float32), []
        for i in range(self.scenes):
            style = styles[rng.random() < share]
            scene = sample_scene(rng, str(rng.choice(TASKS)), style, count=(2, 7),
                                 without=UNSEEN_PAIRS)
            if self.wide:
                clear += [scene.light if style == styles[0] else sample_light(rng, styles[0])
                          ] * self.poses
            r = scene.rows()
            for j in range(i * self.poses, (i + 1) * self.poses):
                rows[j], counts[j] = r, len(scene.objects)
                positions[j], rotations[j] = self.pose(r, counts[j])
                target[j], context[j] = self._query(scene)
                scenes.append(scene)
        lights = np.stack([s.light for s in scenes])
        zoom = 2 if rng.random() < .4 else 1  # some of the batches are smoothed like a real lens
        h, w = layout.HEIGHT * zoom, layout.WIDTH * zoom
        pictures = {'images': np.empty((n, h, w, 3), np.uint8)}
        ids, depth = np.empty((n, h, w), np.int8), np.empty((n, h, w), np.float32)
        render_batch(pictures['images'], ids, depth, rows, counts, positions, rotations,
                     layout.TAN_HALF, lights)
        if self.wide:
            pictures['clear'] = np.empty((n, h, w, 3), np.uint8)
            render_batch(pictures['clear'], np.zeros((n, 0, 0), np.int8),
                         np.zeros((n, 0, 0), np.float32), rows, counts, positions, rotations,
                         layout.TAN_HALF, np.stack(clear))
        if zoom > 1:
            pictures = {name: np.stack([
                cv2.resize(im, (layout.WIDTH, layout.HEIGHT), interpolation=cv2.INTER_AREA)
                for im in images]) for name, images in pictures.items()}
            ids, depth = ids[:, ::zoom, ::zoom], depth[:, ::zoom, ::zoom]
        coverage, nearness, kind = labels(ids, depth, target)
        colour, shape = np.full_like(kind, -1), np.full_like(kind, -1)
        located = np.zeros((n, layout.LOCATED), np.float32)
        for j, s in enumerate(scenes):
            seen = kind[j] >= 0
            colour[j, seen] = [COLOURS.index(s.objects[k].colour) for k in kind[j, seen]]
            shape[j, seen] = [SHAPES.index(s.objects[k].shape) for k in kind[j, seen]]
            located[j] = locate(rows[j, max(target[j], 0)], positions[j], rotations[j])
        return pictures | {'context': context, 'coverage': coverage, 'nearness': nearness,
                           'colour': colour, 'shape': shape, 'located': located}


def locate(row: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return bearing (rad, in the heading frame), elevation (m) and log gap of an object."""
    d = row[1:4] - position
    yaw = math.atan2(rotation[1, 0], rotation[0, 0])
    bearing = math.atan2(d[1], d[0]) - yaw
    bearing = math.atan2(math.sin(bearing), math.cos(bearing))
    gap = max(0., math.hypot(d[0], d[1]) - row[A])
    return np.array([bearing, max(-1.5, min(1.5, d[2])), math.log(gap + layout.LOG_GAP_OFFSET)],
                    np.float32)


def augment(generator: torch.Generator, images: Tensor, strength: float = 1.0) -> Tensor:
    """
    Vary light, exposure, colour cast, noise, blur and cover parts of frames.

    Parameters
    ----------
    generator : torch.Generator
        Source of all chance.
    images : Tensor
        uint8 [N, H, W, 3].
    strength : float
        0 leaves the frames nearly as they are, 1 is what the pilot has to bear.

    Returns
    -------
    Tensor
        uint8 [N, H, W, 3].

    """
    n, h, w = images.shape[:3]

    def rand(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator)

    x = images.float()
    gain = 1 + (rand(n, 1, 1, 1) * .9 - .45) * strength
    cast = 1 + (rand(n, 1, 1, 3) - .5) * .2 * strength
    offset = (rand(n, 1, 1, 1) - .5) * 60 * strength
    x = (x - 110) * gain * cast + 110 + offset
    ramp = torch.linspace(-.5, .5, w) * (rand(n, 1, 1, 1) - .5)
    x = x * (1 + (ramp.transpose(2, 3) + torch.linspace(-.5, .5, h).view(1, h, 1, 1)
                  * (rand(n, 1, 1, 1) - .5)) * (rand(n, 1, 1, 1) < .4 * strength))
    kind = rand(n) / max(strength, 1e-3)
    for low, size in ((0., (3, 3)), (.12, (5, 5)), (.18, (1, 5)), (.24, (5, 1))):
        which = (kind >= low) & (kind < low + (.12 if low == 0 else .06))
        if which.any():
            v, u = size[0] // 2, size[1] // 2
            part = F.pad(x[which].permute(0, 3, 1, 2), (u, u, v, v), 'replicate')
            x[which] = F.avg_pool2d(part, size, 1).permute(0, 2, 3, 1)
    noise = torch.randn(x.shape, generator=generator) * (rand(n, 1, 1, 1) ** 2 * 24 * strength)
    x = x + noise
    for i in torch.nonzero(rand(n) < .2 * strength)[:, 0].tolist():
        for _ in range(1 + int(rand(1) * 3)):
            v, u = int(rand(1) * (h - 8)), int(rand(1) * (w - 8))
            x[i, v:v + 4 + int(rand(1) * 16), u:u + 4 + int(rand(1) * 16)] = float(rand(1) * 255)
    return x.clamp_(0, 255).to(torch.uint8)


def draw_dirt(rng: np.random.Generator, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw what is under dirt on a lens, bool [h, w], and its colour, float64 [3]."""
    centres = rng.random((rng.integers(1, 7), 2)) * (h, w)
    colour = (rng.uniform(10, 60) + rng.normal(0, 6, 3) if rng.random() < .6
              else rng.uniform(0, 255, 3))
    return nearest(centres, h, w, rng.uniform(.02, .15)), np.clip(colour, 0, 255)


def draw_tint(rng: np.random.Generator) -> np.ndarray:
    """Draw by what a camera's white balance multiplies its channels, float32 [3]."""
    warmer = rng.uniform(-TINT, TINT) if rng.random() < TINTED else 0.
    return np.array([1 + warmer, 1, 1 - warmer], np.float32)


def tint(images: np.ndarray, tints: np.ndarray) -> None:
    """Multiply the channels of frames, uint8 [N, H, W, 3], by tints, float32 [N, 3], in place."""
    for image, by in zip(images, tints, strict=True):
        if (by != 1).any():
            image[:] = np.minimum(image * by, 255)


def spoil(rng: np.random.Generator, generator: torch.Generator, images: np.ndarray) -> np.ndarray:
    """Return frames, uint8 [N, H, W, 3], as hard as a pilot has to bear, exposed as in flight."""
    hard = images.copy()
    for i in np.flatnonzero(rng.random(len(hard)) < DIRTY):
        dirty, colour = draw_dirt(rng, *hard.shape[1:3])
        hard[i][dirty] = colour
    hard = augment(generator, torch.as_tensor(hard), rng.random()).numpy()
    tint(hard, np.stack([draw_tint(rng) for _ in hard]))
    kept = rng.random(len(images)) < CLEAR
    hard[kept] = images[kept]
    for image in hard:
        expose(image)
    return hard


class Frames(torch.utils.data.Dataset):
    """
    Training batches, each a pure function of (seed, step).

    Every rendered batch is used twice, `DELAY` steps apart and augmented anew, because
    rendering costs as much as learning. Augmentation grows over the first `RAMP` of the steps:
    that an object needs the right colour *and* the right shape is learned first on clear
    pictures, and then kept.

    Parameters
    ----------
    seed, steps : int
        Seed of everything and number of batches.
    wide : bool
        As for `FrameSampler`; then all pictures but the share `CLEAR` are hard from the start.

    """

    DELAY = 64
    RAMP = .4

    def __init__(self, seed: int, steps: int, wide: bool = False) -> None:
        self.seed, self.steps, self.wide = seed, steps, wide
        self._rendered = lru_cache(self.DELAY // 2 + 2)(self._render)

    def __len__(self) -> int:
        return self.steps

    def _render(self, k: int) -> dict[str, np.ndarray]:
        return FrameSampler(np.random.default_rng([self.seed, k]), wide=self.wide).batch()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        k = (step - self.DELAY if step % 2 and step >= self.DELAY else step) // 2
        batch = {name: torch.as_tensor(v) for name, v in self._rendered(k).items()}
        generator = torch.Generator().manual_seed((self.seed << 32) + step)
        if self.wide:
            rng = np.random.default_rng([self.seed, step, 1])
            hard = spoil(rng, generator, self._rendered(k)['images'])
            return batch | {'images': torch.as_tensor(hard)}
        strength = min(1.0, .25 + .75 * step / (self.RAMP * self.steps))
        return batch | {'images': augment(generator, batch['images'], strength)}


@lru_cache(1)
def known_pairs() -> tuple[Tensor, Tensor]:
    """Return contexts [P, CONTEXT_SIZE] of the pairs in training, and each pair's row or -1."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    rows, known = torch.full((len(pairs),), -1), []
    for k, pair in enumerate(pairs):
        if pair not in UNSEEN_PAIRS:
            rows[k] = len(known)
            known.append(Plan('go', *pair).vector())
    return torch.as_tensor(np.stack(known)), rows


def recognition_loss(net: PilotNet, tokens: Tensor, colour: Tensor, shape: Tensor) -> Tensor:
    """
    Ask every pair of colour and shape of every token on an object, and of as many others.

    One instruction a frame shows the network few objects that have one property right and one
    wrong; asking for all of them teaches the conjunction many times sooner.

    Parameters
    ----------
    net : PilotNet
        Its grounding head answers.
    tokens : Tensor
        float32 [N, TOKENS, CHANNELS].
    colour, shape : Tensor
        int64 [N, TOKENS], what covers a token, -1 for the background.

    Returns
    -------
    Tensor
        Mean binary cross-entropy, a scalar.

    """
    contexts, rows = known_pairs()
    colour, shape, flat = colour.flatten(), shape.flatten(), tokens.flatten(0, 1)
    objects = torch.nonzero(colour >= 0)[:, 0]
    empty = torch.nonzero(colour < 0)[:, 0]
    empty = empty[::max(1, len(empty) // max(1, len(objects)))]
    score = net.grounding.recognise(torch.cat([flat[objects], flat[empty]]), contexts)
    label = torch.zeros_like(score)
    label[torch.arange(len(objects)), rows[colour[objects] * len(SHAPES) + shape[objects]]] = 1
    return F.binary_cross_entropy_with_logits(score, label,
                                              pos_weight=torch.tensor(4.)) * RECOGNITION


def encode(net: PilotNet, images: Tensor, half: bool) -> Tensor:
    """Return the tokens of frames, float32 [N, TOKENS, CHANNELS]; `half` means in bfloat16."""
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        tokens = net.encoder(torch.as_tensor(images))
    return tokens.float()


def likeness_loss(tokens: Tensor, wanted: Tensor, colour: Tensor) -> Tensor:
    """
    Tell how far the tokens of hard pictures are from those that clear ones should have.

    What reads the tokens then reads on, in any light, without being trained anew (distillation
    of features, Romero et al. 2015, between two views of the same scene).

    Parameters
    ----------
    tokens, wanted : Tensor
        float32 [N, TOKENS, CHANNELS].
    colour : Tensor
        int64 [N, TOKENS], -1 where there is no object; objects count four times.

    Returns
    -------
    Tensor
        Mean square in units of the variance of each channel, a scalar.

    """
    error = ((tokens - wanted) ** 2 / (wanted.flatten(0, 1).var(0) + 1e-3)).mean(-1)
    weight = 1 + 3 * (colour >= 0).float()
    return (error * weight).sum() / weight.sum()


def grounding_loss(net: PilotNet, batch: dict[str, Tensor], half: bool = False,
                   teacher: PilotNet | None = None,
                   likeness: float = 0.) -> tuple[Tensor, dict[str, float]]:
    """
    Return the loss of one batch and its readings.

    Parameters
    ----------
    net : PilotNet
        What learns.
    batch : dict of str to Tensor
        Of `Frames`.
    half : bool
        Encode in bfloat16.
    teacher : PilotNet, optional
        Whose tokens of the clear pictures are those to have.
    likeness : float
        Weight of that.

    """
    tokens = encode(net, batch['images'], half)
    features, score, near = net.grounding(tokens, torch.as_tensor(batch['context']))
    coverage = torch.as_tensor(batch['coverage'])
    label = (coverage / .25).clamp(max=1)
    loss_score = (F.binary_cross_entropy_with_logits(score, label, reduction='none')
                  * (1 + 3 * label)).mean() * 6
    loss_near = ((near - torch.as_tensor(batch['nearness'])) ** 2).mean() * 20
    visible = (coverage.amax(1) > .1).float()
    error = features[:, layout.POOLED:layout.POOLED + 3] - torch.as_tensor(batch['located'])
    loss_located = (F.smooth_l1_loss(error, torch.zeros_like(error), beta=.2, reduction='none')
                    .sum(1) * visible).sum() / visible.sum().clamp(min=1)
    colour, shape = torch.as_tensor(batch['colour']), torch.as_tensor(batch['shape'])
    loss = loss_score + loss_near + loss_located + recognition_loss(net, tokens, colour, shape)
    for head, known in ((net.colour, colour), (net.shape, shape)):
        loss = loss + .25 * F.cross_entropy(head(tokens).flatten(0, 1), known.flatten(),
                                            ignore_index=-1)
    unlike = torch.zeros(())
    if teacher is not None:
        with torch.no_grad():
            wanted = encode(teacher, batch['clear'], half)
        unlike = likeness_loss(tokens, wanted, colour)
        loss = loss + likeness * unlike
    with torch.no_grad():
        hit = coverage.gather(1, score.argmax(1, keepdim=True))[:, 0] > 0
        seen, none = visible > 0, coverage.amax(1) == 0
        present = features[:, 0] > .5
        err = error[seen].abs().mean(0)
        readings = {'hit': float((hit & present)[seen].float().mean()),
                    'false': float(present[none].float().mean()),
                    'bearing': float(err[0]), 'log_gap': float(err[2])}
    if teacher is not None:
        readings['unlike'] = float(unlike.detach())
    return loss, readings
