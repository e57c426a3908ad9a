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

from collections.abc import Callable
import json
import math
from pathlib import Path
import struct
from typing import Any

from edge_vla.checkpoints.packing import pack, ternarise
from edge_vla.checkpoints.safetensors import widen, write_safetensors
from edge_vla.checkpoints.sources import (
    GgufSource,
    HuggingFaceSource,
    open_source,
    Source,
)
from edge_vla.exceptions import CheckpointError
from edge_vla.language.config import BitNetConfig
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from test_gguf import gguf_bytes, i2_s, Tensors, tq2_0

CONFIG = BitNetConfig(
    hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=40, max_position_embeddings=96, rope_theta=500000.0,
    bos_token_id=0, eos_token_id=1)
EMBEDDING, HEAD, Q = 'model.embed_tokens', 'lm_head', 'model.layers.0.self_attn.q_proj'
LINEARS = {f'model.layers.{i}.{n}': s for i in range(2) for n, s in CONFIG.linears().items()}
NORMS = {f'model.layers.{i}.{n}': s for i in range(2) for n, s in CONFIG.norms().items()} | {
    'model.norm': CONFIG.hidden_size}


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Cut float32 to bfloat16, as uint16."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def masters() -> dict[str, np.ndarray]:
    """Weights that bfloat16 holds exactly, so that every kind starts from the same."""
    rng = np.random.default_rng(7)
    shapes = LINEARS | NORMS | {EMBEDDING: (CONFIG.vocab_size, CONFIG.hidden_size)}
    return {name: widen(to_bfloat16(rng.normal(1.0 if name in NORMS else 0.0, 0.05, shape)))
            for name, shape in shapes.items()}


MASTERS = masters()
WANT = {name: ternarise(MASTERS[name]) for name in LINEARS}


