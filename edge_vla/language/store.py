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
Converted decoders on disk: memory-mapped, checked, ready for the kernels.

The format is specified in doc/reference/checkpoint_format.md: a safetensors file whose tensors are
those of `EngineModel` and whose metadata says what they are.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import json
from pathlib import Path
import zlib

from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.checkpoints.sources import checkpoint_in
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.ternary_layout import COLUMNS
from edge_vla.language.config import BitNetConfig
from edge_vla.language.engine import (
    AnyConfig,
    body_size,
    EngineModel,
    HEADS,
    NORMS,
    padded,
    table_arrays,
)
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import (
    bits_fit,
    body_array,
    float_arrays,
    Lfm2Model,
    WEIGHTS,
)
from edge_vla.language.programs import AnyModel
from edge_vla.language.sketch import sketch_arrays, worth_sketching
from edge_vla.language.text_tokenizer import (
    folder_of,
    gguf_metadata,
    outer_tokens,
    tokenizer_json,
)
import numpy as np

FILE = 'decoder.safetensors'
FORMAT, VERSION = 'edge_vla decoder', '2'
PARTIAL = '.partial'
SUMMED = ('format', 'version', 'packing', 'head', 'config', 'crc32')
COMPANIONS = ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja',
              'generation_config.json', 'special_tokens_map.json')


def is_converted(path: Path) -> bool:
    """Tell whether a path is a folder, or the file in it, that `save_model` wrote."""
    return path.name == FILE or (path / FILE).exists()


def save_model(model: AnyModel, folder: Path, companions: Path | None = None) -> Path:
    """
    Write a model, and copy the tokenizer's files next to it.

    Parameters
    ----------
    model : EngineModel or Lfm2Model
        What to write.
    folder : Path
        Made if it is not there.
    companions : Path, optional
        The checkpoint whose tokenizer it is: a folder, or a GGUF file.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CheckpointError
        `folder` is a file or holds another checkpoint, the file cannot be written, or the
        tokenizer is not supported.

    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f'{folder}: is a file; name a folder to write')
    elsewhere = companions is not None and folder_of(companions).resolve() != folder.resolve()
    if elsewhere and checkpoint_in(folder) is not None:
        raise CheckpointError(f'{folder}: holds another checkpoint, whose tokenizer would be '
                              'overwritten; name another folder')
    beside = {} if companions is None else _companions(companions, folder)
    sums = {name: f'{zlib.crc32(np.ascontiguousarray(a)):08x}'
            for name, a in model.tensors.items()}
    path = folder / FILE
    partial = {folder / name: folder / (name + PARTIAL) for name in (FILE, *beside)}
    metadata = {'format': FORMAT, 'version': VERSION, 'packing': model.packing,
                'head': model.head, 'config': model.config.to_json(),
                'crc32': json.dumps(sums, sort_keys=True)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(partial[path], model.tensors,
                          {**metadata, 'metadata_crc32': _metadata_sum(metadata)})
        for name, content in beside.items():
            partial[folder / name].write_bytes(content)
        if beside and elsewhere:
            for name in COMPANIONS:  # what another model left would be taken too
                (folder / name).unlink(missing_ok=True)
        for whole, part in partial.items():  # a file under its name is whole
            part.replace(whole)
    except BaseException as error:
        for part in partial.values():
            with suppress(OSError):
                part.unlink()
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(f'{str(error.filename or path).removesuffix(PARTIAL)}: cannot be '
                              f'written ({error.strerror or error})') from error
    return path


def _metadata_sum(metadata: Mapping[str, str]) -> str:
    """Return the checksum of what a file says of itself."""
    return f'{zlib.crc32("".join(metadata.get(k, "") for k in SUMMED).encode()):08x}'


def _companions(source: Path, folder: Path) -> dict[str, bytes]:
    """Return the tokenizer's files, or what a GGUF file says about it, if not in a folder."""
    metadata, here = gguf_metadata(source), folder_of(source)
    if metadata is None:
        return {name: (here / name).read_bytes() for name in COMPANIONS
                if (here / name).exists() and here.resolve() != folder.resolve()}
    if 'tokenizer.ggml.tokens' not in metadata:
        return {}
    values = outer_tokens(metadata)
    if 'tokenizer.chat_template' in metadata:
        values['chat_template'] = metadata['tokenizer.chat_template']
    return {name: json.dumps(content).encode() for name, content in (
        ('tokenizer.json', tokenizer_json(metadata, str(source))),
        ('tokenizer_config.json', values))}


