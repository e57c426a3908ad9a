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

"""Scenes: coloured primitives, light and ground, sampled from a seed."""

from collections.abc import Collection
from dataclasses import dataclass, field
import itertools

from edge_vla.config import settings_of, SimConfig
from edge_vla.exceptions import ConfigError
from edge_vla.language.plan import COLOURS, SHAPES
from edge_vla.sim.raycast import LIGHT_COLUMNS, OBJECT_COLUMNS
import numpy as np

MAX_OBJECTS = 8
RGB = {
    'red': (.85, .08, .08), 'green': (.1, .65, .15), 'blue': (.1, .2, .9),
    'yellow': (.95, .85, .1), 'purple': (.55, .1, .7), 'orange': (1.0, .5, .05),
    'white': (.95, .95, .95), 'black': (.07, .07, .07)}
STYLES = next(s.choices for s in settings_of(SimConfig) if s.name == 'style')
VIEW_RAD = 0.6  # objects placed 'in view' lie within this of the start heading
CLEARANCE_M = 2.4  # between object centres
ORBIT_CLEARANCE_M = 3.5  # around an object that may be circled


@dataclass(frozen=True)
class SceneObject:
    """One coloured primitive; `size` holds half extents (radius, radius, half height)."""

    colour: str
    shape: str
    position: np.ndarray
    size: np.ndarray
    yaw: float
    rgb: np.ndarray

    @property
    def radius(self) -> float:
        """Horizontal radius used for gaps, m."""
        return float(self.size[0])

    def row(self) -> np.ndarray:
        """Return the ray-caster's row, float64 [OBJECT_COLUMNS]."""
        out = np.zeros(OBJECT_COLUMNS)
        out[0] = SHAPES.index(self.shape)
        out[1:4] = self.position
        out[4:7] = self.size
        out[7:9] = np.cos(self.yaw), np.sin(self.yaw)
        out[9:12] = self.rgb
        return out


@dataclass(frozen=True)
class Scene:
    """Objects, the index of the target among them, and the light row."""

    objects: list[SceneObject]
    target: int
    light: np.ndarray
    start: np.ndarray = field(default_factory=lambda: np.zeros(4))  # x y z yaw

    @property
    def target_first(self) -> list[SceneObject]:
        """Return the objects in the order of `rows`."""
        first = self.target
        return [self.objects[first], *self.objects[:first], *self.objects[first + 1:]]

    def rows(self) -> np.ndarray:
        """Return float64 [MAX_OBJECTS, OBJECT_COLUMNS], zero padded, target first."""
        out = np.zeros((MAX_OBJECTS, OBJECT_COLUMNS))
        for row, o in zip(out, self.target_first, strict=False):
            row[:] = o.row()
        return out

    def find(self, colour: str, shape: str) -> int | None:
        """Return the index of the object of that colour and shape, or None."""
        for i, o in enumerate(self.objects):
            if (o.colour, o.shape) == (colour, shape):
                return i
        return None


def sample_object(rng: np.random.Generator, colour: str, shape: str,
                  xy: np.ndarray) -> SceneObject:
    """Sample size, height, heading and shade of an object whose centre stands at `xy`, m."""
    if shape == 'sphere':
        a = rng.uniform(.35, .6)
        size, z = (a, a, a), rng.uniform(.8, 1.9)
    elif shape == 'box':
        a = rng.uniform(.35, .55)
        size, z = (a, a, a), a
    elif shape == 'pillar':
        a, c = rng.uniform(.25, .4), rng.uniform(.9, 1.6)
        size, z = (a, a, c), c
    else:
        a, c = rng.uniform(.45, .65), rng.uniform(.5, .8)
        size, z = (a, a, c), c
    rgb = shade(rng, colour)
    return SceneObject(colour, shape, np.array([xy[0], xy[1], z]), np.array(size),
                       rng.uniform(0, 2 * np.pi), rgb)


def shade(rng: np.random.Generator, colour: str) -> np.ndarray:
    """Sample what a colour looks like, float64 [3], 0 to 1."""
    return np.clip(np.array(RGB[colour]) * rng.uniform(.85, 1.12) + rng.normal(0, .02, 3), .02, 1)


