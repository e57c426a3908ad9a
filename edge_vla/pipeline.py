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

"""The one way from an observation to an action; robot, simulator and bag all use it."""

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
import sys
import threading
import time
from typing import NamedTuple

from edge_vla.adaptation.composite import Adaptation
from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.compression.temporal import TemporalStream
from edge_vla.compression.visual_tokens import VisualTokens
from edge_vla.config import AdaptationConfig, PipelineConfig
from edge_vla.datatypes import Action, Command, Context, Frame, Motion, Observation
from edge_vla.exceptions import CheckpointError, in_one_line, InstructionError
from edge_vla.language.head import LanguageHead, understood
from edge_vla.language.plan import CONTEXT_SIZE, not_understood, VERBS
from edge_vla.language.planner import objection, Planner
from edge_vla.language.seeing import Answer, question_about, SCHEMES, SeeingHead
from edge_vla.language.sight import Located
from edge_vla.policy.blackout import BlackoutPolicy
from edge_vla.policy.liquid import Grounding, KINDS, LiquidPolicy
from edge_vla.policy.mission import Mission
from edge_vla.policy.second_opinion import Name, SecondOpinion, Sighted
from edge_vla.vision import layout
from edge_vla.vision.encoder import check_image, PatchEncoder
from edge_vla.vision.hanging import HangingCamera
from edge_vla.vision.lens import Lens
import numpy as np

SHIPPED_MODEL = Path(__file__).parent / 'checkpoints' / 'pilot'
MEMORY = Path('memory', 'policy.safetensors')  # of a pilot: what flies without a picture
FIRST_DT_S = 1 / 30  # elapsed time assumed for the first frame of a flight
OPINION_NS = 300_000_000  # what the seeing head says counts from so long after it was asked


class Look(NamedTuple):
    """
    What the seeing head is to be asked.

    Attributes
    ----------
    flight : int
        Number of the flight.
    stamp_ns : int
        Of the newest frame.
    sighted : Sighted
        How the policy's own eye has it.
    names : tuple
        Colour and shape of the target, and of those of the steps that follow.
    view : VisualTokens
        What is asked about.

    """

    flight: int
    stamp_ns: int
    sighted: Sighted
    names: tuple[Name, ...]
    view: VisualTokens


