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

"""The tasks a pilot is trained and judged on."""

from dataclasses import dataclass

TASKS = ('go', 'orbit_left', 'orbit_right', 'search')
# two steps, an object told by a relation, a colour and shape not trained together: sim.missions
MISSIONS = ('two_step', 'relation', 'unseen')


@dataclass(frozen=True)
class Success:
    """What counts as obeyed, and what ends an episode."""

    near: float = 0.5  # m, smallest gap between body and target surface while hovering
    far: float = 2.0  # m, largest such gap
    facing: float = 0.45  # rad, largest bearing of the target while hovering
    speed: float = 0.45  # m/s, largest speed while hovering
    hold: float = 1.0  # s, the hover must last this long
    orbit_gap: float = 3.0  # m, circling counts only this close to the target
    orbit_facing: float = 0.8  # rad, and only with the target in view
    orbit_turn: float = 6.2831853  # rad, one full circle
    touch: float = 0.2  # m, body radius: closer to any surface is a collision
    floor: float = 0.12  # m, lower is a crash
    touchdown: float = 0.25  # m, lower is landed where landing was asked for
    touchdown_speed: float = 0.7  # m/s, faster is a crash
    ceiling: float = 6.0  # m
    border: float = 25.0  # m from the start


TIMEOUT_S = {'go': 30.0, 'orbit_left': 45.0, 'orbit_right': 45.0, 'search': 40.0, 'hover': 10.0,
             'land': 15.0, 'unknown': 10.0}
