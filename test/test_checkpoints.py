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


"""Checkpoint files: the reader and writer against the safetensors library, and damaged files."""

import json
from pathlib import Path
import struct

from edge_vla.checkpoints.packing import (
    check_finite,
    check_packed,
    check_shape,
    check_ternary,
    pack,
    ternarise,
    unpack,
)
from edge_vla.checkpoints.safetensors import read_safetensors, widen, write_safetensors
from edge_vla.exceptions import CheckpointError
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

DTYPES = (np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8,
          np.bool_)


def some_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {f'layer.{k}.{np.dtype(d).name}': (rng.normal(0, 40, (k + 1, 3)) * 2).astype(d)
            for k, d in enumerate(DTYPES)}
    return made | {'empty': np.zeros((0, 4), np.float32), 'scalar': np.array(2.5, np.float32)}


def raw(header: object, data: bytes = b'', length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert b[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(b[name], tensor, err_msg=name)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, tensors = tmp_path / 'a.safetensors', some_tensors()
    write_safetensors(path, tensors, {'who': 'é'})
    got, metadata = read_safetensors(path)
    same(tensors, got)
    assert metadata == {'who': 'é'}


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = some_tensors()
    write_safetensors(tmp_path / 'a', tensors)
    write_safetensors(tmp_path / 'b', dict(reversed(tensors.items())))
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_the_library_reads_ours(tmp_path: Path) -> None:
    library = pytest.importorskip('safetensors.numpy', reason='needs safetensors')
    tensors = some_tensors(1)
    write_safetensors(tmp_path / 'a.safetensors', tensors, {'format': 'pt'})
    same(tensors, library.load_file(tmp_path / 'a.safetensors'))


def test_we_read_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip('safetensors.numpy', reason='needs safetensors')
    tensors = some_tensors(2)
    library.save_file(tensors, tmp_path / 'a.safetensors', metadata={'k': 'v'})
    got, metadata = read_safetensors(tmp_path / 'a.safetensors')
    same(tensors, got)
    assert metadata == {'k': 'v'}


def test_bfloat16_comes_as_float32(tmp_path: Path) -> None:
    values = np.array([0, 1, -1.5, 3.140625, np.inf], np.float32)
    stored = (values.view(np.uint32) >> 16).astype('<u2').tobytes()
    path = tmp_path / 'a.safetensors'
    path.write_bytes(raw({'x': {'dtype': 'BF16', 'shape': [5], 'data_offsets': [0, 10]}}, stored))
    got, _ = read_safetensors(path)
    assert got['x'].dtype == np.float32
    np.testing.assert_array_equal(got['x'], values)
    lazy, _ = read_safetensors(path, lazy=True)
    assert lazy['x'].tobytes() == stored and lazy['x'].dtype == np.uint16
    np.testing.assert_array_equal(widen(lazy['x']), values)


F4 = {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}
DAMAGED = {
    'nothing': (b'', ''),
    'half a length': (b'\x05\0\0', ''),
    'a length beyond the file': (raw({}, length=10**6), ''),
    'a monstrous length': (raw({}, length=2**63), ''),
    'a header that is no JSON': (raw(b'{"a": '), ''),
    'a header that is no UTF-8': (raw(b'{"\xff": 1}'), ''),
    'a header that is a list': (raw([1]), ''),
    'an entry that is a number': (raw({'w.bias': 3}), 'w.bias'),
    'an entry without a shape': (raw({'w.bias': {'dtype': 'F32'}}), 'w.bias'),
    'an unknown type': (raw({'w.bias': F4 | {'dtype': 'Q7'}}, bytes(16)), 'w.bias'),
    'too few bytes': (raw({'w.bias': F4}, bytes(15)), 'w.bias'),
    'a wrong size': (raw({'w.bias': F4 | {'shape': [5]}}, bytes(16)), 'w.bias'),
    'a negative shape': (raw({'w.bias': F4 | {'shape': [-2, -2]}}, bytes(16)), 'w.bias'),
    'reversed offsets': (raw({'w.bias': F4 | {'data_offsets': [16, 0]}}, bytes(16)), 'w.bias'),
    'negative offsets': (raw({'w.bias': F4 | {'data_offsets': [-16, 0]}}, bytes(16)), 'w.bias'),
    'overlapping tensors': (raw({'w.bias': F4, 'v': F4 | {'data_offsets': [8, 24]}}, bytes(24)),
                            "'v'"),
    'a gap between tensors': (raw({'w.bias': F4 | {'data_offsets': [4, 20]}}, bytes(20)),
                              'w.bias'),
    'bytes of no tensor': (raw({'w.bias': F4}, bytes(20)), ''),
    'a name twice': (raw(b'{"a": 1, "a": 2}'), ''),
    'metadata that is a number': (raw({'__metadata__': 3}), ''),
    'metadata of numbers': (raw({'__metadata__': {'a': 3}}), ''),
    'a type that is a list': (raw({'w.bias': F4 | {'dtype': ['F32']}}, bytes(16)), 'w.bias'),
    'a shape with fractions': (raw({'w.bias': F4 | {'shape': [4.5]}}, bytes(16)), 'w.bias'),
    'a shape that is text': (raw({'w.bias': F4 | {'shape': '4'}}, bytes(16)), 'w.bias'),
    'a shape of truth values': (raw({'w.bias': F4 | {'shape': [True, 4]}}, bytes(16)), 'w.bias'),
    'an infinite shape': (raw(b'{"w.bias": {"dtype": "F32", "shape": [Infinity], '
                              b'"data_offsets": [0, 16]}}', bytes(16)), 'w.bias'),
    'too many dimensions': (raw({'w.bias': F4 | {'shape': [1] * 70 + [4]}}, bytes(16)), 'w.bias'),
    'a size beyond counting': (raw({'w.bias': F4 | {'shape': [2**61, 2**61, 0],
                                                    'data_offsets': [0, 0]}}), 'w.bias'),
    'a header of nested lists': (raw(b'{"a":' + b'[' * 200000 + b']' * 200000 + b'}'), ''),
    'a number of 5000 digits': (raw(b'{"a":' + b'9' * 5000 + b'}'), ''),
}


@pytest.mark.parametrize('what', DAMAGED)
def test_a_damaged_file_is_refused(what: str, tmp_path: Path) -> None:
    data, name = DAMAGED[what]
    path = tmp_path / 'bad.safetensors'
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read_safetensors(path)
    assert 'bad.safetensors' in str(error.value) and name in str(error.value)
    assert '\n' not in str(error.value)


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 10**6), flips=st.lists(st.tuples(st.integers(0, 10**6),
                                                           st.integers(0, 7)), max_size=4))