def sample_light(rng: np.random.Generator, style: str) -> np.ndarray:
    """Sample sun, sky, ground and haze of a style, float64 [LIGHT_COLUMNS]."""
    e = np.zeros(LIGHT_COLUMNS)
    elevation, azimuth = rng.uniform(.5, 1.3), rng.uniform(0, 2 * np.pi)
    if style == 'sunset':
        elevation = rng.uniform(.15, .35)
    e[0:3] = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
              np.sin(elevation))
    e[3], e[4] = rng.uniform(.35, .55), rng.uniform(.45, .7)  # ambient, diffuse
    e[5], e[6] = rng.uniform(0, .02), rng.uniform(.5, 1.6)  # fog, texture scale
    e[7], e[8] = rng.integers(1, 3), rng.integers(1000)
    e[21] = 1.0
    g = np.array([.32, .43, .24]) * rng.uniform(.8, 1.2)
    e[9:12] = g + rng.normal(0, .03, 3)
    e[12:15] = g * 1.45 + rng.normal(0, .03, 3)
    e[15:18] = np.array([.38, .58, .9]) + rng.normal(0, .04, 3)
    e[18:21] = .86, .9, .96
    if style in ('random', 'wide'):  # domain randomisation: nothing of the look can be relied on
        e[7] = rng.integers(3)
        g = rng.uniform(.1, .7, 3) * .6 + rng.uniform(.1, .7) * .4
        e[9:12], e[12:15] = g, g * rng.uniform(1.1, 1.6) + rng.normal(0, .05, 3)
        e[15:18] = rng.uniform(.2, .9) * np.array([.55, .75, 1.]) + rng.normal(0, .1, 3)
        e[18:21] = e[15:18] + rng.uniform(-.1, .4)
        e[3], e[4], e[6] = rng.uniform(.2, .7), rng.uniform(.15, .85), rng.uniform(.3, 3)
        e[5] = rng.uniform(0, .06) * (rng.random() < .5)
        if rng.random() < .25:  # dusk
            e[3:5] *= rng.uniform(.3, .7)
            e[15:21] *= rng.uniform(.1, .6)
        e[21] = rng.random() < .8
        if style == 'wide':
            _widen(rng, e)
    elif style == 'winter':
        e[9:12], e[12:15] = (.78, .8, .84), (.9, .92, .95)
        e[15:18], e[18:21] = (.7, .75, .8), (.85, .87, .9)
        e[3], e[4], e[7] = .65, .25, 2
    elif style == 'autumn':
        e[9:12], e[12:15] = (.38, .25, .1), (.62, .42, .16)
        e[15:18], e[18:21], e[7] = (.55, .62, .75), (.85, .83, .78), 2
    elif style == 'urban':
        e[9:12], e[12:15] = (.3, .3, .31), (.45, .45, .46)
        e[15:18], e[18:21] = (.6, .65, .72), (.75, .76, .78)
        e[6], e[7] = .7, 0
    elif style == 'sunset':
        e[15:18], e[18:21] = (.35, .3, .5), (1., .6, .3)
        e[3], e[4] = .35, .6
    elif style == 'night':
        e[15:18], e[18:21] = (.04, .05, .12), (.1, .1, .16)
        e[3], e[4] = .22, .12
    e[9:21] = np.clip(e[9:21], 0, 1)
    return e


def _widen(rng: np.random.Generator, e: np.ndarray) -> None:
    """Randomise a light row further: a low sun, a sky of any colour, grey and vivid ground."""
    if rng.random() < .4:
        elevation, azimuth = rng.uniform(.12, .5), rng.uniform(0, 2 * np.pi)
        e[0:3] = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                  np.sin(elevation))
    if rng.random() < .35:
        e[18:21] = rng.uniform(.1, 1., 3)
        if rng.random() < .5:
            e[15:18] = rng.uniform(.05, .9, 3)
    ground = rng.random()
    if ground < .5:
        e[9:12] = (rng.uniform(.1, .6) + rng.normal(0, .03, 3) if ground < .2
                   else rng.uniform(.05, .7, 3))
        e[12:15] = e[9:12] * rng.uniform(1.1, 1.7) + rng.normal(0, .03, 3)


