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
BitNet b1.58 and LFM2 checkpoints of every kind behind one interface: see ``Source``.

Tensors go by the name of their module in Hugging Face's models ('model.layers.0.mlp.up_proj').
"""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path
from typing import Any, Protocol

from edge_vla.checkpoints import packing
from edge_vla.checkpoints.gguf_source import GgufSource
from edge_vla.checkpoints.safetensors import read_safetensors, widen
from edge_vla.exceptions import CheckpointError
import numpy as np

_HOW = {('autobitlinear', 'offline'): 'multiply', ('autobitlinear', 'online'): 'masters',
        # transformers does not look at the mode of this class
        ('bitlinear', 'offline'): 'divide', ('bitlinear', 'online'): 'divide'}
_MARK = ('"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", '
         '"quantization_mode": "%s"}')
_ARCHITECTURES = ('bitnet', 'lfm2')
_FLOATS = (np.float32, np.float16, np.uint16)  # the last is bfloat16, see read_safetensors
_ROWS_AT_ONCE = 4096


class Source(Protocol):
    """
    An open checkpoint.

    Attributes
    ----------
    config : dict
        The keys of Hugging Face's config.json, with ``rope_theta`` at the top and
        ``tie_word_embeddings`` as the tensors have it.

    """

    config: dict[str, Any]

    def check(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """
        Refuse a checkpoint that does not hold just these tensors, before anything large is read.

        Parameters
        ----------
        shapes : iterable of (str, tuple of int)
            Names in Hugging Face's files, and shapes as floats.

        Raises
        ------
        CheckpointError
            One is missing, misshapen or left over; names the tensor.

        """

    def trits(self, name: str, out: int, columns: int) -> tuple[np.ndarray, float]:
        """
        Return a ternary matrix as int8 [out, columns] and the scale to multiply it by.

        Raises
        ------
        CheckpointError
            Missing, misshapen or corrupt; names the tensor.

        """

    def vector(self, name: str, size: int) -> np.ndarray:
        """
        Return the gains of a norm, float32 [size].

        Raises
        ------
        CheckpointError
            Missing, misshapen or not finite; names the tensor.

        """

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """
        Return some rows of a float matrix, float32 [stop - start, columns].

        Parameters
        ----------
        name : str
            The module.
        shape : tuple of int
            Of the whole matrix, which is not read.
        start : int
            The first row.
        stop : int, optional
            The row after the last; all by default.

        Raises
        ------
        CheckpointError
            Missing, misshapen or not finite; names the tensor.

        """

    def block_kind(self, name: str, shape: tuple[int, int]) -> int:
        """
        Return 4 or 8, the kind of blocks of 32 columns a matrix is stored in, 0 if it is not.

        Raises
        ------
        CheckpointError
            Missing or misshapen; names the tensor.

        """

    def blocks(self, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """
        Return a matrix of blocks as it is stored.

        Returns
        -------
        tuple
            Codes uint8 [out, columns], too large by 8 (4 bits) or 128 (8 bits), and scales
            float16 [out, columns / 32].

        Raises
        ------
        CheckpointError
            Missing, misshapen or not finite; names the tensor.

        """

    def taps(self, name: str, channels: int, taps: int) -> np.ndarray:
        """
        Return the weights of a depthwise convolution, float32 [channels, taps], oldest first.

        Raises
        ------
        CheckpointError
            Missing, misshapen or not finite; names the tensor.

        """

    def bias(self, name: str, size: int) -> np.ndarray:
        """
        Return the bias of a module, float32 [size].

        Raises
        ------
        CheckpointError
            Missing, misshapen or not finite; names the tensor.

        """

    def close(self) -> None:
        """Let go of the files; what was returned stays."""


def open_source(path: Path | str) -> Source:
    """
    Open a checkpoint: a Hugging Face folder, a GGUF file, or a folder with one GGUF file.

    Raises
    ------
    CheckpointError
        There is none, or it is of an unsupported kind.

    """
    path = Path(path)
    found = checkpoint_in(path) if path.is_dir() else path
    if found is None and (path / 'config.json').exists():
        found = path  # which then says what it lacks
    if found is None:
        raise CheckpointError(f'{path}: has no config.json and {len([*path.glob("*.gguf")])} GGUF '
                              'files: give a Hugging Face folder or one GGUF file')
    return HuggingFaceSource(found) if found.is_dir() else GgufSource(found)


def checkpoint_in(folder: Path) -> Path | None:
    """Return what of a folder `open_source` reads: itself, its only GGUF file, or nothing."""
    if (folder / 'config.json').exists() and any(folder.glob('model.safetensors*')):
        return folder
    found = [*folder.glob('*.gguf')]
    return found[0] if len(found) == 1 else None


def read_json(path: Path) -> dict[str, Any]:
    """
    Read a file with one JSON object.

    Raises
    ------
    CheckpointError
        Missing or malformed.

    """
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: is not JSON ({error})') from error
    if not isinstance(values, dict):
        raise CheckpointError(f'{path}: is not a JSON object')
    return values


class HuggingFaceSource:
    """
    A folder with config.json and model.safetensors, whole or in shards.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    CheckpointError
        A file is missing or malformed, or its quantisation is not supported.

    """

    def __init__(self, folder: Path) -> None:
        where = folder / 'config.json'
        self.config = read_json(where)
        kind = self.config.get('model_type')
        if kind not in _ARCHITECTURES:
            raise CheckpointError(f'{where}: model_type is {kind!r}, expected one of '
                                  f'{", ".join(_ARCHITECTURES)}')
        self._tensors = _safetensors(folder)
        lfm2 = kind == 'lfm2'
        if lfm2:  # transformers prefers the older name, and ties by default
            tied = self.config.get('tie_word_embeddings', True)
            self.config['tie_word_embeddings'] = self.config.pop('tie_embedding', tied)
        for name in self._tensors:
            if name.endswith(('_proj.bias', '.conv.bias', '.rms_norm.weight')) and not (
                    lfm2 and self.config.get('conv_bias')):
                raise CheckpointError(f'tensor {name!r}: linears with a bias or with a norm of '
                                      'their own are not supported')
        self._how = _how(self.config, where, any(k.endswith('_scale') for k in self._tensors))
        rope = self.config.get('rope_parameters') or self.config.get('rope_scaling')
        if isinstance(rope, dict) and 'rope_theta' in rope:
            self.config['rope_theta'] = rope['rope_theta']
        self.config['tie_word_embeddings'] = self._tied()
        said = folder / 'generation_config.json'  # where there is one, it says what ends a text
        if said.exists() and (ends := read_json(said).get('eos_token_id')) is not None:
            self.config['eos_token_id'] = ends

    def close(self) -> None:
        """Let go of the files."""
        self._tensors = {}

    def check(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Refuse what does not hold just these tensors (see Source)."""
        left = set(self._tensors) - {'lm_head.weight'}  # there if it is the embedding too
        for key, shape in shapes:
            stored = self._tensor(key)
            matrix = len(shape) == 2 and '.layers.' in key
            if not matrix or stored.shape != packing.packed_shape(*shape):
                packing.check_shape(stored.shape, shape, key)
            left.discard(key)
            if matrix and self._how != 'dense':
                left.discard(f'{key}_scale')
        for key in sorted(left):  # one left out would change every answer
            if not key.endswith('.inv_freq'):  # of older files; follows from the rest
                raise CheckpointError(f'tensor {key!r} is not part of the model that config.json '
                                      'describes')

    def trits(self, name: str, out: int, columns: int) -> tuple[np.ndarray, float]:
        """Return a ternary matrix and its scale (see Source)."""
        key = f'{name}.weight'
        stored = self._tensor(key)
        masters = self._how == 'masters'
        if stored.dtype == np.uint8 and masters or stored.dtype in _FLOATS and not masters:
            what, mode = ('packed trits', 'offline') if masters else ('masters', 'online')
            raise CheckpointError(f'tensor {key!r} holds {what}, but config.json says otherwise: '
                                  f'it should have {_MARK % mode}')
        if masters:
            values, scale = packing.ternarise(self._floats(key, (out, columns)))
        else:
            packing.check_packed(stored, out, columns, key)
            values = packing.unpack(stored, out)
            scale_key = f'{name}.weight_scale'
            size = self._tensor(scale_key).shape
            scale = float(self._floats(scale_key, () if size == () else (1,)).reshape(()))
            packing.check_scale(scale, scale_key)
            scale = 1 / scale if self._how == 'divide' else scale
        if masters:  # which have the size they have
            packing.check_scale(scale, key)
        else:
            packing.check_ternary(values, scale, key)
        return values, scale

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return the gains of a norm (see Source)."""
        return self._floats(f'{name}.weight', (size,))

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """Return some rows of a float matrix (see Source)."""
        return self._floats(f'{name}.weight', shape, slice(start, stop))

    def block_kind(self, name: str, shape: tuple[int, int]) -> int:
        """Return 0: safetensors hold no blocks (see Source)."""
        packing.check_shape(self._tensor(f'{name}.weight').shape, shape, f'{name}.weight')
        return 0

    def blocks(self, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Refuse: there are none (see Source)."""
        raise CheckpointError(f"tensor '{name}.weight' is not stored in blocks")

    def taps(self, name: str, channels: int, taps: int) -> np.ndarray:
        """Return the weights of a depthwise convolution (see Source)."""
        return self._floats(f'{name}.weight', (channels, 1, taps))[:, 0]

    def bias(self, name: str, size: int) -> np.ndarray:
        """Return the bias of a module (see Source)."""
        return self._floats(f'{name}.bias', (size,))

    def _tensor(self, key: str) -> np.ndarray:
        if key not in self._tensors:
            raise CheckpointError(f'the checkpoint has no tensor {key!r}')
        return self._tensors[key]

    def _floats(self, key: str, shape: tuple[int, ...], part: slice | None = None) -> np.ndarray:
        stored = self._tensor(key)
        packing.check_shape(stored.shape, shape, key)
        if stored.dtype not in _FLOATS:
            raise CheckpointError(f'tensor {key!r} is {stored.dtype}, expected float32, float16 '
                                  'or bfloat16')
        stored = stored if part is None else stored[part]
        # a copy: what is returned outlives the file
        values = widen(stored) if stored.dtype == np.uint16 else stored.astype(np.float32)
        packing.check_finite(values, key)
        return values

    def _tied(self) -> bool:
        """Tell whether the head is the embedding, as transformers decides it."""
        embedding, head = (self._tensors.get(f'{name}.weight') for name in (
            'model.embed_tokens', 'lm_head'))
        if head is None:  # a file that does not say is untied, but can only mean this
            return bool(self.config.get('tie_word_embeddings', True))
        if embedding is None or not self.config.get('tie_word_embeddings', False):
            return False
        same = embedding.shape == head.shape and embedding.dtype == head.dtype and head.ndim == 2
        return same and all(
            np.array_equal(embedding[i:i + _ROWS_AT_ONCE], head[i:i + _ROWS_AT_ONCE])
            for i in range(0, len(head), _ROWS_AT_ONCE))


