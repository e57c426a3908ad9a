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


"""The pilot on recorded images: the same recording gives the same results, byte for byte."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
import json
import math
from pathlib import Path
import shutil
import time
from typing import Any

from edge_vla.config import VlaNodeConfig
from edge_vla.datatypes import Action, Command, Observation
from edge_vla.evaluation.bag_messages import Copier
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import Bag, open_recording, Wanted
from edge_vla.evaluation.metrics import spread
from edge_vla.evaluation.samples import Sample
from edge_vla.evaluation.topics import NONE
from edge_vla.evaluation.track import Track
from edge_vla.evaluation.videos import Video
from edge_vla.exceptions import BagError, InstructionError
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.vision import layout
from edge_vla.visualization.overlay import draw, Overlay
from edge_vla.visualization.video import VideoWriter
import numpy as np

MARK = 'edge_vla'  # in the metadata of a bag of ours: only such a one is replaced
COMMAND_TOPIC, NARRATION_TOPIC = '/replay/cmd_vel', '/replay/narration'
ADAPTATION_TOPIC = '/replay/adaptation'
RESULTS = ('actions.json', 'latency.json', 'latency.svg', 'overlay.mp4', 'report.html',
           'report.json')
BINS = 40


@dataclass(frozen=True)
class Job:
    """
    One pilot to run over one camera of one recording.

    Attributes
    ----------
    source : Path
        rosbag2 folder, .mcap, .db3, ROS 1 .bag, or a video file.
    out : Path
        Folder for the results; results of an earlier replay there are replaced.
    instruction : str
        What to do; empty takes the bag's instruction topic, until it speaks or without one the
        setting ``pipeline.instruction``.
    name : str
        What reports call this run.
    config : VlaNodeConfig
        Settings of pipeline, safety and adaptation.
    wanted : Wanted
        Topics, where a bag has several of a kind.
    rate : float
        Frame rate of a video that does not say; 0 takes the file's.
    start_s, duration_s : float
        Which part of the recording, s.
    overlay : bool
        Whether to write the video.
    bag : str
        What the new bag holds: 'all' (the original messages and ours), 'ours', or 'none' is
        written.
    report : bool
        Whether pictures are kept for report.html.
    alone : bool
        Whether there is no other recording, which a defect in this one must not stop.

    """

    source: Path
    out: Path
    instruction: str = ''
    name: str = 'pilot'
    config: VlaNodeConfig = field(default_factory=VlaNodeConfig)
    wanted: Wanted = field(default_factory=Wanted)
    rate: float = 0.0
    start_s: float = 0.0
    duration_s: float = math.inf
    overlay: bool = True
    bag: str = 'all'
    report: bool = True
    alone: bool = True

    def open(self) -> Bag | Video:  # noqa: A003
        """
        Open the recording.

        Raises
        ------
        BagError
            It cannot be used.
        InstructionError
            There is nothing that says what to do.

        """
        recording = open_recording(self.source, self.wanted, self.rate, self.start_s,
                                   self.duration_s)
        if not (self.instruction.strip() or self.config.pipeline.instruction.strip()
                or getattr(recording, 'instructions', '')):
            recording.__exit__()
            raise InstructionError('the instruction is empty; give one with --instruction (the '
                                   'recording has no instruction topic)')
        return recording


@dataclass(frozen=True)
class Run:
    """
    What a replay was.

    Attributes
    ----------
    job : Job
    kind : str
        What the recording is.
    topics : dict of str to str
        Topics used: image, odometry, commands, instructions.
    begin_ns : int
        When the recording begins.
    instruction, understood : str
        The first instruction, and as the language head read it; empty if it did not.
    track : Track
        What the pilot did.
    sent, measured : tuple of numpy.ndarray
        Recorded commands and odometry: times int64 [M], ns, and velocities float64 [M, 4].
    notes : list of str
        What was odd.

    """

    job: Job
    kind: str
    topics: dict[str, str]
    begin_ns: int
    instruction: str
    understood: str
    track: Track
    sent: tuple[np.ndarray, np.ndarray]
    measured: tuple[np.ndarray, np.ndarray]
    notes: list[str]


def replay(job: Job, load: Callable[[], Pipeline],
           progress: Callable[[int, int], None] | None = None) -> Run:
    """
    Run the pipeline over a recording, and write what it did.

    Writes ``actions.json``, ``latency.json``, a rosbag2 (mcap) ``bag/`` with the original messages
    beside our topics, and ``overlay.mp4``; only ``latency.json`` differs between two runs.

    With adaptation on and recorded commands, adaptation hears those: what was sent to the
    vehicle that was filmed. It then shows what it would have learned in that flight.

    Parameters
    ----------
    job : Job
        What to run over.
    load : callable
        Returns a synchronous pipeline of the job's settings; called once the recording is open.
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
    made, track = job.out / 'bag', Track()
    with ExitStack() as stack:
        recording = stack.enter_context(job.open())
        source = job.source.resolve()
        if made.resolve() in (source, *source.parents) or \
                source.is_dir() and source in (job.out.resolve(), *job.out.resolve().parents) or \
                source in [(job.out / name).resolve() for name in RESULTS]:
            raise BagError(f'{job.source} is where the results go; choose another --out')
        if made.exists() and not (_replayed(made) or _unfinished(made)):
            raise BagError(f'{made} is there already and no replay wrote it; choose another --out')
        pipeline, gate = load(), SafetyGate(job.config.safety)
        first = job.config.pipeline.instruction.strip()  # until the recording says another
        if given := job.instruction.strip() or first:
            pipeline.language.read(given)  # what cannot be read is an error, not a hover
        pipeline.reset()
        job.out.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (job.out / name).unlink(missing_ok=True)
        if made.exists():
            shutil.rmtree(made)
        bag = None if job.bag == NONE else stack.enter_context(_Ours(made, recording, job.bag))
        video = stack.enter_context(VideoWriter(job.out / 'overlay.mp4', recording.rate))
        instruction, understood, said, narrated = '', '', '', ('', -10**18)
        period_ns = round(job.config.node.narration_period * 1e9)
        samples = recording.samples(bag.copy) if isinstance(recording, Bag) and bag and \
            job.bag == 'all' else iter(recording)
        for sample in samples:
            if len(track):  # a pilot that flies has braked meanwhile
                gap = (sample.recorded_ns - track.recorded_ns[-1]) * 1e-9
                if gap > job.config.safety.stale_after:
                    gate.decay(gap)
            text = job.instruction.strip() or (
                first if sample.instruction is None else sample.instruction)
            started = time.perf_counter()
            action = pipeline.step(Observation(sample.frame, text, sample.motion))
            command = gate.filter(action)
            spent = (time.perf_counter() - started) * 1e3
            pipeline.adaptation.sent(_heard(sample, command))
            pipeline.think()
            speed = None if sample.motion is None else \
                float(np.linalg.norm(sample.motion.velocity))
            adaptation = pipeline.adaptation.state()
            track.add(action, command, sample.recorded_ns, speed, layout.TOKENS, spent,
                      adaptation)
            context = pipeline.context
            doing = pipeline.doing(context) if context else ''
            if doing != narrated[0] or sample.recorded_ns - narrated[1] >= period_ns:
                narrated = doing, sample.recorded_ns
                said = pipeline.narration(context) if context else ''
                if said != doing:  # it looked, or had just done so
                    track.read.append(pipeline.seeing.cost._replace(
                        prefill_s=pipeline.seeing.read_s))
            if not track.said or said != track.said[-1][1]:
                track.said.append((sample.recorded_ns, said))
                if bag:
                    bag.narrate(sample, said)
            if text and not instruction:
                instruction, understood = text, context.text if context else ''
            if bag:
                bag.write(sample, command, adaptation)
            _show(job, track, video, sample, action, command, text, said, speed)
            if progress is not None:
                progress(len(track), max(len(track), len(recording)))
        if track.read:
            track.all_read = pipeline.seeing.cost_of_all(job.config.pipeline.frames)
        notes, empty = [], (np.zeros(0, np.int64), np.zeros((0, 4)))
        sent, measured, topics, begin = empty, empty, {'image': recording.topic}, 0
        if isinstance(recording, Bag):
            notes, begin = recording.notes(), recording.begin_ns
            sent, measured = recording.sent.arrays(), recording.measured.arrays()
            topics |= {'odometry': recording.odometry, 'commands': recording.commands,
                       'instructions': recording.instructions}
        if bag is not None and bag.skipped:
            notes.append(f'not copied, for want of a definition: {", ".join(bag.skipped)}')
        if bag is not None and bag.damaged:
            notes.append(f'{bag.damaged} messages are damaged and not copied')
    run = Run(job, recording.kind, topics, begin, instruction, understood, track, sent, measured,
              notes)
    _write(run)
    return run


