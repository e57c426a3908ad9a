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

"""What a decoder remembers of the tokens it has read, and how it is rolled back."""

import math
import mmap
from typing import Any, Protocol

from edge_vla.compression.kv_pruning import CompactCache
from edge_vla.kernels import bitnet, lfm2
from edge_vla.kernels.lending import Lent
from edge_vla.language.config import BitNetConfig
from edge_vla.language.engine import padded
from edge_vla.language.lfm2_config import ATTENTION, Lfm2Config
import numpy as np

CACHES = {'float32': np.float32, 'float16': np.uint16, 'int8': np.int8}
_PAGE = 256  # tokens from one kept state of the convolutions to the next
_RECENT = 256  # tokens whose convolutions are all kept: rolling back this far costs nothing


def _zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Return zeros that take memory only where they are written, in small pages."""
    # NumPy asks for pages of 2 MB, and the first token would take one for every head
    count = math.prod(shape)
    room = mmap.mmap(-1, max(count * np.dtype(dtype).itemsize, 1),
                     flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, 'MADV_NOHUGEPAGE'):
        try:
            room.madvise(mmap.MADV_NOHUGEPAGE)
        except OSError:  # a kernel without them
            pass
    return np.frombuffer(room, dtype, count).reshape(shape)


class LayerCache(Protocol):
    """
    What the layers of a decoder need to know of a cache.

    Attributes
    ----------
    arrays : tuple
        `kernels.bitnet.Cache`, or `kernels.lfm2.Cache`.
    first, last : int
        The layers it is of, and the one after them.
    rows : int
        Slots there are.
    length : int
        Slots in use.
    appended : int
        Tokens it was ever given: who remembers which ones it holds sees if others were added.
    lent : kernels.lending.Lent
        The arrays as they were lent last, None at first.

    """

    arrays: Any
    lent: Lent | None
    first: int
    last: int
    rows: int
    length: int
    appended: int


class KVCache:
    """
    Keys and values of every layer, allocated once; rolling back is exact and costs nothing.

    Attributes
    ----------
    capacity : int
        Tokens it can hold.
    length : int
        Tokens it holds.
    rows : int
        Slots there are, `capacity` rounded up.
    first, last : int
        The layers it is of, and the one after them.
    appended : int
        As in LayerCache, and so `lent`.

    """

    appended: int = 0
    lent: Lent | None = None

    def __init__(self, config: BitNetConfig, capacity: int, kind: str, first: int = 0,
                 last: int = 0) -> None:
        self.first, self.last = first, last or config.num_hidden_layers
        self._begin(capacity, kind)
        self.arrays = bitnet.Cache(*self._arrays(
            (self.last - first) * config.num_key_value_heads, config.head_dim))

    def truncate(self, length: int) -> None:
        """
        Forget everything after the first `length` tokens.

        Raises
        ------
        ValueError
            There are fewer.

        """
        if not 0 <= length <= self.length:
            raise ValueError(f'cannot truncate {self.length} tokens to {length}')
        self.length = length

    def resume(self, ids: list[int]) -> list[int]:
        """
        Take the ids of tokens that come next, and return those that must be read for it.

        Parameters
        ----------
        ids : list of int
            What is appended; `length` may go back, and then some before it are returned too.

        """
        return ids

    def weigh(self, start: int, sizes: np.ndarray | None) -> None:
        """
        Let some tokens count as many as they stand for (proportional attention), all others one.

        Parameters
        ----------
        start : int
            Slot of the first of them.
        sizes : numpy.ndarray, optional
            float32, how many each stands for; None is one each.

        """
        bias = np.zeros(0, np.float32)
        if sizes is not None and (sizes != 1).any():
            bias = np.zeros(self.rows, np.float32)
            bias[start:start + len(sizes)] = np.log(sizes)
        self.arrays = self.arrays._replace(bias=bias)

    def _begin(self, capacity: int, kind: str) -> None:
        self.capacity, self.length, self.kind = capacity, 0, kind
        self.rows = padded(capacity)

    def _arrays(self, heads: int, size: int) -> tuple[np.ndarray, ...]:
        """Return keys, values, their scales and no bias for all heads of a model."""
        total = heads * self.rows * padded(size)
        kind = CACHES[self.kind]
        return (_zeros(total, dtype=kind), _zeros(total, dtype=kind), _zeros(heads * self.rows),
                _zeros(heads * self.rows), _zeros(0))


class KeptCache(CompactCache):
    """
    What the layers of a cache attend to, where that is not all.

    Parameters
    ----------
    full : KVCache
        All keys and values of these layers.
    heads : int
        Key-value heads of a layer.
    capacity : int
        Slots.

    Attributes
    ----------
    arrays : kernels.bitnet.Cache
        As in KVCache, and so `lent`, `first`, `last`, `rows`, `length` and `appended`.

    """

    appended: int = 0
    lent: Lent | None = None

    def __init__(self, full: KVCache, heads: int, capacity: int) -> None:
        a = full.arrays
        super().__init__(full.last - full.first, heads, len(a.keys) // len(a.key_scales),
                         capacity, a.keys.dtype)
        self.first, self.last, self.rows = full.first, full.last, self.capacity
        self.arrays = bitnet.Cache(*self.arrays, np.zeros(
            self.capacity if len(a.bias) else 0, np.float32))

    def take(self, full: KVCache, slots: np.ndarray) -> None:
        """Take over some slots of the full cache (int64, ascending) and forget all else."""
        self.copy_from(full.arrays, full.rows, 0, slots)
        if len(self.arrays.bias):
            self.arrays.bias[:len(slots)] = full.arrays.bias[slots]
            self.arrays.bias[len(slots):] = 0


class Lfm2Cache(KVCache):
    """
    Keys and values, and what the convolutions have seen.

    All of the latter would take more memory than the weights. So that of the last tokens is kept,
    and what a page of tokens begins with. Rolled back further, the tokens from the beginning of
    their page on are read once more with the next ones: the same numbers, for the kernels give
    them however a text is cut.
    """

    def __init__(self, config: Lfm2Config, capacity: int, kind: str, chunk: int) -> None:
        self.first, self.last = 0, config.num_hidden_layers
        self._begin(capacity, kind)
        taps, layers = config.conv_L_cache, config.layer_types.count(ATTENTION)
        self._before = taps - 1
        page = max(_PAGE, taps)
        recent = min(self.rows, _RECENT) + chunk + taps
        convolutions = config.num_hidden_layers - layers
        self.arrays = lfm2.Cache(
            *self._arrays(layers * config.num_key_value_heads, config.head_dim),
            _zeros(convolutions, recent, config.hidden_size),
            _zeros(convolutions, -(-self.rows // page), self._before, config.hidden_size), page)
        self._ids = np.zeros(capacity, np.int64)
        self._first = 0  # of the tokens before `length` whose convolutions are all in `recent`

    def resume(self, ids: list[int]) -> list[int]:
        """Go back to where the convolutions' state is known (see KVCache)."""
        recent, pages, page = self.arrays.recent, self.arrays.pages, self.arrays.page
        known = self.length
        if max(0, known - self._before) < self._first:
            known = known // page * page
            self._first = max(0, known - self._before)
            for p in range(self._first, known):
                recent[:, p % recent.shape[1]] = pages[:, known // page - 1, p - known]
        again = self._ids[known:self.length].tolist()
        end = self.length + len(ids)
        self._ids[self.length:end] = ids
        self.length = known
        self._first = max(self._first, end - recent.shape[1])
        return again + ids
