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
From logits to the next token, exactly as Hugging Face transformers does it.

The order is that of its logits processors: repetition penalty, temperature, top-k, top-p.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_vla.config import setting, settings_of
from edge_vla.exceptions import CheckpointError
import numpy as np

_FIRST_SORTED = 256  # the nucleus is nearly always smaller


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen; the defaults take the likeliest one."""

    temperature: float = setting(0.0, 'higher is more varied; 0 takes the likeliest token', '',
                                 0.0, 100.0)
    top_k: int = setting(0, 'only the k likeliest tokens; 0 is all', '', 0, 2**31 - 1)
    top_p: float = setting(1.0, 'only the likeliest tokens that make up this probability', '',
                           0.0, 1.0)
    repetition_penalty: float = setting(1.0, 'above 1 makes tokens of the prompt and of the '
                                        'answer so far less likely', '', 0.01, 100.0)
    seed: int = setting(0, 'of the random numbers', '', 0, 2**63 - 1)

    def __post_init__(self) -> None:
        for s in settings_of(self):
            object.__setattr__(self, s.name, s.check(s.default))

    @property
    def best(self) -> int:
        """How many of the likeliest tokens have all the probability; 0 where it may be all."""
        if self.repetition_penalty != 1:
            return 0  # what is likeliest then depends on the text
        return 1 if self.temperature == 0 else self.top_k


class Sampler:
    """
    Chooses tokens; the same seed and logits give the same tokens.

    Parameters
    ----------
    config : SamplingConfig
        How.

    """

    def __init__(self, config: SamplingConfig) -> None:
        self.config = config
        self._random = np.random.default_rng(config.seed)

    def __call__(self, logits: np.ndarray, ids: Sequence[int]) -> int:
        """
        Return the next token.

        Parameters
        ----------
        logits : numpy.ndarray
            float [vocab].
        ids : sequence of int
            The prompt and what was generated so far, for the repetition penalty.

        Raises
        ------
        CheckpointError
            The logits are not numbers.

        """
        if self.config.temperature == 0 and self.config.repetition_penalty != 1:
            return int(_penalised(logits, ids, self.config).argmax())
        if self.config.temperature == 0:
            token = int(logits.argmax())  # of a NaN, if there is one
            _check(logits[token])
            return token
        return self.draw(probabilities(logits, ids, self.config))

    def uniform(self) -> float:
        """Return a random number, at least 0 and less than 1."""
        return float(self._random.random())

    def draw(self, weights: np.ndarray) -> int:
        """
        Return a random token.

        Parameters
        ----------
        weights : numpy.ndarray
            In proportion to the probability of each, [vocab]; those of weight 0 never come.

        """
        return pick(weights, self._random.random())


def pick(weights: np.ndarray, share: float) -> int:
    """
    Return the token at a share of all weights, put one after the other.

    Parameters
    ----------
    weights : numpy.ndarray
        Not negative and not all 0, [vocab]; those of weight 0 are never returned.
    share : float
        At least 0 and less than 1.

    """
    possible = np.flatnonzero(weights)
    total = weights[possible].cumsum()
    place = np.searchsorted(total, share * total[-1], side='right')
    return int(possible[min(place, len(possible) - 1)])  # rounding may reach the end


def probabilities(logits: np.ndarray, ids: Sequence[int], config: SamplingConfig) -> np.ndarray:
    """
    Return the distribution the next token is drawn from, float64 [vocab].

    Parameters
    ----------
    logits : numpy.ndarray
        float [vocab]; -inf forbids a token.
    ids : sequence of int
        The prompt and what was generated so far.
    config : SamplingConfig
        At temperature 0 all probability is on the likeliest token, the first of equals.

    Raises
    ------
    CheckpointError
        The logits are not numbers.

    """
    x = _penalised(logits, ids, config)
    out = np.zeros(len(x))
    if config.temperature == 0:
        out[x.argmax()] = 1
        return out
    with np.errstate(over='ignore'):  # at a tiny temperature all but the largest become -inf
        x = (x - x.max()) / config.temperature
    kept = np.arange(len(x))
    if 0 < config.top_k < len(x):  # equals of the last one stay too, as in transformers
        kept = np.flatnonzero(x >= np.partition(x, -config.top_k)[-config.top_k])
    p = np.exp(x[kept])
    p /= p.sum()
    if config.top_p < 1:
        nucleus = _nucleus(p, config.top_p)
        kept, p = kept[nucleus], p[nucleus]
        p /= p.sum()
    out[kept] = p
    return out


def _penalised(logits: np.ndarray, ids: Sequence[int], config: SamplingConfig) -> np.ndarray:
    x = np.array(logits, np.float64)
    _check(x.max())  # NaN is the largest of any
    if config.repetition_penalty != 1 and len(ids):
        y = x[seen := np.asarray(ids)]
        x[seen] = np.where(y < 0, y * config.repetition_penalty, y / config.repetition_penalty)
    return x


def _check(largest: float) -> None:
    if not np.isfinite(largest):
        raise CheckpointError('the model answered with NaN or infinite logits: its weights are '
                              'corrupt, convert or download it again')


def _nucleus(p: np.ndarray, top_p: float) -> np.ndarray:
    """Return the fewest likeliest entries that make up `top_p`, at least one, likeliest first."""
    size = _FIRST_SORTED
    while True:
        # sorting all of a large vocabulary takes longer than the rest together
        some = np.arange(len(p)) if size >= len(p) else np.flatnonzero(
            p >= np.partition(p, -size)[-size])
        some = some[np.argsort(-p[some], kind='stable')]
        total = p[some].cumsum()
        if total[-1] >= top_p or len(some) == len(p):
            # an entry stays where those before it have not reached top_p
            return some[:1 + int(np.searchsorted(total, top_p))]
        size *= 8
