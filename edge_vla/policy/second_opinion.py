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
What the seeing head says of a target, as a condition of what the policy flies by.

The head reads the last frames once a second, the policy each frame: the head is the better judge
of what a thing is, and it can be asked about what comes later. Two things follow from its word.
A vehicle that has come to rest at what the head denies twice, a look-alike, no longer sees it and
searches on; and who searches turns the shorter way to where the head last saw the target. Places
are kept in a frame of dead reckoning, so they hold while the vehicle moves. The head can only
delay: a look-alike that nothing better is found for in one turn is the target again. Nothing is
denied in motion: that was tried, and flights that lost their target while they circled collided.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

from edge_vla.datatypes import Motion
from edge_vla.language.plan import Plan
from edge_vla.language.sight import Located
from edge_vla.motion import measured
from edge_vla.policy.mission import ARRIVED_SPEED, VISIBLE
from edge_vla.policy.sightings import Sight
from edge_vla.vision import layout
import numpy as np

DENIED = 0.1  # a target less likely in view is denied
DENIALS = 2  # so often, of one thing
SEEN = 0.9  # a target likelier in view has a place
REACH_M, REACH_RAD = 4.5, 0.6  # the head tells things well this near, and this far inside
ARRIVING = ('go', 'search')  # what ends at rest in front of its target
SAME_M, SAME_SHARE = 1.0, 0.35  # places nearer than this, or than this part of the way, are one
LOST_S = 0.7  # s out of view before a target is turned to
TURN_RATE = 0.8  # rad/s, as the policy searches
FACED_RAD = 0.25  # a remembered place this near the middle that shows nothing is forgotten
EMPTY_RAD = 0.5  # so close to its direction the head is not believed again
FULL_TURN = 2 * math.pi
PLACED = layout.POOLED + layout.LOCATED  # features of the target; the others are of obstacles
Name = tuple[str, str]  # colour and shape


class Pose(NamedTuple):
    """Where the vehicle is by dead reckoning: m, m, rad."""

    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0

    def point(self, bearing: float, distance: float) -> complex:
        """Return the place that lies in a direction, m."""
        angle = self.heading + bearing
        return complex(self.x, self.y) + distance * complex(math.cos(angle), math.sin(angle))

    def bearing(self, point: complex) -> float:
        """Return in which direction a place lies, rad, positive to the left."""
        away = point - complex(self.x, self.y)
        return math.remainder(math.atan2(away.imag, away.real) - self.heading, 2 * math.pi)

    def distance(self, point: complex) -> float:
        """Return how far a place is, m."""
        return abs(point - complex(self.x, self.y))


class Sighted(NamedTuple):
    """
    How it was when the head was asked.

    Attributes
    ----------
    name : tuple of str
        Colour and shape of the target.
    point : complex or None
        What the vehicle had come to rest at, taking it for the target.
    pose : Pose
        Where it was.

    """

    name: Name
    point: complex | None
    pose: Pose