def _how(config: Mapping[str, Any], where: Path, packed: bool) -> str:
    """Return how weights are stored: 'dense', 'multiply' or 'divide' (by the scale), 'masters'."""
    quantised = config.get('quantization_config')
    if config.get('model_type') == 'lfm2':
        if quantised is not None:
            raise CheckpointError(f'{where}: a quantised LFM2 is read from GGUF only, take the '
                                  'original in bfloat16')
        return 'dense'
    if quantised is None:
        what, mode = ('packed trits', 'offline') if packed else ('unquantised masters', 'online')
        raise CheckpointError(f'{where}: has no quantization_config, so transformers would take '
                              f'the {what} for a dense model; mark them by adding '
                              f'{_MARK % mode}')
    if not isinstance(quantised, dict) or quantised.get('quant_method', 'bitnet') != 'bitnet':
        raise CheckpointError(f'{where}: the quantization_config is not of quant_method bitnet')
    # as in transformers where it leaves them out
    way = (str(quantised.get('linear_class', 'bitlinear')),
           str(quantised.get('quantization_mode', 'offline')))
    if way not in _HOW:
        raise CheckpointError(f'{where}: linear_class {way[0]!r} with quantization_mode '
                              f'{way[1]!r} is not supported')
    if quantised.get('use_rms_norm'):
        raise CheckpointError(f'{where}: use_rms_norm, a norm in every linear, is not supported')
    dense = quantised.get('modules_to_not_convert') or []
    if not isinstance(dense, list) or not all(
            d in ('lm_head', 'embed_tokens', 'model.embed_tokens') for d in dense):
        raise CheckpointError(f'{where}: modules_to_not_convert is {dense}: only the head and the '
                              'embedding may be left out')
    return _HOW[way]


def _safetensors(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a folder, still in their files, bfloat16 as uint16."""
    index = folder / 'model.safetensors.index.json'
    if (folder / 'model.safetensors').exists() or not index.exists():
        return read_safetensors(folder / 'model.safetensors', lazy=True)[0]
    places = read_json(index).get('weight_map')
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f'{index}: weight_map is not a table of file names')
    shards, there = {}, {p.name for p in folder.iterdir()}
    for name in sorted(set(places.values())):
        if name not in there:
            raise CheckpointError(f'{index}: names the shard {name!r}, which is not there')
        shards[name] = read_safetensors(folder / name, lazy=True)[0]
    for name, shard in places.items():
        if name not in shards[shard]:
            raise CheckpointError(f'{index}: the shard {shard!r} has no tensor {name!r}')
    return {name: shards[shard][name] for name, shard in places.items()}