def write_bfloat16(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file, every float32 as bfloat16."""
    header, data = {}, b''
    for name, x in tensors.items():
        wide = x.dtype == np.float32
        stored = (to_bfloat16(x) if wide else x).tobytes()
        header[name] = {'dtype': 'BF16' if wide else 'U8', 'shape': list(x.shape),
                        'data_offsets': [len(data), len(data) + len(stored)]}
        data += stored
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def quantisation(linear_class: str = 'autobitlinear', mode: str = 'offline') -> dict[str, str]:
    return {'quant_method': 'bitnet', 'linear_class': linear_class, 'quantization_mode': mode}


def write_config(folder: Path, **changes: Any) -> None:
    """Write config.json, without the keys that are changed to None."""
    values = json.loads(CONFIG.to_json()) | changes
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(
        json.dumps({k: v for k, v in values.items() if v is not None}))


def packed(divide: bool = False) -> dict[str, np.ndarray]:
    tensors = {}
    for name, x in MASTERS.items():
        tensors[f'{name}.weight'] = pack(WANT[name][0]) if name in LINEARS else x
        if name in LINEARS:
            scale = WANT[name][1]
            tensors[f'{name}.weight_scale'] = np.array([1 / scale if divide else scale],
                                                       np.float32)
    return tensors


def multiply(folder: Path) -> Path:
    write_config(folder)
    write_safetensors(folder / 'model.safetensors', packed())
    return folder


def multiply_bfloat16(folder: Path) -> Path:
    write_config(folder)
    write_bfloat16(folder / 'model.safetensors', packed())
    return folder


def divide(folder: Path) -> Path:
    write_config(folder, quantization_config={'quant_method': 'bitnet'})
    write_safetensors(folder / 'model.safetensors', packed(divide=True))
    return folder


def online(folder: Path) -> Path:
    write_config(folder, quantization_config=quantisation(mode='online'))
    write_bfloat16(folder / 'model.safetensors', {f'{k}.weight': v for k, v in MASTERS.items()})
    return folder


def sharded(folder: Path) -> Path:
    write_config(folder)
    parts: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for k, (name, x) in enumerate(packed().items()):
        parts[k % 3][name] = x
    places = {}
    for k, part in enumerate(parts):
        write_bfloat16(folder / f'model-{k}.safetensors', part)
        places |= dict.fromkeys(part, f'model-{k}.safetensors')
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': places}))
    return folder


def gguf_name(name: str) -> str:
    """Return llama.cpp's name, by a table of its own."""
    words = [('model.layers.', 'blk.'), ('self_attn.attn_sub_norm', 'attn_sub_norm'),
             ('self_attn.o_proj', 'attn_output'), ('self_attn.', 'attn_'),
             ('mlp.ffn_sub_norm', 'ffn_sub_norm'), ('mlp.', 'ffn_'), ('_proj', ''),
             ('post_attention_layernorm', 'ffn_norm'), ('input_layernorm', 'attn_norm'),
             ('model.embed_tokens', 'token_embd'), ('model.norm', 'output_norm'),
             ('lm_head', 'output')]
    for old, new in words:
        name = name.replace(old, new)
    return f'{name}.weight'


def metadata(arch: str = 'bitnet-b1.58') -> dict[str, Any]:
    return {'general.architecture': arch, f'{arch}.embedding_length': 256,
            f'{arch}.block_count': 2, f'{arch}.feed_forward_length': 512,
            f'{arch}.attention.head_count': 4, f'{arch}.attention.head_count_kv': 2,
            f'{arch}.attention.layer_norm_rms_epsilon': 1e-5, f'{arch}.rope.freq_base': 500000.0,
            f'{arch}.rope.dimension_count': 64, f'{arch}.context_length': 96,
            f'{arch}.vocab_size': 40, 'tokenizer.ggml.model': 'gpt2',
            'tokenizer.ggml.tokens': [f't{i}' for i in range(40)],
            'tokenizer.ggml.bos_token_id': 0, 'tokenizer.ggml.eos_token_id': 1}


Encoder = Callable[[np.ndarray, float], tuple[int, bytes]]
ENCODERS: dict[str, Encoder] = {
    'I2_S': lambda t, s: (36, i2_s(t, s)),
    'TQ2_0': lambda t, s: (35, tq2_0(t, [s] * (t.size // 256)).tobytes()),
    'F32': lambda t, s: (0, (t * np.float32(s)).astype('<f4').tobytes()),
    'F16': lambda t, s: (1, (t * np.float32(s)).astype('<f2').tobytes()),
    'BF16': lambda t, s: (30, to_bfloat16(t * np.float32(s)).tobytes())}


def gguf_tensors(kind: str = 'I2_S') -> Tensors:
    tensors: Tensors = {}
    for name, x in MASTERS.items():
        code, stored = ENCODERS[kind](*WANT[name]) if name in LINEARS else (
            (0, x.tobytes()) if name in NORMS else (30, to_bfloat16(x).tobytes()))
        tensors[gguf_name(name)] = x.shape, code, stored
    return tensors


def gguf(kind: str, arch: str = 'bitnet-b1.58') -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / 'some.gguf').write_bytes(gguf_bytes(metadata(arch), gguf_tensors(kind)))
        return folder / 'some.gguf'
    return write


def gguf_masters(folder: Path) -> Path:
    """Write weights that nobody has ternarised."""
    folder.mkdir(exist_ok=True)
    tensors: Tensors = {gguf_name(k): (x.shape, 0, x.tobytes()) for k, x in MASTERS.items()}
    (folder / 'some.gguf').write_bytes(gguf_bytes(metadata('bitnet'), tensors))
    return folder


def gguf_scaled(folder: Path) -> Path:
    """Write bare trits, each with its scale in a tensor of its own, as older converters did."""
    folder.mkdir(exist_ok=True)
    tensors = gguf_tensors()
    for name, (trits, scale) in WANT.items():
        key = gguf_name(name)
        tensors[key] = trits.shape, 0, trits.astype('<f4').tobytes()
        tensors[key.replace('weight', 'scale')] = (1,), 0, struct.pack('<f', scale)
    (folder / 'some.gguf').write_bytes(gguf_bytes(metadata('bitnet'), tensors))
    return folder


KINDS = {  # how to write it, and how precisely it holds a scale
    'packed, multiply': (multiply, 0), 'packed, multiply, bfloat16': (multiply_bfloat16, 2**-7),
    'packed, divide': (divide, 1e-6), 'masters': (online, 0), 'in shards': (sharded, 2**-7),
    'I2_S': (gguf('I2_S'), 0), 'I2_S of 2025': (gguf('I2_S', 'bitnet-25'), 0),
    'TQ2_0': (gguf('TQ2_0', 'bitnet'), 2**-11), 'F32': (gguf('F32', 'bitnet'), 0),
    'F16': (gguf('F16', 'bitnet'), 2**-11), 'BF16': (gguf('BF16', 'bitnet'), 2**-7),
    'F32 masters': (gguf_masters, 0), 'bare trits and scales': (gguf_scaled, 0)}


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


def read_all(source: Source) -> None:
    config = BitNetConfig.from_dict(source.config, 'it')
    for i in range(config.num_hidden_layers):
        for name, shape in config.linears().items():
            source.trits(f'model.layers.{i}.{name}', *shape)
        for name, size in config.norms().items():
            source.vector(f'model.layers.{i}.{name}', size)
    source.vector('model.norm', config.hidden_size)
    shape = config.vocab_size, config.hidden_size
    source.rows(EMBEDDING, shape)
    if not config.tie_word_embeddings:
        source.rows(HEAD, shape)


NAN = np.array([math.nan], np.float32)
CODE_3 = np.full((64, 256), 3, np.uint8)
HF_TENSORS: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    'no matrix': ({f'{Q}.weight': None}, f'{Q}.weight'),
    'no scale': ({f'{Q}.weight_scale': None}, f'{Q}.weight_scale'),
    'no norm': ({'model.norm.weight': None}, 'model.norm.weight'),
    'no embedding': ({f'{EMBEDDING}.weight': None}, f'{EMBEDDING}.weight'),
    'code 3': ({f'{Q}.weight': CODE_3}, f'{Q}.weight.*code 3'),
    'a matrix of another shape': ({f'{Q}.weight': CODE_3[1:]}, f'{Q}.weight'),
    'a matrix of bytes': ({f'{Q}.weight': CODE_3.astype(np.int8)}, f'{Q}.weight.*int8'),
    'a matrix of masters': ({f'{Q}.weight': MASTERS[Q]}, f'{Q}.weight.*"online"'),
    'a matrix of zeros': ({f'{Q}.weight': pack(np.zeros((256, 256), np.int8))},
                          f'{Q}.weight.*nothing but zeros'),
    'a scale that is NaN': ({f'{Q}.weight_scale': NAN}, f'{Q}.weight_scale'),
    'a scale that is infinite': ({f'{Q}.weight_scale': NAN * 0 + np.inf}, f'{Q}.weight_scale'),
    'a scale of 0': ({f'{Q}.weight_scale': np.zeros(1, np.float32)}, f'{Q}.weight_scale'),
    'a scale below 0': ({f'{Q}.weight_scale': np.full(1, -1, np.float32)}, f'{Q}.weight_scale'),
    'two scales': ({f'{Q}.weight_scale': np.ones(2, np.float32)}, f'{Q}.weight_scale'),
    'a scale of the other class': ({f'{Q}.weight_scale': np.full(1, 25, np.float32)},
                                   f'{Q}.weight.*linear_class'),
    'a tiny scale': ({f'{Q}.weight_scale': np.full(1, 1e-5, np.float32)}, 'linear_class'),
    'a norm that is not finite': ({'model.norm.weight': np.repeat(NAN, 256)},
                                  'model.norm.weight.*finite'),
    'a norm of integers': ({'model.norm.weight': np.ones(256, np.int32)},
                           'model.norm.weight.*int32'),
    'a larger vocabulary': ({f'{EMBEDDING}.weight': np.zeros((41, 256), np.float32)},
                            f'{EMBEDDING}.weight.*41'),
    'a bias': ({f'{Q}.bias': np.ones(256, np.float32)}, f'{Q}.bias'),
    'a norm in a linear': ({f'{Q}.rms_norm.weight': np.ones(256, np.float32)}, f'{Q}.rms_norm'),
}


@pytest.mark.parametrize('what', HF_TENSORS)
def test_a_wrong_tensor_is_named(what: str, tmp_path: Path) -> None:
    changes, match = HF_TENSORS[what]
    tensors = {k: v for k, v in (packed() | changes).items() if v is not None}
    write_config(tmp_path)
    write_safetensors(tmp_path / 'model.safetensors', tensors)
    with pytest.raises(CheckpointError, match=match):
        read_all(open_source(tmp_path))


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_masters_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    folder = online(tmp_path / 'it')
    tensors = {f'{k}.weight': v.copy() for k, v in MASTERS.items()}
    tensors[f'{Q}.weight'][3, 4] = bad
    write_bfloat16(folder / 'model.safetensors', tensors)
    with pytest.raises(CheckpointError, match=f'{Q}.weight.*not finite'):
        read_all(open_source(folder))


@pytest.mark.parametrize(('write', 'changes', 'match'), [
    (online, {'quantization_config': None}, 'masters.*autobitlinear.*online'),
    (multiply, {'quantization_config': None}, 'packed.*autobitlinear.*offline'),
    (online, {'quantization_config': quantisation()}, f'{Q}.weight.*"online"'),
    (multiply, {'quantization_config': quantisation(mode='online')}, f'{Q}.weight.*"offline"'),
    (multiply, {'quantization_config': quantisation() | {'quant_method': 'gptq'}}, 'gptq|bitnet'),
    (multiply, {'quantization_config': quantisation('linear')}, "'linear'"),
    (multiply, {'quantization_config': quantisation(mode='later')}, "'later'"),
    (multiply, {'quantization_config': quantisation([])}, 'linear_class'),
    (multiply, {'quantization_config': 'bitnet'}, 'quantization_config'),
    (multiply, {'quantization_config': quantisation() | {'use_rms_norm': True}}, 'use_rms_norm'),
    (multiply, {'quantization_config': quantisation() | {'modules_to_not_convert': ['q_proj']}},
     'q_proj'),
    (divide, {'quantization_config': quantisation()}, 'linear_class'),
    (multiply, {'vocab_size': 41}, f'{EMBEDDING}.weight'),
    (multiply, {'model_type': 'llama'}, 'llama'),
    (multiply, {'head_dim': 32}, 'head_dim'),
    (multiply, {'rope_scaling': {'type': 'linear', 'factor': 2}}, 'linear'),
    (multiply, {'rope_scaling': [1]}, 'RoPE'),
    (multiply, {'rms_norm_eps': math.nan}, 'rms_norm_eps'),
    (multiply, {'rope_theta': 0}, 'rope_theta'),
    (multiply, {'tie_word_embeddings': False}, f'{HEAD}.weight')])
def test_a_wrong_configuration_is_refused(write: Callable[[Path], Path], changes: dict[str, Any],
                                          match: str, tmp_path: Path) -> None:
    folder = write(tmp_path / 'it')
    write_config(folder, **changes)
    with pytest.raises(CheckpointError, match=match):
        read_all(open_source(folder))


@pytest.mark.parametrize('said', [
    {'linear_class': 'autobitlinear'},  # packed, if it does not say
    quantisation() | {'modules_to_not_convert': ['lm_head']},
    quantisation() | {'modules_to_not_convert': None}])
def test_other_words_for_the_same(said: dict[str, Any], tmp_path: Path) -> None:
    folder = multiply(tmp_path / 'it')
    write_config(folder, quantization_config=said)
    read_all(open_source(folder))


@pytest.mark.parametrize(('change', 'match'), [
    ({f'{Q}.weight': 'gone.safetensors'}, "'gone.safetensors', which is not there"),
    ({f'{Q}.weight': '../model-0.safetensors'}, 'not there'),
    ({f'{Q}.weight': ''}, 'not there'), ({f'{Q}.weight': 3}, 'weight_map'),
    ({'more.weight': 'model-0.safetensors'}, "'model-0.safetensors' has no tensor 'more.weight'"),
])
def test_a_wrong_index_is_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    index = sharded(tmp_path / 'it') / 'model.safetensors.index.json'
    values = json.loads(index.read_text())
    values['weight_map'] |= change
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=match):
        open_source(tmp_path / 'it')
    index.write_text('{}')
    with pytest.raises(CheckpointError, match='weight_map'):
        open_source(tmp_path / 'it')


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    for write in (multiply, sharded, gguf('I2_S')):
        folder = write(tmp_path / 'it')
        for path in (folder.glob('*.safetensors') if folder.is_dir() else [folder]):
            data = path.read_bytes()
            path.write_bytes(data[:-1])
            with pytest.raises(CheckpointError, match=path.name):
                open_source(folder)
            path.write_bytes(data)
        if folder.is_dir():
            (folder / 'model.safetensors').unlink(missing_ok=True)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='no config.json and 0 GGUF'):
        open_source(tmp_path)
    with pytest.raises(CheckpointError, match='nowhere'):
        open_source(tmp_path / 'nowhere')
    write_config(tmp_path)
    with pytest.raises(CheckpointError, match='model.safetensors'):
        open_source(tmp_path)
    with pytest.raises(CheckpointError, match='not a GGUF file'):
        open_source(tmp_path / 'config.json')
    folder = gguf('I2_S')(tmp_path / 'two').parent
    (folder / 'b.gguf').write_bytes(b'')
    with pytest.raises(CheckpointError, match='2 GGUF'):
        open_source(folder)


