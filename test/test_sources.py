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

"""Checkpoints of every kind: all give the same matrices, and what is wrong with one is named."""

from pathlib import Path

from bitnet_files import (
    CONFIG,
    EMBEDDING,
    gguf,
    gguf_name,
    gguf_tensors,
    HEAD,
    KINDS,
    LINEARS,
    MASTERS,
    metadata,
    multiply,
    multiply_bfloat16,
    NORMS,
    packed,
    WANT,
    write_bfloat16,
    write_config,
)
from edge_vla.checkpoints.safetensors import write_safetensors
from edge_vla.checkpoints.sources import (
    GgufSource,
    open_source,
)
from edge_vla.exceptions import CheckpointError
from edge_vla.language.config import BitNetConfig
import numpy as np
import pytest
from test_gguf import gguf_bytes


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_gives_the_same(kind: str, tmp_path: Path) -> None:
    write, precision = KINDS[kind]
    source = open_source(write(tmp_path / 'it'))
    for name, shape in LINEARS.items():
        trits, scale = source.trits(name, *shape)
        assert trits.dtype == np.int8 and type(scale) is float
        np.testing.assert_array_equal(trits, WANT[name][0], err_msg=name)
        assert scale == pytest.approx(WANT[name][1], rel=precision, abs=0), name
    for name, size in NORMS.items():
        gains = source.vector(name, size)
        assert gains.dtype == np.float32
        np.testing.assert_array_equal(gains, MASTERS[name])
    shape = CONFIG.vocab_size, CONFIG.hidden_size
    for part in (slice(0, None), slice(3, 9), slice(39, 40), slice(5, 5)):
        rows = source.rows(EMBEDDING, shape, part.start, part.stop)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, MASTERS[EMBEDDING][part])
    assert BitNetConfig.from_dict(source.config, 'it') == CONFIG
    source.close()
    np.testing.assert_array_equal(rows, MASTERS[EMBEDDING][5:5])
    with pytest.raises(CheckpointError, match='no tensor'):
        source.vector('model.norm', CONFIG.hidden_size)


def test_masters_are_ternarised_as_transformers_does() -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    bitnet = pytest.importorskip('transformers.integrations.bitnet',
                                 reason='needs transformers (make oracles)')
    torch.compiler.set_stance('force_eager')
    for name, (trits, scale) in WANT.items():
        want = bitnet.WeightQuant.apply(torch.from_numpy(MASTERS[name])).numpy()
        np.testing.assert_array_equal(trits, np.sign(want), err_msg=name)
        np.testing.assert_allclose(trits * np.float32(scale), want, rtol=3e-7)


