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

"""Converted decoders: the same model back, and no damaged file is taken for one."""

import json
from pathlib import Path
import shutil
import subprocess
import sys

from bitnet_models import config_of, masters, model_of, some_ids
from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.cli.main import main
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.isa import best_isa
from edge_vla.language import store
from edge_vla.language.decoder import Decoder, DecoderSettings, load_decoder
from edge_vla.language.engine import EngineModel
from edge_vla.language.store import FILE, load_model, save_model
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SHIPPED = Path(__file__).parents[1] / 'edge_vla' / 'checkpoints' / 'pilot' / 'language'


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('head', ['float32', 'int8', 'int6', 'int4'])
@pytest.mark.parametrize('packing', ['5bit', '2bit'])
@pytest.mark.parametrize('resident', [True, False])
def test_what_is_saved_comes_back(resident: bool, packing: str, head: str, tied: bool,
                                  tmp_path: Path) -> None:
    config = config_of('odd rows', tie_word_embeddings=tied)
    model = model_of(config, masters(config), packing, head)
    path = save_model(model, tmp_path / 'a' / 'b')
    again = load_model(path.parent, resident)
    assert (again.config, again.packing, again.head) == (config, packing, head)
    assert set(again.tensors) == set(model.tensors)
    for name, array in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], array)
        assert again.tensors[name].dtype == array.dtype
        assert not again.tensors[name].flags.writeable
    assert again.tensors['body'].ctypes.data % 64 == 0
    assert not list(tmp_path.rglob('*.partial'))
    assert load_model(path).head == head


def test_packing_again_changes_no_logit(tmp_path: Path) -> None:
    config, wanted = config_of('wide'), best_isa().packing
    ids = some_ids(config, 8)
    for packing in ('5bit', '2bit'):
        folder = tmp_path / packing
        save_model(model_of(config, masters(config), packing), folder)
        decoder = load_decoder(folder)
        assert decoder.isa.packing == wanted
        np.testing.assert_array_equal(
            decoder.logits(ids), Decoder(model_of(config, masters(config))).logits(ids))


FORGETTING = """
import sys
from edge_vla.kernels.compiling import release_compiler
from edge_vla.language.decoder import load_decoder
from edge_vla.memory import memory_mb
import numba
import numpy as np

decoder = load_decoder(sys.argv[1])
said, used = decoder.forward([1, 2, 3]), memory_mb()
program = decoder._program.run
assert program.overloads
release_compiler(program)
print(used - memory_mb())
assert not any(getattr(r.library, '_shared_module', None) for r in program.overloads.values())
decoder.cache.truncate(0)
np.testing.assert_array_equal(decoder.forward([1, 2, 3]), said)
assert numba.njit(lambda x: x * 2 + 1)(3) == 7  # what is needed again is read again
"""


@pytest.mark.skipif(not Path('/proc/self/smaps').exists(), reason='Linux says what is resident')
def test_the_memory_of_the_compiler_is_given_back(tmp_path: Path) -> None:
    config = config_of('wide')
    save_model(model_of(config, masters(config), best_isa().packing, 'int8'), tmp_path)
    for _ in range(2):  # the second time from the cache
        done = subprocess.run([sys.executable, '-c', FORGETTING, str(tmp_path)], text=True,
                              capture_output=True, check=False, timeout=300)
        assert not done.returncode, done.stderr
        assert float(done.stdout) > 20  # MB


def test_safetensors_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip('safetensors.numpy', reason='needs safetensors')
    config = config_of('one head')
    model = model_of(config, masters(config), '5bit', 'int4')
    theirs = safetensors.load_file(save_model(model, tmp_path))
    assert set(theirs) == set(model.tensors)
    np.testing.assert_array_equal(theirs['body'], model.tensors['body'])


def saved(tmp_path: Path, **more: str) -> Path:
    config = config_of('one head')
    return save_model(model_of(config, masters(config), head='int8'), tmp_path)


def rewritten(path: Path, tensors: dict | None = None, metadata: dict | None = None) -> Path:
    old, words = read_safetensors(path)
    new = {name: np.array(array) for name, array in old.items()} | (tensors or {})
    words = {k: v for k, v in (words | (metadata or {})).items() if v is not None}
    write_safetensors(path, {k: v for k, v in new.items() if v is not None},
                      words | {'metadata_crc32': store._metadata_sum(words)})
    return path


@pytest.mark.parametrize('name', ['body', 'scales', 'head', 'head_scales', 'ffn_norm'])
def test_a_flipped_bit_is_found_and_named(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    tensors, _ = read_safetensors(path)
    damaged = np.array(tensors[name])
    damaged.reshape(-1).view(np.uint8)[-1] ^= 4
    with pytest.raises(CheckpointError, match=f"'{name}' does not match its checksum"):
        load_model(rewritten(path, {name: damaged}))


@pytest.mark.parametrize('change', [
    {'body': None}, {'body': np.zeros(3, np.uint8)}, {'scales': np.zeros((1, 6), np.float32)},
    {'head': np.zeros((11, 64), np.int8)}, {'embedding': np.zeros(4, np.float32)}])
def test_tensors_of_another_shape_are_named(change: dict, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"'{next(iter(change))}'"):
        load_model(rewritten(saved(tmp_path), change))


@pytest.mark.parametrize('change', [
    {'format': 'other'}, {'version': '99'}, {'packing': '1bit'}, {'head': 'q6'},
    {'config': '{}'}, {'config': None}, {'crc32': '[]'}, {'crc32': '{"body": 3}'}])
def test_metadata_that_is_wrong_is_refused(change: dict, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=FILE):
        load_model(rewritten(saved(tmp_path), metadata=change))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_goes_unnoticed(tmp_path_factory: pytest.TempPathFactory,
                                  data: st.DataObject) -> None:
    path = saved(tmp_path_factory.mktemp('m'))
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans(), 'cut'):
        path.write_bytes(raw[:data.draw(st.integers(0, len(raw) - 1))])
    else:
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(raw)
    try:
        model = load_model(path)
    except CheckpointError:
        return
    assert_same(model)  # a changed space, or the name of the checksum: nothing that counts


