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

"""Short flights past random scenes, as the encoder sees them, for the seeing head to learn."""

import math
from typing import NamedTuple

import cv2
from edge_vla.language.plan import COLOURS, SHAPES, UNSEEN_PAIRS
from edge_vla.sim.phrasing import pick
from edge_vla.sim.questions import in_view, Visible
from edge_vla.sim.raycast import A, OBJECT_COLUMNS, render_batch, surface_distance, X
from edge_vla.sim.scene import MAX_OBJECTS, sample_light, sample_scene, shade
from edge_vla.sim.tasks import TASKS
from edge_vla.training.flown import Flown
from edge_vla.training.grounding import augment, FrameSampler, TRAIN_STYLES
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np
import torch

FLOWN = .8  # share of clips from flights of the pilot
# In flight hardly an object is within a metre: so many of these clips are drawn from where one is
# nearer than that, in metres. It lies beyond the edge, where distances are learned.
CLOSE, CLOSE_M = .25, 1.3
SHAPE, RGB = 0, slice(9, 12)  # columns of the ray-caster's rows


class Clip(NamedTuple):
    """
    A piece of flight.

    Attributes
    ----------
    tokens : numpy.ndarray
        float32 [F * TOKENS, CHANNELS].
    objects : list of Visible
        What the last frame shows.
    covered : numpy.ndarray
        bool [objects, F * TOKENS], the tokens on which an object is.

    """

    tokens: np.ndarray
    objects: list[Visible]
    covered: np.ndarray


