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


"""Fly instructions over real ROS 2: simulator and pilot as processes, one continuous flight."""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys
import time
from typing import Any

from edge_vla.exceptions import ConfigError, EdgeVlaError, MissingDependencyError

INSTRUCTIONS = ('fly to the red sphere', 'orbit the blue box to the left',
                'find the yellow cone and hover in front of it')
SEED = 1
START_TIMEOUT_S = 300.0  # kernels are compiled on the first run
SILENCE_S = 10.0  # without odometry for this long the simulator is taken for dead
UNJUDGED_S = 20.0  # flight time of an instruction that nobody can judge
SPIN_S = 0.01
LINE_EVERY_S = 0.25
LOG_EVERY_S = 5.0  # where standard output is no terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--instruction', action='append', metavar='TEXT',
                        help='what to do, in plain words; may be repeated (default: three)')
    parser.add_argument('--seed', type=int, default=SEED, help='which scene (default %(default)s)')
    parser.add_argument('--headless', action='store_true', help='open no window')
    parser.add_argument('--out', type=Path, default=Path('out/demo'),
                        help='folder for the results (default %(default)s)')
    parser.add_argument('--timeout', type=float, default=60.0,
                        help='longest flight per instruction, s (default %(default)s)')
    parser.add_argument('--model', default='', help='folder of a pilot (default: the shipped one)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.cli.results import need_writable
    from edge_vla.config import build, CameraConfig, PipelineConfig, SimConfig
    from edge_vla.evaluation import flight
    from edge_vla.language.plan import Plan
    from edge_vla.pipeline import Pipeline
    from edge_vla.sim.judge import Judge
    from edge_vla.sim.simulator import Simulator
    from edge_vla.visualization.style import need_matplotlib
    try:
        from edge_vla.ros.session import FlightSession
    except ImportError as error:
        raise MissingDependencyError(
            f'the demo needs ROS 2 ({error}). Either source an installed ROS 2, or on Linux '
            "x86_64: pip install 'edge_vla[ros]'. edge-vla doctor tells what is there") from error

    if not args.timeout > 0:  # NaN too
        raise ConfigError('--timeout must be above 0 s')
    texts = [t for t in args.instruction or INSTRUCTIONS if t.strip()]
    if not texts:
        raise EdgeVlaError('--instruction is empty')
    sim = build(SimConfig, {'seed': args.seed, 'instruction': '; '.join(texts)})
    camera = CameraConfig()
    for name in ('report.json', 'trajectory.png', 'flight.mp4'):  # now, not after the flight
        need_writable(args.out / name)
    need_matplotlib()
    scene = Simulator(sim, camera).scene
    began = time.monotonic()
    print('starting sim_node and vla_node (the first run compiles kernels: about a minute)',
          flush=True)
    with FlightSession(sim, camera, PipelineConfig(model=args.model)) as session:
        Judge(scene, Plan('hover'), scene.start[:3], 0.0, 0)  # compiles while the nodes start
        session.wait_ready(START_TIMEOUT_S)
        print(f'flying after {time.monotonic() - began:.1f} s', flush=True)
        with Window(not args.headless) as window:
            demo = Demo(session, scene, window, args.timeout)
            legs = [demo.fly(text, f'[{k}/{len(texts)}]') for k, text in enumerate(texts, 1)]
        latencies, diagnostics = list(session.latencies_ms), dict(session.diagnostics)
    print('writing video and picture', flush=True)
    status = flight.exit_status(legs)
    flight.write_report(args.out / 'report.json', legs, **demo.facts(latencies, diagnostics),
                        seed=args.seed)
    flight.write_trajectory(args.out / 'trajectory.png', legs, _title(legs))
    flight.write_video(args.out / 'flight.mp4', legs, camera.rate,
                       Pipeline.load(PipelineConfig(model=args.model)))
    _summary(legs, latencies, args.out)
    return status


class Window:
    """A live picture, where there is a display and OpenCV can open one."""

    def __init__(self, wanted: bool) -> None:
        self.open = wanted and bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))

    def __enter__(self) -> 'Window':
        """Return the window; it opens with the first picture."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        if self.open:
            import cv2
            cv2.destroyAllWindows()

    def show(self, image: Any, overlay: Any) -> None:
        """Show a picture with its overlay."""
        if not self.open:
            return
        import cv2
        from edge_vla.visualization.overlay import draw
        try:
            cv2.imshow('edge_vla', cv2.cvtColor(draw(image, overlay), cv2.COLOR_RGB2BGR))
            cv2.waitKey(1)
        except cv2.error:  # built without windows (opencv-python-headless)
            self.open = False


class Demo:
    """Gives instructions to a running session and records what happens."""

    def __init__(self, session: Any, scene: Any, window: Window, timeout: float) -> None:
        self.session, self.scene, self.window, self.timeout = session, scene, window, timeout
        self.camera_ns: list[int] = []
        self.command_ns: list[int] = []
        self.start_ns: int | None = None
        self._line = Line()

    def fly(self, text: str, label: str) -> Any:
        """Fly one instruction to its end and return its LegRecord."""
        from edge_vla.evaluation.flight import LegRecord
        from edge_vla.sim.reference import reference_mission
        session = self.session
        leg = LegRecord(text, reference_mission(text), self.scene)
        limit = self.timeout * len(leg.plans) or min(self.timeout, UNJUDGED_S)
        session.instruct(text)
        heard = time.monotonic()
        while not leg.over and leg.elapsed < limit:
            session.spin(SPIN_S)
            first = session.narration and not leg.narration
            leg.narration = session.narration or leg.narration
            if first:
                self._line.end(f'{label} {self._meaning(leg)}')
            odometry = session.odometry
            known = len(leg.stamps_ns)
            if odometry is not None:
                leg.pose(odometry.stamp_ns, odometry.position, odometry.velocity_world,
                         odometry.yaw)
            if len(leg.stamps_ns) > known:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise EdgeVlaError(f'no odometry for {SILENCE_S:.0f} s; sim_node says:\n'
                                   + session.tail('sim_node'))
            self._look(leg)
            self._line.show(lambda leg=leg: self._progress(label, leg))
        self._line.end(self._progress(label, leg) + f'  {leg.outcome}')
        return leg

    def _look(self, leg: Any) -> None:
        frame, command = self.session.image, self.session.command
        if command is not None and (not self.command_ns or command[2] > self.command_ns[-1]):
            self.command_ns.append(command[2])
        if frame is None or (self.camera_ns and frame.stamp_ns <= self.camera_ns[-1]):
            return
        self.camera_ns.append(frame.stamp_ns)
        self.start_ns = frame.stamp_ns if self.start_ns is None else self.start_ns
        velocity, yaw_rate = (None, 0.0) if command is None else command[:2]
        leg.picture(frame, velocity, yaw_rate, self.start_ns)
        self.window.show(frame.image, leg.pictures[-1].overlay)

    def _meaning(self, leg: Any) -> str:
        """Say what the pilot takes an instruction for."""
        said = leg.narration
        return f'"{leg.instruction}" is understood as: {said}' if leg.understood else said

    def _progress(self, label: str, leg: Any) -> str:
        from edge_vla.evaluation.flight import rate
        hz = rate(self.command_ns[-60:])
        recent = self.session.latencies_ms[-60:]
        distance = '' if leg.verdict is None else f'{leg.verdict.distance:5.1f} m  '
        return (f'{label} {leg.instruction:46.46} {leg.elapsed:5.1f} s  {distance}'
                f'{leg.speed:4.1f} m/s  ' + ('' if hz is None else f'{hz:4.1f} Hz  ')
                + ('' if not recent else f'{sum(recent) / len(recent):4.1f} ms'))

    def facts(self, latencies_ms: Sequence[float], diagnostics: dict[str, str]) -> dict[str, Any]:
        """Return what the report says beside the instructions."""
        from edge_vla.evaluation.flight import rate
        from edge_vla.evaluation.metrics import spread

        def number(key: str) -> float | None:
            try:
                return float(diagnostics[key])
            except (KeyError, ValueError):
                return None

        return {'camera_to_command_ms': spread(latencies_ms), 'camera_hz': rate(self.camera_ns),
                'command_hz': rate(self.command_ns), 'tokens_per_frame': number('tokens'),
                'vla_node_memory_mb': number('memory [MB]'), 'vla_node': diagnostics,
                'cores': len(os.sched_getaffinity(0))}


class Line:
    """One line of progress, rewritten in place on a terminal, repeated now and then elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last = 0.0

    def show(self, text: Any) -> None:
        """Show what `text()` returns, if it is time."""
        now = time.monotonic()
        if now - self._last >= (LINE_EVERY_S if self._live else LOG_EVERY_S):
            self._last = now
            print(f'\r{text()}\033[K' if self._live else text(),
                  end='' if self._live else '\n', flush=True)

    def end(self, text: str) -> None:
        """Leave `text` standing."""
        print(f'\r{text}\033[K' if self._live else text, flush=True)
        self._last = 0.0


def _title(legs: Sequence[Any]) -> str:
    done = sum(leg.reached is True for leg in legs)
    return f'{done} of {len(legs)} instructions obeyed in one flight'


def _summary(legs: Sequence[Any], latencies_ms: Sequence[float], out: Path) -> None:
    from edge_vla.evaluation.metrics import spread
    latency = spread(latencies_ms)
    print(_title(legs) + ('' if latency is None else
                          f'; camera to command p50 {latency["p50"]:.1f} ms, '
                          f'p99 {latency["p99"]:.1f} ms'))
    print(f'wrote {out}/report.json, trajectory.png, flight.mp4')
