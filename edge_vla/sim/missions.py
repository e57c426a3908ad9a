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

"""Scenes for instructions of two steps, for objects told by a relation, for unseen pairs."""

from edge_vla.language.plan import (
    ANCHORED,
    ANY,
    COLOURS,
    Plan,
    RELATIONS,
    SHAPES,
    UNSEEN_PAIRS,
)
from edge_vla.policy.resolver import candidates
from edge_vla.policy.sightings import Sighting
from edge_vla.sim.scene import sample_scene, Scene
from edge_vla.sim.tasks import TASKS
import numpy as np

LAND = 0.2  # share of second steps that are a landing
IN_VIEW = 0.62  # rad, objects a relation speaks of are within this of the start heading
ALONE = 0.15  # share of objects that need no relation: nothing else is like them
CLEAR_RAD, CLEAR_M = 0.15, 1.0  # a relation must hold by this much to be asked for


def sample_two_steps(rng: np.random.Generator, style: str) -> tuple[Scene, list[Plan]]:
    """Return a scene and two steps, on two objects or ending in a landing."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    a, b = (pairs[int(k)] for k in rng.choice(len(pairs), 2, replace=False))
    verbs = ('go', 'orbit_left', 'orbit_right')
    first, second = (str(v) for v in rng.choice(verbs, 2))
    scene = sample_scene(rng, first, style, (a, b))
    last = Plan('land') if rng.random() < LAND else Plan(second, *b)
    return scene, [Plan(first, *a), last]


def sample_unseen(rng: np.random.Generator, style: str) -> tuple[Scene, Plan]:
    """Return a scene and a task on an object of a colour and shape never trained together."""
    verb = str(rng.choice(TASKS))
    pair = UNSEEN_PAIRS[int(rng.integers(len(UNSEEN_PAIRS)))]
    return sample_scene(rng, verb, style, (pair,)), Plan(verb, *pair)


def true_sightings(scene: Scene) -> list[Sighting]:
    """Return every object as an ideal pilot sees it from the start, in the order of the scene."""
    x, y, _, yaw = scene.start
    out = []
    for o in scene.objects:
        dx, dy = o.position[0] - x, o.position[1] - y
        bearing = np.arctan2(dy, dx) - yaw
        out.append(Sighting(o.colour, o.shape, float(np.arctan2(np.sin(bearing),
                                                                np.cos(bearing))),
                            float(np.hypot(dx, dy) - o.radius), 1.0))
    return out


def sample_relation(rng: np.random.Generator, style: str) -> tuple[Scene, Plan, Plan]:
    """Return a scene, a plan that tells its object by a relation, and what it comes to."""
    verb = str(rng.choice(('go', 'orbit_left', 'orbit_right')))
    alone = rng.random() < ALONE
    while True:
        scene = sample_scene(rng, verb, style, count=(3, 5))
        seen = true_sightings(scene)
        target = seen[scene.target]
        options = [p for p in _told(verb, target, seen)
                   if (p.relation == 'none') == alone and _clear(p, target, seen)]
        if options:
            plan = options[int(rng.integers(len(options)))]
            return scene, plan, Plan(verb, target.colour, target.shape)


def _told(verb: str, target: Sighting, seen: list[Sighting]) -> list[Plan]:
    """Return the ways to tell the target by one property, and a relation unless it is alone."""
    plans = []
    for colour, shape in ((target.colour, ANY), (ANY, target.shape)):
        fit = [s for s in seen if colour in (ANY, s.colour) and shape in (ANY, s.shape)]
        if len(fit) == 1:
            plans.append(Plan(verb, colour, shape))
            continue
        for relation in RELATIONS[1:]:
            if relation in ANCHORED:
                plans += [Plan(verb, colour, shape, relation, a.colour, a.shape)
                          for a in seen if a not in fit]
            else:
                plans.append(Plan(verb, colour, shape, relation))
    return plans


def _clear(plan: Plan, target: Sighting, seen: list[Sighting]) -> bool:
    """Tell whether nobody could take the plan for another object than the target."""
    named = [s for s in seen if plan.colour in (ANY, s.colour) and plan.shape in (ANY, s.shape)
             or plan.relation in ANCHORED and (s.colour, s.shape) == (
                 plan.anchor_colour, plan.anchor_shape)]
    if any(abs(s.bearing) > IN_VIEW for s in named):
        return False
    options = candidates(plan, seen)
    if not options or options[0] is not target:
        return False
    others = [s for s in named if s is not target]
    if plan.relation in ('left', 'right', 'leftmost', 'rightmost'):
        return all(abs(s.bearing - target.bearing) > CLEAR_RAD for s in others)
    if plan.relation == 'near':
        anchor = next(s for s in seen if (s.colour, s.shape) == (
            plan.anchor_colour, plan.anchor_shape))
        return all(s.to(anchor) > target.to(anchor) + CLEAR_M for s in others if s is not anchor)
    return all(abs(s.distance - target.distance) > CLEAR_M for s in others)
