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

"""The pilot node in this process, with a pipeline that goes wrong when told to."""

from collections.abc import Iterator
import math
import time

from edge_vla.adaptation.composite import Adaptation
from edge_vla.datatypes import Action, Command, Observation
from edge_vla.exceptions import CheckpointError
from edge_vla.pipeline import Pipeline
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from edge_vla.datatypes import Frame  # noqa: E402, I100
from edge_vla.ros import conversions, vla_node  # noqa: E402
from edge_vla.ros.vla_node import VlaNode  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

IMAGE = np.full((120, 160, 3), 90, np.uint8)


class Unreliable:
    """A pipeline that does as it is told, or answers with `fault`."""

    def __init__(self, language: object) -> None:
        self.language, self.context, self.look = language, None, None
        self.adaptation = Adaptation()
        self.fault: object = None
        self.resets, self.dark_s, self.covered, self.hangs = 0, 0.0, 0.0, False

    def load(self, config: object, synchronous: bool, adaptation: object,
             say: object) -> 'Unreliable':
        if isinstance(self.fault, CheckpointError | MemoryError):
            raise self.fault
        return self

    def step(self, observation: Observation) -> Action:
        if isinstance(self.fault, Exception):
            raise self.fault
        velocity = np.array([1., 0., 0.]) if self.fault is None else self.fault
        return Action(observation.frame.stamp_ns, velocity, 0.0, {
            'dark_s': self.dark_s, 'covered': self.covered, 'hangs': self.hangs})

    def sent(self, command: Command) -> None:
        """Hear what the gate let out."""
        assert np.isfinite([*command.velocity, command.yaw_rate]).all()

    def set_context(self, context: object) -> None:
        self.context = context

    def reconsider(self, context: object, outdated: object) -> None:
        """Have no planner."""

    def close(self) -> None:
        """Have no threads."""

    def reset(self) -> None:
        self.resets += 1


class Cockpit:
    """A node under test, its pipeline, and what it published."""

    def __init__(self, node: VlaNode, pipeline: Unreliable) -> None:
        self.node, self.pipeline = node, pipeline
        self.stamp_ns = 10**9
        self.sent: list = []

    def activate(self) -> None:
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self.node._command.publish = self.sent.append

    def fly(self, frames: int = 30) -> float:
        """Show frames; return the last commanded forward speed."""
        for _ in range(frames):
            self.stamp_ns += 33_333_333
            self.node._on_image(conversions.frame_to_image(Frame(self.stamp_ns, IMAGE), 'eye'), {})
        return self.sent[-1].twist.linear.x

    def report(self) -> tuple[bytes, str, dict[str, str]]:
        told: list = []
        self.node._diagnostics.publish = told.append
        self.node._report()
        status = told[0].status[0]
        return status.level, status.message, {v.key: v.value for v in status.values}


@pytest.fixture
def cockpit(pilot: Pipeline, tmp_path, monkeypatch) -> Iterator[Cockpit]:  # noqa: ANN001
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    pipeline = Unreliable(pilot.language)
    monkeypatch.setattr(vla_node, 'Pipeline', pipeline)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = VlaNode(context=context, parameter_overrides=[
        rclpy.Parameter('autostart', value=False)])
    yield Cockpit(node, pipeline)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize('velocity', [np.array([math.nan, 0, 0]), np.array([math.inf, 0, 0]),
                                      np.zeros(2)])
def test_commands_that_are_not_finite_brake_and_pass(cockpit: Cockpit, velocity) -> None:  # noqa: ANN001,E501
    cockpit.activate()
    assert cockpit.fly() == pytest.approx(1.0)
    resets = cockpit.pipeline.resets
    cockpit.pipeline.fault = velocity
    first = cockpit.fly(1)
    assert first < 1.0  # it brakes at once
    assert cockpit.fly() == 0.0
    assert cockpit.pipeline.resets > resets  # what is not finite must not stay in a state
    level, message, values = cockpit.report()
    assert level == b'\x02' and 'not finite' in message and values['safety'] == 'rejected'
    cockpit.pipeline.fault = None
    assert cockpit.fly() == pytest.approx(1.0)


def test_a_pipeline_that_fails_is_braked_by_the_watchdog(cockpit: Cockpit, monkeypatch) -> None:  # noqa: ANN001,E501
    cockpit.activate()
    cockpit.fly()
    cockpit.pipeline.fault = ZeroDivisionError('went wrong')
    known = len(cockpit.sent)
    cockpit.fly()
    assert len(cockpit.sent) == known
    now = time.monotonic()
    safety = cockpit.node.config.safety
    speeds = []
    for age in (safety.stale_after / 2, safety.stale_after + safety.ramp_time / 2,
                safety.stale_after + safety.ramp_time, 100.0):
        monkeypatch.setattr(vla_node.time, 'monotonic', lambda age=age: now + age)
        cockpit.node._last_good = now
        cockpit.node._watch()
        speeds.append(cockpit.sent[-1].twist.linear.x)
    assert speeds == pytest.approx([1.0, .5, 0, 0], abs=1e-9)
    monkeypatch.undo()
    level, message, values = cockpit.report()
    assert level == b'\x02' and message == 'frame refused: ZeroDivisionError: went wrong'
    assert int(values['frames refused']) == 30
    cockpit.pipeline.fault = None
    assert cockpit.fly() == pytest.approx(1.0)


