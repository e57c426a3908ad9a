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
Several drones side by side on one computer: how many images a second each pilot answers.

``python benchmarks/fleet.py --drones 2`` starts what ``fleet_launch.py`` does, without ``launch``.
"""

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

from diagnostic_msgs.msg import DiagnosticArray
from edge_vla.evaluation.language_speed import machine
from edge_vla.evaluation.metrics import spread
from edge_vla.ros import qos
from edge_vla.ros.conversions import to_nanoseconds
from edge_vla.ros.session import (
    camera_to_command_ms,
    end_processes,
    free_domain,
    local_middleware,
    NODES,
)
from geometry_msgs.msg import TwistStamped
import rclpy
from rclpy.node import Node

INSTRUCTIONS = ('fly to the red sphere', 'orbit the blue box')
TICKS = os.sysconf('SC_CLK_TCK')


def start(folder: Path, drones: int) -> list[subprocess.Popen]:
    """Start a simulator and a pilot for each drone."""
    out = []
    for k in range(drones):
        space, text = f'/drone{k + 1}', INSTRUCTIONS[k % 2]
        given = {'sim_node': [f'sim.instruction:={text}', f'sim.seed:={k + 1}'],
                 'vla_node': ['use_sim_time:=true', f'pipeline.instruction:={text}']}
        for node in NODES:
            command = [sys.executable, '-m', NODES[node], '--ros-args',
                       '-r', f'__ns:={space}', '-r', f'/clock:={space}/clock']
            for one in given[node]:
                command += ['-p', one]
            with (folder / f'{node}{k + 1}.log').open('ab') as log:
                out.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    return out


def cpu_seconds(process: subprocess.Popen) -> float:
    """Return the CPU time a process has taken, s."""
    fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Listener:
    """Counts what the simulators say of their images and of the commands that answer them."""

    def __init__(self, node: Node, drones: int) -> None:
        self.stamps: list[set[int]] = [set() for _ in range(drones)]
        self.latencies: list[list[float]] = [[] for _ in range(drones)]
        self._kept = [node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.RELIABLE)]
        for k in range(drones):
            self._kept.append(node.create_subscription(
                TwistStamped, f'/drone{k + 1}/cmd_vel', self._command(k), qos.COMMAND))

    def _command(self, k: int) -> Callable[[TwistStamped], None]:
        def heard(message: TwistStamped) -> None:
            self.stamps[k].add(to_nanoseconds(message.header.stamp))
        return heard

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if latencies := camera_to_command_ms(status):
                drone = int(status.name.split('/')[0].removeprefix('drone')) - 1
                self.latencies[drone] += latencies

    def clear(self) -> None:
        """Forget everything."""
        for kept in (*self.stamps, *self.latencies):
            kept.clear()


def main() -> None:
    """Run the flights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--drones', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=30.0)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    os.environ |= local_middleware(free_domain())
    with tempfile.TemporaryDirectory() as folder:
        os.environ['ROS_LOG_DIR'] = folder
        processes = start(Path(folder), args.drones)
        rclpy.init()
        node = rclpy.create_node('fleet')
        heard = Listener(node, args.drones)

        def spin(seconds: float, until: Callable[[], bool] = lambda: False) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end and not until():
                rclpy.spin_once(node, timeout_sec=.1)
        try:
            spin(180, lambda: all(heard.latencies))
            if not all(heard.latencies):
                sys.exit('a drone does not fly:\n' + '\n'.join(
                    log.read_text()[-1000:] for log in Path(folder).glob('*.log')))
            spin(5)
            heard.clear()
            before, began = [cpu_seconds(p) for p in processes], time.monotonic()
            spin(args.seconds)
            took = time.monotonic() - began
            busy = [(cpu_seconds(p) - b) / took for p, b in zip(processes, before, strict=True)]
        finally:
            end_processes(processes)
            rclpy.try_shutdown()
    rows = [{'commands_per_s': len(heard.stamps[k]) / took,
             'camera_to_command_ms': spread(heard.latencies[k]),
             'cores': dict(zip(NODES, busy[2 * k:2 * k + 2], strict=True))}
            for k in range(args.drones)]
    for k, row in enumerate(rows, 1):
        ms = row['camera_to_command_ms']
        print(f'drone {k}: {row["commands_per_s"]:.1f} images answered a second, camera to '
              f'command p50 {ms["p50"]:.1f}, p99 {ms["p99"]:.1f} ms, cores '
              + ', '.join(f'{n} {v:.2f}' for n, v in row['cores'].items()))
    if args.json:
        args.json.write_text(json.dumps({'machine': machine(), 'drones': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
