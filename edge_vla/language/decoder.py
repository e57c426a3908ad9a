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
The decoder: token ids in, next-token logits out.

One code for BitNet b1.58 (2B4T and the shipped language head) and for LFM2; what differs is the
jitted program with its arrays, see `programs`, and the cache.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import errno
from functools import cached_property
import os
from pathlib import Path
from threading import RLock, Timer
from typing import Any
import weakref

from edge_vla.checkpoints.sources import checkpoint_in, open_source
from edge_vla.exceptions import CheckpointError, ConfigError
from edge_vla.kernels import team
from edge_vla.kernels.compiling import release_compiler
from edge_vla.kernels.head_phases import MOST
from edge_vla.kernels.isa import best_isa, Isa
from edge_vla.kernels.ternary_amx import TOKENS
from edge_vla.kernels.ternary_layout import COLUMNS
from edge_vla.language.cache import CACHES, KVCache, LayerCache, Lfm2Cache
from edge_vla.language.chat import BITNET, CHATML, ChatTemplate, load_chat_template
from edge_vla.language.config import BitNetConfig
from edge_vla.language.engine import AnyConfig, build, HEADS
from edge_vla.language.generation import CachedIds, generate, Generation
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import build_lfm2, Lfm2Model, WEIGHTS
from edge_vla.language.programs import AnyModel, program_of
from edge_vla.language.sketch import sketched
from edge_vla.language.store import is_converted, load_model
from edge_vla.language.text_tokenizer import load_text_tokenizer, TextTokenizer
from edge_vla.language.threads import Crew, Pace
import numpy as np

_SMALL = 1 << 24  # parameters of a table that float32 is not too much for
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class DecoderSettings:
    """
    How a decoder runs; nothing of it is in the checkpoint.

    Attributes
    ----------
    threads : int
        0 takes as many as the CPU has for a large model and one for a small one.
    cores : tuple of int
        The core of each thread; empty leaves it to the system.
    capacity : int
        Longest sequence, tokens; 0 takes the model's.
    kv : str
        What the cache holds: float32, float16 or int8; auto is float32 for a small model, else
        int8.
    head : str
        What the embedding and head are kept in: float32, int8, int6 or int4; auto is float32 for
        a small model, else int6, of LFM2 int8. A converted checkpoint has decided already.
    packing : str
        Of ternary matrices: 5bit, 2bit, or auto for what this CPU likes.
    weights : str
        Of the matrices of an LFM2: float32, int8, int4 (4.25 bits a weight) or q4_0 (4.5, as GGUF
        files have it); auto is float32 for a small model, else the blocks a GGUF file has and int4
        for what has none.
    chunk : int
        Most tokens taken at once.
    mapped : bool
        Leave a converted file mapped, which processes share, but whose small pages are read up
        to a tenth slower, rather than reading it.

    Raises
    ------
    ValueError
        A value that does not exist.

    """

    threads: int = 0
    cores: tuple[int, ...] = ()
    capacity: int = 0
    kv: str = 'auto'
    head: str = 'auto'
    packing: str = 'auto'
    weights: str = 'auto'
    chunk: int = 64
    mapped: bool = False

    def __post_init__(self) -> None:
        for name, values in (('kv', CACHES), ('head', HEADS), ('packing', COLUMNS),
                             ('weights', WEIGHTS)):
            if getattr(self, name) not in ('auto', *values):
                raise ValueError(f'{name} is {getattr(self, name)!r}, expected auto, '
                                 + ', '.join(values))
        if min(self.threads, self.capacity) < 0 or self.chunk < 1:
            raise ValueError('threads, capacity and chunk must not be negative, chunk not 0')


