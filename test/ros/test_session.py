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

"""A flight session: both nodes as processes, watched from this one."""

import os
from pathlib import Path
import signal
import subprocess
import sys

from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.exceptions import EdgeVlaError
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from edge_vla.ros.session import FlightSession  # noqa: E402, I100

TEXT = 'orbit the red sphere clockwise'


def until(session: FlightSession, condition, what: str) -> None:  # noqa: ANN001
    for _ in range(600):
        if condition():
            return
        session.spin(.1)
    pytest.fail(f'{what} did not come\n{session.tail("vla_node")}')


def test_a_session_flies_and_leaves_nothing_behind() -> None:
    before = dict(os.environ)
    with FlightSession(SimConfig(seed=3, instruction=TEXT), CameraConfig(),
                       PipelineConfig()) as session:
        session.wait_ready(120.0)
        start = session.odometry
        session.instruct(TEXT)
        until(session, lambda: np.linalg.norm(session.odometry.position - start.position) > .5,
              'motion')
        until(session, lambda: 'red sphere' in session.narration, 'a narration')
        until(session, lambda: session.latencies_ms and session.diagnostics, 'diagnostics')
        assert session.odometry.stamp_ns > start.stamp_ns
        assert np.linalg.norm(session.odometry.quaternion) == pytest.approx(1)
        assert np.linalg.norm(session.odometry.velocity_world) > 0
        assert session.image.image.shape == (240, 320, 3)
        velocity, yaw_rate, stamp_ns = session.command
        assert velocity.shape == (3,) and np.isfinite([*velocity, yaw_rate]).all()
        assert abs(stamp_ns - session.image.stamp_ns) < 10**9
        assert min(session.latencies_ms) > 0
        assert session.diagnostics['safety'] in ('ok', 'limited')
        processes, folder = list(session.processes.values()), Path(session._folder.name)
    assert [p.returncode for p in processes] == [0, 0]
    assert not folder.exists() and dict(os.environ) == before


def test_a_pilot_that_cannot_fly_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(EdgeVlaError, match='vla_node: cannot configure: .*no policy.safetensors'):
        with FlightSession(SimConfig(), CameraConfig(),
                           PipelineConfig(model=str(tmp_path))) as session:
            session.wait_ready(120.0)


def test_settings_that_are_refused_end_the_session() -> None:
    with pytest.raises(EdgeVlaError, match=r'(?s)sim_node ended with status 2.*sim\.wind'):
        with FlightSession(SimConfig(wind=1e6), CameraConfig(), PipelineConfig()) as session:
            session.wait_ready(120.0)


def test_arguments_that_nobody_reads_are_refused() -> None:
    done = subprocess.run([sys.executable, '-m', 'edge_vla.ros.sim_node', '-p', 'sim.seed:=3'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "sim_node: unknown argument '-p': what ROS is to read stands after --ros-args"]


@pytest.mark.parametrize(('words', 'said'), [
    (['--params-file', '/nowhere.yaml'], "params file: '--params-file /nowhere.yaml'"),
    (['-r', '__ns:=bad'], "remap rule: '-r __ns:=bad'"),
    (['--bad'], "['--bad']"),
])
def test_wrong_ros_arguments_are_said_in_one_line(words: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'edge_vla.ros.sim_node', '--ros-args', *words],
                          capture_output=True, text=True, timeout=60, check=False)
    *others, line = done.stderr.splitlines()  # the others are rcl's own
    assert done.returncode == 2 and line.startswith('sim_node: ROS does not start: ')
    assert said in line and not any('Traceback' in other for other in others)


def test_a_middleware_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """Fast DDS 3.2 was seen to spin for ever, holding the interpreter."""
    script = tmp_path / 'stuck.py'
    script.write_text("""
from edge_vla.ros import spin
from rclpy.node import Node

class Stuck(Node):
    finished = True
    def __init__(self):
        super().__init__('stuck')
    def close(self):
        print('closed', flush=True)
    def destroy_node(self):
        while True:
            pass

spin.END_S = 1
raise SystemExit(spin.run_all({'stuck': Stuck}, []))
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          timeout=60)
    assert done.stdout == 'closed\n' and done.returncode == -signal.SIGALRM


ENDING = """
import os
import signal
import sys

from edge_vla.ros import spin
from rclpy.node import Node
from std_msgs.msg import Float64


class Pilot(Node):
    def __init__(self):
        super().__init__('pilot')
        self.out = self.create_publisher(Float64, 'wanted', 1)
        self.create_timer(.05, lambda: self.out.publish(Float64(data=1.5)))

    def close(self):
        self.out.publish(Float64(data=0.0))


class Bridge(Node):
    lingers = True

    def __init__(self):
        super().__init__('bridge')
        self.last, self.count = None, 0
        self.create_subscription(Float64, 'wanted', self.hear, 1)

    def hear(self, message):
        self.last, self.count = message.data, self.count + 1
        if self.count == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    def close(self):
        print('last', self.last)


raise SystemExit(spin.run_all({'pilot': Pilot, 'bridge': Bridge}, []))
"""


def test_a_bridge_hears_the_last_zero_before_it_ends() -> None:
    ended = subprocess.run([sys.executable, '-c', ENDING], capture_output=True, text=True,
                           timeout=60, check=False)
    assert 'last 0.0' in ended.stdout, ended.stdout + ended.stderr