class SecondOpinion:
    """
    Remembers what the seeing head said, and conditions features and commands by it.

    Attributes
    ----------
    pose : Pose
        By dead reckoning since `reset`.
    look_alike : bool
        Whether what the policy took for its target in the last frame was kept from it.

    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.pose, self.look_alike = Pose(), False
        self._turned = self._unseen = self._speed = 0.0
        self._places: dict[Name, complex] = {}
        self._empty: dict[Name, list[complex]] = {}
        self._doubts: dict[Name, tuple[complex, int]] = {}
        self._denied: dict[Name, tuple[complex, float]] = {}
        self._forgiven: set[Name] = set()

    def move(self, motion: Motion | None, command: np.ndarray, dt: float) -> None:
        """
        Follow the vehicle.

        Parameters
        ----------
        motion : Motion or None
            Measured motion; without one what was commanded is taken for it.
        command : numpy.ndarray
            float64 [4], the last command, heading frame.
        dt : float
            Seconds since the last frame.

        """
        vx, vy, rate = float(command[0]), float(command[1]), float(command[3])
        if measured(motion):
            vx, vy, rate = float(motion.velocity[0]), float(motion.velocity[1]), motion.yaw_rate
        x, y, heading = self.pose
        middle = heading + rate * dt / 2
        c, s = math.cos(middle), math.sin(middle)
        self.pose = Pose(x + dt * (vx * c - vy * s), y + dt * (vx * s + vy * c),
                         heading + rate * dt)
        self._turned += abs(rate) * dt
        self._speed = math.hypot(vx, vy)

    def sighted(self, target: Plan, sight: Sight) -> Sighted:
        """
        Return what the policy has come to rest at, for when the head is asked.

        Parameters
        ----------
        target : Plan
            Of this step.
        sight : Sight
            After its look at this frame.

        """
        bearing, _, gap = sight.located()
        arrived = (target.verb in ARRIVING and self._speed < ARRIVED_SPEED and gap < REACH_M
                   and abs(bearing) < REACH_RAD and sight.features[0] > VISIBLE)
        return Sighted((target.colour, target.shape),
                       self.pose.point(bearing, gap) if arrived else None, self.pose)

    def hear(self, sighted: Sighted, said: Sequence[tuple[Name, Located]]) -> None:
        """
        Take what the head says.

        Parameters
        ----------
        sighted : Sighted
            How it was when the head was asked.
        said : sequence of (name, Located)
            Of the target first, then of what may come later.

        """
        for name, located in said:
            if located.seen >= SEEN and not self._was_empty(name, sighted.pose, located.bearing):
                self._places[name] = sighted.pose.point(located.bearing, located.gap)
        name, located = said[0]
        before, point = self._doubts.pop(name, None), sighted.point
        if located.seen >= SEEN and name in self._denied and self._same(sighted.pose.point(
                located.bearing, located.gap), self._denied[name][0]):
            del self._denied[name]
        if point is None or located.seen >= DENIED or name in self._forgiven:
            return
        count = 1 + (before[1] if before and self._same(before[0], point) else 0)
        self._doubts[name] = point, count
        if count >= DENIALS:
            self._denied[name] = point, self._turned
            self._places.pop(name, None)

    def condition(self, target: Plan, sight: Sight, dt: float) -> None:
        """
        Keep a look-alike from the policy: its features become those of nothing in view.

        Parameters
        ----------
        target : Plan
            Of this step.
        sight : Sight
            After its look at this frame; its features are changed.
        dt : float
            Seconds since the last frame.

        """
        name = target.colour, target.shape
        self.look_alike = False
        if name in self._denied and target.verb in ARRIVING:
            point, since = self._denied[name]
            if self._turned - since > FULL_TURN:  # there is nothing better
                del self._denied[name]
                self._forgiven.add(name)
            elif sight.features[0] > VISIBLE:
                bearing, _, gap = sight.located()
                self.look_alike = self._same(point, self.pose.point(bearing, gap))
        if self.look_alike:
            sight.features[:PLACED] = 0
        self._unseen = 0.0 if sight.features[0] > VISIBLE else self._unseen + dt

    def steer(self, target: Plan, command: np.ndarray) -> np.ndarray:
        """
        Turn the policy's command to where the target was seen, if it is out of view.

        Parameters
        ----------
        target : Plan
            Of this step.
        command : numpy.ndarray
            float64 [4], heading frame.

        """
        name = target.colour, target.shape
        if self._unseen < LOST_S or name not in self._places:
            return command
        bearing = self.pose.bearing(self._places[name])
        if abs(bearing) < FACED_RAD:  # it is not there any more
            self._empty.setdefault(name, []).append(self._places.pop(name))
            return command
        return np.array([*command[:3], math.copysign(TURN_RATE, bearing)])

    def _was_empty(self, name: Name, pose: Pose, bearing: float) -> bool:
        """Tell whether a place in this direction was faced before and showed nothing."""
        return any(abs(math.remainder(pose.bearing(p) - bearing, 2 * math.pi)) < EMPTY_RAD
                   for p in self._empty.get(name, ()))

    def _same(self, a: complex, b: complex) -> bool:
        """Tell whether two places are one, as well as distances are seen from here."""
        return abs(a - b) < max(SAME_M, SAME_SHARE * self.pose.distance(b))