class ClipSampler:
    """
    Short flights past random scenes, as the encoder sees them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    encoder : PatchEncoder
        The shipped one.
    strength : float
        Of the augmentation, 0 to 1.
    flown : Flown, optional
        What the pilot flew: more than half of the clips are from there, in other colours.

    """

    def __init__(self, rng: np.random.Generator, encoder: PatchEncoder, strength: float,
                 flown: Flown | None = None) -> None:
        self._rng, self._encoder, self._strength, self._flown = rng, encoder, strength, flown
        self._poses = FrameSampler(rng)
        self._close = np.zeros(0, np.int64) if flown is None else close_up(flown)

    def batch(self, clips: int, frames: int) -> list[Clip]:
        """Return so many clips of so many frames."""
        rng, n = self._rng, clips * frames
        rows, counts = np.zeros((n, MAX_OBJECTS, OBJECT_COLUMNS)), np.zeros(n, np.int64)
        positions, rotations = np.zeros((n, 3)), np.zeros((n, 3, 3))
        lights, names = [], []
        for i in range(clips):
            own = slice(i * frames, (i + 1) * frames)
            style = TRAIN_STYLES[rng.random() < .6]
            if self._flown is not None and rng.random() < FLOWN:
                k = int(rng.choice(self._close) if len(self._close) and rng.random() < CLOSE
                        else rng.integers(len(self._flown.counts)))
                counts[own], rows[own] = self._flown.counts[k], self._flown.rows[k]
                positions[own] = self._flown.positions[k, -frames:]
                rotations[own] = self._flown.rotations[k, -frames:] @ self._mount()
                names.append(repaint(rng, rows[own], int(self._flown.counts[k])))
                light = sample_light(rng, style)
            else:
                scene = sample_scene(rng, str(rng.choice(TASKS)), style, count=(2, 7),
                                     without=UNSEEN_PAIRS)
                rows[own], counts[own] = scene.rows(), len(scene.objects)
                positions[own], rotations[own] = self._flight(rows[own][0], counts[own][0], frames)
                names.append([(o.colour, o.shape) for o in scene.target_first])
                light = scene.light
            lights += [light] * frames
        zoom = 1 + int(rng.random() < .5)  # half of the batches are smoothed like a real lens
        h, w = layout.HEIGHT * zoom, layout.WIDTH * zoom
        images, ids = np.empty((n, h, w, 3), np.uint8), np.empty((n, h, w), np.int8)
        depth = np.empty((n, h, w), np.float32)
        render_batch(images, ids, depth, rows, counts, positions, rotations, layout.TAN_HALF,
                     np.stack(lights))
        if zoom > 1:
            images = np.stack([cv2.resize(im, (layout.WIDTH, layout.HEIGHT),
                                          interpolation=cv2.INTER_AREA) for im in images])
        images = self._augmented(images, clips)
        out = []
        for i, known in enumerate(names):
            last = (i + 1) * frames - 1
            own = slice(i * frames, last + 1)
            tokens = np.concatenate([self._encoder.encode(im).copy() for im in images[own]])
            out.append(Clip(tokens, [
                in_view(*name, rows[last, j], positions[last], rotations[last],
                        int((ids[last] == j).sum()) // zoom ** 2) for j, name in enumerate(known)],
                np.stack([covered(ids[own] == j) for j in range(len(known))])))
        return out

    def _mount(self) -> np.ndarray:
        """Return how the camera is turned on its vehicle, float64 [3, 3]: sometimes a little."""
        pitch = self._rng.normal(0, .12) * (self._rng.random() < .3)
        c, s = np.cos(pitch), np.sin(pitch)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    def _flight(self, rows: np.ndarray, count: int, frames: int
                ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions [F, 3] and rotations [F, 3, 3] of a piece of flight."""
        rng = self._rng
        position, rotation = self._poses.pose(rows, count)
        ages = np.arange(frames - 1, -1, -1) / rng.uniform(10, 60)
        speed = rotation @ np.array([rng.uniform(-.5, 1.5), rng.normal(0, .4), rng.normal(0, .3)])
        way = position - ages[:, None] * speed
        if min(surface_distance(rows[k], *way[0]) for k in range(count)) < .15:
            way[:] = position
        turn = -ages * rng.normal(0, .5)
        cos, sin, zero = np.cos(turn), np.sin(turn), np.zeros(frames)
        turned = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1)
        return way, turned.reshape(-1, 3, 3) @ rotation

    def _augmented(self, images: np.ndarray, clips: int) -> np.ndarray:
        """Return the frames with light, noise and stains; those of a clip are treated alike."""
        h, w = layout.HEIGHT, layout.WIDTH
        side_by_side = images.reshape(clips, -1, h, w, 3).swapaxes(1, 2).reshape(clips, h, -1, 3)
        generator = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        out = augment(generator, torch.as_tensor(side_by_side),
                      self._strength * self._rng.random()).numpy()
        out = out.reshape(clips, h, -1, w, 3).swapaxes(1, 2).reshape(-1, h, w, 3)
        return np.ascontiguousarray(out)


def close_up(flown: Flown) -> np.ndarray:
    """Return the pieces that end with an object closely in front of the camera, int64 [n]."""
    position, forward = flown.positions[:, -1, None, :2], flown.rotations[:, -1, None, :2, 0]
    away = flown.rows[:, :, X:X + 2] - position
    ahead = (away * forward).sum(-1) > math.cos(math.atan(layout.TAN_HALF)) * (
        np.hypot(*np.moveaxis(away, -1, 0)) * np.hypot(*np.moveaxis(forward, -1, 0)))
    gap = np.hypot(*np.moveaxis(away, -1, 0)) - flown.rows[:, :, A]
    there = np.arange(flown.rows.shape[1]) < flown.counts[:, None]
    return np.flatnonzero((ahead & there & (gap < CLOSE_M)).any(1))


def repaint(rng: np.random.Generator, rows: np.ndarray, count: int) -> list[tuple[str, str]]:
    """
    Give the objects of a scene other colours, and return what they are called now.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the colours.
    rows : numpy.ndarray
        The ray-caster's, float64 [F, MAX_OBJECTS, OBJECT_COLUMNS], written.
    count : int
        Objects of the scene.

    """
    names: list[tuple[str, str]] = []
    for j in range(count):
        shape = SHAPES[int(rows[0, j, SHAPE])]
        free = [c for c in COLOURS if (c, shape) not in names]
        colour = pick(rng, [c for c in free if (c, shape) not in UNSEEN_PAIRS] or free)
        names.append((colour, shape))
        rows[:, j, RGB] = shade(rng, colour)
    return names


def covered(mask: np.ndarray) -> np.ndarray:
    """
    Return the tokens on which an object is: those it covers by a third, or the most of all.

    Parameters
    ----------
    mask : numpy.ndarray
        bool [F, H, W], its pixels.

    Returns
    -------
    numpy.ndarray
        bool [F * TOKENS].

    """
    f, h, w = mask.shape
    share = mask.reshape(f, layout.ROWS, h // layout.ROWS, layout.COLUMNS, -1).mean((2, 4))
    share = share.reshape(f, -1)
    return ((share >= np.minimum(.33, share.max(1, keepdims=True))) & (share > 0)).ravel()
