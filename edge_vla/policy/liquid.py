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

"""The liquid pilot: tokens, context, motion and elapsed time become an action."""

import math

from edge_vla.checkpoints.safetensors import take
from edge_vla.datatypes import Motion
from edge_vla.kernels.dense import dense
from edge_vla.kernels.grounding import ground, pool, score_queries
from edge_vla.language.plan import COLOURS, CONTEXT_SIZE, Plan, SHAPES
from edge_vla.motion import believable
from edge_vla.policy.cell_tensors import take_linear
from edge_vla.policy.cfc import CfC
from edge_vla.vision import layout
import numpy as np

ACTION_SCALE = np.array([1.5, 1.0, 0.8, 1.2])  # m/s, m/s, m/s, rad/s
TIME_UNIT = 0.1  # s, elapsed time enters the cell in this unit
UNITS, BACKBONE = 64, 96
KINDS = ('cfc', 'exact')  # of a policy, as a checkpoint calls it, that `LiquidPolicy` flies
INPUTS = layout.VISION_FEATURES + layout.MOTION_FEATURES + CONTEXT_SIZE


class Grounding:
    """Scores tokens against the context and pools them into vision features."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        d, g, v = layout.CHANNELS, layout.GROUND_CHANNELS, layout.VALUE_CHANNELS

        def linear(name: str, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
            w = take(tensors, f'grounding.{name}.weight', (n_out, n_in))
            return np.ascontiguousarray(w.T), take(tensors, f'grounding.{name}.bias', (n_out,))

        self._film = linear('film', CONTEXT_SIZE, 2 * g)
        self._hidden_layer = linear('hidden', d, g)
        score, bias = linear('score', g, 1)
        self._score, self._score_bias = np.ascontiguousarray(score[:, 0]), bias[0]
        self._value, self._near = linear('value', d, v), linear('near', d, 1)
        self._locate = linear('locate.0', layout.POOLED, 32) + linear(
            'locate.2', 32, layout.LOCATED)
        self._centres = layout.token_centres()
        n = layout.TOKENS
        self._modulation = np.zeros((1, 2 * g), np.float32)
        self._hidden = np.zeros((n, g), np.float32)
        self._values = np.zeros((n, v), np.float32)
        self._nearness = np.zeros((n, 1), np.float32)
        self._locate_hidden = np.zeros((1, 32), np.float32)
        self._located = np.zeros((1, layout.LOCATED), np.float32)
        pairs = np.stack([Plan('go', c, s).vector() for c in COLOURS for s in SHAPES])
        self._pairs = np.zeros((len(pairs), 2 * g), np.float32)
        dense(pairs, *self._film, False, self._pairs)
        self._recognised = np.zeros((len(pairs), n), np.float32)
        self._pair_p = np.zeros(n, np.float32)
        self._pair_features = np.zeros(layout.VISION_FEATURES, np.float32)
        self._pair_located = np.zeros((1, layout.LOCATED), np.float32)
        self._mark, self._scratch = np.zeros(n, np.int16), np.zeros(n, np.float32)
        self.probability = np.zeros(n, np.float32)
        self.features = np.zeros(layout.VISION_FEATURES, np.float32)

    def attend(self, context: np.ndarray) -> None:
        """Take a new context vector, float32 [CONTEXT_SIZE]."""
        dense(context.reshape(1, -1), *self._film, False, self._modulation)

    def look(self, tokens: np.ndarray) -> np.ndarray:
        """Return vision features float32 [VISION_FEATURES]; valid until the next call."""
        g, pooled, f = layout.GROUND_CHANNELS, layout.POOLED, self.features
        dense(tokens, *self._hidden_layer, False, self._hidden)
        dense(tokens, *self._value, False, self._values)
        dense(tokens, *self._near, True, self._nearness)
        ground(self._hidden, self._modulation[0, :g], self._modulation[0, g:], self._score,
               self._score_bias, self._values, self._nearness[:, 0], self._centres, layout.ROWS,
               layout.BAND, self.probability, self._mark, self._scratch, f)
        dense(f[None, :pooled], *self._locate[:2], True, self._locate_hidden)
        dense(self._locate_hidden, *self._locate[2:], False, self._located)
        f[pooled:pooled + layout.LOCATED] = self._located[0] * f[0]
        return f

    def recognise(self) -> np.ndarray:
        """
        Tell which colour and shape every token of the last `look` shows.

        Returns
        -------
        numpy.ndarray
            Probabilities float32 [COLOURS x SHAPES, TOKENS], shapes varying fastest; valid
            until the next call.

        """
        score_queries(self._hidden, self._pairs, self._score, self._score_bias, self._recognised)
        return self._recognised

    def place(self, pair: int, tokens: np.ndarray) -> tuple[float, float, float]:
        """
        Tell where in the last `look` an object is, whatever the context; after `recognise`.

        Parameters
        ----------
        pair : int
            Row of `recognise`.
        tokens : numpy.ndarray
            int64 [N], which of them show it.

        Returns
        -------
        tuple of float
            Bearing (rad, left positive), elevation (m) and gap (m).

        """
        pooled = layout.POOLED
        self._pair_p[:] = 0
        self._pair_p[tokens] = self._recognised[pair, tokens]
        pool(self._pair_p, self._values, self._nearness[:, 0], self._centres, layout.ROWS,
             layout.BAND, self._pair_features)
        dense(self._pair_features[None, :pooled], *self._locate[:2], True, self._locate_hidden)
        dense(self._locate_hidden, *self._locate[2:], False, self._pair_located)
        return place_of(self._pair_located[0])

    def located(self) -> tuple[float, float, float]:
        """Return bearing (rad, left positive), elevation (m) and gap (m) of the target."""
        return place_of(self._located[0])


def place_of(located: np.ndarray) -> tuple[float, float, float]:
    """Turn what the locating layers say into bearing (rad), elevation (m) and gap (m)."""
    bearing, elevation, gap = (float(x) for x in located)
    return bearing, elevation, max(0.0, math.exp(min(gap, 4.0)) - layout.LOG_GAP_OFFSET)


class LiquidPolicy:
    """
    A CfC cell and a linear read-out; the state moves with true elapsed time.

    Parameters
    ----------
    tensors : dict of str to numpy.ndarray
        Checkpoint tensors named as in ``training.pilot_torch``.

    """

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        # a cell takes its sizes from the checkpoint, the pilot's are fixed
        take(tensors, 'policy.cell.backbone.weight', (BACKBONE, INPUTS + UNITS))
        exact = 'policy.cell.f.weight' in tensors
        take(tensors, f'policy.cell.{"f" if exact else "ff1"}.weight', (UNITS, BACKBONE))
        self._cell = CfC.from_tensors(tensors, 'policy.cell.', 'exact' if exact else 'default')
        self._head = take_linear(tensors, 'policy.head', UNITS, 4)
        self._x = np.zeros((1, INPUTS), np.float32)
        self._dt = np.zeros(1, np.float32)
        self._h = self._cell.initial()
        self._out = np.zeros((1, 4), np.float32)
        self.state = self._h[0]

    def reset(self) -> None:
        """Forget everything."""
        self.state[:] = 0

    def step(self, features: np.ndarray, motion: Motion | None, context: np.ndarray,
             dt: float) -> np.ndarray:
        """
        Return heading-frame velocity (m/s) and yaw rate (rad/s), float64 [4].

        Parameters
        ----------
        features : numpy.ndarray
            float32 [VISION_FEATURES].
        motion : Motion or None
            None, or one that is not `believable`, counts as unknown.
        context : numpy.ndarray
            float32 [CONTEXT_SIZE].
        dt : float
            Seconds since the last step.

        """
        x, n = self._x[0], layout.VISION_FEATURES
        x[:n] = features
        x[n:n + layout.MOTION_FEATURES] = 0
        if motion is not None:
            m = (*motion.velocity, motion.yaw_rate, motion.roll, motion.pitch)
            if believable(m):
                x[n:n + 6] = m
                x[n + 6] = 1
        x[n + layout.MOTION_FEATURES:INPUTS] = context
        self._dt[0] = dt / TIME_UNIT
        self._cell.advance(self._x, self._dt, self._h)
        dense(self._h, *self._head, False, self._out)
        return np.clip(self._out[0].astype(np.float64), -1, 1) * ACTION_SCALE
