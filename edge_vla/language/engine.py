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

"""A checkpoint as the kernels want it: packed, padded, the head quantised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_vla.checkpoints.safetensors import aligned
from edge_vla.checkpoints.sources import Source
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.head import (
    dequantise_groups,
    GROUP,
    quantise_groups,
    quantise_rows_8bit,
    WIDE,
)
from edge_vla.kernels.ternary_layout import (
    pack_matrix,
    packed_size,
    units_and_blocks,
    unpack_matrix,
)
from edge_vla.kernels.vectors import LANES
from edge_vla.language.config import BitNetConfig
from edge_vla.language.lfm2_config import Lfm2Config
import numpy as np

NORMS = {'input_norm': 'input_layernorm', 'attention_norm': 'self_attn.attn_sub_norm',
         'post_norm': 'post_attention_layernorm', 'ffn_norm': 'mlp.ffn_sub_norm'}
HEADS = ('float32', 'int8', 'int6', 'int4')
BODY_TAIL = 64  # zero bytes after the last matrix
_ROWS_AT_ONCE = 2048
AnyConfig = BitNetConfig | Lfm2Config
Vector = Callable[[str, int], np.ndarray]  # as Source.vector
Rows = Callable[[str, tuple[int, int], int, int], np.ndarray]  # as Source.rows


def padded(size: int, multiple: int = LANES) -> int:
    """Round up to whole vectors."""
    return -(-size // multiple) * multiple


def read_only(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Return views that cannot be written to, as those of mapped files are.

    Numba compiles a program anew for arrays that may be written to: a model just built shares
    the compiled code of one that was loaded.
    """
    out = {name: array.view() for name, array in tensors.items()}
    for array in out.values():
        array.flags.writeable = False
    return out


@dataclass
class EngineModel:
    """
    A model in the form of `checkpoint_format.md`.

    Attributes
    ----------
    config : BitNetConfig
    packing : str
        '5bit' or '2bit' (see kernels.ternary_layout).
    head : str
        One of HEADS.
    tensors : dict of str to numpy.ndarray
        ``body`` (uint8), ``scales`` (float32 [L, 7]), the norms (float32, padded), ``head`` and
        ``head_scales``, and where they are not tied ``embedding`` and ``embedding_scales``; none
        can be written to.

    """

    config: BitNetConfig
    packing: str
    head: str
    tensors: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        self.tensors = read_only(self.tensors)

    def matrices(self) -> list[tuple[int, int, int]]:
        """Return (first byte, rows, columns) of every ternary matrix, layer by layer."""
        out, at = [], 0
        for _ in range(self.config.num_hidden_layers):
            for rows, columns in self.config.linears().values():
                out.append((at, rows, columns))
                at += packed_size(self.packing, rows, columns)
        return out

    def repacked(self, packing: str) -> 'EngineModel':
        """
        Return the same model with its ternary matrices packed in another way.

        Raises
        ------
        CheckpointError
            The body holds a code that stands for no trits.

        """
        if packing == self.packing:
            return self
        out = replace(self, packing=packing)
        old, body = self.tensors['body'], aligned(body_size(self.config, packing))
        for (at, rows, columns), (to, _, _) in zip(self.matrices(), out.matrices(), strict=True):
            try:
                trits = unpack_matrix(self.packing, old[at:at + packed_size(
                    self.packing, rows, columns)], rows, columns)
            except ValueError as error:
                raise CheckpointError(f"tensor 'body': {error} near byte {at}: the file is "
                                      'corrupt') from error
            pack_matrix(packing, trits, body[to:to + packed_size(packing, rows, columns)])
        return replace(out, tensors=self.tensors | {'body': body})

    def embed(self, token: int, out: np.ndarray) -> None:
        """Write the embedding of a token, float32 [hidden_size], to `out`."""
        embed(self.tensors, self.head, token, out[:self.config.hidden_size])


def embed(tensors: Mapping[str, np.ndarray], head: str, token: int, out: np.ndarray) -> None:
    """Write the embedding of a token, float32 [hidden_size], to `out`."""
    name = 'embedding' if 'embedding' in tensors else 'head'
    out[:] = head_rows(tensors, head, slice(token, token + 1), len(out), name)[0]


def head_rows(tensors: Mapping[str, np.ndarray], head: str, part: slice, width: int,
              name: str = 'head') -> np.ndarray:
    """Return some rows of a head, or of an embedding, as float32 [N, width]; not to write to."""
    rows, scales = tensors[name][part], tensors[f'{name}_scales'][part]
    if head == 'float32':
        out = rows
    elif head == 'int8':
        out = (rows.astype(np.float32) - 128) * scales[:, None]
    else:
        out = dequantise_groups(rows.reshape(-1), scales.reshape(-1)).reshape(len(rows), -1)
    return out[:, :width]


def body_size(config: BitNetConfig, packing: str) -> int:
    """Return the bytes of all ternary matrices and what follows them."""
    layer = sum(packed_size(packing, *shape) for shape in config.linears().values())
    return layer * config.num_hidden_layers + BODY_TAIL


def head_width(config: AnyConfig, head: str) -> int:
    """Return the columns of a row of the head, padded."""
    multiple = {'float32': LANES, 'int8': 64, 'int6': WIDE, 'int4': WIDE}[head]
    return padded(config.hidden_size, multiple)


