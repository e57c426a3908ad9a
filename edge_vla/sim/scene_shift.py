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

"""What a shift does to a scene: other colours and light, a lower sun, fog, more objects."""

from dataclasses import replace
import itertools

from edge_vla.language.plan import COLOURS, SHAPES
from edge_vla.sim.scene import (
    CLEARANCE_M,
    hides,
    MAX_OBJECTS,
    ORBIT_CLEARANCE_M,
    sample_light,
    sample_object,
    Scene,
    SceneObject,
)
from edge_vla.sim.shifts import Effect
import numpy as np

# Colours that no instruction can name.
NEW_RGB = {'pink': (.95, .5, .7), 'brown': (.4, .22, .1), 'grey': (.5, .5, .5),
           'cyan': (.1, .8, .85)}
# Columns of a light row.
SUN, AMBIENT, DIFFUSE, FOG, TEXTURE = slice(0, 3), 3, 4, 5, slice(6, 9)
BLENDED = (AMBIENT, DIFFUSE, *range(9, 21))


def shift_scene(scene: Scene, effect: Effect, task: str, light_rng: np.random.Generator,
                object_rng: np.random.Generator) -> Scene:
    """
    Return the scene with the effect's light and added objects; objects it had stay as they are.

    Parameters
    ----------
    scene : Scene
        As sampled.
    effect : Effect
        What to change.
    task : str
        The verb: what may be circled keeps a free ring.
    light_rng, object_rng : numpy.random.Generator
        Sources of every choice.

    """
    light = _shift_light(scene.light, effect, light_rng)
    objects = list(scene.objects)
    for _ in range(min(effect.distractors, MAX_OBJECTS - len(objects))):
        objects.append(_another(objects, scene.target, effect.distractor_kind, task, scene.start,
                                object_rng))
    return Scene(objects, scene.target, light, scene.start)


def _shift_light(light: np.ndarray, effect: Effect, rng: np.random.Generator) -> np.ndarray:
    out = light.copy()
    if effect.style:
        style = sample_light(rng, effect.style)
        for k in BLENDED:
            out[k] += effect.blend * (style[k] - out[k])
        if effect.blend >= 1:
            out[TEXTURE] = style[TEXTURE]
        out[9:21] = np.clip(out[9:21], 0, 1)
    out[AMBIENT] = max(.02, out[AMBIENT] * effect.ambient)
    out[DIFFUSE] = max(.02, out[DIFFUSE] * effect.diffuse)
    out[FOG] += effect.fog
    highest = np.radians(effect.sun_elevation)
    if out[2] > np.sin(highest):
        out[SUN] = (*(out[0:2] / np.hypot(*out[0:2]) * np.cos(highest)), np.sin(highest))
    return out


def _another(objects: list[SceneObject], target: int, kind: str, task: str, start: np.ndarray,
             rng: np.random.Generator) -> SceneObject:
    """Return one more object, placed by the rules of the scene's own distractors."""
    taken = {(o.colour, o.shape) for o in objects}
    wanted = objects[target]
    pairs = [(c, s) for c in (NEW_RGB if kind == 'new' else COLOURS) for s in SHAPES
             if (c, s) not in taken
             and (kind != 'lookalike' or c == wanted.colour or s == wanted.shape)]
    colour, shape = pairs[int(rng.integers(len(pairs)))]
    ring = ORBIT_CLEARANCE_M if task.startswith('orbit') else CLEARANCE_M
    for attempt in itertools.count():
        room = 1 + .2 * (attempt // 100)  # a full field has to become wider
        bearing, distance = rng.uniform(-1.5, 1.5), room * rng.uniform(3.0, 9.0)
        angle = start[3] + bearing
        xy = start[:2] + distance * np.array([np.cos(angle), np.sin(angle)])
        known = 'white' if kind == 'new' else colour
        new = sample_object(rng, known, shape, xy)
        gaps = [np.hypot(*(xy - o.position[:2])) for o in objects]
        if all(g > (ring if i == target else CLEARANCE_M) for i, g in enumerate(gaps)) and (
                not hides(new, wanted)):
            break
    return new if kind != 'new' else replace(new, colour=colour, rgb=np.array(NEW_RGB[colour]))
