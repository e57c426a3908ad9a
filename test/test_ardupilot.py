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


"""ArduPilot's velocity interface: turned into the world, and only while all is fresh."""

import math

from edge_vla.autopilot.ardupilot import ArduPilotVelocity
from edge_vla.config import ArduPilotConfig
from hypothesis import given, strategies as st
import numpy as np
import pytest

NOW_NS = 10**18
YAW = st.floats(-math.pi, math.pi)
SPEED = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3)


def facing(yaw: float, now: float = 0.0) -> ArduPilotVelocity:
    core = ArduPilotVelocity(ArduPilotConfig())
    assert core.hear_attitude(now, (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))
    return core


def test_left_of_east_is_north() -> None:
    world = facing(0.0).command(0.0, NOW_NS, NOW_NS, (1.0, 0.5, 0.2), 0.3)
    assert world == pytest.approx([1.0, 0.5, 0.2])
    world = facing(math.pi / 2).command(0.0, NOW_NS, NOW_NS, (1.0, 0.5, 0.2), 0.3)
    assert world == pytest.approx([-0.5, 1.0, 0.2])


@given(YAW, SPEED)
def test_turning_keeps_speed_and_climb(yaw: float, velocity: list) -> None:
    world = facing(yaw).command(0.0, NOW_NS, NOW_NS, velocity, 0.0)
    assert np.linalg.norm(world) == pytest.approx(np.linalg.norm(velocity))
    assert world[2] == velocity[2]
    back = facing(-yaw).command(0.0, NOW_NS, NOW_NS, world, 0.0)
    assert back == pytest.approx(velocity, abs=1e-9)


@pytest.mark.parametrize(('now', 'stamp_ns', 'velocity', 'said'), [
    (1.0, NOW_NS, (0.0, 0.0, 0.0), 'no pose'),
    (0.1, NOW_NS - 2 * 10**9, (0.0, 0.0, 0.0), 'an image 2.0 s old'),
    (0.1, NOW_NS, (math.nan, 0.0, 0.0), 'not finite'),
    (0.1, NOW_NS, (0.0, 0.0, 7.0), 'more than 5'),
])
def test_what_is_not_fresh_and_valid_does_not_go_on(now: float, stamp_ns: int, velocity: tuple,
                                                    said: str) -> None:
    core = facing(0.0)
    assert core.command(now, NOW_NS, stamp_ns, velocity, 0.0) is None
    assert said in core.reason and core.refused == 1 and core.passed == 0


def test_silence_of_the_pilot_is_told() -> None:
    core = facing(0.0)
    assert core.state(0.0) == 'no command was heard yet'
    core.command(0.0, NOW_NS, NOW_NS, (0.0, 0.0, 0.0), 0.0)
    assert core.state(0.9) == '' and core.state(1.1) == 'no commands'


@pytest.mark.parametrize('q', [(0, 0, 0, 0), (math.nan, 0, 0, 1), (0, math.inf, 0, 1)])
def test_what_is_no_attitude_counts_as_none(q: tuple) -> None:
    core = ArduPilotVelocity(ArduPilotConfig())
    assert not core.hear_attitude(0.0, q)
    assert core.command(0.0, NOW_NS, NOW_NS, (0, 0, 0), 0.0) is None