@pytest.mark.parametrize('fault', [CheckpointError('the model is gone'), MemoryError('no room')])
def test_what_cannot_be_configured_says_why_and_may_be_tried_again(cockpit: Cockpit,
                                                                   fault: Exception) -> None:
    cockpit.pipeline.fault = fault
    assert cockpit.node.trigger_configure() == TransitionCallbackReturn.FAILURE
    level, message, _ = cockpit.report()
    assert level == b'\x02' and message.startswith('cannot configure: ') and str(fault) in message
    cockpit.pipeline.fault = None
    cockpit.activate()
    assert cockpit.fly() == pytest.approx(1.0)


def test_a_camera_that_shows_nothing_is_told(cockpit: Cockpit) -> None:
    cockpit.activate()
    cockpit.node._reading = cockpit.pipeline.language.read('fly to the red sphere')
    cockpit.fly()
    assert cockpit.report()[:2] == (b'\x00', 'flying')
    cockpit.pipeline.dark_s = 1.26
    cockpit.fly(1)
    assert cockpit.report()[:2] == (b'\x01', 'the picture shows nothing since 1.3 s')
    cockpit.pipeline.hangs = True
    cockpit.fly(1)
    assert cockpit.report()[:2] == (b'\x01', 'the camera repeats itself since 1.3 s')
    cockpit.pipeline.dark_s, cockpit.pipeline.covered = 0.0, .12
    cockpit.fly(1)
    level, message, values = cockpit.report()
    assert (level, message) == (b'\x01', 'dirt on 12% of the picture')
    assert values['dirt on the lens'] == '0.120'


def test_an_instruction_that_cannot_be_read_is_said_until_another_comes(cockpit: Cockpit) -> None:
    cockpit.activate()
    told: list = []
    cockpit.node._narration.publish = told.append
    cockpit.node._instruct('please ' * 80 + 'land')
    end = time.monotonic() + 20
    while not told and time.monotonic() < end:
        time.sleep(.01)
    said = told[0].data
    assert said.startswith('"please ') and said.endswith(
        '..." is refused, hovering: the instruction has 564 characters, at most 400 can be read')
    cockpit.fly()
    cockpit.node._error_at = -math.inf  # the error is over, but not what came of it
    assert cockpit.report()[:2] == (b'\x01', said)
    cockpit.node._narrate()
    assert [m.data for m in told] == [said] * 2
    cockpit.node._instruct('')
    assert cockpit.report()[:2] == (b'\x00', 'no instruction: hovering')


def test_a_debug_image_that_cannot_be_drawn_stops_nothing(cockpit: Cockpit, monkeypatch) -> None:  # noqa: ANN001,E501
    cockpit.activate()
    monkeypatch.setattr(cockpit.node._debug, 'get_subscription_count', lambda: 1)

    def fail(*_: object) -> None:
        raise ValueError('no pencil')
    monkeypatch.setattr(cockpit.node, '_draw', fail)
    assert cockpit.fly() == pytest.approx(1.0)
    assert cockpit.report()[1] == 'no debug image: ValueError: no pencil'


def test_a_node_that_is_not_active_commands_nothing(cockpit: Cockpit) -> None:
    cockpit.activate()
    cockpit.fly()
    assert cockpit.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert cockpit.sent[-1].twist.linear.x == 0.0
    known = len(cockpit.sent)
    cockpit.fly()
    cockpit.node._watch()
    assert len(cockpit.sent) == known
    assert cockpit.report()[:2] == (b'\x00', 'not active')


def test_shutting_down_in_flight_sends_a_last_zero(cockpit: Cockpit) -> None:
    cockpit.activate()
    assert cockpit.fly() == pytest.approx(1.0)
    assert cockpit.node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    assert cockpit.sent[-1].twist.linear.x == 0.0
    assert cockpit.node.trigger_configure() != TransitionCallbackReturn.SUCCESS


def test_the_parameter_and_the_service_for_enabling_are_one_switch(cockpit: Cockpit) -> None:
    cockpit.activate()
    cockpit.fly()
    cockpit.node._on_enable(SetBool.Request(data=False), SetBool.Response())
    known = len(cockpit.sent)
    assert cockpit.fly() == 0.0 and len(cockpit.sent) == known
    result, = cockpit.node.set_parameters([rclpy.Parameter('node.enabled', value=True)])
    assert result.successful
    assert cockpit.fly() == pytest.approx(1.0)