class Decoder:
    """
    A BitNet b1.58 or LFM2 decoder with its cache.

    Parameters
    ----------
    model : EngineModel or Lfm2Model
    settings : DecoderSettings
    isa : Isa, optional
        Instruction set; the best of this CPU by default.
    where : Path, optional
        Where the tokenizer and the chat template are; read when they are first needed.

    Attributes
    ----------
    config : BitNetConfig or Lfm2Config
    cache : KVCache

    """

    def __init__(self, model: AnyModel, settings: DecoderSettings | None = None,
                 isa: Isa | None = None, where: Path | None = None) -> None:
        self._where, self._cached = where, CachedIds()
        self.settings = s = settings or DecoderSettings()
        self.isa = isa or best_isa(s.packing)
        self.config = c = model.config
        self._model = model = model.repacked(self.isa.packing)
        small = is_small(c)
        kind = s.kv if s.kv != 'auto' else 'float32' if small else 'int8'
        capacity = s.capacity or c.context
        self.cache = Lfm2Cache(c, capacity, kind, s.chunk) if isinstance(c, Lfm2Config) else (
            KVCache(c, capacity, kind))
        cpus = len(os.sched_getaffinity(0))
        self.threads = s.threads or len(s.cores) or (1 if small else min(cpus, 8))
        self._crew = Crew(self.threads, s.cores)
        weakref.finalize(self, self._crew.close).atexit = False  # they would outlive it
        self._lock, self._generating = RLock(), False
        self._paces = Pace(self.threads), Pace(self.threads)  # of few tokens, of many
        self._call = 0
        self._program = program_of(model, self.isa, self.cache, s.chunk, self.threads)

    @property
    def sketched(self) -> bool:
        """Tell whether the likeliest tokens can be found without reading the whole head."""
        return 'head_sketch' in self._model.tensors

    @property
    def at_once(self) -> int:
        """Of tokens, how many the kernels take at once; more of them take several passes."""
        return TOKENS if self.isa.amx and not isinstance(self.config, Lfm2Config) else 8

    def logits(self, ids: Sequence[int], tokens: Sequence[int] | None = None,
               best: int = 0) -> np.ndarray:
        """
        Append tokens to the cache and return the logits after each.

        Parameters
        ----------
        ids : sequence of int
            What to append.
        tokens : sequence of int, optional
            Only these of the vocabulary, which costs less; exactly the same numbers.
        best : int
            So many of the likeliest are wanted after each token: the logits of others may be
            -inf, which costs less where there is a sketch; those that are not are exactly the
            same numbers. A token that should be there is missed with a probability below 1.1e-9
            (see `kernels.screen`). 0 wants all.

        Returns
        -------
        numpy.ndarray
            float32 [T, vocab_size], or [T, len(tokens)].

        Raises
        ------
        ValueError
            A token id is unknown, or the cache is full.

        """
        return self._append(ids, tokens, best, every=True)

    def forward(self, ids: Sequence[int], tokens: Sequence[int] | None = None,
                best: int = 0) -> np.ndarray:
        """Append tokens and return the logits of the last one, float32 [vocab]; see `logits`."""
        return self._append(ids, tokens, best, every=False)[-1]

    @cached_property
    def tokenizer(self) -> TextTokenizer | None:
        """Return the model's tokenizer, None if it has none (see `load_text_tokenizer`)."""
        return load_text_tokenizer(self._where) if self._where is not None else None

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """Return the model's chat template (see `load_chat_template`)."""
        default = CHATML if isinstance(self.config, Lfm2Config) else BITNET
        return load_chat_template(self._where, default) if self._where is not None else None

    def generate(self, prompt: str | Sequence[int], **how: Any) -> Generation:
        """
        Continue a prompt; what the cache holds of it already is not computed again.

        Parameters
        ----------
        prompt : str or sequence of int
            Text, or token ids.
        **how
            As for `edge_vla.language.generation.generate`: max_tokens, sampling, stop, chat,
            system, on_text, draft, length, which raises the same errors.

        Raises
        ------
        ConfigError
            Also if it is called by what it calls.

        """
        with self._lock:  # another thread waits for its turn
            if self._generating:
                raise ConfigError('generate was called by its own on_text or draft, whose text '
                                  'would take its place in the cache: use another decoder')
            self._generating = True
            try:
                return generate(self, prompt, cached=self._cached, **how)
            finally:
                self._generating = False

    def close(self) -> None:
        """End the threads; the next step starts them again."""
        self._crew.close()

    def warm_up(self) -> None:
        """Compile every kernel, or load it from the cache; the cache of tokens stays."""
        room = self.cache.capacity - self.cache.length
        if room:
            length = self.cache.length
            self.forward([0])
            self.cache.truncate(length)

    def _append(self, ids: Sequence[int], tokens: Sequence[int] | None, best: int,
                every: bool) -> np.ndarray:
        subset, out = self.room_for(ids, tokens, every)
        if self.cache.length + len(ids) > self.cache.capacity:
            raise ValueError(f'{self.cache.length} + {len(ids)} tokens do not fit into a cache of '
                             f'{self.cache.capacity}')
        ids = self.cache.resume([int(i) for i in ids])
        for start in range(0, len(ids), self.settings.chunk):
            part = ids[start:start + self.settings.chunk]
            for t, token in enumerate(part):
                self.embed(token, self.work.h[t])
            self.run_chunk(start, len(part), len(ids), subset, out, best=best)
        return out

    def room_for(self, ids: Sequence[int], tokens: Sequence[int] | None, every: bool,
                 ) -> tuple[np.ndarray, np.ndarray]:
        """
        Check what is asked for; return the wanted tokens of the vocabulary and room for logits.

        Parameters
        ----------
        ids, tokens
            As for `logits`.
        every : bool
            Whether the logits of every token are wanted, or of the last.

        Raises
        ------
        ValueError
            A token id is unknown, or there are none.

        """
        vocabulary = self.config.vocab_size
        if not len(ids):
            raise ValueError('no tokens')
        if min(ids) < 0 or max(ids) >= vocabulary:
            raise ValueError(f'token ids must lie in [0, {vocabulary})')
        subset = _NONE
        if tokens is not None:
            subset = np.ascontiguousarray(tokens, np.int64)
            if not subset.size or subset.min() < 0 or subset.max() >= vocabulary:
                raise ValueError(f'tokens must be ids in [0, {vocabulary}), at least one')
        return subset, np.empty((len(ids) if every else 1, len(subset) or vocabulary), np.float32)

    def run_chunk(self, start: int, count: int, total: int, subset: np.ndarray, out: np.ndarray,
                  cache: LayerCache | None = None, shape: Any = None,
                  positions: np.ndarray = _NONE, best: int = 0) -> None:
        """
        Take tokens that lie in ``work.h`` through all layers, or through those of a cache.

        Parameters
        ----------
        start, count, total : int
            The first of them, how many, at most a chunk, and how many there are in all chunks.
        subset : numpy.ndarray
            int64, the tokens of the vocabulary that are wanted; empty for all.
        out : numpy.ndarray
            float32 [W, width], written if the last layer is run: logits of the last W of all.
        cache : LayerCache, optional
            Of some layers of a BitNet; they are appended to it. That of the decoder by default.
        shape : kernels.bitnet.Shape, optional
            Its layers and slots (see `shape_for`).
        positions : numpy.ndarray
            int64 [count], where the tokens are in their sequence; empty if that is their slot.
        best : int
            As for `logits`.

        """
        cache = cache or self.cache
        silent = total - len(out)  # tokens at the beginning whose logits nobody wants
        first = min(max(silent - start, 0), count)
        begin = start + first - silent if first < count else 0
        if len(subset) or best > MOST or not self.sketched:
            best = 0
        self._run(count, first, subset, best, out[begin:begin + count - first], cache, shape,
                  positions)
        cache.length += count
        cache.appended += count

    def shape_for(self, cache: LayerCache) -> Any:
        """Return the shape with which `run_chunk` runs the layers of a cache."""
        return self._program.shape._replace(first_layer=cache.first, last_layer=cache.last,
                                            first_cached=cache.first, capacity=cache.rows)

    @property
    def work(self) -> Any:
        """Return the scratch arrays, `kernels.bitnet.Work` or `kernels.lfm2.Work`."""
        return self._program.work

    @property
    def reach(self) -> int:
        """Return how many positions a token can be rotated by."""
        return len(self._program.weights.cos)

    def embed(self, token: int, out: np.ndarray) -> None:
        """Write the embedding of a token, float32 [hidden_size], to `out`."""
        self._model.embed(token, out)

    def _run(self, tokens: int, first: int, subset: np.ndarray, best: int, logits: np.ndarray,
             cache: LayerCache, shape: Any, positions: np.ndarray) -> None:
        self._call += 1
        program = self._program
        team.begin(program.work.sync, self._call)
        # steps of about the same cost per token are compared with each other
        size = tokens if tokens <= 8 else 8 + tokens.bit_length()
        kind = size, logits.size, best, cache.first, cache.last
        pace = self._paces[tokens > TOKENS]
        threads = pace.begin(kind)
        self._crew.run(program.call(shape or program.shape, cache, logits.reshape(-1),
                                    np.ascontiguousarray(positions), cache.length, tokens, first,
                                    subset, best, self._call, threads), threads)
        pace.end(tokens, kind)


