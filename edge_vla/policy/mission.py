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
Several steps, one after the other: when is a step done, and what comes next.

A step ends by what the pilot itself sees and measures: it hovers in front of its target, or it
has flown once around it. Nothing here knows the simulator. The last step is flown until the
next instruction.
"""

import math

from edge_vla.datatypes import Context, Motion
from edge_vla.language.plan import MOVING, Plan, Step
from edge_vla.motion import measured
from edge_vla.policy.resolver import CHOSEN, Resolver
from edge_vla.policy.sightings import Sight, sightings
import numpy as np

VISIBLE = 0.5  # presence of a target that counts as seen
# the policy knows where to stop: that it has is told by its rest, the seen gap only bounds it
ARRIVED_GAP, ARRIVED_BEARING, ARRIVED_SPEED = 4.0, 0.4, 0.25  # m, rad, m/s
HOLD_S = 1.6  # s of hovering there
CIRCLE_GAP, CIRCLE_BEARING = 2.8, 0.8  # m, rad: circling counts only this close, and facing it
CIRCLE = 2 * math.pi * 1.05  # rad
PAUSE_S = 3.0  # s of a hover between two other steps
LAND_SPEED = 0.4  # m/s
LEVEL = np.array([1.0, 1.0, 0.0, 1.0])
PICK_UP_S = 1.5  # s a vehicle may need to start sinking
LANDED_S, LANDED_SPEED = 1.0, 0.08  # s, m/s: it sank, and does not sink any more


class Mission:
    """
    The steps of one instruction.

    Parameters
    ----------
    context : Context
        What the language head read.

    Attributes
    ----------
    context : Context
    vector : numpy.ndarray
        float32 [CONTEXT_SIZE] the policy flies by now.
    index : int
        The step being flown.
    say : str
        The state of the mission in words.

    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._steps = context.steps or (Step(Plan('hover'), context.vector, context.confidence),)
        self._text = context.text
        self._plain = not context.steps  # a bare vector: fly it, whatever it is
        self._begin(0)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def flying(self) -> bool:
        """Whether the vehicle is meant to stay in the air."""
        return self._plain or self.plan.verb != 'land'

    @property
    def target(self) -> Plan | None:
        """Return the plan of this step if it has an object and that is known by name."""
        known = not self._plain and self._resolver is None and self.plan.verb in MOVING
        return self.plan if known else None

    @property
    def targets(self) -> list[Plan]:
        """Return the target of this step and of those that follow, where they are known."""
        later = [s.plan for s in self._steps[self.index + 1:]]
        return [p for p in (self.target, *later)
                if p is not None and p.verb in MOVING and p.resolved]

    def text(self) -> str:
        """Return which step is being flown, and what it is, in words."""
        count = len(self._steps)
        return self.say if count == 1 else f'step {self.index + 1} of {count}: {self.say}'

    def _begin(self, index: int) -> None:
        self.index = index
        step = self._steps[index]
        self.vector, self.plan = step.vector, step.plan
        self.say = self._text if self._plain else step.plan.text()
        self._held = self._swept = self._heading = self._sinking = 0.0
        self._sank = False
        self._direction: float | None = None
        self._resolver = None if self._plain or step.plan.resolved else Resolver(step.plan)
        if self._resolver is not None:  # nothing to fly to yet
            self.vector, self.say = Plan('hover').vector(), self._resolver.say

    def direct(self, sight: Sight, command: np.ndarray, motion: Motion | None, dt: float,
               blank: bool = False) -> np.ndarray:
        """
        Take the policy's command of this frame and return the one to send.

        Parameters
        ----------
        sight : Sight
            The grounding head after its look at this frame.
        command : numpy.ndarray
            float64 [4], heading-frame velocity (m/s) and yaw rate (rad/s).
        motion : Motion or None
            Measured motion; without one what was commanded is taken for it.
        dt : float
            Seconds since the last frame.
        blank : bool
            Whether this frame shows nothing.

        """
        if self._plain:
            return command
        if self._resolver is not None:
            return self._resolve(self._resolver, sight, motion, dt, blank)
        if self.plan.verb == 'land':
            return self._land(motion, dt)
        if self.index + 1 < len(self._steps) and self._done(sight, command, motion, dt):
            self._begin(self.index + 1)
        if self.plan.verb == 'hover':  # to stand still needs no picture
            return np.zeros(4)
        if sight.features[0] < VISIBLE:  # no camera tells the height of empty ground: keep it
            command = command * LEVEL
        return command

    def _resolve(self, resolver: Resolver, sight: Sight, motion: Motion | None, dt: float,
                 blank: bool) -> np.ndarray:
        if blank:
            return np.array([0.0, 0.0, 0.0, resolver.wait()])
        status = resolver.update(sightings(sight), dt,
                                 motion.yaw_rate if measured(motion) else None)
        self.say = resolver.say
        if status == CHOSEN:
            self.plan, self.vector = resolver.plan, resolver.plan.vector()
            self.say, self._resolver = resolver.plan.text(), None
        return np.array([0.0, 0.0, 0.0, resolver.turn])

    def _land(self, motion: Motion | None, dt: float) -> np.ndarray:
        if self._held >= LANDED_S:
            self.say = 'landed'
            return np.zeros(4)
        self._sinking += dt
        # who never sank may be held in the air by somebody else, so this goes on; who stands on
        # the ground already is asked to sink, by which an autopilot knows that it may disarm
        self._sank |= motion is not None and motion.velocity[2] < -LANDED_SPEED
        still = (self._sank and motion is not None and self._sinking > PICK_UP_S
                 and abs(motion.velocity[2]) < LANDED_SPEED)
        self._held = self._held + dt if still else 0.0
        return np.array([0.0, 0.0, -LAND_SPEED, 0.0])

    def _done(self, sight: Sight, command: np.ndarray, motion: Motion | None,
              dt: float) -> bool:
        if self.plan.verb == 'hover':
            self._held += dt
            return self._held >= PAUSE_S
        bearing, _, gap = sight.located()
        visible = sight.features[0] > VISIBLE
        velocity, yaw_rate = command[:3], float(command[3])
        if measured(motion):
            velocity, yaw_rate = motion.velocity, motion.yaw_rate
        if self.plan.verb in ('orbit_left', 'orbit_right'):
            self._sweep(yaw_rate * dt, bearing if visible else None, gap)
            return self._swept * (-1 if self.plan.verb == 'orbit_left' else 1) >= CIRCLE
        arrived = (visible and gap < ARRIVED_GAP and abs(bearing) < ARRIVED_BEARING
                   and float(np.linalg.norm(velocity)) < ARRIVED_SPEED)
        self._held = self._held + dt if arrived else 0.0
        return self._held >= HOLD_S

    def _sweep(self, turned: float, bearing: float | None, gap: float) -> None:
        """Add up how far it came around its target: the change of the direction it lies in."""
        self._heading += turned
        if bearing is None:
            return
        direction = self._heading + bearing
        if self._direction is not None and gap < CIRCLE_GAP and abs(bearing) < CIRCLE_BEARING:
            self._swept += math.remainder(direction - self._direction, 2 * math.pi)
        self._direction = direction
