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

"""Many worlds flown at once, for training: arrays instead of objects, own clock per world."""

from collections.abc import Collection
import math

import cv2
from edge_vla.language.plan import Plan, VERBS
from edge_vla.sim import dynamics, judge
from edge_vla.sim.expert import bearing_and_range, expert_batch, heading
from edge_vla.sim.raycast import A, LIGHT_COLUMNS, OBJECT_COLUMNS, render_batch, Z
from edge_vla.sim.scene import MAX_OBJECTS, ORBIT_CLEARANCE_M, sample_scene, Scene
from edge_vla.sim.simulator import Wind
from edge_vla.sim.tasks import TASKS
from edge_vla.vision import layout
import numpy as np

LONGEST_LAG = 7  # frames
MOST_LOST = 5  # frames in a row


class Worlds:
    """
    B independent flights that restart, or get a new instruction, when one ends.

    Parameters
    ----------
    count : int
        B.
    seed : int
    styles : tuple of str
        Looks to draw from.
    wind : float
        Largest mean wind, m/s.
    jitter : float
        Relative spread of thrust, drag and velocity gain.
    shifted : float
        Share of flights with a vehicle, a camera and a stream of frames far from nominal: see
        `_shift`.
    rate : tuple of float
        Lowest and highest camera rate, Hz; drawn per flight, log-uniform.
    chain : float
        Probability that a success is followed by a new instruction in the same scene.
    restart : bool
        False stops every world after its first flight.
    without : collection of (colour, shape)
        Pairs that never occur.

    """

    def __init__(self, count: int, seed: int, styles: tuple[str, ...] = ('meadow',),
                 wind: float = 2.0, jitter: float = .1, shifted: float = 0.,
                 rate: tuple[float, float] = (10., 30.), chain: float = .4, restart: bool = True,
                 without: Collection[tuple[str, str]] = ()) -> None:
        self.count, self.styles, self.max_wind, self.jitter = count, styles, wind, jitter
        self.shifted, self.without = shifted, without
        self.rate_range, self.chain, self.restart = rate, chain, restart
        self.rng = np.random.default_rng(seed)
        b = count
        self.states = np.zeros((b, dynamics.STATE_COLUMNS))
        self.rotations = np.zeros((b, 3, 3))
        self.objects = np.zeros((b, MAX_OBJECTS, OBJECT_COLUMNS))
        self.counts = np.zeros(b, np.int64)
        self.verbs = np.zeros(b, np.int64)
        self.vehicles = np.tile(dynamics.VEHICLE, (b, 1))
        self.judges = np.zeros((b, judge.JUDGE_COLUMNS))
        self.seen = np.zeros(b, np.uint8)
        self.rates = np.zeros(b)
        self.live = np.ones(b, bool)
        self.zoom = np.ones(b, np.int64)
        self.mounts = np.tile(np.eye(3), (b, 1, 1))  # camera to body
        self.gains = np.ones((b, 4))  # of the command
        self.drops = np.zeros(b)  # share of frames that are lost
        self.lags = np.zeros(b, np.int64)  # frames by which pictures come late
        self.scenes: list[Scene] = [None] * b  # type: ignore[list-item]
        self.plans: list[Plan] = [None] * b  # type: ignore[list-item]
        self.winds: list[Wind] = [None] * b  # type: ignore[list-item]
        self.lights = np.zeros((b, LIGHT_COLUMNS))
        self.status = np.zeros(b, np.int64)
        for i in range(b):
            self._restart(i)

    def _restart(self, i: int) -> None:
        rng = self.rng
        task = str(rng.choice(TASKS))
        style = self.styles[int(rng.integers(len(self.styles)))]
        scene = sample_scene(rng, task, style, count=(2, 6), without=self.without)
        self.scenes[i], self.lights[i] = scene, scene.light
        self.counts[i] = len(scene.objects)
        dynamics.hover_state(self.states[i], *scene.start)
        dynamics.rotation_matrix(self.states[i, 6:10], self.rotations[i])
        self.vehicles[i] = dynamics.VEHICLE * (1 + rng.uniform(-1, 1, 5) * self.jitter
                                               * (.5, 1, 1, 1, 1))
        self.winds[i] = Wind(rng, rng.uniform(0, self.max_wind))
        self.rates[i] = math.exp(rng.uniform(*np.log(self.rate_range)))
        self.zoom[i] = 1 + (rng.random() < .35)
        self.mounts[i], self.gains[i], self.drops[i], self.lags[i] = np.eye(3), 1., .04, 0
        if rng.random() < self.shifted:
            self._shift(i)
        self._instruct(i, 0, 'hover' if rng.random() < .03 else task)

    def _shift(self, i: int) -> None:
        """Draw wind, vehicle, camera mount, latency and losses from wide ranges."""
        rng = self.rng
        self.winds[i] = Wind(rng, rng.uniform(0, 2.5 * self.max_wind))
        self.vehicles[i] = dynamics.VEHICLE * (
            rng.uniform(.8, 1.05), rng.uniform(.6, 1.6), rng.uniform(.6, 1.6),
            rng.uniform(.6, 1.6), rng.uniform(.55, 1.2))
        self.gains[i] = rng.uniform(.65, 1.15, 4)
        pitch = rng.normal(0, .09)
        c, s = math.cos(pitch), math.sin(pitch)
        self.mounts[i] = ((c, 0, s), (0, 1, 0), (-s, 0, c))
        self.drops[i] = rng.uniform(0, .4)
        self.lags[i] = min(LONGEST_LAG, int(rng.uniform(0, .13) * self.rates[i]))

    def _instruct(self, i: int, target: int, verb: str) -> None:
        s = self.scenes[i]
        scene = Scene(s.objects, target, s.light, s.start)
        self.objects[i] = scene.rows()
        o = s.objects[target]
        self.plans[i], self.verbs[i] = Plan(verb, o.colour, o.shape), VERBS.index(verb)
        judge.new_row(self.judges[i])
        self.seen[i] = 0

    def _chain(self, i: int) -> None:
        """Give a new instruction in the same scene; circles only where there is room."""
        objects = self.scenes[i].objects
        k = int(self.rng.integers(len(objects)))
        room = min([np.hypot(*(o.position - objects[k].position)[:2])
                    for o in objects if o is not objects[k]], default=9.)
        tasks = TASKS if room > ORBIT_CLEARANCE_M else ('go', 'search')
        self._instruct(i, k, str(self.rng.choice(tasks)))

    def images(self, needed: np.ndarray | None = None) -> np.ndarray:
        """
        Render every world, uint8 [B, 72, 96, 3]; some of them through a finer camera.

        Those that are not live or not in the mask `needed`, bool [B], are left as they come.
        """
        out = np.empty((self.count, layout.HEIGHT, layout.WIDTH, 3), np.uint8)
        for zoom in (1, 2):
            shown = self.live if needed is None else self.live & needed
            which = np.nonzero((self.zoom == zoom) & shown)[0]
            if not len(which):
                continue
            n = len(which)
            big = np.empty((n, layout.HEIGHT * zoom, layout.WIDTH * zoom, 3), np.uint8)
            render_batch(big, np.zeros((n, 0, 0), np.int8), np.zeros((n, 0, 0), np.float32),
                         self.objects[which], self.counts[which],
                         self.states[which, 0:3].copy(),
                         self.rotations[which] @ self.mounts[which], 1.0,
                         self.lights[which])
            for j, i in enumerate(which):
                out[i] = big[j] if zoom == 1 else cv2.resize(
                    big[j], (layout.WIDTH, layout.HEIGHT), interpolation=cv2.INTER_AREA)
        return out

    def motion(self) -> np.ndarray:
        """Measured motion as the pilot gets it, float32 [B, MOTION_FEATURES]."""
        s, r = self.states, self.rotations
        yaw = np.arctan2(r[:, 1, 0], r[:, 0, 0])
        c, n = np.cos(yaw), np.sin(yaw)
        roll = np.arctan2(r[:, 2, 1], r[:, 2, 2])
        pitch = -np.arcsin(np.clip(r[:, 2, 0], -1, 1))
        rate = ((np.sin(roll) * s[:, 11] + np.cos(roll) * s[:, 12])
                / np.maximum(np.cos(pitch), .1))
        return np.stack([c * s[:, 3] + n * s[:, 4], -n * s[:, 3] + c * s[:, 4], s[:, 5], rate,
                         roll, pitch, np.ones(self.count)], 1).astype(np.float32)

    def where(self) -> np.ndarray:
        """Return where targets are, float32 [B, 5]: sine, cosine, gap and height / 4 m, seen."""
        out = np.empty((self.count, 5), np.float32)
        for i in range(self.count):
            bearing, distance = bearing_and_range(self.states[i], self.objects[i, 0])
            out[i] = (math.sin(bearing), math.cos(bearing),
                      (distance - self.objects[i, 0, A]) / 4,
                      (self.objects[i, 0, Z] - self.states[i, 2]) / 4, self.seen[i])
        return out

    def expert(self, dark: np.ndarray | None = None) -> np.ndarray:
        """Return the expert's commands, float64 [B, 4]; `dark` cameras, bool [B], see nothing."""
        out = np.zeros((self.count, 4))
        expert_batch(self.states, self.objects, self.counts, self.verbs, self.seen, out,
                     np.zeros(self.count, bool) if dark is None else dark)
        return out

    def step(self, commands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Fly until every world's next frame.

        Parameters
        ----------
        commands : numpy.ndarray
            float64 [B, 4], heading frame.

        Returns
        -------
        tuple
            dt float32 [B] s to the new frame, and reset bool [B]: the next frame begins a new
            flight. ``status`` holds the judge's codes of this step.

        """
        dt = self.rng.uniform(.85, 1.15, self.count) / self.rates
        lost = np.minimum(self.rng.geometric(1 - self.drops) - 1, MOST_LOST)
        dt = dt * (1 + lost)
        steps = np.ceil(dt / (dynamics.STEP_NS * 1e-9)).astype(np.int64)
        wind = np.stack([w.advance(t) for w, t in zip(self.winds, dt, strict=True)])
        dynamics.fly_batch(self.states, commands * self.gains, wind, self.vehicles,
                           self.rotations, dt / steps, steps, self.live)
        reset = np.zeros(self.count, bool)
        for i in range(self.count):
            if not self.live[i]:
                continue
            s = self.states[i]
            self.status[i] = judge.judge_step(
                self.judges[i], self.objects[i], self.counts[i], self.verbs[i], s[0], s[1], s[2],
                math.sqrt(s[3] ** 2 + s[4] ** 2 + s[5] ** 2), heading(s), dt[i])
            if self.status[i] == judge.RUNNING:
                continue
            if not self.restart:
                self.live[i] = False
            elif self.status[i] == judge.SUCCESS and self.rng.random() < self.chain:
                self._chain(i)
            else:
                self._restart(i)
                reset[i] = True
        return dt.astype(np.float32), reset