def without(*names: str) -> dict[str, Any]:
    return {k: v for k, v in metadata().items() if k not in names}


B = 'bitnet-b1.58'
GGUF_METADATA = {
    'no architecture': (without('general.architecture'), 'None'),
    'another architecture': (metadata('llama'), 'llama'),
    'an architecture that is a list': (metadata() | {'general.architecture': ['x']}, 'x'),
    'no width': (without(f'{B}.embedding_length'), 'embedding_length'),
    'no epsilon': (without(f'{B}.attention.layer_norm_rms_epsilon'), 'rms_epsilon'),
    'a width that is text': (metadata() | {f'{B}.embedding_length': '256'}, 'embedding_length'),
    'an infinite base': (metadata() | {f'{B}.rope.freq_base': math.inf}, 'freq_base'),
    'heads by layer': (metadata() | {f'{B}.attention.head_count': np.array([4, 4], np.int32)},
                       'head_count'),
    'no heads': (metadata() | {f'{B}.attention.head_count': 0}, 'num_attention_heads|heads'),
    'another vocabulary': (metadata() | {f'{B}.vocab_size': 41}, '40 tokens.*41'),
    'no vocabulary': (without(f'{B}.vocab_size', 'tokenizer.ggml.tokens'), 'vocab_size'),
    'part of the head rotated': (metadata() | {f'{B}.rope.dimension_count': 32},
                                 'rope.dimension_count'),
    'scaled positions': (metadata() | {f'{B}.rope.scaling.type': 'linear',
                                       f'{B}.rope.scaling.factor': 4.0}, 'RoPE'),
    'too many layers': (metadata() | {f'{B}.block_count': 2**31}, 'blk.2.'),
    'too few layers': (metadata() | {f'{B}.block_count': 1}, 'blk.1.'),
}