def _heard(sample: Sample, command: Command) -> np.ndarray:
    """Return what adaptation is told was sent."""
    return np.array([*command.velocity, command.yaw_rate]) if sample.sent is None else sample.sent


def _replayed(folder: Path) -> bool:
    """Tell whether a folder is a bag that a replay has written."""
    about = folder / 'metadata.yaml'
    return about.is_file() and f'{MARK}: replay\n' in about.read_text(errors='replace')


def _unfinished(folder: Path) -> bool:
    """Tell whether a folder holds nothing but the bag of a replay that was interrupted."""
    def ours(file: Path) -> bool:
        with file.open('rb') as f:
            return b'rosbags' in f.read(64)  # the writer, in the header

    return folder.is_dir() and all(p.name == 'bag.mcap' and ours(p) for p in folder.iterdir())


class _Ours:
    """The new bag: our topics, beside the original messages if those are wanted."""

    def __init__(self, path: Path, recording: Bag | Video, kind: str) -> None:
        self._bag = BagWriter(path)
        self._recording, self._kind = recording, kind
        self._copier: Copier | None = None

    def __enter__(self) -> '_Ours':
        self._bag.__enter__()
        self._bag.raw.set_custom_data(MARK, 'replay')
        if isinstance(self._recording, Bag) and self._kind == 'all':
            self._copier = Copier(self._recording.messages, self._bag.raw,
                                  self._recording.connections,
                                  (COMMAND_TOPIC, NARRATION_TOPIC, ADAPTATION_TOPIC))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bag.__exit__(*exception)

    @property
    def skipped(self) -> list[str]:
        """Return topics that could not be copied."""
        return [] if self._copier is None else self._copier.skipped

    @property
    def damaged(self) -> int:
        """Return how many messages could not be copied."""
        return 0 if self._copier is None else self._copier.damaged

    def copy(self, connection: Any, time_ns: int, raw: bytes) -> None:
        """Copy a message of the recording."""
        if self._copier is not None:
            self._copier.write(connection, time_ns, raw)

    def narrate(self, sample: Sample, text: str) -> None:
        """Write what is being done."""
        self._bag.write(NARRATION_TOPIC, 'std_msgs/msg/String', sample.recorded_ns, data=text)

    def write(self, sample: Sample, command: Command, state: dict[str, Any]) -> None:
        """Write the command, the state of adaptation, and an image that came from a video."""
        bag, t = self._bag, self._bag.types.types
        if not isinstance(self._recording, Bag) and self._kind == 'all':
            bag.image('/image/compressed', sample.recorded_ns, sample.frame, True)
        vector = t['geometry_msgs/msg/Vector3']
        twist = t['geometry_msgs/msg/Twist'](vector(*command.velocity),
                                             vector(0.0, 0.0, command.yaw_rate))
        bag.write(COMMAND_TOPIC, 'geometry_msgs/msg/TwistStamped', sample.recorded_ns,
                  header=bag.header(command.stamp_ns, 'base_link'), twist=twist)
        if state['state'] != 'off':
            pair = t['diagnostic_msgs/msg/KeyValue']
            status = t['diagnostic_msgs/msg/DiagnosticStatus'](
                0, 'adaptation', state['state'], 'edge_vla',
                [pair(k, f'{v:.6g}') for k, v in state.items() if k != 'state'])
            bag.write(ADAPTATION_TOPIC, 'diagnostic_msgs/msg/DiagnosticArray',
                      sample.recorded_ns, header=bag.header(command.stamp_ns, 'base_link'),
                      status=[status])


