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


"""The float torch pilot behind the pipeline's interface: the baseline of the numba pilot."""

from collections.abc import Callable
from typing import Any

from edge_vla.checkpoints.safetensors import take_weight
from edge_vla.datatypes import Motion
from edge_vla.language.plan import COLOURS, Plan, SHAPES
from edge_vla.pipeline import Pipeline
from edge_vla.policy.liquid import ACTION_SCALE, place_of
from edge_vla.training.pilot_torch import PilotNet
from edge_vla.vision import layout
from edge_vla.vision.encoder import prepare
import numpy as np
import torch


class TorchPilot:
    """Encoder, grounding and policy in one, with the methods of the three numba classes."""

    def __init__(self, tensors: dict[str, np.ndarray], kind: str = 'cfc') -> None:
        self._net = PilotNet(kind).eval()
        self._net.encoder.quantise(False)  # the weights are what they are
        known = {k: torch.from_numpy(take_weight(tensors, k, tuple(v.shape)).copy())
                 for k, v in self._net.state_dict().items() if k in tensors}
        self._net.load_state_dict(known, strict=False)
        self._pairs = torch.as_tensor(np.stack(
            [Plan('go', c, s).vector() for c in COLOURS for s in SHAPES]))
        self._tokens = torch.zeros(1, layout.TOKENS, layout.CHANNELS)
        self.features = np.zeros(layout.VISION_FEATURES, np.float32)
        self._image = np.zeros((layout.HEIGHT, layout.WIDTH, 3), np.uint8)
        self.blank, self._located = False, np.zeros(layout.LOCATED)
        self._context = torch.zeros(1, 1)
        self._state: torch.Tensor | None = None
        self.probability = np.zeros(layout.TOKENS, np.float32)

    def reset(self) -> None:
        """Forget the flight so far."""
        self._state = None

    @torch.no_grad()
    def encode(self, image: np.ndarray,
               clean: Callable[[np.ndarray], None] | None = None) -> np.ndarray:
        """Return the tokens of a frame, float32 [TOKENS, CHANNELS]."""
        self.blank = prepare(image, self._image, clean)
        return self._net.encoder(torch.from_numpy(self._image)[None])[0].numpy()

    def attend(self, context: np.ndarray) -> None:
        """Take a new context vector, float32 [CONTEXT_SIZE]."""
        self._context = torch.from_numpy(np.array(context, np.float32))[None]

    @torch.no_grad()
    def look(self, tokens: np.ndarray) -> np.ndarray:
        """Return vision features float32 [VISION_FEATURES]."""
        self._tokens = torch.from_numpy(tokens)[None]
        features, score, _ = self._net.grounding(self._tokens, self._context, flying=True)
        self.probability = torch.sigmoid(score)[0].numpy()
        self.features = out = features[0].numpy()
        self._located = out[layout.POOLED:layout.POOLED + layout.LOCATED] / max(out[0], 1e-6)
        return out

    @torch.no_grad()
    def recognise(self) -> np.ndarray:
        """Return what every token shows; see ``policy.liquid.Grounding.recognise``."""
        tokens = self._tokens.expand(len(self._pairs), -1, -1)
        return torch.sigmoid(self._net.grounding(tokens, self._pairs)[1]).numpy()

    @torch.no_grad()
    def place(self, pair: int, tokens: np.ndarray) -> tuple[float, float, float]:
        """Return bearing, elevation and gap of a pair; see ``policy.liquid.Grounding.place``."""
        only = torch.zeros(layout.TOKENS, dtype=torch.bool)
        only[torch.from_numpy(tokens)] = True
        out = self._net.grounding(self._tokens, self._pairs[pair:pair + 1],
                                  only=only)[0][0].numpy()
        return place_of(out[layout.POOLED:layout.POOLED + layout.LOCATED] / max(out[0], 1e-6))

    def located(self) -> tuple[float, float, float]:
        """Return bearing (rad, left positive), elevation (m) and gap (m) of the target."""
        return place_of(self._located)

    @torch.no_grad()
    def step(self, features: np.ndarray, motion: Motion | None, context: np.ndarray,
             dt: float) -> np.ndarray:
        """Return heading-frame velocity (m/s) and yaw rate (rad/s), float64 [4]."""
        measured = np.zeros(layout.MOTION_FEATURES, np.float32)
        if motion is not None:
            values = (*motion.velocity, motion.yaw_rate, motion.roll, motion.pitch)
            if np.isfinite(values).all():
                measured[:] = (*values, 1)
        x = torch.from_numpy(np.concatenate([features, measured, context]).astype(np.float32))
        action, self._state = self._net.policy(x[None, None], torch.full((1, 1), dt),
                                               torch.zeros(1, 1), self._state)
        return np.clip(action[0, 0].numpy().astype(np.float64), -1, 1) * ACTION_SCALE


class TorchPipeline(Pipeline):
    """`Pipeline` with the pilot in torch; one thread, float32; flies baselines too."""

    @staticmethod
    def _pilot(tensors: dict[str, np.ndarray], kind: str) -> Any:
        torch.set_num_threads(1)
        pilot = TorchPilot(tensors, kind)
        return pilot, pilot, pilot