@pytest.mark.parametrize('what', GGUF_METADATA)
def test_wrong_metadata_are_refused(what: str, tmp_path: Path) -> None:
    values, match = GGUF_METADATA[what]
    (tmp_path / 'a.gguf').write_bytes(gguf_bytes(values, gguf_tensors()))
    with pytest.raises(CheckpointError, match=match):
        read_all(open_source(tmp_path))


def test_metadata_may_be_short(tmp_path: Path) -> None:
    """What llama.cpp has defaults for may be left out."""
    (tmp_path / 'a.gguf').write_bytes(gguf_bytes(without(
        f'{B}.vocab_size', f'{B}.rope.dimension_count', f'{B}.context_length',
        'tokenizer.ggml.bos_token_id', f'{B}.rope.freq_base') | {
            f'{B}.rope.scaling.type': 'linear', f'{B}.rope.scaling.factor': 1.0}, gguf_tensors()))
    config = open_source(tmp_path).config
    assert (config['vocab_size'], config['rope_theta']) == (40, 10000.0)
    assert 'bos_token_id' not in config


QT = np.zeros((256, 256), np.int8)
GGUF_TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    'no matrix': ({'blk.0.attn_q.weight': None}, 'blk.0.attn_q.weight'),
    'no norm': ({'blk.1.ffn_sub_norm.weight': None}, 'blk.1.ffn_sub_norm.weight'),
    'no embedding': ({'token_embd.weight': None}, 'token_embd.weight'),
    'a turned matrix': ({'blk.0.ffn_up.weight': ((256, 512), 36, bytes(32768 + 32))},
                        'blk.0.ffn_up.weight.*256, 512'),
    'code 3': ({'blk.0.attn_q.weight': ((256, 256), 36, b'\xff' * 16384 + bytes(32))},
               'blk.0.attn_q.weight.*code 3'),
    'a scale of 0': ({'blk.0.attn_q.weight': ((256, 256), 36, i2_s(QT + 1, 0))},
                     'blk.0.attn_q.weight'),
    'a scale that is NaN': ({'blk.0.attn_q.weight': ((256, 256), 36, i2_s(QT + 1, math.nan))},
                            'blk.0.attn_q.weight'),
    'a scale below 0': ({'blk.0.attn_q.weight': ((256, 256), 36, i2_s(QT + 1, -1))},
                        'blk.0.attn_q.weight'),
    'a monstrous scale': ({'blk.0.attn_q.weight': ((256, 256), 36, i2_s(QT + 1, 1e9))},
                          'blk.0.attn_q.weight'),
    'zeros': ({'blk.0.attn_q.weight': ((256, 256), 36, i2_s(QT, 1))}, 'nothing but zeros'),
    'zeros in blocks': ({'blk.0.attn_q.weight': (
        (256, 256), 35, tq2_0(QT, [0] * 256).tobytes())}, 'nothing but zeros'),
    'zeros in floats': ({'blk.0.attn_q.weight': ((256, 256), 0, bytes(262144))},
                        'nothing but zeros'),
    'a scale for each block': ({'blk.0.attn_q.weight': (
        (256, 256), 35, tq2_0(QT + 1, [1, .5] * 128).tobytes())},
        'blk.0.attn_q.weight.*2 different scales'),
    'masters that are not finite': ({'blk.0.attn_q.weight': (
        (256, 256), 1, b'\0\x7c' * 65536)}, 'blk.0.attn_q.weight.*not finite'),
    'a matrix in Q8_0': ({'blk.0.attn_q.weight': ((256, 256), 8, bytes(69632))},
                         'blk.0.attn_q.weight.*Q8_0'),
    'a matrix of an unknown type': ({'blk.0.attn_q.weight': ((256, 256), 38, bytes(64))},
                                    'blk.0.attn_q.weight.*number 38'),
    'an embedding in I2_S': ({'token_embd.weight': ((40, 256), 36, bytes(2560 + 32))},
                             'token_embd.weight.*I2_S'),
    'a larger vocabulary': ({'token_embd.weight': ((41, 256), 1, bytes(20992))},
                            'token_embd.weight.*41'),
    'a norm that is not finite': ({'output_norm.weight': ((256,), 0, NAN.tobytes() * 256)},
                                  'output_norm.weight.*not finite'),
    'two scales beside': ({'blk.0.attn_q.scale': ((2,), 0, bytes(8))}, 'blk.0.attn_q.scale'),
    'a bias': ({'blk.0.attn_q.bias': ((256,), 0, bytes(1024))}, 'blk.0.attn_q.bias'),
    'frequencies': ({'rope_freqs.weight': ((32,), 0, bytes(128))}, 'rope_freqs.weight'),
}