def test_no_damage_ends_in_another_error(cut: int, flips: list[tuple[int, int]],
                                         tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any truncation and any flipped bit is read or refused, never something else."""
    path = tmp_path_factory.getbasetemp() / 'fuzz.safetensors'
    write_safetensors(path, some_tensors())
    data = bytearray(path.read_bytes())
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    path.write_bytes(data[:len(data) - cut % len(data)])
    try:
        read_safetensors(path)
    except CheckpointError:
        pass


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='cannot be read'):
        read_safetensors(tmp_path)
    with pytest.raises(CheckpointError, match='no.safetensors'):
        read_safetensors(tmp_path / 'no.safetensors')


def test_an_unknown_type_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'x'"):
        write_safetensors(tmp_path / 'a', {'x': np.zeros(2, np.complex64)})


def test_worked_example_of_packing() -> None:
    """The example in the documentation of transformers' unpack_weights."""
    packed = np.array([[0b10100001, 0b00011000], [0b10010000, 0b00001010]], np.uint8)
    rows = [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]
    assert unpack(packed, 8).tolist() == rows
    np.testing.assert_array_equal(pack(np.array(rows, np.int8)), packed)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 33), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_packing_returns(out: int, columns: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (out, columns)).astype(np.int8)
    packed = pack(trits)
    assert packed.shape == (-(-out // 4), columns)
    check_packed(packed, out, columns, 'w')
    np.testing.assert_array_equal(unpack(packed, out), trits)


def test_packing_equals_transformers() -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    bitnet = pytest.importorskip('transformers.integrations.bitnet',
                                 reason='needs transformers (make oracles)')
    for out in (4, 8, 64):
        trits = np.random.default_rng(out).integers(-1, 2, (out, 12)).astype(np.int8)
        want = bitnet.pack_weights(torch.from_numpy(trits.copy())).numpy()
        np.testing.assert_array_equal(pack(trits), want)


def test_code_three_is_refused() -> None:
    packed = pack(np.zeros((8, 5), np.int8))
    for shift in (0, 2, 4, 6):
        bad = packed.copy()
        bad[1, 2] |= np.uint8(3 << shift)
        with pytest.raises(CheckpointError, match='some.weight'):
            check_packed(bad, 8, 5, 'some.weight')


@pytest.mark.parametrize('bad', [np.zeros((3, 5), np.uint8), np.zeros((2, 4), np.uint8),
                                 np.zeros((2, 5), np.int8), np.zeros(10, np.uint8)])
def test_packed_tensors_of_another_shape_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(CheckpointError, match='some.weight'):
        check_packed(bad, 8, 5, 'some.weight')


def test_ternarise_is_absmean() -> None:
    trits, scale = ternarise(np.array([[1, -1, .4], [.2, -3, .4]], np.float32))
    assert scale == pytest.approx(1.0)
    assert trits.tolist() == [[1, -1, 0], [0, -1, 0]]
    trits, scale = ternarise(np.zeros((2, 2), np.float32))
    assert not trits.any() and scale > 0


def test_ternarise_equals_transformers_next_to_ties() -> None:
    """There the product with the reciprocal of the mean and the quotient round apart."""
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    bitnet = pytest.importorskip('transformers.integrations.bitnet',
                                 reason='needs transformers (make oracles)')
    torch.compiler.set_stance('force_eager')
    apart = 0
    for seed in range(20):
        w = np.random.default_rng(seed).normal(0, 0.03, (16, 64)).astype(np.float32)
        for _ in range(4):  # each time the mean moves less
            w[0, :9] = np.float32(ternarise(w)[1]) / 2
            w[0, :9].view(np.int32)[:] += np.arange(-4, 5, dtype=np.int32)
        trits, scale = ternarise(w)
        mean = float(torch.from_numpy(w).abs().mean())
        assert scale == pytest.approx(mean, rel=3e-7)
        if scale != mean:  # torch sums in another order, which moves the tie itself
            continue
        want = bitnet.WeightQuant.apply(torch.from_numpy(w)).numpy()
        np.testing.assert_array_equal(trits, np.sign(want))
        apart += (trits != np.clip(np.rint(w / np.float32(scale)), -1, 1)).any()
    assert apart


@pytest.mark.parametrize('scale', [0.0, -1.0, float('nan'), float('inf')])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(CheckpointError, match='some.weight'):
        check_ternary(np.ones((2, 2), np.int8), scale, 'some.weight')


def test_weights_of_an_unlikely_size_are_refused() -> None:
    trits = np.zeros((10, 10), np.int8)
    with pytest.raises(CheckpointError, match='some.weight.*zeros'):
        check_ternary(trits, 1.0, 'some.weight')
    trits[0, :4] = 1, -1, 1, -1  # the size of the weights is a fifth of the scale
    for scale in (4.9e-4, 51.0):
        with pytest.raises(CheckpointError, match='some.weight.*linear_class'):
            check_ternary(trits, scale, 'some.weight')
    for scale in (5.1e-4, 49.0):
        check_ternary(trits, scale, 'some.weight')


def test_other_shapes_and_values_that_are_not_finite_are_refused() -> None:
    check_shape((2, 3), (2, 3), 'some.weight')
    check_finite(np.ones(3), 'some.weight')
    with pytest.raises(CheckpointError, match=r'some.weight.*\[2, 3\].*\[3, 2\]'):
        check_shape((2, 3), (3, 2), 'some.weight')
    for bad in (np.nan, -np.inf):
        with pytest.raises(CheckpointError, match='some.weight'):
            check_finite(np.array([1, bad]), 'some.weight')
