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

"""GGUF files and their blocks against the gguf library, a slow encoder, and damage."""

import math
from pathlib import Path
import struct
from typing import Any

from edge_vla.checkpoints import ggml_blocks
from edge_vla.checkpoints.ggml_blocks import BLOCKS, I2_S, TQ1_0, TQ2_0
from edge_vla.checkpoints.gguf import GgufFile
from edge_vla.exceptions import CheckpointError
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

Tensors = dict[str, tuple[tuple[int, ...], int, bytes]]  # shape as NumPy has it, type, bytes


def text(value: str) -> bytes:
    return struct.pack('<Q', len(value.encode())) + value.encode()


def value_bytes(value: Any) -> bytes:
    """Return a type and a value as GGUF has them."""
    if isinstance(value, bool):
        return struct.pack('<I?', 7, value)
    if isinstance(value, int):
        return struct.pack('<II', 4, value)
    if isinstance(value, float):
        return struct.pack('<If', 6, value)
    if isinstance(value, str):
        return struct.pack('<I', 8) + text(value)
    if isinstance(value, np.ndarray):
        kind = {'int32': 5, 'float32': 6, 'uint8': 0}[value.dtype.name]
        return struct.pack('<IIQ', 9, kind, len(value)) + value.tobytes()
    return struct.pack('<IIQ', 9, 8, len(value)) + b''.join(text(v) for v in value)


def gguf_bytes(metadata: dict[str, Any], tensors: Tensors, version: int = 3,
               alignment: int = 32) -> bytes:
    """Write a GGUF file, tensors in their order."""
    head = b'GGUF' + struct.pack('<IQQ', version, len(tensors), len(metadata))
    head += b''.join(text(k) + value_bytes(v) for k, v in metadata.items())
    data = b''
    for name, (shape, kind, stored) in tensors.items():
        data += bytes(-len(data) % alignment)
        head += text(name) + struct.pack(f'<I{len(shape)}QIQ', len(shape), *reversed(shape),
                                         kind, len(data))
        data += stored
    return head + bytes(-len(head) % alignment) + data


