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
Dynamic pruning of visual keys: stage 2 of DyCoke (CVPR 2025, arXiv 2411.15024), as in the paper.

Layers before L attend to everything. From what the last query looked at there, the top (1 - P) of
the visual keys are chosen, and layers from L on attend to the text and to those. The choice stays
while the attention does not move, so decoding pays for it seldom; keys that were left out stay in
the full cache and can come back, unless they were evicted. See doc/tokens.md.
"""

from dataclasses import dataclass

from edge_vla.kernels.kv_cache import copy_tokens
from edge_vla.kernels.selection import list_marked, mark_largest
from edge_vla.kernels.similarity import cosine, dot
from edge_vla.kernels.vectors import LANES
import numpy as np

CacheArrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Choice = tuple[np.ndarray, np.ndarray, float, int]  # what `KeySelector.save` returns


@dataclass(frozen=True)
class KeyPruningSettings:
    """
    How visual keys are pruned; the defaults are the paper's.

    Attributes
    ----------
    pruning_rate : float
        P: of V visual keys int((1 - P) V) are kept, at least one.
    layer : int
        L: layers from it on attend to what is kept, the one before it decides. At least 1: with
        L = 0 nothing would have been attended to when the choice is made.
    gate : float
        The choice stays while the cosine between the attention of this step and of the last is
        not below it.

    Raises
    ------
    ValueError
        A value out of range.

    """

    pruning_rate: float = 0.7
    layer: int = 3
    gate: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.pruning_rate <= 1:
            raise ValueError(f'pruning_rate is {self.pruning_rate}, expected 0 to 1')
        if self.layer < 1:
            raise ValueError(f'layer is {self.layer}, expected at least 1')
        if not -1 <= self.gate <= 1:
            raise ValueError(f'gate is {self.gate}, expected -1 to 1')

    def budget(self, keys: int) -> int:
        """Return how many of the visual keys are kept, max(1, int((1 - P) V)); 0 of none."""
        return max(min(1, keys), int((1 - self.pruning_rate) * keys))


def check_ascending(slots: np.ndarray, length: int) -> None:
    """
    Refuse slots that do not ascend within a cache.

    Parameters
    ----------
    slots : numpy.ndarray
        int64 [T], expected to ascend.
    length : int
        They must lie in [0, length).

    Raises
    ------
    ValueError
        They do not, or are of another type or shape.

    """
    if slots.ndim != 1 or slots.dtype != np.int64 or (len(slots) and (
            slots[0] < 0 or slots[-1] >= length or (slots[1:] <= slots[:-1]).any())):
        raise ValueError(f'slots must be int64 and ascend within [0, {length})')


class KeySelector:
    """
    Choose which slots of a KV cache the layers from L on attend to.

    Parameters
    ----------
    capacity : int
        Slots of the cache.
    settings : KeyPruningSettings, optional
        The paper's by default.

    Attributes
    ----------
    visual : numpy.ndarray
        int64 [V], slots of the visual keys, ascending.
    attended : numpy.ndarray
        uint8 [capacity], 1 where layers from L on look: all text and the kept visual keys.
    mass : float
        Share of the visual attention of the last step that went to kept keys.
    choices : int
        How often the choice was made anew since `begin`.

    """

    def __init__(self, capacity: int, settings: KeyPruningSettings | None = None) -> None:
        self.settings = settings or KeyPruningSettings()
        self.capacity = capacity
        self.attended = np.ones(capacity, np.uint8)
        self._slots = np.zeros(capacity, np.int64)
        self._marks = np.zeros(capacity, np.uint8)
        self._now, self._before = np.zeros((2, 1, capacity), np.float32)
        self.begin(np.arange(min(2, capacity)))  # compiles
        self.update(np.ones(min(2, capacity), np.float32))
        self.slots(capacity)
        self.begin(self._slots[:0])

    def begin(self, visual: np.ndarray) -> None:
        """
        Start with another prompt; until `update` everything is attended to.

        Parameters
        ----------
        visual : numpy.ndarray
            int64 [V], slots of its visual keys, ascending.

        Raises
        ------
        ValueError
            They do not ascend, or lie outside the cache.

        """
        visual = np.array(visual, copy=True)
        check_ascending(visual, self.capacity)
        self.visual = visual
        self.budget = self.settings.budget(len(visual))
        self.attended[:] = 1
        self.mass, self.choices = 1.0, 0

    def update(self, attention: np.ndarray) -> bool:
        """
        Take the attention of a step; tell whether the choice was made anew.

        Parameters
        ----------
        attention : numpy.ndarray
            float32 [V], of the last query to the visual keys in layer L - 1, the mean of its
            heads (`kernels.kv_cache.add_attention`).

        Raises
        ------
        ValueError
            Another type or shape, negative or not finite.

        """
        v = len(self.visual)
        if attention.dtype != np.float32 or attention.shape != (v,):
            raise ValueError(f'attention must be float32 [{v}], got {attention.dtype} '
                             f'{list(attention.shape)}')
        if v and not (attention.min() >= 0 and attention.max() < np.inf):
            raise ValueError('attention must be finite and not negative')
        if self.budget == v:
            return False
        now, before = self._now[:, :v], self._before[:, :v]
        now[0] = attention
        moved = not self.choices or cosine(dot(now, 0, before, 0), dot(now, 0, now, 0), dot(
            before, 0, before, 0)) < self.settings.gate
        marks = self._marks[:v]
        if moved:
            mark_largest(now[0], self.budget, marks)
            self.attended[self.visual] = marks
            self.choices += 1
        total = float(now.sum())
        self.mass = float(np.dot(now[0], marks)) / total if total else 1.0
        self._now, self._before = self._before, self._now
        return moved

    def save(self) -> Choice:
        """Return what was chosen and seen, for `restore`."""
        v = len(self.visual)
        return (self.attended[self.visual], self._before[0, :v].copy(), self.mass, self.choices)

    def restore(self, choice: Choice) -> None:
        """
        Go back to what was chosen and seen when `choice` was saved, with the same visual keys.

        Raises
        ------
        ValueError
            Another number of visual keys.

        """
        marks, before, self.mass, self.choices = choice
        v = len(self.visual)
        if len(marks) != v:
            raise ValueError(f'the choice is among {len(marks)} visual keys, there are {v}')
        self.attended[self.visual], self._marks[:v], self._before[0, :v] = marks, marks, before

    def slots(self, length: int) -> np.ndarray:
        """
        Return what layers from L on attend to, int64, ascending; valid until the next call.

        Parameters
        ----------
        length : int
            Tokens in the cache.

        """
        return self._slots[:list_marked(self.attended[:length], self._slots)]


class CompactCache:
    """
    Keys and values of some layers, without those of tokens that are not attended to.

    `edge_vla.kernels.attention` runs on `arrays` as on any cache: with all slots kept, bit for
    bit. A new token is written to slot `length`, rotated by its true position. With `copy_from`
    on every new choice the full cache stays and keys can come back, and only attention is saved;
    where the full cache of these layers is given up after it, that is eviction.

    Parameters
    ----------
    layers, heads : int
        Layers it holds, and key-value heads of each.
    size : int
        Padded size of a head, a multiple of 16.
    capacity : int
        Slots, rounded up to a multiple of 16.
    dtype : numpy.dtype
        float32, uint16 (float16) or int8.

    Attributes
    ----------
    arrays : tuple of numpy.ndarray
        Keys, values, and the scales of both, as `kernels.bitnet.Cache`.
    length : int
        Slots in use.

    """

    def __init__(self, layers: int, heads: int, size: int, capacity: int,
                 dtype: np.dtype | type) -> None:
        if min(layers, heads, size) < 1 or capacity < 0 or size % LANES:
            raise ValueError(f'{layers} layers of {heads} heads of {size}: all must be at least '
                             f'1, a head a multiple of {LANES}')
        self.layers, self.heads, self.size = layers, heads, size
        self.capacity, self.length = -(-capacity // LANES) * LANES, 0
        places = layers * heads * self.capacity
        self.arrays: CacheArrays = (
            np.zeros(places * size, dtype), np.zeros(places * size, dtype),
            np.zeros(places, np.float32), np.zeros(places, np.float32))
        self.evict(np.zeros(0, np.int64))  # compiles

    @property
    def nbytes(self) -> int:
        """Return the bytes it takes."""
        return sum(a.nbytes for a in self.arrays)

    def copy_from(self, full: tuple[np.ndarray, ...], full_capacity: int, first_layer: int,
                  slots: np.ndarray) -> None:
        """
        Take over some tokens of a full cache, in their order.

        Parameters
        ----------
        full : tuple of numpy.ndarray
            Arrays of the full cache; what may follow keys, values and their scales is not read.
        full_capacity : int
            Its slots.
        first_layer : int
            Layer of the full cache that is the first here, L.
        slots : numpy.ndarray
            int64, ascending (`KeySelector.slots`).

        Raises
        ------
        ValueError
            They do not fit, are not in the full cache, or it is of another kind.

        """
        check_ascending(slots, full_capacity)
        if len(slots) > self.capacity:
            raise ValueError(f'{len(slots)} tokens do not fit into a cache of {self.capacity}')
        have = len(full[2]) // max(1, full_capacity * self.heads)
        if full[0].dtype != self.arrays[0].dtype or len(full[0]) != len(full[2]) * self.size or \
                not 0 <= first_layer <= have - self.layers:
            raise ValueError(f'cannot take layers {first_layer} to {first_layer + self.layers} '
                             f'of {self.arrays[0].dtype} from a cache of {have} layers of '
                             f'{full[0].dtype}, or its heads have another size')
        copy_tokens(full, first_layer * self.heads, full_capacity, slots, self.size, self.arrays,
                    self.capacity, 0, self.layers * self.heads)
        self.length = len(slots)

    def evict(self, slots: np.ndarray) -> None:
        """
        Forget all but some slots and move the rest together, which makes room for new tokens.

        Parameters
        ----------
        slots : numpy.ndarray
            int64, what stays, ascending.

        Raises
        ------
        ValueError
            They do not ascend or are not in use.

        """
        check_ascending(slots, self.length)
        copy_tokens(self.arrays, 0, self.capacity, slots, self.size, self.arrays, self.capacity, 0,
                    self.layers * self.heads)
        self.length = len(slots)
