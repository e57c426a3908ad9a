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

"""vla_node with a planner: the plan is on narration, and without one it flies all the same."""

from collections.abc import Callable, Iterator
import time
from typing import Any

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')

from edge_vla.datatypes import Context  # noqa: E402, I100
from edge_vla.language.plan import parse, Step  # noqa: E402
from edge_vla.language.planner import Planner  # noqa: E402
from edge_vla.ros.vla_node import VlaNode  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402

PATIENCE_S = 60.0


class FakePlanner:
    """Takes every instruction for the same plan."""

    closed = False

    def read(self, instruction: str, check: Callable[[], None], first: Context) -> Context:
        plans = parse('orbit_left green box then land'.split())
        steps = tuple(Step(p, p.vector(), .9) for p in plans)
        return Context(steps[0].vector, ', then '.join(p.text() for p in plans), instruction, .9,
                       steps)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def start(tmp_path, monkeypatch) -> Iterator[Callable]:  # noqa: ANN001
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    context, nodes = rclpy.Context(), []
    rclpy.init(context=context)

    def make(path: str) -> tuple[Any, list, list]:
        node = VlaNode(context=context, parameter_overrides=[
            rclpy.Parameter('autostart', value=False),
            rclpy.Parameter('pipeline.planner', value=path)])
        nodes.append(node)
        warned, narrated = [], []
        logger = node.get_logger()
        logger.warning = warned.append
        node.get_logger = lambda: logger
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        node._narration.publish = lambda message: narrated.append(message.data)
        return node, warned, narrated
    yield make
    for node in nodes:
        node.close()
        node.destroy_node()
    rclpy.try_shutdown(context=context)


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end, 'it did not come'
        time.sleep(.01)


def test_the_plan_is_narrated(start, monkeypatch) -> None:  # noqa: ANN001
    planner = FakePlanner()
    monkeypatch.setattr(Planner, 'load', lambda *_: planner)
    node, warned, narrated = start('a model')
    node._instruct('fly to the red sphere')
    wait(lambda: len(narrated) == 2)
    assert narrated == ['go to the red sphere', 'orbit the green box to the left, then land']
    assert node._pipeline.context.text == narrated[1] == node._reading.text
    assert 'the planner reads "orbit the green box' in warned[-1]
    node._instruct('stop')  # a stop stays a stop
    wait(lambda: len(warned) == 2)
    assert narrated[2:] == ['hover'] and node._pipeline.context.text == 'hover'
    node.close()
    assert planner.closed


def test_a_planner_that_is_missing_is_said_and_the_pilot_flies(start) -> None:  # noqa: ANN001
    node, warned, narrated = start('/nowhere')
    assert len(warned) == 1
    assert warned[0].startswith('no planner, the small head reads alone: /nowhere')
    node._instruct('fly to the red sphere')
    wait(lambda: bool(narrated))
    assert narrated == ['go to the red sphere']
