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

"""A BitNet decoder that sees: visual tokens first, then any number of questions about them."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_vla.compression.cost import DecoderShape, prefill_macs
from edge_vla.compression.expand_merge import ExpandMergeSettings, TokenMerger
from edge_vla.compression.kv_pruning import Choice, KeyPruningSettings, KeySelector
from edge_vla.compression.visual_tokens import check_tokens
from edge_vla.kernels.kv_cache import copy_tokens, last_attention
from edge_vla.language.cache import KeptCache, KVCache, LayerCache
from edge_vla.language.decoder import Decoder
from edge_vla.language.lfm2_config import Lfm2Config
import numpy as np

_NO_LOGITS, _NO_SUBSET = np.zeros((0, 1), np.float32), np.zeros(0, np.int64)


class Mark(NamedTuple):
    """Where a conversation about a view is, for `VisualDecoder.rewind`."""

    view: int
    lengths: tuple[int, ...]
    position: int
    choice: Choice | None


class VisualDecoder:
    """
    A BitNet decoder with a view: visual tokens at the beginning of what it remembers.

        seeing = VisualDecoder(decoder, KeyPruningSettings(.7, layer=2))
        view = seeing.look(rows, positions, sizes, span=8 * 108)
        logits = seeing.forward(question)          # float32 [vocab], of the last token
        logits = seeing.forward([best], tokens)    # the next one, some tokens of the vocabulary
        seeing.rewind(view)                        # the same view, another question

    It has caches of its own, as large as the decoder's; of the decoder it takes the weights, the
    threads and the scratch, so the two must not run at the same time. Without settings, with
    P = 0, or with no more tokens than anchors, every number is that of the dense decoder.

    Parameters
    ----------
    decoder : Decoder
        Of a BitNet; its cache stays as it is.
    pruning : KeyPruningSettings, optional
        DyCoke stage 2 (arXiv 2411.15024): layers from its `layer` on attend to the top of the
        visual keys. Every call of `forward` or `logits` is a step: its last token chooses for all
        its tokens.
    merging : ExpandMergeSettings, optional
        TEAM-VLA (arXiv 2512.09927): `look` merges the visual tokens into `anchors` before
        `layer`, and layers from there on hold only these. Its other values are for
        `TokenExpander`. With `pruning`, merging comes first and the anchors are pruned.
    evict : bool
        Choose once, in `look`, and give up the other visual keys of the layers that prune. This
        frees memory; the price is that they do not come back.

    Raises
    ------
    ValueError
        The decoder is an LFM2, or the settings do not fit it or each other.

    """

    def __init__(self, decoder: Decoder, pruning: KeyPruningSettings | None = None,
                 merging: ExpandMergeSettings | None = None, evict: bool = False) -> None:
        c = self.config = decoder.config
        if isinstance(c, Lfm2Config):
            raise ValueError('visual tokens need a BitNet decoder: the convolutions of an LFM2 '
                             'mix neighbours, of which none may be left out')
        first = {name: s.layer for name, s in (('merging', merging), ('pruning', pruning)) if s}
        for name, layer in first.items():
            if layer >= c.num_hidden_layers:
                raise ValueError(f'{name} begins at layer {layer}, the decoder has '
                                 f'{c.num_hidden_layers}: set its layer')
        if pruning and merging and merging.layer >= pruning.layer:
            raise ValueError(f'keys are pruned from layer {pruning.layer} and tokens merged at '
                             f'{merging.layer}: merge first')
        if evict and not pruning:
            raise ValueError('evict is for what is pruned: give pruning too')
        self._decoder, self._pruning, self._merging, self._evict = (
            decoder, pruning, merging, evict)
        self._cuts = sorted({0, *first.values(), c.num_hidden_layers})
        self._lower = [self._cache(k) for k in range(len(self._cuts) - 2)]
        self._full: KVCache | None = self._cache(len(self._lower))  # of the last layers
        self._kept: KeptCache | None = None  # what of it is attended to
        rows = self._full.rows
        self._selector = KeySelector(rows, pruning) if pruning else None
        self._merger = TokenMerger(rows, c.hidden_size, merging) if merging else None
        self._looked = np.zeros(rows, np.float32)
        self._view, self._position = 0, 0
        self._visual = [0] * (len(self._cuts) - 1)  # of each cache
        self._fed = list(self._visual)  # tokens of the prefill of each cache
        self.look(np.zeros((0, c.hidden_size), np.float32), np.zeros(0, np.int64))

    @property
    def held(self) -> list[int]:
        """Return how many visual keys each layer holds."""
        top = self._visual[-1] if self._full else self._selector.budget
        return self._each([*self._visual[:-1], top])

    @property
    def attended(self) -> list[int]:
        """Return how many visual keys each layer attends to."""
        top = self._visual[-1]
        if self._selector and self._selector.choices:
            top = self._selector.budget
        return self._each([*self._visual[:-1], top])

    @property
    def cache_bytes(self) -> int:
        """Return the bytes of all keys and values in use, with their scales and copies."""
        return sum(cache.length * sum(a.nbytes for a in cache.arrays[:4]) // cache.rows
                   for cache in (*self._lower, self._full, self._kept) if cache)

    @property
    def prefill_macs(self) -> int:
        """Return the multiplications of the last `look` (`compression.cost.prefill_macs`)."""
        c = self.config
        return prefill_macs(DecoderShape(c.num_hidden_layers, c.hidden_size, c.intermediate_size,
                                         c.kv_size), self._each(self._fed))

    def look(self, rows: np.ndarray, positions: np.ndarray, sizes: np.ndarray | None = None, *,
             before: Sequence[int] = (), span: int = 0, guides: Sequence[int] = ()) -> Mark:
        """
        Forget everything and read a view; return its mark.

        Parameters
        ----------
        rows : numpy.ndarray
            float32 [T, hidden_size], visual tokens in the space of the embeddings; may be none.
        positions : numpy.ndarray
            int64 [T], where each would be had nothing been dropped, 0 for the first place after
            `before` (`VisualTokens.positions`).
        sizes : numpy.ndarray, optional
            float32 [T], how many tokens each stands for: their logarithm is added to the logits
            of its key, and so with what `merging` makes of it. None leaves attention as it is.
        before : sequence of int
            Text in front of the view, token ids.
        span : int
            How many positions the view takes, so where text goes on; 0 is up to the last of
            `positions`.
        guides : sequence of int
            Text that says what matters, token ids: read after the view and forgotten again. It
            and `before` guide the merging. Eviction keeps what its last token looks at, or else
            the last visual token.

        Raises
        ------
        ValueError
            Another type or shape, a token id is unknown, or something does not fit.

        """
        d, n, count = self.config.hidden_size, len(before), len(rows)
        self._check_view(rows, positions, sizes)
        text = self._embedded([*before, *guides])
        last = int(positions.max()) + 1 if count else 0
        if span and span < last:
            raise ValueError(f'span is {span}, but there is a token at position {last - 1}')
        self._check_room(0, 0, n + count + len(guides), n + (span or last) + len(guides))
        if self._merging and count > self._merging.anchors and not len(text):
            raise ValueError(f'{count} tokens are to be merged into {self._merging.anchors}: give '
                             'guides, or text before, that say what matters')
        self._view, self._position = self._view + 1, n + (span or last)
        at, rows = positions + n, rows.reshape(count, d).copy()
        text_at = np.concatenate([np.arange(n), self._position + np.arange(len(guides))])
        if self._full is None:
            self._full = self._cache(len(self._lower))
        self._kept = None
        for k, cache in enumerate((*self._lower, self._full)):
            if self._merging and cache.first == self._merging.layer:
                rows, merged, chosen = self._merger.merge(rows, text, sizes)
                rows, at = rows.copy(), at[chosen]
                sizes = None if sizes is None else merged.copy()
            self._visual[k], cache.length = len(rows), 0
            cache.weigh(n, sizes)
            self._feed(cache, text[:n], text_at[:n])
            self._feed(cache, rows, at)
            self._fed[k] = cache.length
            if len(guides) and self._guided(cache):
                self._feed(cache, text[n:], text_at[n:])
                self._fed[k] = cache.length
            if self._pruning and cache.last == self._pruning.layer:
                self._selector.begin(np.arange(n, n + len(rows)))
                if self._evict and self._selector.budget < len(rows):
                    self._selector.update(self._attention(cache, len(guides) or len(rows)))
            cache.length = n + len(rows)
        if self._evict and self._selector.choices:
            self._kept = self._room_for_kept()
            self._kept.take(self._full, self._selector.slots(self._full.length))
            self._full = None
        return self.mark()

    def forward(self, ids: Sequence[int], tokens: Sequence[int] | None = None) -> np.ndarray:
        """Append text and return the logits of the last one, float32 [vocab]; see `logits`."""
        return self._append(ids, tokens, every=False)[-1]

    def logits(self, ids: Sequence[int], tokens: Sequence[int] | None = None) -> np.ndarray:
        """
        Append text and return the logits after each token.

        Parameters
        ----------
        ids : sequence of int
            What to append.
        tokens : sequence of int, optional
            Only these of the vocabulary, which costs less; exactly the same numbers.

        Returns
        -------
        numpy.ndarray
            float32 [n, vocab_size], or [n, len(tokens)].

        Raises
        ------
        ValueError
            A token id is unknown, or the cache is full.

        """
        return self._append(ids, tokens, every=True)

    def mark(self) -> Mark:
        """Return where the conversation is; good until it is rewound to before."""
        top = self._full or self._kept
        return Mark(self._view, tuple(cache.length for cache in (*self._lower, top)),
                    self._position, self._selector.save() if self._selector else None)

    def rewind(self, mark: Mark) -> None:
        """
        Go back to a mark of this view: what follows is exactly what followed then.

        Raises
        ------
        ValueError
            It is of another view, or lies ahead.

        """
        top = self._full or self._kept
        caches = (*self._lower, top)
        if mark.view != self._view or any(
                there > cache.length for there, cache in zip(mark.lengths, caches, strict=True)):
            raise ValueError('this mark is of another view, or of what was rewound already')
        for there, cache in zip(mark.lengths, caches, strict=True):
            cache.length = there
        self._position = mark.position
        if self._selector is None:
            return
        chosen = self._selector.choices
        self._selector.restore(mark.choice)
        if self._full is None or not self._selector.choices:
            return
        slots = self._selector.slots(self._full.length)
        if self._selector.choices == chosen:
            self._kept.length = len(slots)
        else:
            self._kept.take(self._full, slots)

    def _append(self, ids: Sequence[int], tokens: Sequence[int] | None,
                every: bool) -> np.ndarray:
        subset, out = self._decoder.room_for(ids, tokens, every)
        n, bottom = len(ids), (*self._lower, self._full)[0]
        self._check_room(bottom.length, self._position, n, n)
        rows, at = self._embedded(ids), np.arange(self._position, self._position + n)
        for cache in self._lower:
            self._feed(cache, rows, at)
        top = self._choose(n)
        self._feed(top, rows, at, subset, out)
        if top is not self._full and self._full is not None:  # keys may come back
            copy_tokens(top.arrays, 0, top.rows, np.arange(top.length - n, top.length), top.size,
                        self._full.arrays, self._full.rows, self._full.length,
                        top.layers * top.heads)
            self._full.length += n
        self._position += n
        return out

    def _choose(self, tokens: int) -> LayerCache:
        """Return what the last layers attend to, after the layers before took some tokens."""
        if self._full is None:
            return self._kept
        if self._selector is None or self._selector.budget == len(self._selector.visual):
            return self._full
        if self._kept is None:
            self._kept = self._room_for_kept()
        if self._selector.update(self._attention(self._lower[-1], tokens)):
            self._kept.take(self._full, self._selector.slots(self._full.length))
        return self._kept

    def _attention(self, cache: KVCache, tokens: int) -> np.ndarray:
        """Return how the last of the tokens just fed to a cache looked at the visual keys."""
        out, visual = self._looked[:len(self._selector.visual)], self._selector.visual
        last_attention(self._decoder.shape_for(cache), cache.arrays, self._decoder.work,
                       cache.last - cache.first - 1, (tokens - 1) % self._decoder.settings.chunk,
                       cache.length, visual, out)
        return out

    def _feed(self, cache: LayerCache, rows: np.ndarray, positions: np.ndarray,
              subset: np.ndarray = _NO_SUBSET, out: np.ndarray = _NO_LOGITS) -> None:
        """Append tokens to some layers; `rows` becomes what these make of them."""
        decoder, d, shape = self._decoder, self.config.hidden_size, self._decoder.shape_for(cache)
        chunk, h = decoder.settings.chunk, decoder.work.h
        for start in range(0, len(rows), chunk):
            some = rows[start:start + chunk]
            h[:len(some), :d] = some
            decoder.run_chunk(start, len(some), len(rows), subset, out, cache, shape,
                              positions[start:start + chunk])
            some[:] = h[:len(some), :d]

    def _embedded(self, ids: Sequence[int]) -> np.ndarray:
        out = np.empty((len(ids), self.config.hidden_size), np.float32)
        if len(ids) and not 0 <= min(ids) <= max(ids) < self.config.vocab_size:
            raise ValueError(f'token ids must lie in [0, {self.config.vocab_size})')
        for row, token in zip(out, ids, strict=True):
            self._decoder.embed(token, row)
        return out

    def _guided(self, cache: KVCache) -> bool:
        """Tell whether guides are needed after the layers of a cache."""
        return bool(self._merging and cache.last <= self._merging.layer
                    or self._evict and cache.last <= self._pruning.layer)

    def _cache(self, k: int) -> KVCache:
        own = self._decoder.cache
        return KVCache(self.config, own.capacity, own.kind, self._cuts[k], self._cuts[k + 1])

    def _room_for_kept(self) -> KeptCache:
        s = self._selector
        return KeptCache(self._full, self.config.num_key_value_heads,
                         self._full.capacity - len(s.visual) + s.budget)

    def _each(self, values: Sequence[int]) -> list[int]:
        """Return the value of each layer for those of each cache."""
        return np.repeat(values, np.diff(self._cuts)).tolist()

    def _check_view(self, rows: np.ndarray, positions: np.ndarray, sizes: np.ndarray | None,
                    ) -> None:
        check_tokens(rows, (None, self.config.hidden_size), 'rows')
        n = len(rows)
        if not np.isfinite(rows).all():
            raise ValueError('rows must be finite')
        if positions.dtype != np.int64 or positions.shape != (n,) or n and positions.min() < 0:
            raise ValueError(f'positions must be int64 [{n}] and not negative')
        if sizes is not None:
            check_tokens(sizes, (n,), 'sizes')
            if not ((sizes > 0) & (sizes < np.inf)).all():
                raise ValueError('sizes must be above 0 and finite')

    def _check_room(self, length: int, position: int, tokens: int, positions: int) -> None:
        capacity, reach = self._decoder.cache.capacity, self._decoder.reach
        if length + tokens > capacity:
            raise ValueError(f'{length} + {tokens} tokens do not fit into a cache of {capacity}')
        if position + positions > reach:
            raise ValueError(f'{position} + {positions} positions are more than the {reach} there '
                             'are: give the decoder a larger capacity')