@pytest.mark.parametrize('kind', ['TQ1_0', 'TQ2_0', 'F16', 'F32'])
@pytest.mark.parametrize('embedding', ['Q8_0', 'Q4_0', 'F16'])
def test_files_of_the_library_are_read(kind: str, embedding: str, tmp_path: Path) -> None:
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    path = tmp_path / 'a.gguf'
    writer = library.GGUFWriter(path, 'bitnet')
    writer.add_embedding_length(256)
    writer.add_block_count(2)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_scaling_type(library.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(1.0)
    writer.add_context_length(96)
    writer.add_token_list([f't{i}' for i in range(40)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    wanted = library.GGMLQuantizationType[embedding]
    for name, x in MASTERS.items():
        code = library.GGMLQuantizationType[kind] if name in LINEARS else (
            wanted if name == EMBEDDING else library.GGMLQuantizationType.F32)
        if name in LINEARS:
            x = WANT[name][0] * np.float32(WANT[name][1])
        writer.add_tensor(gguf_name(name), library.quants.quantize(x, code), raw_dtype=code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    source = open_source(path)
    assert isinstance(source, GgufSource)
    for name, shape in LINEARS.items():
        trits, scale = source.trits(name, *shape)
        np.testing.assert_array_equal(trits, WANT[name][0])
        assert scale == pytest.approx(WANT[name][1], rel=2**-11)
    want = library.quants.dequantize(library.quants.quantize(MASTERS[EMBEDDING], wanted), wanted)
    np.testing.assert_array_equal(source.rows(EMBEDDING, (40, 256), 11, 30), want[11:30])
    assert BitNetConfig.from_dict(source.config, 'it') == CONFIG
    assert source.metadata['tokenizer.ggml.tokens'][39] == 't39'


def test_an_embedding_in_blocks_is_read_by_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    stored = rng.integers(0, 256, (40, 210), np.uint8)  # Q6_K
    stored[:, 208:] = rng.normal(0, 0.1, 40).astype('<f2')[:, None].view(np.uint8)
    tensors = gguf_tensors() | {'token_embd.weight': ((40, 256), 14, stored.tobytes())}
    path = tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes(metadata(), tensors))
    source = open_source(path)
    whole = source.rows(EMBEDDING, (40, 256))
    assert np.ptp(whole) > 10
    np.testing.assert_array_equal(source.rows(EMBEDDING, (40, 256), 7, 21), whole[7:21])


def test_of_a_large_matrix_only_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    """A value that would be refused lies outside them."""
    bad = MASTERS[EMBEDDING].copy()
    bad[20, 3] = np.nan
    folder = multiply_bfloat16(tmp_path / 'it')
    write_bfloat16(folder / 'model.safetensors', packed() | {f'{EMBEDDING}.weight': bad})
    path = gguf('I2_S')(tmp_path / 'g')
    path.write_bytes(gguf_bytes(metadata(), gguf_tensors() | {
        'token_embd.weight': ((40, 256), 0, bad.tobytes())}))
    for source, name in ((open_source(folder), EMBEDDING), (open_source(path), 'token_embd')):
        source.rows(EMBEDDING, (40, 256), 0, 20)
        source.rows(EMBEDDING, (40, 256), 21)
        with pytest.raises(CheckpointError, match=f'{name}.weight.*not finite'):
            source.rows(EMBEDDING, (40, 256), 20, 21)


@pytest.mark.parametrize(('said', 'head', 'tied'), [
    (True, None, True), (True, 'same', True), (True, 'other', False), (False, 'same', False),
    (False, None, False), (None, None, True), (None, 'same', False)])
def test_whether_the_head_is_the_embedding(said: bool | None, head: str | None, tied: bool,
                                           tmp_path: Path) -> None:
    """As transformers decides it: a head of its own counts, whatever config.json says."""
    write_config(tmp_path, tie_word_embeddings=said)
    tensors = packed()
    if head:
        tensors[f'{HEAD}.weight'] = MASTERS[EMBEDDING] + np.float32(head == 'other')
    write_safetensors(tmp_path / 'model.safetensors', tensors)
    source = open_source(tmp_path)
    assert source.config['tie_word_embeddings'] is tied
    if head:
        np.testing.assert_array_equal(source.rows(HEAD, (40, 256)), tensors[f'{HEAD}.weight'])


def test_a_gguf_file_may_have_a_head(tmp_path: Path) -> None:
    path = tmp_path / 'a.gguf'
    head = MASTERS[EMBEDDING][::-1]
    path.write_bytes(gguf_bytes(metadata(), gguf_tensors() | {
        'output.weight': ((40, 256), 0, head.tobytes())}))
    source = open_source(path)
    assert source.config['tie_word_embeddings'] is False
    np.testing.assert_array_equal(source.rows(HEAD, (40, 256)), head)


@pytest.mark.parametrize(('said', 'ends'), [('{"eos_token_id": [7, 9]}', (7, 9)), ('{}', (3,)),
                                            ('{"eos_token_id": null}', (3,))])
def test_generation_config_says_what_ends_a_text(said: str, ends: tuple[int, ...],
                                                 tmp_path: Path) -> None:
    folder = multiply(tmp_path / 'it')
    write_config(folder, eos_token_id=3)
    (folder / 'generation_config.json').write_text(said)
    assert BitNetConfig.from_dict(open_source(folder).config, 'it').eos_token_id == (
        ends if len(ends) > 1 else ends[0])


def test_a_gguf_file_beside_a_bare_config_is_read(tmp_path: Path) -> None:
    gguf('I2_S')(tmp_path / 'it')
    write_config(tmp_path / 'it')
    assert isinstance(open_source(tmp_path / 'it'), GgufSource)


@pytest.mark.parametrize(('more', 'message'), [
    ({'split.count': 2}, 'one of 2 parts'),
    ({'tokenizer.ggml.bos_token_id': 10**6}, 'bos_token_id.* beyond a vocabulary')])
def test_metadata_that_cannot_be_is_refused(more: dict[str, int], message: str,
                                            tmp_path: Path) -> None:
    path = tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes(metadata('bitnet-b1.58') | more, gguf_tensors()))
    with pytest.raises(CheckpointError, match=message):
        open_source(path)


def test_newer_files_keep_the_rotation_elsewhere(tmp_path: Path) -> None:
    folder = multiply(tmp_path / 'it')
    write_config(folder, rope_theta=None, rope_parameters={'rope_type': 'default',
                                                           'rope_theta': 1234.5})
    assert open_source(folder).config['rope_theta'] == 1234.5


@pytest.mark.parametrize(('arch', 'more', 'activation'), [
    ('bitnet-b1.58', {}, 'relu2'), ('bitnet', {}, 'relu2'),
    ('bitnet', {'tokenizer.ggml.model': 'llama'}, 'silu'),
    ('bitnet', {'bitnet.hidden_activation': 'silu'}, 'silu'),
    ('bitnet', {'bitnet.hidden_activation': 'relu2', 'tokenizer.ggml.model': 'llama'}, 'relu2')])
def test_the_activation_of_a_gguf_file(arch: str, more: dict[str, str], activation: str,
                                       tmp_path: Path) -> None:
    path = tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes(metadata(arch) | more, gguf_tensors()))
    config = open_source(path).config
    assert config['hidden_act'] == activation
    if activation != 'relu2':
        with pytest.raises(CheckpointError, match='silu'):
            BitNetConfig.from_dict(config, 'a.gguf')