def i2_s(trits: np.ndarray, scale: float) -> bytes:
    """Encode value by value: blocks of 128, value j at byte j % 32, bits 6 - 2 * (j // 32)."""
    out = bytearray(trits.size // 4)
    for place, trit in enumerate(trits.reshape(-1).tolist()):
        block, j = divmod(place, 128)
        out[32 * block + j % 32] |= (trit + 1) << (6 - 2 * (j // 32))
    return bytes(out) + struct.pack('<f', scale) + bytes(28)


def some_trits(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.int8)


def read(tmp_path: Path, data: bytes) -> GgufFile:
    path = tmp_path / 'some.gguf'
    path.write_bytes(data)
    return GgufFile(path)


METADATA = {'general.architecture': 'bitnet', 'a.number': 7, 'a.fraction': 0.5, 'a.truth': True,
            'some.words': ['Ġa', '', 'né'], 'some.scores': np.array([0.5, -2], np.float32),
            'some.kinds': np.array([1, 3], np.int32), 'no.words': []}
TENSORS: Tensors = {
    'x': ((3, 2), 0, np.arange(6, dtype='<f4').tobytes()),
    'ternary': ((4, 64), I2_S, i2_s(some_trits((4, 64)), 0.5)),
    'scalar': ((), 0, struct.pack('<f', 2.5)),
    'other': ((8,), 99, b'????')}


@pytest.mark.parametrize(('version', 'alignment'), [(2, 32), (3, 32), (3, 64), (3, 1)])
def test_what_is_written_is_read(version: int, alignment: int, tmp_path: Path) -> None:
    metadata = METADATA | ({} if alignment == 32 else {'general.alignment': alignment})
    file = read(tmp_path, gguf_bytes(metadata, TENSORS, version, alignment))
    assert file.metadata.keys() == metadata.keys()
    for name, value in metadata.items():
        np.testing.assert_array_equal(file.metadata[name], value)
    assert {k: (t.shape, t.kind) for k, t in file.tensors.items()} == {
        k: v[:2] for k, v in TENSORS.items()}
    for name in ('x', 'ternary', 'scalar'):
        assert file.tensors[name].data.tobytes() == TENSORS[name][2]
    with pytest.raises(CheckpointError, match="'other' is of type number 99"):
        ggml_blocks.floats(99, file.tensors['other'].data, 'other')
    assert file.metadata['a.truth'] is True


def test_we_read_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    writer = library.GGUFWriter(tmp_path / 'a.gguf', 'bitnet')
    for kind in ('uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'uint64', 'int64'):
        getattr(writer, f'add_{kind}')(kind, 100)
    writer.add_float32('f', 0.25)
    writer.add_float64('d', 1e-300)
    writer.add_bool('no', False)
    writer.add_array('truths', [True, False])
    writer.add_array('words', ['a', 'ß'])
    writer.add_array('numbers', [1, -2])
    rng = np.random.default_rng(0)
    x, trits = rng.normal(size=(5, 7)).astype(np.float32), some_trits((3, 512)).astype(np.float32)
    writer.add_tensor('x', x)
    writer.add_tensor('half', x.astype(np.float16))
    for name in ('TQ1_0', 'TQ2_0'):
        kind = library.GGMLQuantizationType[name]
        writer.add_tensor(name, library.quants.quantize(trits, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / 'a.gguf')
    assert all(file.metadata[k] == 100 for k in ('uint8', 'int16', 'uint32', 'int64'))
    assert (file.metadata['f'], file.metadata['d']) == (0.25, 1e-300)
    assert file.metadata['no'] is False and file.metadata['truths'] == [True, False]
    assert file.metadata['words'] == ['a', 'ß'] and file.metadata['numbers'].tolist() == [1, -2]
    for name, want in (('x', x), ('half', x.astype(np.float16))):
        tensor = file.tensors[name]
        got = ggml_blocks.floats(tensor.kind, tensor.data, name).reshape(tensor.shape)
        np.testing.assert_array_equal(got, want)
    for name in ('TQ1_0', 'TQ2_0'):
        tensor = file.tensors[name]
        assert tensor.shape == trits.shape
        got, scale = ggml_blocks.trits(tensor.kind, tensor.data, name)
        np.testing.assert_array_equal(got.reshape(tensor.shape), trits)
        assert scale == 1


ONE = {'w': ((4,), 0, bytes(16))}


def at(data: bytes, place: int, code: str, value: int) -> bytes:
    """Overwrite a number."""
    size = struct.calcsize(code)
    return data[:place] + struct.pack('<' + code, value) + data[place + size:]


PLAIN = gguf_bytes({}, ONE)  # count 8, pairs 16, name 24, dimensions 33, size 37, type 45, offset
ARRAY = gguf_bytes({'a': ['b']}, ONE)  # key 24, type 33, of type 37, count 41, text 49
DAMAGED = {
    'nothing': b'',
    'another format': b'PK\3\4' + bytes(40),
    'half a head': PLAIN[:20],
    'version 1': at(PLAIN, 4, 'I', 1),
    'big-endian': at(PLAIN, 4, 'I', 3 << 24),
    'a monstrous number of tensors': at(PLAIN, 8, 'Q', 2**64 - 1),
    'a monstrous number of pairs': at(PLAIN, 16, 'Q', 2**64 - 1),
    'a monstrous name': at(PLAIN, 24, 'Q', 2**64 - 1),
    'a name that is no UTF-8': PLAIN.replace(b'w', b'\xff'),
    'too many dimensions': at(PLAIN, 33, 'I', 2**32 - 1),
    'a size of zero': at(PLAIN, 37, 'Q', 0),
    'a monstrous size': at(PLAIN, 37, 'Q', 2**64 - 1),
    'an offset beyond the file': at(PLAIN, 49, 'Q', 2**64 - 32),
    'an offset not aligned': at(PLAIN + bytes(64), 49, 'Q', 8),
    'too few bytes': PLAIN[:-1],
    'half a block': at(PLAIN, 45, 'I', 8),
    'half a block of I2_S': at(PLAIN, 45, 'I', I2_S),
    'a monstrous array of texts': at(ARRAY, 41, 'Q', 2**64 - 1),
    'a monstrous array of numbers': at(at(ARRAY, 37, 'I', 12), 41, 'Q', 2**61),
    'a monstrous array of truths': at(at(ARRAY, 37, 'I', 7), 41, 'Q', 2**62),
    'a monstrous text': at(ARRAY, 49, 'Q', 2**63),
    'an unknown type of value': at(ARRAY, 33, 'I', 13),
    'an array of an unknown type': at(ARRAY, 37, 'I', 13),
    'a truth value of 98': at(ARRAY, 33, 'I', 7),
    'arrays in arrays in arrays': b'GGUF' + struct.pack('<IQQ', 3, 0, 1) + text('a') + (
        struct.pack('<I', 9) + struct.pack('<IQ', 9, 1) * 5000),
    'a name twice': gguf_bytes({}, ONE | {'v': ONE['w']}).replace(b'v', b'w'),
    'metadata twice': gguf_bytes({'a': 1, 'b': 2}, ONE).replace(b'b', b'a'),
    'overlapping tensors': at(gguf_bytes({}, {'w': ((16,), 0, bytes(64)), 'v': ONE['w']}),
                              24 + 33 + 25, 'Q', 32),
    'an alignment of 0': gguf_bytes({'general.alignment': 0}, ONE),
    'an alignment of 24': gguf_bytes({'general.alignment': 24}, ONE),
    'an alignment that is text': gguf_bytes({'general.alignment': 'x'}, ONE),
}


@pytest.mark.parametrize('what', DAMAGED)
def test_a_damaged_file_is_refused(what: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='some.gguf') as error:
        read(tmp_path, DAMAGED[what])
    assert '\n' not in str(error.value)


def test_the_files_that_are_damaged_above_are_whole(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN).tensors['w'].shape == (4,)
    assert read(tmp_path, ARRAY).metadata == {'a': ['b']}


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / 'no.gguf'):
        with pytest.raises(CheckpointError, match='cannot be read'):
            GgufFile(path)


@settings(max_examples=300, deadline=None)
@given(cut=st.integers(0, 10**6) | st.just(0),
       changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5))
def test_no_damage_ends_in_another_error(cut: int, changes: list[tuple[int, int]],
                                         tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any truncation and any changed byte is read or refused, never something else."""
    data = bytearray(gguf_bytes(METADATA, TENSORS))
    for place, byte in changes:
        data[place % len(data)] = byte
    try:
        file = read(tmp_path_factory.getbasetemp(), bytes(data[:len(data) - cut % len(data)]))
        for name, tensor in file.tensors.items():
            if tensor.kind in ggml_blocks.TERNARY:
                ggml_blocks.trits(tensor.kind, tensor.data, name)
            else:
                assert ggml_blocks.floats(tensor.kind, tensor.data, name).size == math.prod(
                    tensor.shape)
    except CheckpointError:
        pass


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=300))
def test_no_noise_ends_in_another_error(noise: bytes,
                                        tmp_path_factory: pytest.TempPathFactory) -> None:
    for head in (b'', b'GGUF\3\0\0\0', b'GGUF' + struct.pack('<IQQ', 3, 1, 1)):
        try:
            read(tmp_path_factory.getbasetemp(), head + noise)
        except CheckpointError:
            pass


def random_blocks(name: str, halves: tuple[int, ...], count: int = 40) -> np.ndarray:
    """Any bytes, with finite half-precision numbers where the block has them."""
    rng = np.random.default_rng(len(name))
    kind = {b.name: k for k, b in BLOCKS.items()}[name]
    blocks = rng.integers(0, 256, (count, BLOCKS[kind].size), np.uint8)
    for place in halves:
        scale = rng.normal(0, 0.1, count).astype('<f2')
        blocks[:, place:place + 2] = scale[:, None].view(np.uint8)
    return blocks


@pytest.mark.parametrize(('name', 'halves'), [
    ('Q4_0', (0,)), ('Q8_0', (0,)), ('Q4_K', (0, 2)), ('Q6_K', (208,))])
def test_floats_equal_the_library(name: str, halves: tuple[int, ...]) -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    kind, blocks = library.GGMLQuantizationType[name], random_blocks(name, halves)
    want = library.quants.dequantize(blocks, kind)
    got = ggml_blocks.floats(int(kind), blocks.reshape(-1), 'w')
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want.reshape(-1))


def test_bfloat16_equals_the_library() -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    x = np.random.default_rng(0).normal(size=256).astype(np.float32)
    stored = library.quants.quantize(x, library.GGMLQuantizationType.BF16)
    want = library.quants.dequantize(stored, library.GGMLQuantizationType.BF16)
    np.testing.assert_array_equal(ggml_blocks.floats(30, stored.view(np.uint8), 'w'), want)
    np.testing.assert_allclose(want, x, rtol=2**-8)


@pytest.mark.parametrize('name', ['TQ1_0', 'TQ2_0'])
def test_trits_equal_the_library(name: str) -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    kind, trits = library.GGMLQuantizationType[name], some_trits((6, 512), 1)
    trits[2, :256] = 0  # stored with the scale 0
    stored = library.quants.quantize(trits * np.float32(0.3), kind)
    got, scale = ggml_blocks.trits(int(kind), stored.reshape(-1), 'w')
    assert got.dtype == np.int8 and scale == np.float16(0.3)
    np.testing.assert_array_equal(got, trits.reshape(-1))
    np.testing.assert_array_equal(got * np.float32(scale),
                                  library.quants.dequantize(stored, kind).reshape(-1))


def test_every_byte_of_tq1_0_is_as_in_the_library() -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    blocks = random_blocks('TQ1_0', ())
    blocks[:, -2:] = np.array([0.5], '<f2').view(np.uint8)
    want = library.quants.dequantize(blocks, library.GGMLQuantizationType.TQ1_0)
    got, scale = ggml_blocks.trits(TQ1_0, blocks.reshape(-1), 'w')
    np.testing.assert_array_equal(got * np.float32(scale), want.reshape(-1))


def tq2_0(trits: np.ndarray, scales: list[float]) -> np.ndarray:
    """Encode blocks of 256: halves of 128, value j at byte j % 32, bits 2 * (j // 32)."""
    out = np.zeros((len(scales), 66), np.uint8)
    for b, block in enumerate(trits.reshape(-1, 256).tolist()):
        for place, trit in enumerate(block):
            half, j = divmod(place, 128)
            out[b, 32 * half + j % 32] |= (trit + 1) << (2 * (j // 32))
    out[:, 64:] = np.array(scales, '<f2')[:, None].view(np.uint8)
    return out.reshape(-1)


def test_blocks_without_weights_say_nothing_about_the_scale() -> None:
    trits = some_trits((4, 256), 2)
    trits[1] = 0
    got, scale = ggml_blocks.trits(TQ2_0, tq2_0(trits, [0.5, 7, 0.5, 0]), 'w')
    trits[3] = 0  # times 0
    np.testing.assert_array_equal(got.reshape(4, 256), trits)
    assert scale == 0.5


@pytest.mark.parametrize(('scales', 'why'), [
    ([0.5, 0.25], 'w.weight.*2 different scales'), ([0.5, math.nan], 'w.weight.*not finite'),
    ([math.inf, math.inf], 'w.weight.*not finite')])
def test_scales_that_differ_or_are_none_are_refused(scales: list[float], why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        ggml_blocks.trits(TQ2_0, tq2_0(some_trits((2, 256)), scales), 'w.weight')


@pytest.mark.parametrize('kind', [TQ2_0, I2_S])
def test_code_three_is_refused(kind: int) -> None:
    trits = some_trits((2, 256))
    stored = tq2_0(trits, [1, 1]) if kind == TQ2_0 else np.frombuffer(i2_s(trits, 1), np.uint8)
    ggml_blocks.trits(kind, stored, 'w.weight')
    for shift in (0, 2, 4, 6):
        bad = stored.copy()
        bad[40] |= 3 << shift
        with pytest.raises(CheckpointError, match='w.weight'):
            ggml_blocks.trits(kind, bad, 'w.weight')


def test_worked_example_of_i2_s() -> None:
    stored = np.full(32 + 32, 0b01010101, np.uint8)
    stored[5] = 0b10_01_00_10
    stored[32:36] = np.array([0.75], '<f4').view(np.uint8)
    got, scale = ggml_blocks.trits(I2_S, stored, 'w')
    want = np.zeros(128, np.int8)
    want[[5, 69, 101]] = 1, -1, 1
    np.testing.assert_array_equal(got, want)
    assert scale == 0.75


def test_i2_s_is_in_blocks_of_128() -> None:
    trits = some_trits((3, 256), 4)
    stored = np.frombuffer(i2_s(trits, 0.125), np.uint8)
    got, scale = ggml_blocks.trits(I2_S, stored, 'w')
    np.testing.assert_array_equal(got.reshape(3, 256), trits)
    assert scale == 0.125
    # read in blocks of 64 (16 bytes) the same bytes are another matrix with the same histogram
    other = np.array([(int(stored[16 * block + j % 16]) >> (6 - 2 * (j // 16)) & 3) - 1
                      for block in range(12) for j in range(64)])
    assert (other != got).mean() > 0.4
    np.testing.assert_array_equal(np.bincount(other + 1), np.bincount(got + 1))


def test_sizes_in_bytes() -> None:
    """The rates of ggml-common.h: bits per weight."""
    bits = {'F32': 32, 'F16': 16, 'BF16': 16, 'Q4_0': 4.5, 'Q8_0': 8.5, 'Q4_K': 4.5,
            'Q6_K': 6.5625, 'TQ1_0': 1.6875, 'TQ2_0': 2.0625}
    for kind, block in BLOCKS.items():
        if kind == I2_S:
            assert ggml_blocks.byte_size(kind, 2560 * 640) == 2560 * 640 // 4 + 32
        else:
            assert ggml_blocks.byte_size(kind, 2560) * 8 == 2560 * bits[block.name]


@pytest.mark.parametrize('kind', ggml_blocks.TERNARY)
def test_ternary_blocks_are_no_floats(kind: int) -> None:
    with pytest.raises(CheckpointError, match=f"'embedding' is of type {BLOCKS[kind].name}"):
        ggml_blocks.floats(kind, np.zeros(0, np.uint8), 'embedding')
