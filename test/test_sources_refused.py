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

"""What is wrong with a checkpoint is refused, and said."""

from collections.abc import Callable
import json
import math
from pathlib import Path
from typing import Any

from bitnet_files import (
    divide,
    EMBEDDING,
    gguf,
    gguf_tensors,
    HEAD,
    MASTERS,
    metadata,
    multiply,
    online,
    packed,
    Q,
    quantisation,
    sharded,
    write_bfloat16,
    write_config,
)
from edge_vla.checkpoints.packing import pack
from edge_vla.checkpoints.safetensors import write_safetensors
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
from test_gguf import gguf_bytes, i2_s, tq2_0


def read_all(source: Source) -> None:
    config = BitNetConfig.from_dict(source.config, 'it')
    source.check(config.shapes())
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
    'a bias of the head': ({f'{HEAD}.bias': np.ones(40, np.float32)}, f'{HEAD}.bias'),
    'a layer too many': ({Q.replace('.0.', '.2.') + '.weight': CODE_3 * 0},
                         'layers.2.self_attn.q_proj.weight'),
    'a part of something else': ({'vision.weight': NAN * 0}, 'vision.weight'),
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
    (multiply, {'num_hidden_layers': 1}, 'layers.1.'),
    (multiply, {'num_hidden_layers': 1.5}, 'num_hidden_layers is 1.5, expected a whole number'),
    (multiply, {'num_hidden_layers': True}, 'num_hidden_layers is True'),
    (multiply, {'num_hidden_layers': 10**9}, 'layers.2.'),
    (multiply, {'hidden_size': '256'}, "hidden_size is '256'"),
    (multiply, {'hidden_size': 10**6}, f'{EMBEDDING}.weight'),
    (multiply, {'intermediate_size': 10**9}, 'gate_proj.weight'),
    (multiply, {'max_position_embeddings': 10**400}, 'max_position_embeddings'),
    (multiply, {'model_type': 'llama'}, "'llama', expected one of bitnet, lfm2"),
    (multiply, {'model_type': 'llama', 'quantization_config': None}, "'llama', expected one of"),
    (multiply, {'model_type': None}, 'None, expected one of'),
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


def test_buffers_of_older_files_are_passed_over(tmp_path: Path) -> None:
    folder = multiply(tmp_path / 'it')
    write_safetensors(folder / 'model.safetensors', packed() | {
        'model.layers.0.self_attn.rotary_emb.inv_freq': np.ones(32, np.float32)})
    read_all(open_source(folder))


def test_what_is_none_is_what_it_is_in_transformers(tmp_path: Path) -> None:
    folder = multiply(tmp_path / 'it')
    values = dict.fromkeys(('eos_token_id', 'bos_token_id', 'num_key_value_heads'))
    (folder / 'config.json').write_text(json.dumps(open_source(folder).config | values))
    config = BitNetConfig.from_dict(open_source(folder).config, 'it')
    assert config.eos_token_id == ()  # nothing ends a text
    assert config.num_key_value_heads == config.num_attention_heads


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
    'too many layers': (metadata() | {f'{B}.block_count': 2**30}, 'blk.2.'),
    'far too many layers': (metadata() | {f'{B}.block_count': 2**31}, 'num_hidden_layers'),
    'a layer far too wide': (metadata() | {f'{B}.feed_forward_length': 2**31 - 1}, 'ffn_gate'),
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
