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
Read GGUF files (versions 2 and 3, little-endian) with NumPy alone.

Format: 'GGUF', version, number of tensors, number of metadata pairs; the pairs (name, type,
value); for each tensor name, sizes (fastest first), type and offset; padding to the alignment;
the tensors. Numbers in the file are believed only as far as the file reaches.
"""

import math
from pathlib import Path
import struct
from typing import Any, NamedTuple

from edge_vla.checkpoints.ggml_blocks import BLOCKS, byte_size, I2_S
from edge_vla.exceptions import CheckpointError
import numpy as np

_NUMBERS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 10: 'Q', 11: 'q', 12: 'd'}
_BOOL, _TEXT, _ARRAY = 7, 8, 9
_DEEPEST = 3  # arrays of arrays of arrays: more than any file has


class GgufTensor(NamedTuple):
    """
    A tensor of a file.

    Attributes
    ----------
    shape : tuple of int
        As NumPy has it: the last dimension is contiguous.
    kind : int
        ggml's number of the type.
    data : numpy.ndarray
        The bytes, uint8, read-only and still in the file; none if the type is unknown.

    """

    shape: tuple[int, ...]
    kind: int
    data: np.ndarray


class _Cursor:
    """Reads the head of a file, never beyond its end."""

    def __init__(self, path: Path, data: np.ndarray) -> None:
        self.path, self.at = path, 0
        self._data, self._size = memoryview(data), len(data)

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(f'{self.path}: {what}: the file is corrupt or truncated')

    def take(self, size: int) -> memoryview:
        if size > self._size - self.at:
            raise self.error(f'{size} bytes wanted at byte {self.at} of {self._size}')
        self.at += size
        return self._data[self.at - size:self.at]

    def number(self, code: str) -> Any:
        return struct.unpack('<' + code, self.take(struct.calcsize('<' + code)))[0]

    def text(self) -> str:
        size, start = self.number('Q'), self.at
        try:
            return str(self.take(size), 'utf-8')
        except UnicodeDecodeError as error:
            raise self.error(f'the text at byte {start} is not UTF-8') from error

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TEXT:
            return self.text()
        if kind == _BOOL:
            return self._truth(self.take(1)) == [True]
        if kind == _ARRAY and depth < _DEEPEST:
            return self._array(depth + 1)
        raise self.error(f'a value of type {kind} at byte {self.at}')

    def _truth(self, data: memoryview) -> list[bool]:
        if not set(data) <= {0, 1}:
            raise self.error(f'a truth value before byte {self.at} is neither 0 nor 1')
        return [bool(v) for v in data]

    def _array(self, depth: int) -> Any:
        kind, count = self.number('I'), self.number('Q')
        if kind in _NUMBERS:  # stays packed: a list would take many times the file's size
            dtype = np.dtype('<' + _NUMBERS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if kind == _BOOL:
            return self._truth(self.take(count))
        values = []
        for _ in range(count):  # every value takes bytes: the end of the file ends this too
            values.append(self.value(kind, depth))
        return values


class GgufFile:
    """
    A GGUF file, memory-mapped.

    Parameters
    ----------
    path : Path or str

    Attributes
    ----------
    metadata : dict
        Values by name; an array of numbers is a numpy.ndarray, any other a list.
    tensors : dict of str to GgufTensor

    Raises
    ------
    CheckpointError
        The file is missing, truncated or malformed.

    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            mapped = np.memmap(self.path, np.uint8, 'r') if self.path.stat().st_size else b''
        except OSError as error:
            raise CheckpointError(f'{path}: cannot be read ({error.strerror})') from error
        data = np.frombuffer(mapped, np.uint8)
        if data[:4].tobytes() != b'GGUF':
            raise CheckpointError(f'{path}: not a GGUF file')
        cursor = _Cursor(self.path, data)
        cursor.take(4)
        version = cursor.number('I')
        if version not in (2, 3):
            why = ' (big-endian)' if version in (2 << 24, 3 << 24) else ''
            raise CheckpointError(f'{path}: GGUF version {version}{why} is not supported, only 2 '
                                  'and 3, little-endian')
        count, pairs = cursor.number('Q'), cursor.number('Q')
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = cursor.text()
            if key in self.metadata:
                raise cursor.error(f'the metadata {key!r} occurs twice')
            self.metadata[key] = cursor.value(cursor.number('I'))
        self.tensors = self._tensors(cursor, count, data)

    def close(self) -> None:
        """Let go of the file; what was decoded stays."""
        self.tensors = {}

    def _tensors(self, cursor: _Cursor, count: int, data: np.ndarray) -> dict[str, GgufTensor]:
        infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(count):
            name, dimensions = cursor.text(), cursor.number('I')
            if name in infos:
                raise cursor.error(f'the tensor {name!r} occurs twice')
            if dimensions > 4:
                raise cursor.error(f'tensor {name!r} has {dimensions} dimensions')
            shape = tuple(cursor.number('Q') for _ in range(dimensions))[::-1]
            infos[name] = shape, cursor.number('I'), cursor.number('Q')
        alignment = self.metadata.get('general.alignment', 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise cursor.error(f'general.alignment is {alignment!r}')
        start = -(-cursor.at // alignment) * alignment
        tensors, reached, before = {}, 0, ''
        for name, (shape, kind, offset) in sorted(infos.items(), key=lambda item: item[1][2]):
            if 0 in shape or offset % alignment:
                raise cursor.error(f'tensor {name!r} of shape {list(shape)} at {offset}')
            if kind not in BLOCKS:  # of unknown size
                tensors[name] = GgufTensor(shape, kind, data[:0])
                continue
            values = math.prod(shape)
            # I2_S runs through the whole tensor, every other type through a row
            whole = values if kind == I2_S else (shape or (1,))[-1]
            if whole % BLOCKS[kind].values:
                raise cursor.error(f'tensor {name!r} of shape {list(shape)} does not fill blocks '
                                   f'of {BLOCKS[kind].values}')
            end = offset + byte_size(kind, values)
            if start + end > len(data):
                raise cursor.error(f'tensor {name!r} ends at byte {start + end} of {len(data)}')
            if offset < reached:
                raise cursor.error(f'tensor {name!r} overlaps {before!r}')
            reached, before = end, name
            tensors[name] = GgufTensor(shape, kind, data[start + offset:start + end])
        return tensors