def assert_same(model: EngineModel) -> None:
    config = config_of('one head')
    want = model_of(config, masters(config), head='int8')
    assert (model.config, model.packing, model.head) == (config, want.packing, want.head)
    for name, array in want.tensors.items():
        np.testing.assert_array_equal(model.tensors[name], array)


def test_no_bit_of_the_header_goes_unnoticed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = path.read_bytes()
    size, refused = 8 + int.from_bytes(raw[:8], 'little'), 0
    for at in range(size):
        for bit in ((0, 1, 2, 3) if at % 5 == 0 else (at % 8,)):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert_same(load_model(path))
            except CheckpointError:
                refused += 1
    assert refused > size


def test_a_file_without_a_checksum_of_its_metadata_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tensors, words = read_safetensors(path)
    del words['metadata_crc32']
    write_safetensors(path, {k: np.array(v) for k, v in tensors.items()}, words)
    assert_same(load_model(path))


def test_another_checkpoint_keeps_its_tokenizer(tmp_path: Path,
                                                capsys: pytest.CaptureFixture) -> None:
    there = tmp_path / 'other'
    there.mkdir()
    beside = {'config.json': b'{}', 'model.safetensors': b'', 'tokenizer_config.json': b'{}'}
    for name, content in beside.items():
        (there / name).write_bytes(content)
    assert main(['convert', str(SHIPPED), str(there)]) == 2
    assert 'holds another checkpoint' in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in there.iterdir()} == beside


def test_who_interrupts_a_conversion_leaves_nothing(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    write = store.write_safetensors

    def interrupted(*what: object) -> None:
        write(*what)
        raise KeyboardInterrupt
    monkeypatch.setattr(store, 'write_safetensors', interrupted)
    config = config_of('one head')
    with pytest.raises(KeyboardInterrupt):
        save_model(model_of(config, masters(config)), tmp_path, SHIPPED)
    assert not list(tmp_path.iterdir())


def test_the_shipped_head_converted_says_the_same(tmp_path: Path,
                                                  capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'out'
    assert main(['convert', str(SHIPPED), str(out), '--head', 'float32']) == 0
    assert 'wrote' in capsys.readouterr().out
    assert (out / 'tokenizer.json').read_bytes() == (SHIPPED / 'tokenizer.json').read_bytes()
    ids = list(range(40))
    np.testing.assert_array_equal(load_decoder(out).logits(ids), load_decoder(SHIPPED).logits(ids))
    with pytest.raises(CheckpointError, match='convert the original'):
        load_decoder(out, DecoderSettings(head='int8'))


def test_a_folder_may_be_converted_in_place(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / 'it')
    there, ids = str(tmp_path / 'it'), [1, 2, 3]
    assert main(['convert', there, there, '--head', 'float32']) == 0
    np.testing.assert_array_equal(load_decoder(there).logits(ids),
                                  load_decoder(SHIPPED).logits(ids))
    assert main(['convert', there, there, '--head', 'int8']) == 0  # from the original once more
    assert load_model(Path(there)).head == 'int8'
    assert (Path(there) / 'tokenizer.json').read_bytes() == (
        SHIPPED / 'tokenizer.json').read_bytes()


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture) -> None:
    def full(path: Path, *what: object) -> None:
        path.write_bytes(b'begun')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(store, 'write_safetensors', full)
    assert main(['convert', str(SHIPPED), str(tmp_path / 'out')]) == 2
    assert f'{FILE}: cannot be written (No space' in capsys.readouterr().err
    assert not list((tmp_path / 'out').iterdir())


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere', 'out'], 'nowhere'), ([str(SHIPPED), 'out', '--packing', '3bit'], 'packing'),
    ([str(SHIPPED), __file__], 'is a file')])
def test_what_cannot_be_converted(arguments: list[str], message: str, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['convert', *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count('\n') == 0
    shutil.rmtree(tmp_path / 'out', ignore_errors=True)


def test_the_bench_measures_and_writes_a_report(tmp_path: Path,
                                                capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / 'report.json'
    assert main(['bench', 'language', '--model', str(SHIPPED), '--head', 'float32', '--threads',
                 '1,2', '--rounds', '1', '--prompt', '32', '--context', '128', '--json',
                 str(path)]) == 0
    report = json.loads(path.read_text())
    assert [row['threads'] for row in report['results']] == [1, 2]
    for row in report['results']:
        assert all(np.isfinite(value) and value > 0 for value in row.values())
    assert report['memory_mb']['peak'] >= report['memory_mb']['before'] > 0
    assert 'decode' in capsys.readouterr().out
    capsys.readouterr()
    for wrong in (['--shape', '9b'], ['--threads', 'x'], ['--prompt', '9999'], ['--kv', 'q4'],
                  ['--context', '64', '--prompt', '10'], ['--busy', '-1'], ['--rounds', '0'],
                  ['--json', str(tmp_path / 'report.json' / 'x')]):
        assert main(['bench', 'language', '--json', str(path), *wrong]) == 2
        assert wrong[0].lstrip('-') in capsys.readouterr().err
