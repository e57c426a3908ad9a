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


"""The pilot on recorded images: the same recording gives the same actions, byte for byte."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import shutil
import time

from edge_vla.datatypes import Action, Command, Observation
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import Bag, open_recording, Sample
from edge_vla.evaluation.metrics import spread
from edge_vla.exceptions import BagError, InstructionError
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.visualization.overlay import draw, Overlay
from edge_vla.visualization.video import VideoWriter
import numpy as np

COMMAND_TOPIC, NARRATION_TOPIC = '/replay/cmd_vel', '/replay/narration'


@dataclass(frozen=True)
class Step:
    """One image answered; everything here follows from the recording alone."""

    stamp_ns: int
    velocity: tuple[float, ...]
    yaw_rate: float
    command: tuple[float, ...]
    command_yaw_rate: float
    state: str
    target_visible: float
    target_bearing: float
    target_distance: float


@dataclass(frozen=True)
class Replay:
    """
    What a replay was.

    Attributes
    ----------
    topic : str
        Where the images came from.
    understood : str
        The instruction as the language head read it; empty if it did not.
    steps : list of Step
        One per image.
    latency_ms : list of float
        Wall time of each step; the only thing that differs between two runs.

    """

    topic: str
    understood: str
    steps: list[Step]
    latency_ms: list[float]


def replay(source: Path, out: Path, instruction: str, pipeline: Pipeline, gate: SafetyGate,
           topic: str = '', odometry: str = '', rate: float = 0.0, overlay: bool = True,
           progress: Callable[[int, int], None] | None = None) -> Replay:
    """
    Run the pipeline over a rosbag2 or a video, and write what it did.

    Writes ``actions.json``, ``latency.json``, a rosbag2 (mcap) ``bag/`` with the original messages
    beside ``/replay/cmd_vel`` and ``/replay/narration``, and ``overlay.mp4``.

    Parameters
    ----------
    source : Path
        rosbag2 folder, .mcap, .db3, or a video file.
    out : Path
        Folder for the results; results of an earlier replay there are replaced.
    instruction : str
        What to do.
    pipeline : Pipeline
        A synchronous one.
    gate : SafetyGate
        Turns actions into commands.
    topic, odometry : str
        Topics, where the bag has several.
    rate : float
        Frame rate of a video that does not say; 0 takes the file's.
    overlay : bool
        Whether to write the video.
    progress : callable, optional
        Called with (images done, images there are).

    Raises
    ------
    BagError
        The recording cannot be used.
    ImageError
        An image in it cannot.
    InstructionError
        The instruction cannot be read.

    """
    if not instruction.strip():
        raise InstructionError('the instruction is empty; give one with --instruction')
    pipeline.language.read(instruction)  # what cannot be read is an error here, not a hover
    pipeline.reset()
    gate.reset()
    made = out / 'bag'
    if made.resolve() in (source.resolve(), *source.resolve().parents):
        raise BagError(f'{source} is where the results go; choose another --out')
    with open_recording(source, topic, odometry, rate) as recording:
        out.mkdir(parents=True, exist_ok=True)
        (out / 'actions.json').unlink(missing_ok=True)
        if (made / 'metadata.yaml').is_file():
            shutil.rmtree(made)
        steps: list[Step] = []
        latency_ms: list[float] = []
        text, start_ns = '', None
        with BagWriter(made) as bag, VideoWriter(out / 'overlay.mp4', recording.rate) as video:
            if isinstance(recording, Bag):
                recording.copy_into(bag.raw, (COMMAND_TOPIC, NARRATION_TOPIC))
            for sample in recording:
                started = time.perf_counter()
                action = pipeline.step(Observation(sample.frame, instruction, sample.motion))
                command = gate.filter(action)
                latency_ms.append((time.perf_counter() - started) * 1e3)
                steps.append(_step(action, command))
                if start_ns is None:
                    start_ns = sample.frame.stamp_ns
                    text = pipeline.context.text if pipeline.context else ''
                    bag.write(NARRATION_TOPIC, 'std_msgs/msg/String', sample.recorded_ns,
                              data=text)
                if not isinstance(recording, Bag):
                    bag.image('/image/compressed', sample.recorded_ns, sample.frame, True)
                _write_command(bag, sample, command)
                if overlay:
                    video.write(draw(sample.frame.image, _overlay(
                        instruction, text, action, command, sample, start_ns)))
                if progress is not None:
                    progress(len(steps), len(recording))
        result = Replay(recording.topic, text, steps, latency_ms)
    _write(out, source, instruction, result)
    return result


def _step(action: Action, command: Command) -> Step:
    info = action.info
    return Step(action.stamp_ns, tuple(float(v) for v in action.velocity),
                float(action.yaw_rate), tuple(float(v) for v in command.velocity),
                float(command.yaw_rate), command.state, float(info['target_visible']),
                float(info['target_bearing']), float(info['target_distance']))


def _overlay(instruction: str, text: str, action: Action, command: Command, sample: Sample,
             start_ns: int) -> Overlay:
    speed = None if sample.motion is None else float(np.linalg.norm(sample.motion.velocity))
    return Overlay(instruction, text, command.velocity, command.yaw_rate, speed,
                   'ok' if command.state == 'limited' else command.state,
                   action.info.get('attention'),
                   (sample.frame.stamp_ns - start_ns) * 1e-9)


def _write_command(bag: BagWriter, sample: Sample, command: Command) -> None:
    t = bag.types.types
    vector = t['geometry_msgs/msg/Vector3']
    twist = t['geometry_msgs/msg/Twist'](vector(*command.velocity),
                                         vector(0.0, 0.0, command.yaw_rate))
    bag.write(COMMAND_TOPIC, 'geometry_msgs/msg/TwistStamped', sample.recorded_ns,
              header=bag.header(command.stamp_ns, 'base_link'), twist=twist)


def _write(out: Path, source: Path, instruction: str, result: Replay) -> None:
    head = {'format': 'edge_vla actions 1', 'source': source.name, 'topic': result.topic,
            'instruction': instruction, 'understood': result.understood,
            'frames': len(result.steps)}
    lines = ',\n'.join('  ' + json.dumps(asdict(s)) for s in result.steps)
    text = json.dumps(head, indent=1)[:-2] + f',\n "actions": [\n{lines}\n ]\n}}\n'
    (out / 'actions.json').write_text(text)
    (out / 'latency.json').write_text(json.dumps(
        {'step_ms': spread(result.latency_ms), 'frames': len(result.steps)}, indent=1) + '\n')