class Pipeline:
    """
    Camera frames, an instruction and measured motion in, actions out.

    Time is data: elapsed time is the difference of frame stamps, so a recording replays to the
    same actions bit for bit.

    Parameters
    ----------
    tensors : dict of str to numpy.ndarray
        Weights of encoder, grounding and policy.
    language : LanguageHead
    config : PipelineConfig, optional
    synchronous : bool
        True reads a new instruction inside `step`; False leaves that to the caller, who hands
        the result to `set_context` from any thread (the slow loop of a node).
    kind : str
        Which policy the weights are of.
    adaptation : AdaptationConfig, optional
        How commands adapt to the measured velocity; by default they do not, as in a replay,
        where the vehicle does not do what is commanded.
    seeing : SeeingHead, optional
        Answers questions about the last frames.
    planner : Planner, optional
        Reads instructions after the small head has.
    say : callable, optional
        Called with a line of text about the planner; printed as an error by default.
    memory : LiquidPolicy, optional
        Flies while the picture shows nothing: a policy that was trained to remember.

    Attributes
    ----------
    adaptation : Adaptation
    language : LanguageHead
    seeing : SeeingHead or None
    planner : Planner or None
    context : Context or None
        The instruction in force, as it was read.
    mission : Mission or None
        Its steps and how far they have come; None without one that is understood.
    opinion : SecondOpinion
        What the seeing head said of the targets, by which the policy flies.
    look : Look or None
        What the head is to be asked next: a pipeline that is not synchronous leaves `think` to
        its caller.

    """

    def __init__(self, tensors: dict[str, np.ndarray], language: LanguageHead,
                 config: PipelineConfig | None = None, synchronous: bool = True,
                 kind: str = 'cfc', adaptation: AdaptationConfig | None = None,
                 seeing: SeeingHead | None = None, planner: Planner | None = None,
                 say: Callable[[str], None] | None = None,
                 memory: LiquidPolicy | None = None) -> None:
        self.config = config or PipelineConfig()
        self.language, self.seeing, self.planner = language, seeing, planner
        self._say = say or _print
        self._memory = TemporalStream(layout.TOKENS, layout.CHANNELS,
                                      SCHEMES[self.config.tokens].temporal, self.config.frames)
        self._remembering = threading.Lock()
        self._viewed: tuple[int, VisualTokens] | None = None
        self.adaptation = Adaptation(adaptation or AdaptationConfig(enabled=False))
        self.context: Context | None = None
        self.mission: Mission | None = None
        self._synchronous = synchronous
        self._encoder, self._grounding, sighted = self._pilot(tensors, kind)
        self._camera, self._lens = HangingCamera(), Lens()
        self._policy = BlackoutPolicy(sighted, memory)
        self._attended: np.ndarray | None = None
        self.opinion, self.look = SecondOpinion(), None
        self._said: deque[tuple[Look, list[tuple[Name, Located]]]] = deque()
        self._flight, self._looked_ns = 0, -10**18
        self._told = -1  # the flight of which the seeing head read something last
        self._refused = ''
        self._last: Action | None = None
        self._hover = np.zeros(CONTEXT_SIZE, np.float32)
        self._hover[VERBS.index('hover')] = 1

    @classmethod
    def load(cls, config: PipelineConfig | None = None, synchronous: bool = True,
             adaptation: AdaptationConfig | None = None,
             say: Callable[[str], None] | None = None) -> 'Pipeline':
        """
        Load the checkpoint, allocate, compile and warm up.

        A planner that cannot be loaded is said to be missing, and the small head reads alone.

        Raises
        ------
        CheckpointError
            The model folder is missing, incomplete or corrupt.

        """
        config = config or PipelineConfig()
        folder = _folder(config)
        tensors, metadata = read_safetensors(folder / 'policy.safetensors')
        head = load_head(config)
        # a seeing head reads the tokens of the encoder it was trained with, and no others
        seeing = SeeingHead.load(folder / 'seeing', config.tokens) if config.seeing and (
            folder / 'seeing').is_dir() else None
        planner = None
        try:
            if config.planner:
                planner = Planner.load(config.planner, config.planner_threads, say)
        except Exception as error:  # noqa: B902  the pilot flies without one
            (say or _print)(f'no planner, the small head reads alone: {in_one_line(error)}')
        pipeline = cls(tensors, head, config, synchronous, metadata.get('kind', 'cfc'), adaptation,
                       seeing, planner, say, _load_memory(folder))
        pipeline.warm_up()
        return pipeline

    def close(self) -> None:
        """End the threads of the planner."""
        if self.planner is not None:
            self.planner.close()

    def _pilot(self, tensors: dict[str, np.ndarray],
               kind: str) -> tuple[PatchEncoder, Grounding, LiquidPolicy]:
        if kind not in KINDS:
            raise CheckpointError(f'this pilot has a policy of kind {kind!r}, a baseline; only '
                                  'the torch backend flies it (--backend torch)')
        encoder = PatchEncoder(tensors, self.config.tolerance, self.config.refresh)
        return encoder, Grounding(tensors), LiquidPolicy(tensors)

    def warm_up(self) -> None:
        """Run every kernel once so that the first real frame finds them compiled."""
        context = self.language.read('hover')
        motion = Motion(0, np.zeros(3), 0.0, 0.0, 0.0)
        self.set_context(context)
        for k in (1, 2):
            image = np.zeros((layout.HEIGHT, layout.WIDTH, 3), np.uint8)
            self._fly(Frame(k, image), motion, context, FIRST_DT_S)
        self._lens.warm_up()
        adaptation = Adaptation()  # compiles even where this pilot's is off
        for k in (1, 2):
            adaptation.step(np.zeros(4), Motion(k, np.zeros(3), 0.0, 0.0, 0.0), FIRST_DT_S)
        self._grounding.recognise()
        self._grounding.place(0, np.arange(layout.TOKENS))
        if self.seeing is not None:
            self.ask('what is ahead?')
            self.seeing.locate('red', 'sphere', self.view())
        self.context = self._attended = None
        self.reset()

    def reset(self) -> None:
        """Forget the flight so far; the instruction stays and begins again."""
        self._restart()
        self._lens.reset()
        with self._remembering:
            self._memory.reset()
            self._viewed = None
        self.adaptation.reset()
        self.mission = None

    def _restart(self) -> None:
        self._camera.reset()
        self._encoder.reset()
        self._lens.lose()
        self._policy.reset()
        self.opinion.reset()
        self._last = self.look = None
        self._flight, self._looked_ns = self._flight + 1, -10**18

    def set_context(self, context: Context | None) -> None:
        """Fly by `context` from the next step on, if not synchronous; None hovers; any thread."""
        self.context = context

    def understands(self, context: Context) -> bool:
        """Tell whether a context is sure enough to fly by, and an instruction at all."""
        return understood(context, self.config.min_confidence)

    def reconsider(self, context: Context,
                   outdated: Callable[[], bool] = lambda: False) -> Context | None:
        """
        Return the planner's reading of an instruction if it is to be flown, else None.

        Parameters
        ----------
        context : Context
            What the small head read, which is flown meanwhile.
        outdated : callable
            Tells that nobody waits any longer. A synchronous pipeline waits for ever: a replay
            must not depend on the clock.

        """
        if self.planner is None:
            return None
        began = time.monotonic()

        def check() -> None:
            if outdated():
                raise TimeoutError('a newer instruction has come')
            if not self._synchronous and time.monotonic() - began > self.config.planner_time:
                raise TimeoutError(f'it took longer than {self.config.planner_time:g} s')
        words = ''
        try:
            planned = self.planner.read(context.instruction, check, context)
            check()
            words = f' reads "{planned.text}" ({planned.confidence:.2f})'
            why = objection(context, planned, self.config.min_confidence)
        except Exception as error:  # noqa: B902  the small head's reading is there
            why = in_one_line(error)
        took = f'{time.monotonic() - began:.1f} s'
        self._say(f'the planner{words}, {took}' + (
            f'; the reading of the small head stays: {why}' if why else ''))
        return None if why else planned

    def sent(self, command: Command) -> None:
        """
        Hear what the safety gate made of the last action, so that adaptation knows.

        A synchronous pipeline now does what the slow loop of a node does.
        """
        self.adaptation.sent(np.array([*command.velocity, command.yaw_rate]))
        if self._synchronous:
            self.think()

    def think(self) -> None:
        """Ask the seeing head what is due, in some milliseconds; from any thread."""
        look, self.look = self.look, None
        if look is not None:
            self._said.append((look, [(name, self.seeing.locate(*name, look.view))
                                      for name in look.names]))
            self._told = look.flight

    def narration(self, context: Context) -> str:
        """
        Say in words what is seen of an instruction's target and what is being done about it.

        Takes a few milliseconds; may be called from any thread.
        """
        doing, mission = self.doing(context), self.mission
        target = None if mission is None or mission.context is not context else mission.target
        if self.seeing is None or target is None or not self._memory.frame:
            return doing
        return f'{self.ask(question_about(target.colour, target.shape)).text}; {doing}'

    def doing(self, context: Context) -> str:
        """Say in words what is being done about an instruction."""
        if not self.understands(context):
            return not_understood(context.instruction)
        mission = self.mission
        return mission.text() if mission and mission.context is context else context.text

    def ask(self, question: str) -> Answer:
        """
        Answer a question about the last camera frames; may be called from any thread.

        Parameters
        ----------
        question : str
            In English, such as 'where is the red sphere?' or 'what is on the left?'.

        Raises
        ------
        InstructionError
            The question is empty or too long, there was no frame yet, or this pilot has no
            seeing head.

        """
        if self.seeing is None:
            raise InstructionError('this pilot does not answer questions: it has no seeing head, '
                                   'or pipeline.seeing is false')
        return self.seeing.answer(question, self.view())

    def view(self) -> VisualTokens:
        """Return the visual tokens of the last frames, from any thread; not to be written to."""
        with self._remembering:
            if self._viewed is None or self._viewed[0] != self._memory.frame:
                self._viewed = self._memory.frame, VisualTokens(
                    *(a.copy() for a in self._memory.gather()))
            return self._viewed[1]

    def step(self, observation: Observation) -> Action:
        """
        Answer one camera frame.

        A repeated stamp repeats the last action. A clock that went back, or a gap longer than
        ``max_gap``, restarts the recurrent state. Without an instruction, or with one that is
        not understood, the action is to hover.

        Raises
        ------
        ImageError
            The image cannot be used; the state is as before.

        """
        frame = observation.frame
        if self._last is not None and frame.stamp_ns == self._last.stamp_ns:
            return self._last
        check_image(frame.image)
        if self._synchronous:
            self._read(observation.instruction)
        dt = FIRST_DT_S
        if self._last is not None:
            dt = (frame.stamp_ns - self._last.stamp_ns) * 1e-9
            if not 0 < dt <= self.config.max_gap:
                self._restart()
                dt = FIRST_DT_S
        self._last = self._fly(frame, observation.motion, self.context, dt)
        return self._last

    def _read(self, instruction: str) -> None:
        text = instruction.strip()
        if not text or text == self._refused:
            self.context = None
        elif self.context is None or self.context.instruction.strip() != text:
            try:
                first = self.language.read(instruction)
                self.context, self._refused = self.reconsider(first) or first, ''
            except InstructionError:
                # an instruction that cannot be read must not keep the old one flying
                self.context, self._refused = None, text

    def _fly(self, frame: Frame, motion: Motion | None, context: Context | None,
             dt: float) -> Action:
        clean = partial(self._lens.clean, motion=motion, dt=dt) if self.config.clean_lens else None
        tokens = self._encoder.encode(self._camera.look(frame.image, motion, dt), clean)
        blank = self._encoder.blank
        if clean is None:
            self._lens.reset()
        elif blank:
            self._lens.lose()
        with self._remembering:
            kept = self._memory.push(tokens)
        mission = self.mission
        if context is None or not self.understands(context):
            mission = None
        elif mission is None or mission.context is not context:
            mission = Mission(context)
        self.mission = mission
        vector = self._hover if mission is None else mission.vector
        if vector is not self._attended:
            self._grounding.attend(vector)
            self._attended = vector
        features = self._grounding.look(tokens)
        target = None if mission is None else mission.target
        if target is not None and not blank:
            self._consult(frame.stamp_ns, mission)
            self.opinion.condition(target, self._grounding, dt)
        command = self._policy.step(features, motion, vector, dt, blank)
        command = np.zeros(4) if mission is None else mission.direct(
            self._grounding, command, motion, dt, blank)
        if blank and mission is not None and mission.flying:
            command = self._policy.limit(command, vector, self.config.longest_dark)
        elif target is not None and target is mission.target:
            command = self.opinion.steer(target, command)
        self.opinion.move(motion, command, dt)
        if mission is not None and mission.flying:
            command = self.adaptation.step(command, motion, dt)
        else:
            self.adaptation.rest(command, motion, dt)
        bearing, _, gap = self._grounding.located()
        grid = self._grounding.probability.reshape(layout.ROWS, layout.COLUMNS)
        sought = bool(vector[len(VERBS):].any())  # else there is no target to be seen
        chosen = self.seeing.chosen if self.seeing and self._told == self._flight else None
        return Action(frame.stamp_ns, command[:3], float(command[3]), {
            'attention': grid * sought, 'target_visible': float(features[0]) * sought,
            'target_bearing': bearing, 'target_distance': gap, 'dark_s': self._policy.dark_s,
            'hangs': self._camera.hangs, 'covered': self._lens.share, 'tokens': kept,
            'kept': (self._memory.marks if chosen is None else chosen).reshape(grid.shape).copy(),
            'step': 0 if mission is None else mission.index + 1,
            'doing': 'hover' if mission is None else mission.say})

    def _consult(self, stamp_ns: int, mission: Mission) -> None:
        """Hear what the seeing head has said, and note what to ask it next."""
        while self._said:
            look, said = self._said[0]
            if look.flight == self._flight:
                if stamp_ns - look.stamp_ns < OPINION_NS:
                    break
                self.opinion.hear(look.sighted, said)
            self._said.popleft()
        period = round(self.config.opinion_period * 1e9)
        if self.seeing is None or not period or 0 <= stamp_ns - self._looked_ns < period:
            return
        self._looked_ns = stamp_ns
        names = tuple(dict.fromkeys((p.colour, p.shape) for p in mission.targets))
        self.look = Look(self._flight, stamp_ns, self.opinion.sighted(
            mission.target, self._grounding), names, self.view())


def load_head(config: PipelineConfig) -> LanguageHead:
    """
    Load the small head of a pilot, or the shipped one if it has none of its own.

    Parameters
    ----------
    config : PipelineConfig
        Its `model` counts.

    Raises
    ------
    CheckpointError
        The model folder is missing, incomplete or corrupt.

    """
    language = _folder(config) / 'language'
    return LanguageHead.load(language if language.is_dir() else SHIPPED_MODEL / 'language')


def _load_memory(folder: Path) -> LiquidPolicy | None:
    file = folder / MEMORY
    return LiquidPolicy(read_safetensors(file)[0]) if file.is_file() else None


def _folder(config: PipelineConfig) -> Path:
    folder = Path(config.model) if config.model else SHIPPED_MODEL
    if not (folder / 'policy.safetensors').is_file():
        raise CheckpointError(f'{folder} is not a pilot: it has no policy.safetensors; set '
                              'pipeline.model to a folder that has one, or leave it empty')
    return folder


def _print(line: str) -> None:
    print(line, file=sys.stderr)