def _show(job: Job, track: Track, video: VideoWriter, sample: Sample, action: Action,
          command: Command, instruction: str, said: str, speed: float | None) -> None:
    """Draw an image for the video and the report, if either wants it."""
    wanted = job.report and track.wants_picture()
    if not (job.overlay or wanted):
        return
    picture = draw(sample.frame.image, Overlay(
        instruction, said, command.velocity, command.yaw_rate, speed,
        'ok' if command.state == 'limited' else command.state, action.info.get('attention'),
        (sample.recorded_ns - track.recorded_ns[0]) * 1e-9, action.info.get('kept')))
    if job.overlay:
        video.write(picture)
    if wanted:
        track.picture(picture)


def _write(run: Run) -> None:
    job, track = run.job, run.track
    head = {'format': 'edge_vla actions 1', 'source': job.source.name,
            'topic': run.topics['image'], 'instruction': run.instruction,
            'understood': run.understood, 'frames': len(track)}
    with (job.out / 'actions.json').open('w') as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "actions": [\n  ')
        file.write(',\n  '.join(track.actions()) + '\n ]\n}\n')
    counts, edges = np.histogram(track.latency_ms, BINS)
    (job.out / 'latency.json').write_text(json.dumps(
        {'step_ms': spread(track.latency_ms), 'frames': len(track), 'read_ms': spread(
            [1e3 * c.prefill_s for c in track.read]), 'read_all_ms': None
         if track.all_read is None else round(1e3 * track.all_read.prefill_s, 3),
         'histogram': {'edges_ms': edges.round(4).tolist(), 'counts': counts.tolist()}},
        indent=1) + '\n')