def table_arrays(config: AnyConfig, head: str) -> tuple[
        tuple[tuple[int, ...], str], tuple[tuple[int, ...], str]]:
    """Return shape and dtype of the rows of a head or embedding, and of their scales."""
    v, width = config.vocab_size, head_width(config, head)
    if head == 'float32':
        return ((v, width), 'f4'), ((v, 1), 'f4')
    if head == 'int8':
        return ((v, width), 'u1'), ((v,), 'f4')
    return ((v, width * int(head[3:]) // 8), 'u1'), ((v, width // GROUP), 'f2')


def read_tables(rows_of: Rows, config: AnyConfig, head: str) -> dict[str, np.ndarray]:
    """
    Read head and embedding in slices and quantise them.

    Parameters
    ----------
    rows_of : callable
        As Source.rows.
    config : BitNetConfig or Lfm2Config
        Of the model.
    head : str
        One of HEADS.

    """
    out, tables = {}, {'head': 'model.embed_tokens'} if config.tie_word_embeddings else {
        'embedding': 'model.embed_tokens', 'head': 'lm_head'}
    for key, name in tables.items():
        out[key], out[f'{key}_scales'] = _table(rows_of, name, config, head)
    return out


def _table(rows_of: Rows, name: str, config: AnyConfig, head: str
           ) -> tuple[np.ndarray, np.ndarray]:
    """Read an embedding in slices and quantise it: (rows, scales)."""
    v, d, width = config.vocab_size, config.hidden_size, head_width(config, head)
    (shape, dtype), (scale_shape, scale_dtype) = table_arrays(config, head)
    rows = aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
    scales = np.ones(scale_shape, scale_dtype)
    for start in range(0, v, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, v)
        part = np.zeros((stop - start, width), np.float32)
        part[:, :d] = rows_of(name, (v, d), start, stop)
        if head == 'float32':
            rows[start:stop] = part
        elif head == 'int8':
            rows[start:stop], scales[start:stop] = quantise_rows_8bit(part)
        else:
            rows[start:stop], scales[start:stop] = quantise_groups(part, int(head[3:]))
    return rows, scales


def build(source: Source, config: BitNetConfig, packing: str, head: str) -> EngineModel:
    """
    Read a whole checkpoint.

    Parameters
    ----------
    source : Source
        An open checkpoint.
    config : BitNetConfig
        Its configuration.
    packing : str
        '5bit' or '2bit'.
    head : str
        One of HEADS.

    Raises
    ------
    CheckpointError
        A tensor is missing, misshapen or corrupt; the message names it.

    """
    model, names = EngineModel(config, packing, head, {}), list(config.linears())
    body = aligned(body_size(config, packing))
    scales = np.zeros((config.num_hidden_layers, len(names)), np.float32)
    for k, (at, rows, columns) in enumerate(model.matrices()):
        i, j = divmod(k, len(names))
        trits, scales[i, j] = source.trits(f'model.layers.{i}.{names[j]}', rows, columns)
        pack_matrix(packing, trits, body[at:at + packed_size(packing, rows, columns)])
    return replace(model, tensors={'body': body, 'scales': scales, **_floats(
        config, head, source.vector, source.rows)})


def _floats(config: BitNetConfig, head: str, vector: Vector, rows_of: Rows
            ) -> dict[str, np.ndarray]:
    """Return norms, head and embedding, by what returns a vector and some rows of a matrix."""
    out = {}
    for key, name in NORMS.items():
        size = config.norms()[name]
        out[key] = np.zeros((config.num_hidden_layers, padded(size)), np.float32)
        for i in range(config.num_hidden_layers):
            out[key][i, :size] = vector(f'model.layers.{i}.{name}', size)
    out['final_norm'] = np.zeros(padded(config.hidden_size), np.float32)
    out['final_norm'][:config.hidden_size] = vector('model.norm', config.hidden_size)
    return out | read_tables(rows_of, config, head)


def random_model(config: BitNetConfig, packing: str, head: str, seed: int = 0) -> EngineModel:
    """
    Return a model of this shape with random weights, to measure speed without a download.

    Trits are uniform, scales keep activations of ordinary size.
    """
    rng = np.random.default_rng(seed)
    model = EngineModel(config, packing, head, {})
    body = aligned(body_size(config, packing))
    done: dict[tuple[int, int], np.ndarray] = {}
    for at, rows, columns in model.matrices():
        size = packed_size(packing, rows, columns)
        if (rows, columns) not in done:  # one draw for each shape; speed does not depend on it
            done[rows, columns] = np.zeros(size, np.uint8)
            trits = rng.integers(-1, 2, (rows, columns), dtype=np.int8)
            pack_matrix(packing, trits, done[rows, columns])
        body[at:at + size] = done[rows, columns]
    inputs = np.array([shape[1] for shape in config.linears().values()], np.float32)
    scales = np.tile(np.sqrt(1.5 / inputs), (config.num_hidden_layers, 1)).astype(np.float32)
    drawn = rng.normal(0, .02, (_ROWS_AT_ONCE, config.hidden_size)).astype(np.float32)

    def ones(name: str, size: int) -> np.ndarray:
        return np.ones(size, np.float32)

    def repeated(name: str, shape: tuple[int, int], start: int, stop: int) -> np.ndarray:
        return drawn[:stop - start] * rng.choice(np.float32([-1, 1]), shape[1])
    return replace(model, tensors={'body': body, 'scales': scales,
                                   **_floats(config, head, ones, repeated)})


def shape_of_matrices(model: EngineModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first bytes int64 [L, 7], units [7] and blocks [7]."""
    shapes = list(model.config.linears().values())
    bases = np.array([at for at, _, _ in model.matrices()], np.int64)
    units, blocks = np.array([units_and_blocks(model.packing, *s) for s in shapes], np.int64).T
    return bases.reshape(-1, len(shapes)), np.ascontiguousarray(units), np.ascontiguousarray(
        blocks)
