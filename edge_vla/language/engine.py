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

from dataclasses import dataclass
from typing import Any

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
import numpy as np

NORMS = {'input_norm': 'input_layernorm', 'attention_norm': 'self_attn.attn_sub_norm',
         'post_norm': 'post_attention_layernorm', 'ffn_norm': 'mlp.ffn_sub_norm'}
HEADS = ('float32', 'int8', 'int6', 'int4')
BODY_TAIL = 64  # zero bytes after the last matrix
_ROWS_AT_ONCE = 2048


def padded(size: int, multiple: int = LANES) -> int:
    """Round up to whole vectors."""
    return -(-size // multiple) * multiple


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
        ``head_scales``, and where they are not tied ``embedding`` and ``embedding_scales``.

    """

    config: BitNetConfig
    packing: str
    head: str
    tensors: dict[str, np.ndarray]

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
        out = EngineModel(self.config, packing, self.head, dict(self.tensors))
        out.tensors['body'] = _new_body(self.config, packing)
        old = self.tensors['body']
        for (at, rows, columns), (to, _, _) in zip(self.matrices(), out.matrices(), strict=True):
            try:
                trits = unpack_matrix(self.packing, old[at:at + packed_size(
                    self.packing, rows, columns)], rows, columns)
            except ValueError as error:
                raise CheckpointError(f"tensor 'body': {error} near byte {at}: the file is "
                                      'corrupt') from error
            pack_matrix(packing, trits, out.tensors['body'][to:to + packed_size(
                packing, rows, columns)])
        return out

    def embed(self, token: int, out: np.ndarray) -> None:
        """Write the embedding of a token, float32 [hidden_size], to `out`."""
        name = 'embedding' if 'embedding' in self.tensors else 'head'
        row, d = self.tensors[name][token], self.config.hidden_size
        if self.head == 'float32':
            out[:d] = row[:d]
        elif self.head == 'int8':
            out[:d] = (row[:d].astype(np.float32) - 128) * self.tensors[f'{name}_scales'][token]
        else:
            out[:d] = dequantise_groups(row, self.tensors[f'{name}_scales'][token])[:d]


def _new_body(config: BitNetConfig, packing: str) -> np.ndarray:
    layer = sum(packed_size(packing, *shape) for shape in config.linears().values())
    return aligned(layer * config.num_hidden_layers + BODY_TAIL)


def aligned(size: int) -> np.ndarray:
    """Return zeroed uint8 [size] that begins with a cache line: split loads cost a third."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + size]


def head_width(config: BitNetConfig, head: str) -> int:
    """Return the columns of a row of the head, padded."""
    multiple = {'float32': LANES, 'int8': 64, 'int6': WIDE, 'int4': WIDE}[head]
    return padded(config.hidden_size, multiple)


def _table(source: Source, name: str, config: BitNetConfig, head: str
           ) -> tuple[np.ndarray, np.ndarray]:
    """Read an embedding in slices and quantise it: (rows, scales)."""
    v, d = config.vocab_size, config.hidden_size
    width = head_width(config, head)
    kinds: dict[str, Any] = {'float32': ((v, width), np.float32, (v, 1), np.float32),
                             'int8': ((v, width), np.uint8, (v,), np.float32),
                             'int6': ((v, width * 3 // 4), np.uint8, (v, width // GROUP),
                                      np.uint16),
                             'int4': ((v, width // 2), np.uint8, (v, width // GROUP), np.uint16)}
    shape, dtype, scale_shape, scale_dtype = kinds[head]
    rows = aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
    scales = np.ones(scale_shape, scale_dtype)
    for start in range(0, v, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, v)
        part = np.zeros((stop - start, width), np.float32)
        part[:, :d] = source.rows(name, (v, d), start, stop)
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
    layers, names = config.num_hidden_layers, list(config.linears())
    model = EngineModel(config, packing, head, {})
    body, scales = _new_body(config, packing), np.zeros((layers, len(names)), np.float32)
    norms = {key: np.zeros((layers, padded(config.norms()[name])), np.float32)
             for key, name in NORMS.items()}
    for k, (at, rows, columns) in enumerate(model.matrices()):
        i, j = divmod(k, len(names))
        trits, scales[i, j] = source.trits(f'model.layers.{i}.{names[j]}', rows, columns)
        pack_matrix(packing, trits, body[at:at + packed_size(packing, rows, columns)])
    for key, name in NORMS.items():
        size = config.norms()[name]
        for i in range(layers):
            norms[key][i, :size] = source.vector(f'model.layers.{i}.{name}', size)
    final = np.zeros(padded(config.hidden_size), np.float32)
    final[:config.hidden_size] = source.vector('model.norm', config.hidden_size)
    model.tensors = {'body': body, 'scales': scales, **norms, 'final_norm': final}
    table = 'model.embed_tokens'
    if not config.tie_word_embeddings:
        rows, row_scales = _table(source, table, config, head)
        model.tensors |= {'embedding': rows, 'embedding_scales': row_scales}
        table = 'lm_head'
    rows, row_scales = _table(source, table, config, head)
    model.tensors |= {'head': rows, 'head_scales': row_scales}
    return model


def random_model(config: BitNetConfig, packing: str, head: str, seed: int = 0) -> EngineModel:
    """
    Return a model of this shape with random weights, to measure speed without a download.

    Trits are uniform, scales keep activations of ordinary size.
    """
    rng = np.random.default_rng(seed)
    layers = config.num_hidden_layers
    model = EngineModel(config, packing, head, {})
    body = _new_body(config, packing)
    done: dict[tuple[int, int], np.ndarray] = {}
    for at, rows, columns in model.matrices():
        size = packed_size(packing, rows, columns)
        if (rows, columns) not in done:  # one draw for each shape; speed does not depend on it
            done[rows, columns] = np.zeros(size, np.uint8)
            trits = rng.integers(-1, 2, (rows, columns), dtype=np.int8)
            pack_matrix(packing, trits, done[rows, columns])
        body[at:at + size] = done[rows, columns]
    columns = np.array([shape[1] for shape in config.linears().values()], np.float32)
    scales = np.tile(np.sqrt(1.5 / columns), (layers, 1)).astype(np.float32)
    norms = {key: np.zeros((layers, padded(config.norms()[name])), np.float32)
             for key, name in NORMS.items()}
    for key, name in NORMS.items():
        norms[key][:, :config.norms()[name]] = 1
    final = np.zeros(padded(config.hidden_size), np.float32)
    final[:config.hidden_size] = 1
    drawn = rng.normal(0, .02, (_ROWS_AT_ONCE, config.hidden_size)).astype(np.float32)

    class Repeated:
        """An embedding made of one block again and again, each row times another sign."""

        def rows(self, name: str, shape: tuple[int, int], start: int = 0,
                 stop: int | None = None) -> np.ndarray:
            signs = rng.choice(np.float32([-1, 1]), shape[1])
            return drawn[:(stop or shape[0]) - start] * signs
    model.tensors = {'body': body, 'scales': scales, **norms, 'final_norm': final}
    rows, row_scales = _table(Repeated(), '', config, head)  # type: ignore[arg-type]
    model.tensors |= {'head': rows, 'head_scales': row_scales}
    return model


def shape_of_matrices(model: EngineModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first bytes int64 [L, 7], units [7] and blocks [7]."""
    shapes = list(model.config.linears().values())
    bases = np.array([at for at, _, _ in model.matrices()], np.int64)
    units, blocks = np.array([units_and_blocks(model.packing, *s) for s in shapes], np.int64).T
    return bases.reshape(-1, len(shapes)), np.ascontiguousarray(units), np.ascontiguousarray(
        blocks)
