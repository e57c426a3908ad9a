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


"""A flight with real nodes: starts sim_node and vla_node as processes and watches them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import os
from pathlib import Path
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from edge_vla.autopilot import frames
from edge_vla.config import CameraConfig, PipelineConfig, settings_of, SimConfig
from edge_vla.datatypes import Frame
from edge_vla.exceptions import EdgeVlaError, ImageError
from edge_vla.motion import rotate
from edge_vla.ros import conversions, qos
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String
import yaml

SOURCE = Path(__file__).resolve().parents[2]
NODES = {'sim_node': 'edge_vla.ros.sim_node', 'vla_node': 'edge_vla.ros.vla_node'}
PROFILE = 'fastdds.xml'
STOP_S = 5.0
DOMAINS = range(1, 102)  # those whose ports no system hands out otherwise
FIRST_PORT, PORTS_PER_DOMAIN = 7400, 250  # as the DDSI-RTPS standard maps them
LOG_TAIL = 12  # lines


def free_domain() -> int:
    """
    Return a domain that no process of this machine uses or has left shared memory of.

    What a killed process leaves can hold up those that come after it on its domain.
    """
    names = [path.name for path in Path('/dev/shm').glob('fastdds_port*')]
    ports = [int(m[1]) for m in (re.match(r'fastdds_port(\d+)', name) for name in names) if m]
    taken = {(port - FIRST_PORT) // PORTS_PER_DOMAIN for port in ports}
    free = [domain for domain in DOMAINS if domain not in taken]
    return random.SystemRandom().choice(free or DOMAINS)


@dataclass(frozen=True)
class Pose:
    """Newest odometry: world position (m), quaternion x y z w, world velocity (m/s), yaw."""

    stamp_ns: int
    position: np.ndarray
    quaternion: np.ndarray
    velocity_world: np.ndarray
    yaw: float


def _profile() -> Path | None:
    """Return the middleware profile that makes room for whole images in shared memory."""
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders = [SOURCE, *(Path(p) / 'share' / 'edge_vla' for p in prefixes if p)]
    return next((p for f in folders if (p := f / 'config' / PROFILE).is_file()), None)


def local_middleware(domain: int) -> dict[str, str]:
    """Return the environment of processes that talk on this machine only, on a domain."""
    local = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_DOMAIN_ID': str(domain)}
    if (profile := _profile()) and 'FASTDDS_DEFAULT_PROFILES_FILE' not in os.environ:
        local['FASTDDS_DEFAULT_PROFILES_FILE'] = str(profile)
    return local


def end_processes(processes: Iterable[subprocess.Popen], seconds: float = STOP_S) -> None:
    """Ask processes to end, and kill those that have not after so many seconds."""
    running = [p for p in processes if p.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    end = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def camera_to_command_ms(status: DiagnosticStatus) -> list[float]:
    """Return the latencies that a simulator reports; none if the status is another node's."""
    return [float(ms) for v in status.values if v.key == 'camera to command [ms]'
            for ms in v.value.split()] if status.name.endswith('simulator') else []


