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


"""Live tests: real nodes in their own processes, real DDS, on this machine only."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

# rclpy checks message fields only when asked to; a NumPy scalar would be sent as garbage
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# the shipped profile: without it whole images above 512 KB hardly arrive
os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] = str(
    Path(__file__).resolve().parents[2] / 'config' / 'fastdds.xml')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: they are run one after the other, on a quiet machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


class Bench:
    """Starts nodes and talks to them from a node of its own."""

    def __init__(self, folder: Path, domain: int | None = None) -> None:
        from edge_vla.ros.session import free_domain
        import rclpy  # here, so that the tests can be collected, and skipped, without it
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions
        self.folder = folder
        # what a killed process leaves in shared memory must not reach the next test
        self.domain = domain or free_domain()
        os.environ |= {'ROS_LOG_DIR': str(folder), 'ROS_DOMAIN_ID': str(self.domain)}
        self.processes: dict[str, subprocess.Popen] = {}
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node('bench', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: dict[str, list[tuple[float, Any]]] = {}

    def start(self, name: str, **parameters: Any) -> subprocess.Popen:
        """Start ``edge_vla.ros.<name>`` with parameters (dots as double underscores)."""
        arguments = [sys.executable, '-m', f'edge_vla.ros.{name}', '--ros-args']
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ['-p', f'{key.replace("__", ".")}:={text}']
        with (self.folder / f'{name}.log').open('ab') as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL)
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        """Return what a node has logged."""
        return (self.folder / f'{name}.log').read_text(errors='replace')

    def listen(self, kind: Any, topic: str, profile: Any) -> list[tuple[float, Any]]:
        """Collect (arrival on the monotonic clock, message) of a topic."""
        known = topic in self.heard
        heard = self.heard.setdefault(topic, [])
        if not known:
            self.node.create_subscription(
                kind, topic, lambda m: heard.append((time.monotonic(), m)), profile)
        return heard

    def spin(self, seconds: float) -> None:
        """Handle what arrives for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Spin until `condition` holds; fail saying `what` did not happen."""
        end = time.monotonic() + timeout
        while not condition():
            self.executor.spin_once(timeout_sec=.05)
            if time.monotonic() > end:
                logs = '\n'.join(f'--- {n}\n{self.log(n)[-2000:]}' for n in self.processes)
                pytest.fail(f'{what} did not happen within {timeout:.0f} s\n{logs}')

    def call(self, kind: Any, name: str, request: Any, timeout: float = 60.0) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        try:
            self.until(client.service_is_ready, f'service {name}', timeout)
            self.spin(.5)  # the server must find the client too, or its answer is lost
            future = client.call_async(request)
            self.until(future.done, f'the answer of {name}', timeout)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def stop(self, name: str, number: int = signal.SIGINT) -> int:
        """Signal a node, wait for its end while still listening, return its exit status."""
        process = self.processes[name]
        process.send_signal(number)
        self.until(lambda: process.poll() is not None, f'the end of {name}', 20.0)
        return process.returncode

    def close(self) -> None:
        """End everything."""
        from edge_vla.ros.session import end_processes
        end_processes(self.processes.values(), 10.0)
        self.executor.remove_node(self.node)
        self.node.destroy_node()
        self.executor.shutdown(0.0)
        self.context.try_shutdown()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench; whatever it started is ended."""
    made = Bench(tmp_path)
    yield made
    made.close()