def load_decoder(path: Path | str, settings: DecoderSettings | None = None,
                 on_progress: Callable[[str], None] | None = None) -> Decoder:
    """
    Load a decoder from any supported checkpoint.

    Parameters
    ----------
    path : Path or str
        A folder in Hugging Face's layout (packed or masters), a GGUF file, or what
        ``edge-vla convert`` wrote.
    settings : DecoderSettings, optional
        How to run it.
    on_progress : callable, optional
        Called with a line of text before something slow.

    Raises
    ------
    CheckpointError
        Missing, corrupt, or of another architecture; the message names the tensor.
    ConfigError
        Its cache does not fit into memory.

    """
    settings, path = settings or DecoderSettings(), Path(path)
    say = on_progress or (lambda line: None)
    with _fitting(f'{path}: does not fit into memory'):
        model = read_model(path, settings, say)
    with _fitting(f'{path}: what {settings.capacity or model.config.context} tokens of '
                  f'{model.config.max_position_embeddings} positions need does not fit into '
                  'memory: give a smaller capacity (--context), or max_position_embeddings'):
        decoder = Decoder(model, settings, where=path)
    slow = Timer(1, say, [f'compiling kernels for {decoder.isa.name}, once'])
    slow.start()
    decoder.warm_up()
    slow.cancel()
    if not is_small(decoder.config):
        release_compiler(decoder._program.run)
    return decoder