def load_model(path: Path, resident: bool = False) -> AnyModel:
    """
    Map a converted model into memory, or read it, and check it.

    Parameters
    ----------
    path : Path
        The folder, or the file in it.
    resident : bool
        As in `read_safetensors`.

    Raises
    ------
    CheckpointError
        Truncated, corrupt, of another version or not of the shape it says; names the tensor.

    """
    path = path / FILE if path.is_dir() else path
    tensors, metadata = read_safetensors(path, resident=resident)
    if metadata.get('format') != FORMAT:
        raise CheckpointError(f'{path}: is not an edge_vla decoder')
    if metadata.get('version') != VERSION:
        raise CheckpointError(f'{path}: has format version {metadata.get("version")}, this '
                              f'edge_vla reads {VERSION}: convert the original again')
    packing, head = metadata.get('packing', ''), metadata.get('head', '')
    try:
        values = json.loads(metadata['config'])
        lfm2 = values['model_type'] == 'lfm2'
        config = (Lfm2Config if lfm2 else BitNetConfig).from_dict(values, str(path))
        sums = json.loads(metadata['crc32'])
        sums = {name: int(sums[name], 16) for name in tensors}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f'{path}: the metadata is malformed ({error})') from error
    if packing not in (WEIGHTS if lfm2 else COLUMNS) or head not in HEADS:
        raise CheckpointError(f'{path}: packing {packing!r} or head {head!r} does not exist')
    _check_shapes(path, tensors, config, packing, head)
    if metadata.get('metadata_crc32') not in (None, _metadata_sum(metadata)):  # None: older
        raise CheckpointError(f'{path}: the metadata does not match its checksum: the file is '
                              'corrupt, convert the original again')
    with ThreadPoolExecutor(4) as pool:  # crc32 lets others run
        found = dict(zip(tensors, pool.map(zlib.crc32, tensors.values()), strict=True))
    for name in tensors:
        if found[name] != sums[name]:
            raise CheckpointError(f'{path}: tensor {name!r} does not match its checksum: the file '
                                  'is corrupt, convert the original again')
    return EngineModel(config, packing, head, tensors) if isinstance(config, BitNetConfig) else (
        Lfm2Model(config, head, tensors))


def _wanted(path: Path, tensors: dict[str, np.ndarray], c: AnyConfig, packing: str
            ) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of everything but the head and the embedding."""
    layers = c.num_hidden_layers
    if isinstance(c, BitNetConfig):
        return {
            'body': ((body_size(c, packing),), 'u1'), 'scales': ((layers, len(c.linears())), 'f4'),
            'final_norm': ((padded(c.hidden_size),), 'f4'),
            **{key: ((layers, padded(c.norms()[name])), 'f4') for key, name in NORMS.items()}}
    bits = tensors.get('bits')
    if bits is None or not bits_fit(c, bits):
        raise CheckpointError(f"{path}: tensor 'bits' is missing or malformed")
    size, kind = body_array(c, bits)
    return {'bits': (bits.shape, 'u1'), 'body': ((size,), kind),
            **{name: (shape, 'f4') for name, shape in float_arrays(c).items()}}


def _check_shapes(path: Path, tensors: dict[str, np.ndarray], c: AnyConfig, packing: str,
                  head: str) -> None:
    want = _wanted(path, tensors, c, packing)
    for name in ('head',) if c.tie_word_embeddings else ('head', 'embedding'):
        want[name], want[f'{name}_scales'] = table_arrays(c, head)
    if any(name.startswith('head_sketch') for name in tensors):  # may be missing as a whole
        want |= sketch_arrays(c) if worth_sketching(c) else {}
    for name, (shape, kind) in want.items():
        if name not in tensors:
            raise CheckpointError(f'{path}: has no tensor {name!r}')
        if tensors[name].shape != shape or tensors[name].dtype != np.dtype(kind):
            raise CheckpointError(
                f'{path}: tensor {name!r} is {tensors[name].dtype} {list(tensors[name].shape)}, '
                f'expected {np.dtype(kind)} {list(shape)}')
    order = tensors.get('head_sketch_order')
    if order is not None and (np.sort(order, 1) != np.arange(c.hidden_size)).any():
        raise CheckpointError(f"{path}: tensor 'head_sketch_order' holds no permutations")
    for name in tensors:
        if name not in want:
            raise CheckpointError(f'{path}: tensor {name!r} does not belong to this model')