@pytest.mark.parametrize('what', GGUF_TENSORS)
def test_a_wrong_tensor_of_a_gguf_file_is_named(what: str, tmp_path: Path) -> None:
    changes, match = GGUF_TENSORS[what]
    tensors = {k: v for k, v in (gguf_tensors() | changes).items() if v is not None}
    (tmp_path / 'a.gguf').write_bytes(gguf_bytes(metadata(), tensors))
    with pytest.raises(CheckpointError, match=match):
        read_all(open_source(tmp_path))


def test_unknown_modules_are_named(tmp_path: Path) -> None:
    for folder in (multiply(tmp_path / 'a'), gguf('I2_S')(tmp_path / 'b')):
        for name in ('model.layers.0.mlp.gate', 'model.head', 'blk.0.attn_q'):
            with pytest.raises(CheckpointError, match=name):
                open_source(folder).vector(name, 256)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp('whole')
    online(folder)
    return {'model.safetensors': (folder / 'model.safetensors').read_bytes(),
            'config.json': (folder / 'config.json').read_bytes(),
            'a.gguf': gguf_bytes(metadata(), gguf_tensors())}


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(['model.safetensors', 'config.json', 'a.gguf']),
       cut=st.just(0) | st.integers(0, 10**6),
       changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=3))
def test_no_damage_ends_in_another_error(
        whole: dict[str, bytes], name: str, cut: int, changes: list[tuple[int, int]],
        tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any truncation and any changed byte of a head is read or refused, never something else."""
    folder = tmp_path_factory.getbasetemp() / 'fuzz'
    folder.mkdir(exist_ok=True)
    data = bytearray(whole[name])
    for place, byte in changes:
        data[place % len(data)] = byte
    data = data[:len(data) - cut % len(data)]
    try:
        if name == 'a.gguf':
            (folder / name).write_bytes(data)
            read_all(GgufSource(folder / name))
        else:
            for other in ('model.safetensors', 'config.json'):
                (folder / other).write_bytes(data if other == name else whole[other])
            read_all(HuggingFaceSource(folder))
    except CheckpointError:
        pass
