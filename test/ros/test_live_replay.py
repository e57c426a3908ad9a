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

"""A recording played to the live pilot gives the commands that its replay gives."""

import json
from pathlib import Path
from typing import Any

from edge_vla.cli.main import main
from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Frame, Observation
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import IMAGE, ODOMETRY
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.sim.simulator import Simulator
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')
pytest.importorskip('rosbags', reason='pip install -e .[bag]')

INSTRUCTION = 'circle the red sphere to the left'
IMAGES, FRAME_NS, BEGIN_NS = 180, 33_333_333, 10**9
DROPPED = 60
PATIENCE_S = 5.0


def record(path: Path, left_out: tuple[int, ...] = ()) -> Path:
    """Fly the simulator and write what its camera saw and what it measured, thrice a frame."""
    simulator = Simulator(SimConfig(seed=5, instruction=INSTRUCTION),
                          CameraConfig(width=160, height=120))
    pilot, gate = Pipeline.load(), SafetyGate()
    with BagWriter(path) as bag:
        t = bag.types.types
        vector = t['geometry_msgs/msg/Vector3']

        def odometry(now: int) -> None:
            m = simulator.motion()
            q = t['geometry_msgs/msg/Quaternion'](*map(float, simulator.quaternion))
            # the velocity of the body, as the standard asks
            v = simulator.rotation.T @ simulator.velocity_world
            bag.write('/state', ODOMETRY, now, header=bag.header(now, 'odom'),
                      child_frame_id='base_link',
                      pose=t['geometry_msgs/msg/PoseWithCovariance'](t['geometry_msgs/msg/Pose'](
                          t['geometry_msgs/msg/Point'](0.0, 0.0, 1.0), q), np.zeros(36)),
                      twist=t['geometry_msgs/msg/TwistWithCovariance'](t[
                          'geometry_msgs/msg/Twist'](vector(*map(float, v)), vector(
                              0.0, 0.0, float(m.yaw_rate))), np.zeros(36)))
        for k in range(IMAGES):
            now = BEGIN_NS + k * FRAME_NS
            frame, motion = simulator.frame(), simulator.motion()
            odometry(now - 1_000_000)
            if k not in left_out:
                bag.image('/front', now, Frame(now, frame.image))
            command = gate.filter(pilot.step(Observation(
                Frame(now, frame.image), INSTRUCTION, motion)))
            simulator.command(command.velocity, command.yaw_rate)
            for part in (1, 2):
                simulator.advance(FRAME_NS // 3)
                odometry(now + part * FRAME_NS // 3)
            simulator.advance(FRAME_NS - 2 * (FRAME_NS // 3))
    return path


@pytest.fixture(scope='module')
def flight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a flight and replay it."""
    folder = tmp_path_factory.mktemp('flight')
    record(folder / 'bag')
    assert main(['replay', str(folder / 'bag'), '--instruction', INSTRUCTION, '--out',
                 str(folder / 'replay'), '--no-report', '--no-overlay', '--bag', 'none']) == 0
    return folder


def play(bench: Any, bag: Path, actions: Path, **player: Any) -> tuple[int, dict[str, Any], str]:
    """Play a recording to the pilot; return the exit status, the result and the log."""
    # a host that holds the player up is no pilot's fault: braking for it is tested elsewhere
    bench.start('vla_node', use_sim_time=True, adaptation__enabled=False,
                pipeline__instruction=INSTRUCTION, safety__stale_after=PATIENCE_S)
    process = bench.start('bag_player_node', player__bag=bag, player__actions=actions, **player)
    bench.until(lambda: process.poll() is not None, 'the end of the recording', 150.0)
    result = json.loads((actions / 'live.json' if actions.is_dir() else
                         actions.with_name('live.json')).read_text())
    return process.returncode, result, bench.log('bag_player_node')


@pytest.mark.parametrize('rate', [1.0, 20.0])
def test_live_commands_are_those_of_the_replay(bench, flight: Path, rate: float) -> None:  # noqa: ANN001
    status, result, log = play(bench, flight / 'bag', flight / 'replay', player__lockstep=True,
                               player__rate=rate)
    assert result['images'] == IMAGES and result['answered'] == IMAGES, log
    assert result['share'] >= .999 and result['largest'] <= 1e-6, log
    assert status == 0 and f'{IMAGES} of {IMAGES} commands are those of the replay' in log
    moved = [a['command'] for a in json.loads(
        (flight / 'replay' / 'actions.json').read_text())['actions']]
    assert max(abs(v) for c in moved for v in c) > .3  # not a hover that agrees with a hover


def test_a_lost_image_is_listed_and_explains_what_follows(bench, flight: Path,  # noqa: ANN001
                                                          tmp_path: Path) -> None:
    # the pilot is played the flight without an image that the replay had
    bag = record(tmp_path / 'bag', (DROPPED,))
    actions = tmp_path / 'actions.json'
    actions.write_text((flight / 'replay' / 'actions.json').read_text())
    status, result, log = play(bench, bag, actions, player__lockstep=True, player__rate=4.0)
    assert result['answered'] == result['images'] == IMAGES - 1
    first = BEGIN_NS + (DROPPED + 1) * FRAME_NS
    assert result['different'] and result['different'][0]['stamp_ns'] == first
    assert status == 1 and str(first) in log and 'differ by up to' in log


def test_actions_that_are_none_are_refused(bench, flight: Path, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / 'a.json').write_text('{"frames": 3}')
    for name, said in (('a.json', 'is no actions.json of edge-vla replay'),
                       ('nowhere.json', 'cannot be read: No such file')):
        process = bench.start('bag_player_node', player__bag=flight / 'bag',
                              player__actions=tmp_path / name)
        bench.until(lambda p=process: p.poll() is not None, 'the end of bag_player_node')
        assert process.returncode == 2 and said in bench.log('bag_player_node').splitlines()[-1]


def test_the_recording_holds_what_was_meant(flight: Path) -> None:
    from edge_vla.evaluation.bags import Bag
    with Bag(flight / 'bag') as bag:
        assert {c.topic: c.msgtype for c in bag.connections} == {
            '/front': IMAGE, '/state': ODOMETRY}
        samples = list(bag)
    assert len(samples) == IMAGES and all(s.motion is not None for s in samples)
