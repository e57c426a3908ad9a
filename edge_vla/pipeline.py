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

from pathlib import Path

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import PipelineConfig
from edge_vla.datatypes import Action, Context, Frame, Motion, Observation
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.language.head import LanguageHead
from edge_vla.language.plan import CONTEXT_SIZE, VERBS
from edge_vla.policy.liquid import Grounding, LiquidPolicy
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np

SHIPPED_MODEL = Path(__file__).parent / 'checkpoints' / 'pilot'
FIRST_DT_S = 1 / 30  # elapsed time assumed for the first frame of a flight


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

    Attributes
    ----------
    language : LanguageHead
    context : Context or None
        What the policy is flying by.

    """

    def __init__(self, tensors: dict[str, np.ndarray], language: LanguageHead,
                 config: PipelineConfig | None = None, synchronous: bool = True) -> None:
        self.config = config or PipelineConfig()
        self.language = language
        self.context: Context | None = None
        self._synchronous = synchronous
        self._encoder, self._grounding = PatchEncoder(tensors), Grounding(tensors)
        self._policy = LiquidPolicy(tensors)
        self._attended: np.ndarray | None = None
        self._refused = ''
        self._last: Action | None = None
        self._hover = np.zeros(CONTEXT_SIZE, np.float32)
        self._hover[VERBS.index('hover')] = 1

    @classmethod
    def load(cls, config: PipelineConfig | None = None, synchronous: bool = True) -> 'Pipeline':
        """
        Load the checkpoint, allocate, compile and warm up.

        Raises
        ------
        CheckpointError
            The model folder is missing, incomplete or corrupt.

        """
        config = config or PipelineConfig()
        folder = Path(config.model) if config.model else SHIPPED_MODEL
        if not (folder / 'policy.safetensors').is_file():
            raise CheckpointError(f'{folder} is not a pilot: it has no policy.safetensors; set '
                                  'pipeline.model to a folder that has one, or leave it empty')
        tensors, _ = read_safetensors(folder / 'policy.safetensors')
        pipeline = cls(tensors, LanguageHead.load(folder / 'language'), config, synchronous)
        pipeline.warm_up()
        return pipeline

    def warm_up(self) -> None:
        """Run every kernel once so that the first real frame finds them compiled."""
        context = self.language.read('hover')
        motion = Motion(0, np.zeros(3), 0.0, 0.0, 0.0)
        self.set_context(context)
        for k in (1, 2):
            image = np.zeros((layout.HEIGHT, layout.WIDTH, 3), np.uint8)
            self._fly(Frame(k, image), motion, context, FIRST_DT_S)
        self.context = self._attended = None
        self.reset()

    def reset(self) -> None:
        """Forget the flight so far; the instruction stays."""
        self._policy.reset()
        self._last = None

    def set_context(self, context: Context | None) -> None:
        """Fly by `context` from the next step on, None hovers; may be called from any thread."""
        self.context = context

    def understands(self, context: Context) -> bool:
        """Tell whether a context is sure enough to fly by."""
        return context.confidence >= self.config.min_confidence

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
        if self._synchronous:
            self._read(observation.instruction)
        dt = FIRST_DT_S
        if self._last is not None:
            dt = (frame.stamp_ns - self._last.stamp_ns) * 1e-9
            if not 0 < dt <= self.config.max_gap:
                self.reset()
                dt = FIRST_DT_S
        motion = observation.motion
        self._last = self._fly(frame, motion, self.context, dt)
        return self._last

    def _read(self, instruction: str) -> None:
        text = instruction.strip()
        if not text or text == self._refused:
            self.context = None
        elif self.context is None or self.context.instruction.strip() != text:
            try:
                self.context, self._refused = self.language.read(instruction), ''
            except InstructionError:
                # an instruction that cannot be read must not keep the old one flying
                self.context, self._refused = None, text

    def _fly(self, frame: Frame, motion: Motion | None, context: Context | None,
             dt: float) -> Action:
        tokens = self._encoder.encode(frame.image)
        understood = context is not None and self.understands(context)
        vector = context.vector if understood else self._hover
        if vector is not self._attended:
            self._grounding.attend(vector)
            self._attended = vector
        features = self._grounding.look(tokens)
        command = self._policy.step(features, motion, vector, dt)
        if not understood:
            command = np.zeros(4)
        bearing, _, gap = self._grounding.located()
        grid = self._grounding.probability.reshape(layout.ROWS, layout.COLUMNS)
        return Action(frame.stamp_ns, command[:3], float(command[3]), {
            'attention': grid.copy(), 'target_visible': float(features[0]),
            'target_bearing': bearing, 'target_distance': gap, 'tokens': layout.TOKENS})
