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
Read and write safetensors files with NumPy alone.

Format: eight bytes little-endian header length, a JSON header of ``{name: {dtype, shape,
data_offsets}}`` with an optional ``__metadata__`` of strings, then the tensor bytes.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
import json
import math
from pathlib import Path
import struct
from typing import Any

from edge_vla.checkpoints.packing import (
    check_finite,
    check_packed,
    check_scale,
    check_shape,
    unpack,
)
from edge_vla.exceptions import CheckpointError
import numpy as np

_DTYPES = {
    'F64': np.dtype('<f8'), 'F32': np.dtype('<f4'), 'F16': np.dtype('<f2'),
    'I64': np.dtype('<i8'), 'I32': np.dtype('<i4'), 'I16': np.dtype('<i2'),
    'I8': np.dtype('i1'), 'U8': np.dtype('u1'), 'BOOL': np.dtype('?'),
    'BF16': np.dtype('<u2')}
_NAMES = {v: k for k, v in _DTYPES.items() if k != 'BF16'}
_LARGEST_HEADER = 100_000_000
_STEP = 64 << 20  # bytes that a thread reads at once


def widen(array: np.ndarray) -> np.ndarray:
    """Return bfloat16, held as uint16, as float32."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def aligned(size: int) -> np.ndarray:
    """Return zeroed uint8 [size] that begins with a cache line: split loads cost a third."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + size]


def _resident(path: Path, size: int) -> np.ndarray:
    """
    Read a file into memory, as read-only uint8 [size].

    Mapped files lie in pages of 4 KB; NumPy asks for large ones, which a core reads faster.
    """
    data = aligned(size)

    def read(start: int) -> int:
        with path.open('rb') as file:
            file.seek(start)
            return file.readinto(data[start:start + _STEP])
    with ThreadPoolExecutor(4) as pool:
        if sum(pool.map(read, range(0, size, _STEP))) != size:
            raise CheckpointError(f'{path}: became shorter while it was read')
    data.flags.writeable = False
    return data