class FlightObserver(Node):
    """Gives instructions and keeps the newest of everything."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__('flight_observer', context=context)
        self._instruction = self.create_publisher(String, 'instruction', qos.LATCHED)
        self.image: Frame | None = None
        self.pose: Pose | None = None
        self.command: tuple[np.ndarray, float, int] | None = None
        self.narration = ''
        self.diagnostics: dict[str, str] = {}
        self.latencies_ms: list[float] = []
        for kind, topic, callback, profile in (
                (Image, 'image', self._on_image, qos.SENSOR),
                (Odometry, 'odom', self._on_odometry, qos.SENSOR),
                (TwistStamped, 'cmd_vel', self._on_command, qos.COMMAND),
                (String, 'narration', self._on_narration, qos.RELIABLE),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.RELIABLE)):
            self.create_subscription(kind, topic, callback, profile)

    def instruct(self, text: str) -> None:
        """Publish an instruction."""
        self.narration = ''
        self._instruction.publish(String(data=text))

    def _on_image(self, message: Image) -> None:
        try:
            self.image = conversions.image_to_frame(message)
        except ImageError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)

    def _on_odometry(self, message: Odometry) -> None:
        p, q, t = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
        quaternion = np.array([q.x, q.y, q.z, q.w])
        world = rotate(quaternion, np.array([t.linear.x, t.linear.y, t.linear.z]))
        self.pose = Pose(conversions.to_nanoseconds(message.header.stamp),
                         np.array([p.x, p.y, p.z]), quaternion, world,
                         frames.yaw_of((q.w, q.x, q.y, q.z)))

    def _on_command(self, message: TwistStamped) -> None:
        t = message.twist
        self.command = (np.array([t.linear.x, t.linear.y, t.linear.z]), t.angular.z,
                        conversions.to_nanoseconds(message.header.stamp))

    def _on_narration(self, message: String) -> None:
        self.narration = message.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.latencies_ms += camera_to_command_ms(status)
            if status.name.endswith('pilot'):
                self.diagnostics = {v.key: v.value for v in status.values} | {
                    'message': status.message}


class FlightSession:
    """
    Runs both nodes as processes on this machine and talks to them over DDS.

    Parameters
    ----------
    sim : SimConfig
    camera : CameraConfig
    pipeline : PipelineConfig

    """

    def __init__(self, sim: SimConfig, camera: CameraConfig, pipeline: PipelineConfig) -> None:
        self._parameters = {'sim_node': {'sim': sim, 'camera': camera},
                            'vla_node': {'pipeline': pipeline}}
        self._folder = tempfile.TemporaryDirectory(prefix='edge_vla_')
        self.processes: dict[str, subprocess.Popen] = {}
        self._domain = free_domain()

    def __enter__(self) -> 'FlightSession':
        """Start the processes and the observer."""
        local = local_middleware(self._domain)
        self._saved = {k: os.environ.get(k) for k in local}
        os.environ.update(local)
        try:
            for name in NODES:
                self.start(name)
            self._context = rclpy.Context()
            rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
            self.observer = FlightObserver(self._context)
            self._executor = SingleThreadedExecutor(context=self._context)
            self._executor.add_node(self.observer)
        except BaseException:
            end_processes(self.processes.values())
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """End the observer and the processes."""
        try:
            self.observer.destroy_node()
            self._executor.shutdown(0.0)
            rclpy.try_shutdown(context=self._context)
        finally:
            end_processes(self.processes.values())
            for key, value in self._saved.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            self._folder.cleanup()

    def start(self, name: str) -> None:
        """Start a node, also again after it ended."""
        path = Path(self._folder.name) / f'{name}.yaml'
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
            group: {s.name: s.default for s in settings_of(config)}
            for group, config in self._parameters[name].items()}}}), encoding='utf-8')
        environment = dict(os.environ)
        environment.setdefault('ROS_LOG_DIR', self._folder.name)
        arguments = ['--ros-args', '--params-file', str(path)]
        if name == 'vla_node':
            arguments += ['-p', 'use_sim_time:=true']
        with self._log(name).open('ab') as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, '-m', NODES[name], *arguments], env=environment,
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f'{name}.log'

    def wait_ready(self, timeout: float) -> None:
        """
        Wait until commands answer images.

        Raises
        ------
        EdgeVlaError
            A node ended or cannot fly, or it took longer than `timeout` seconds; the message
            says why or quotes the log.

        """
        end = time.monotonic() + timeout
        while self.observer.command is None or self.observer.pose is None:
            self.spin(0.05)
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise EdgeVlaError(f'{name} ended with status {process.returncode}:\n'
                                       + self.tail(name))
            if 'cannot configure' in (said := self.observer.diagnostics.get('message', '')):
                raise EdgeVlaError(f'vla_node: {said}')
            if time.monotonic() > end:
                raise EdgeVlaError(f'no commands after {timeout:.0f} s; vla_node says:\n'
                                   + self.tail('vla_node'))

    def tail(self, name: str) -> str:
        """Return the last lines a node has logged."""
        path = self._log(name)
        lines = path.read_text(errors='replace').splitlines() if path.exists() else []
        return '\n'.join(lines[-LOG_TAIL:])

    def instruct(self, text: str) -> None:
        """Give an instruction."""
        self.observer.instruct(text)

    def spin(self, seconds: float) -> None:
        """Handle what arrives for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    @property
    def odometry(self) -> Pose | None:
        """Newest pose and velocity."""
        return self.observer.pose

    @property
    def image(self) -> Frame | None:
        """Newest camera frame."""
        return self.observer.image

    @property
    def command(self) -> tuple[np.ndarray, float, int] | None:
        """Newest command: heading-frame velocity, yaw rate, stamp in ns."""
        return self.observer.command

    @property
    def narration(self) -> str:
        """Newest narration."""
        return self.observer.narration

    @property
    def diagnostics(self) -> Mapping[str, Any]:
        """Newest diagnostics of vla_node."""
        return self.observer.diagnostics

    @property
    def latencies_ms(self) -> list[float]:
        """
        Camera-to-command times so far, ms.

        Measured by sim_node on one clock: from handing a frame to the middleware to the arrival
        of the command that carries its stamp.
        """
        return self.observer.latencies_ms