@contextmanager
def _fitting(message: str) -> Iterator[None]:
    """Say so where memory does not suffice."""
    try:
        yield
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            raise
        raise ConfigError(message) from error


def read_model(path: Path, settings: DecoderSettings, on_progress: Callable[[str], None],
               original: bool = False) -> AnyModel:
    """
    Read any supported checkpoint into the engine's form; see `load_decoder`.

    Parameters
    ----------
    path : Path
        The folder or file.
    settings : DecoderSettings
        Its `head`, `packing`, `weights` and `mapped` count.
    on_progress : callable
        Called with a line of text before something slow.
    original : bool
        Read the checkpoint that a converted model lies beside, if it does.

    Raises
    ------
    CheckpointError
        Missing, corrupt, or of another architecture; the message names the tensor.

    """
    packing = settings.packing if settings.packing != 'auto' else best_isa().packing
    if is_converted(path) and not (original and checkpoint_in(path)):
        model = load_model(path, not settings.mapped)
        if settings.head not in ('auto', model.head):
            raise CheckpointError(f'{path}: was converted with an {model.head} head, not '
                                  f'{settings.head}; convert the original again with --head')
        if isinstance(model, Lfm2Model):
            if settings.weights not in ('auto', model.packing):
                raise CheckpointError(f'{path}: was converted to {model.packing}, not '
                                      f'{settings.weights}; convert the original again with '
                                      '--weights')
            return model
        if model.packing != packing and not is_small(model.config):
            on_progress(f'{path.name} is packed in {model.packing}, this CPU likes {packing}: '
                        'packing again')
        return model.repacked(packing)
    source = open_source(path)
    try:
        lfm2 = source.config.get('model_type') == 'lfm2'
        config = (Lfm2Config if lfm2 else BitNetConfig).from_dict(source.config, str(path))
        source.check(config.shapes())
        small = is_small(config)
        head = settings.head if settings.head != 'auto' else (
            'float32' if small else best_head(config))
        if not small:
            on_progress(f'packing {path.name} for this CPU (edge-vla convert does it once)')
        if isinstance(config, Lfm2Config):
            weights = settings.weights if settings.weights != 'auto' else (
                'float32' if small else 'stored')
            model = build_lfm2(source, config, weights, head)
        else:
            model = build(source, config, packing, head)
        return model if small else sketched(model)
    finally:
        source.close()


def best_head(config: AnyConfig) -> str:
    """Return what head and embedding of a large model are best kept in."""
    # of the two equal in quality the smaller one beside ternary weights, the faster one here
    return 'int8' if isinstance(config, Lfm2Config) else 'int6'


def is_small(config: AnyConfig) -> bool:
    """Tell whether speed and memory do not matter: such a model keeps float32 and one thread."""
    return config.vocab_size * config.hidden_size <= _SMALL