def read_safetensors(path: Path | str, lazy: bool = False, resident: bool = False
                     ) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """
    Read every tensor of a file.

    Parameters
    ----------
    path : Path or str
        The file.
    lazy : bool
        Leave bfloat16 in the file, as uint16 for `widen` (no other type comes as uint16).
    resident : bool
        Read the file rather than map it: faster to use, not shared between processes.

    Returns
    -------
    tuple
        Tensors by name, memory-mapped unless `resident`, and read-only (bfloat16 comes as a
        float32 copy, unless `lazy`), and the metadata.

    Raises
    ------
    CheckpointError
        The file is missing, truncated or malformed; the message names the tensor.

    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            head = file.read(8)
            length = struct.unpack('<Q', head)[0] if len(head) == 8 else -1
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise CheckpointError(f'{path}: not a safetensors file, or truncated')
            header = json.loads(file.read(length), object_pairs_hook=_once)
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: the header is not valid JSON ({error})') from error
    if not isinstance(header, dict):
        raise CheckpointError(f'{path}: the header is not a JSON object')
    metadata = header.pop('__metadata__', {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f'{path}: the metadata is not a table of strings')
    start = 8 + length
    if size == start:
        data = np.zeros(start, np.uint8)
    else:
        data = _resident(path, size) if resident else np.memmap(path, np.uint8, 'r')
    tensors, spans = {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(path, name, entry)
        if end > size - start:
            raise CheckpointError(f'{path}: truncated, tensor {name!r} ends at byte '
                                  f'{start + end} of {size}')
        spans.append((begin, end, name))
        flat = data[start + begin:start + end].view(np.ndarray)
        array = flat.view(dtype) if flat.ctypes.data % dtype.itemsize == 0 else (
            np.frombuffer(flat.tobytes(), dtype))
        if entry['dtype'] == 'BF16' and not lazy:
            array = widen(array)
        tensors[name] = array.reshape(shape)
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            how = 'overlaps' if begin < reached else 'leaves a gap to'
            raise CheckpointError(f'{path}: tensor {name!r} {how} the one before it: the file is '
                                  'corrupt')
        reached = end
    if reached != size - start:
        raise CheckpointError(f'{path}: {size - start - reached} bytes at the end belong to no '
                              'tensor: the file is corrupt')
    return tensors, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError('a name occurs twice')
    return dict(pairs)


def _counts(values: Any, longest: int) -> bool:
    """Tell a short list of sizes from anything else JSON can hold."""
    return isinstance(values, list) and len(values) <= longest and all(
        type(v) is int and 0 <= v < 2**62 for v in values)


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    fine = isinstance(entry, dict) and isinstance(entry.get('dtype'), str) and _counts(
        entry.get('shape'), 32) and _counts(entry.get('data_offsets'), 2)
    if not fine or len(entry['data_offsets']) != 2:
        raise CheckpointError(f'{path}: the entry of tensor {name!r} is malformed')
    kind, shape, (begin, end) = entry['dtype'], tuple(entry['shape']), entry['data_offsets']
    if kind not in _DTYPES:
        raise CheckpointError(f'{path}: tensor {name!r} has dtype {kind}, which is not supported')
    dtype = _DTYPES[kind]
    if math.prod(n for n in shape if n) * dtype.itemsize >= 2**62 or begin > end or (
            end - begin != math.prod(shape) * dtype.itemsize):
        raise CheckpointError(f'{path}: tensor {name!r} of shape {list(shape)} and dtype {kind} '
                              f'does not fill bytes {begin} to {end}')
    return dtype, shape, begin, end


def take(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """
    Return a tensor of a checkpoint as contiguous float32.

    Raises
    ------
    CheckpointError
        It is missing, of another shape or not finite; the message names it.

    """
    if name not in tensors:
        raise CheckpointError(f'the checkpoint has no tensor {name!r}')
    check_shape(tensors[name].shape, shape, name)
    values = np.ascontiguousarray(tensors[name], np.float32)
    check_finite(values, name)
    return values


def take_weight(tensors: Mapping[str, np.ndarray], name: str,
                shape: tuple[int, ...]) -> np.ndarray:
    """
    Return a weight as contiguous float32; a packed ternary one is expanded by its scales.

    Raises
    ------
    CheckpointError
        It is missing, of another shape, or its packing or scales are damaged.

    """
    if name not in tensors or tensors[name].dtype != np.uint8:
        return take(tensors, name, shape)
    out, columns = shape[0], math.prod(shape[1:])
    check_packed(tensors[name], out, columns, name)
    scale = take(tensors, name + '_scale', (out,))
    for value in scale:
        check_scale(float(value), name)
    return (unpack(tensors[name], out) * scale[:, None]).reshape(shape)


def write_safetensors(path: Path | str, tensors: Mapping[str, np.ndarray],
                      metadata: Mapping[str, str] | None = None) -> None:
    """
    Write tensors; the same input gives the same bytes.

    Those of whole cache lines of 64 bytes come first, in name order, so each of them begins with
    one: loads that cross a line cost a third of the speed, and the format allows no gaps.

    Raises
    ------
    CheckpointError
        A tensor's dtype has no name in the format.

    """
    header: dict[str, Any] = {'__metadata__': dict(metadata)} if metadata else {}
    offset, arrays = 0, []
    for name in sorted(tensors, key=lambda name: (tensors[name].nbytes % 64 > 0, name)):
        array = np.ascontiguousarray(tensors[name])
        if array.dtype not in _NAMES:
            raise CheckpointError(f'tensor {name!r} has dtype {array.dtype}, which safetensors '
                                  'cannot hold')
        header[name] = {'dtype': _NAMES[array.dtype], 'shape': list(tensors[name].shape),
                        'data_offsets': [offset, offset + array.nbytes]}
        offset += array.nbytes
        arrays.append(array)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-(len(text) + 8) % 64)
    with Path(path).open('wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for array in arrays:
            file.write(array.data)