def sample_scene(rng: np.random.Generator, task: str, style: str = 'meadow',
                 named: tuple[tuple[str, str], ...] = (),
                 count: tuple[int, int] = (2, 5),
                 without: Collection[tuple[str, str]] = ()) -> Scene:
    """
    Sample a scene around a start pose at the origin.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.
    task : str
        One of ``TASKS``; 'search' puts the target out of view, the others in view. With
        `named` objects the first is the target and may lie anywhere in view.
    style : str
        One of ``STYLES``.
    named : tuple of (colour, shape)
        Objects that must exist, target first; none means a random target.
    count : tuple of int
        Fewest and most objects.
    without : collection of (colour, shape)
        Pairs that must not occur unless named; training leaves out ``UNSEEN_PAIRS``.

    Raises
    ------
    ConfigError
        More objects are named than a scene holds.

    """
    if len(named) > MAX_OBJECTS:
        raise ConfigError(f'{len(named)} objects are named, a scene holds at most {MAX_OBJECTS}')
    for attempt in itertools.count():
        # many objects need more room than few: widen the field every few failures
        scene = _try_scene(rng, task, style, named, count, without, 1 + .2 * (attempt // 20))
        if scene is not None:
            return scene


def _try_scene(rng: np.random.Generator, task: str, style: str,
               named: tuple[tuple[str, str], ...], count: tuple[int, int],
               without: Collection[tuple[str, str]], room: float) -> Scene | None:
    number = max(int(rng.integers(count[0], count[1] + 1)), len(named))
    kinds = list(dict.fromkeys(named)) or [(str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))]
    if not named and kinds[0] in without:
        return None
    guard = len(kinds)  # objects that may be flown around keep a free ring
    while len(kinds) < min(number, MAX_OBJECTS):
        # distractors often share colour or shape with the target: neither alone may decide
        u, (c, s) = rng.random(), kinds[0]
        c = c if u < .3 else str(rng.choice(COLOURS))
        s = s if .3 <= u < .6 else str(rng.choice(SHAPES))
        if (c, s) not in kinds and (c, s) not in without:
            kinds.append((c, s))
    yaw = rng.uniform(-np.pi, np.pi)
    orbit = task.startswith('orbit') or len(named) > 1
    objects: list[SceneObject] = []
    for i, (colour, shape) in enumerate(kinds):
        for _ in range(100):
            if i < guard and len(named) > 1:  # one flight visits them all: keep them together
                bearing, distance = rng.uniform(-1.3, 1.3), rng.uniform(3.0, 5.5)
            elif i == 0:
                bearing = rng.uniform(-VIEW_RAD, VIEW_RAD)
                if task == 'search':
                    bearing = rng.choice((-1, 1)) * rng.uniform(1.0, np.pi)
                distance = rng.uniform(3.5, 8.0)
            else:
                bearing, distance = rng.uniform(-1.5, 1.5), rng.uniform(3.0, 9.0)
            xy = room * distance * np.array([np.cos(yaw + bearing), np.sin(yaw + bearing)])
            obj = sample_object(rng, colour, shape, xy)
            if all(np.hypot(*(xy - o.position[:2])) > (
                    ORBIT_CLEARANCE_M if orbit and j < guard else CLEARANCE_M)
                    for j, o in enumerate(objects)) and not (i and hides(obj, objects[0])):
                objects.append(obj)
                break
        else:
            return None
    light = sample_light(rng, style)
    start = np.array([0.0, 0.0, rng.uniform(.9, 1.8), yaw])
    return Scene(objects, 0, light, start)


def hides(obj: SceneObject, target: SceneObject) -> bool:
    """Tell whether `obj` stands between the start and the target."""
    d, dt = np.hypot(*obj.position[:2]), np.hypot(*target.position[:2])
    if d > dt:
        return False
    a = np.arctan2(obj.position[1], obj.position[0])
    b = np.arctan2(target.position[1], target.position[0])
    gap = abs(np.arctan2(np.sin(a - b), np.cos(a - b)))
    return bool(gap < 1.3 * obj.radius / d + .5 * target.radius / dt)
