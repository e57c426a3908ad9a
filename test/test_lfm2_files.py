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

"""LFM2 checkpoints of every kind: what is loaded, converted, refused."""

from dataclasses import replace
import json
from pathlib import Path
from typing import Any

from edge_vla.checkpoints.ggml_blocks import BLOCKS
from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.checkpoints.sources import open_source
from edge_vla.cli.main import main
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.block_layout import (
    Blocks,
    dequantise_blocks,
    INT4,
    Q4_0,
    Q8_0,
    quantise_blocks,
)
from edge_vla.language.decoder import Decoder, DecoderSettings, load_decoder
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import build_lfm2, WEIGHTS
from edge_vla.language.store import FILE
from lfm2_models import (
    config_of,
    decoder_of,
    some_ids,
    transformers_model,
    weights_of,
    write_folder,
)
import numpy as np
import pytest
from test_gguf import gguf_bytes, Tensors


def bfloat16(x: np.ndarray) -> np.ndarray:
    """Cut float32 to what bfloat16 holds."""
    return (np.ascontiguousarray(x).view(np.uint32) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize('kind', ['float32', 'bfloat16'])
@pytest.mark.parametrize('size', ['both kinds', 'biased', 'untied'])
def test_a_checkpoint_transformers_writes_is_loaded(size: str, kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    config = config_of(size)
    weights = {k: bfloat16(v) for k, v in weights_of(config).items()}
    theirs = transformers_model(config, weights)
    theirs.model.to(getattr(torch, kind)).save_pretrained(tmp_path)
    decoder, ids = load_decoder(tmp_path), some_ids(config, 12)
    np.testing.assert_array_equal(decoder.logits(ids), decoder_of(config, weights).logits(ids))
    assert load_decoder(tmp_path, DecoderSettings(weights='int4')).config == decoder.config


NAMES = {'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v',
         'self_attn.out_proj': 'attn_output', 'self_attn.q_layernorm': 'attn_q_norm',
         'self_attn.k_layernorm': 'attn_k_norm', 'conv.in_proj': 'shortconv.in_proj',
         'conv.out_proj': 'shortconv.out_proj', 'conv.conv': 'shortconv.conv',
         'feed_forward.w1': 'ffn_gate', 'feed_forward.w2': 'ffn_down', 'feed_forward.w3': 'ffn_up',
         'operator_norm': 'attn_norm', 'ffn_norm': 'ffn_norm'}
TOP = {'model.embed_tokens': 'token_embd', 'model.embedding_norm': 'token_embd_norm',
       'lm_head': 'output'}
GGUF_CONFIG = config_of('both kinds', hidden_size=64, intermediate_size=96)


def gguf_name(name: str) -> str:
    name = name.removesuffix('.weight')
    if name in TOP:
        return f'{TOP[name]}.weight'
    _, _, layer, part = name.split('.', 3)
    return f'blk.{layer}.{NAMES[part]}.weight'


def encoded(x: np.ndarray, kind: str) -> bytes:
    """Encode values as ggml does, block by block."""
    if kind in ('F32', 'F16'):
        return x.astype('<f4' if kind == 'F32' else '<f2').tobytes()
    if kind == 'BF16':
        return (x.view(np.uint32) >> 16).astype('<u2').tobytes()
    codes, scales, _ = quantise_blocks(x, 4 if kind == 'Q4_0' else 8)
    out = b''
    for q, d in zip(codes.reshape(-1, 32), scales.reshape(-1), strict=True):
        out += d.tobytes() + (bytes(q[:16] | q[16:] << 4) if kind == 'Q4_0' else bytes(q ^ 128))
    return out


def gguf_metadata(c: Lfm2Config) -> dict[str, Any]:
    return {'general.architecture': 'lfm2', 'lfm2.block_count': c.num_hidden_layers,
            'lfm2.embedding_length': c.hidden_size, 'lfm2.context_length': 128,
            'lfm2.feed_forward_length': c.intermediate_size, 'lfm2.vocab_size': c.vocab_size,
            'lfm2.attention.head_count': c.num_attention_heads, 'lfm2.rope.freq_base': 10000.0,
            'lfm2.attention.head_count_kv': np.array(
                [c.num_key_value_heads * (k != 'conv') for k in c.layer_types], np.int32),
            'lfm2.attention.layer_norm_rms_epsilon': 1e-5,
            'lfm2.shortconv.l_cache': c.conv_L_cache, 'tokenizer.ggml.bos_token_id': 1,
            'tokenizer.ggml.eos_token_id': 2}


def gguf_tensors(kind: str, weights: dict[str, np.ndarray]) -> Tensors:
    out: Tensors = {}
    for name, x in weights.items():
        x = x[:, 0] if x.ndim == 3 else x
        stored = kind if x.ndim == 2 and 'conv.conv' not in name else 'F32'
        number = {b.name: k for k, b in BLOCKS.items()}[stored]
        out[gguf_name(name)] = x.shape, number, encoded(x, stored)
    return out


def seen_as(kind: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that a kind of tensor holds."""
    def seen(name: str, x: np.ndarray) -> np.ndarray:
        if x.ndim != 2 or kind == 'F32':
            return x
        if kind == 'F16':
            return x.astype(np.float16).astype(np.float32)
        if kind == 'BF16':
            return bfloat16(x)
        bits = 4 if kind == 'Q4_0' else 8
        return dequantise_blocks(quantise_blocks(x, bits), bits)
    return {name: seen(name, x) for name, x in weights.items()}


@pytest.mark.parametrize('kind', ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'])
def test_gguf_files_are_loaded(kind: str, tmp_path: Path) -> None:
    weights, path = weights_of(GGUF_CONFIG), tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes(gguf_metadata(GGUF_CONFIG), gguf_tensors(kind, weights)))
    decoder, ids = load_decoder(path), some_ids(GGUF_CONFIG, 20)
    assert decoder.config == GGUF_CONFIG
    want = decoder_of(GGUF_CONFIG, seen_as(kind, weights)).logits(ids)
    np.testing.assert_array_equal(decoder.logits(ids), want)


@pytest.mark.parametrize(('kind', 'bits'), [('Q8_0', 8), ('Q4_0', 4)])
def test_blocks_are_kept_as_they_are_stored(kind: str, bits: int, tmp_path: Path) -> None:
    """Bit for bit what the gguf library wrote, without another rounding."""
    library = pytest.importorskip('gguf', reason='needs gguf (make oracles)')
    number = library.GGMLQuantizationType[kind]
    weights = weights_of(GGUF_CONFIG)
    writer = library.GGUFWriter(tmp_path / 'a.gguf', 'lfm2')
    meta = gguf_metadata(GGUF_CONFIG)
    for key, value in meta.items():
        if isinstance(value, np.ndarray):
            writer.add_array(key, value.tolist())
        elif key != 'general.architecture':
            (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)
    stored = {}
    for name, x in weights.items():
        x = x[:, 0] if x.ndim == 3 else x
        key = gguf_name(name)
        if x.ndim == 2 and 'conv.conv' not in name:
            stored[name] = library.quants.quantize(x, number)
            writer.add_tensor(key, stored[name], raw_dtype=number)
        else:
            writer.add_tensor(key, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    source = open_source(tmp_path / 'a.gguf')
    for i in range(GGUF_CONFIG.num_hidden_layers):
        for name, shape in GGUF_CONFIG.linears(i).items():
            full = f'model.layers.{i}.{name}'
            want = library.quants.dequantize(stored[f'{full}.weight'], number)
            assert source.block_kind(full, shape) == bits
            blocks = Blocks(*source.blocks(full, shape))
            np.testing.assert_array_equal(dequantise_blocks(blocks, bits), want)
            np.testing.assert_array_equal(source.rows(full, shape), want)
    source.close()
    dequantised = {k: library.quants.dequantize(stored[k], number) if k in stored else v
                   for k, v in weights.items()}
    ids = some_ids(GGUF_CONFIG, 15)
    np.testing.assert_array_equal(load_decoder(tmp_path / 'a.gguf').logits(ids),
                                  decoder_of(GGUF_CONFIG, dequantised).logits(ids))
    exact = decoder_of(GGUF_CONFIG, dequantised).logits(ids)
    for weights in ('int8',) if bits == 8 else ('q4_0', 'int4'):
        kept = load_decoder(tmp_path / 'a.gguf', DecoderSettings(weights=weights)).logits(ids)
        assert np.sqrt(((kept - exact) ** 2).mean()) < .04 * exact.std()


def test_a_file_of_several_kinds_keeps_each(tmp_path: Path) -> None:
    """As quantisers write them: blocks that are wide apart, and floats, in one layer."""
    weights, path = weights_of(GGUF_CONFIG), tmp_path / 'a.gguf'
    matrices = [n for n, x in weights.items() if x.ndim == 2 and n.startswith('model.layers')]
    of = {name: ('Q4_0', 'F16', 'Q8_0')[k % 3] for k, name in enumerate(matrices)}
    tensors, seen = gguf_tensors('F32', weights), dict(weights)
    for name, kind in of.items():
        tensors |= gguf_tensors(kind, {name: weights[name]})
        seen |= seen_as(kind, {name: weights[name]})
        if kind == 'F16':
            width = seen[name].shape[1]
            seen[name] = dequantise_blocks(quantise_blocks(seen[name], INT4), INT4)[:, :width]
    path.write_bytes(gguf_bytes(gguf_metadata(GGUF_CONFIG), tensors))
    source, ids = open_source(path), some_ids(GGUF_CONFIG, 20)
    model = build_lfm2(source, GGUF_CONFIG, 'stored', 'float32')
    source.close()
    assert set(model.tensors['bits'].ravel().tolist()) == {0, Q4_0, Q8_0, INT4}
    got = Decoder(model, DecoderSettings(threads=2)).logits(ids)
    want = decoder_of(GGUF_CONFIG, seen).logits(ids)
    assert np.sqrt(((got - want) ** 2).mean()) < .1 * want.std()
    single = Decoder(model, DecoderSettings(threads=2))
    np.testing.assert_array_equal(np.stack([single.forward([i]) for i in ids]), got)


@pytest.mark.parametrize('number', [3, 13, 23, 99])
def test_other_blocks_are_refused_by_name(number: int, tmp_path: Path) -> None:
    tensors = gguf_tensors('Q4_0', weights_of(GGUF_CONFIG))
    key = 'blk.1.ffn_up.weight'
    tensors[key] = (tensors[key][0], number, tensors[key][2])
    path = tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes(gguf_metadata(GGUF_CONFIG), tensors))
    kind = {3: 'Q4_1', 13: 'Q5_K', 23: 'IQ4_XS', 99: 'number 99'}[number]
    for weights in ('auto', 'int4'):
        with pytest.raises(CheckpointError, match=f'{key}.*type {kind}'):
            load_decoder(path, DecoderSettings(weights=weights))


@pytest.mark.parametrize('change', [
    {'lfm2.shortconv.l_cache': None}, {'lfm2.attention.head_count_kv': None},
    {'lfm2.attention.head_count_kv': np.array([2, 0], np.int32)},
    {'lfm2.attention.head_count_kv': np.array([0, 2, 0, 0, 4], np.int32)},
    {'lfm2.attention.head_count_kv': np.array([0, 2, 0, 0, -2], np.int32)},
    {'lfm2.block_count': 4}, {'lfm2.block_count': 2**31}, {'lfm2.embedding_length': 'x'},
    {'general.architecture': 'lfm2moe'}, {'lfm2.feed_forward_length': 95},
    {'lfm2.rope.dimension_count': 8}, {'lfm2.vocab_size': 98}])
def test_wrong_metadata_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    metadata = gguf_metadata(GGUF_CONFIG) | change
    path = tmp_path / 'a.gguf'
    path.write_bytes(gguf_bytes({k: v for k, v in metadata.items() if v is not None},
                                gguf_tensors('F32', weights_of(GGUF_CONFIG))))
    with pytest.raises(CheckpointError):
        load_decoder(path)


BROKEN = [n for n in weights_of(config_of('both kinds')) if n.split('.')[2] in ('0', '1')
          or 'layers' not in n]


@pytest.mark.parametrize('name', BROKEN)
def test_missing_and_misshapen_tensors_are_named(name: str, tmp_path: Path) -> None:
    config = config_of('both kinds')
    tensors = weights_of(config)
    whole = tensors.pop(name)
    with pytest.raises(CheckpointError, match=name):
        load_decoder(write_folder(tmp_path, config, tensors))
    for wrong in (np.concatenate((whole, whole)), whole[..., None], whole * np.float32(np.nan),
                  whole.astype(np.int32)):
        with pytest.raises(CheckpointError, match=name):
            load_decoder(write_folder(tmp_path, config, tensors | {name: wrong}))


def test_biases_nobody_asked_for_and_quantised_folders_are_refused(tmp_path: Path) -> None:
    config = config_of('biased')
    tensors = weights_of(config)
    with pytest.raises(CheckpointError, match='bias'):
        load_decoder(write_folder(tmp_path, replace(config, conv_bias=False), tensors))
    more = {'model.layers.0.feed_forward.w1.bias': np.zeros(config.intermediate_size, np.float32)}
    with pytest.raises(CheckpointError, match='feed_forward.w1.bias'):
        load_decoder(write_folder(tmp_path, config, tensors | more))
    folder = write_folder(tmp_path, config, tensors)
    values = json.loads(config.to_json()) | {'quantization_config': {'quant_method': 'awq'}}
    (folder / 'config.json').write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match='quantised'):
        load_decoder(folder)


@pytest.mark.parametrize('kept', WEIGHTS)
@pytest.mark.parametrize('head', ['float32', 'int8'])
def test_a_converted_model_says_the_same(kept: str, head: str, tmp_path: Path) -> None:
    config = config_of('biased')
    folder = write_folder(tmp_path / 'in', config, weights_of(config))
    assert main(['convert', str(folder), str(tmp_path / 'out'), '--weights', kept,
                 '--head', head]) == 0
    decoder, ids = load_decoder(tmp_path / 'out'), some_ids(config, 9)
    assert decoder.config == config
    np.testing.assert_array_equal(decoder.logits(ids),
                                  decoder_of(config, kept=kept, head=head).logits(ids))
    for wrong in ({'weights': 'int4' if kept == 'int8' else 'int8'}, {'head': 'int6'}):
        with pytest.raises(CheckpointError, match='convert the original'):
            load_decoder(tmp_path / 'out', DecoderSettings(**wrong))


def test_a_damaged_converted_model_is_refused(tmp_path: Path) -> None:
    config = config_of('both kinds')
    folder = write_folder(tmp_path / 'in', config, weights_of(config))
    assert main(['convert', str(folder), str(tmp_path / 'out'), '--weights', 'int4']) == 0
    path = tmp_path / 'out' / FILE
    tensors, metadata = read_safetensors(path)
    tensors = {k: v.copy() for k, v in tensors.items()}
    changes = {'bits': tensors['bits'] + 1, 'body': tensors['body'][:-1],
               'taps': tensors['taps'] + 1, 'query_norm': tensors['query_norm'].astype(np.float16)}
    for name, change in changes.items():
        write_safetensors(path, tensors | {name: change}, metadata)
        with pytest.raises(CheckpointError, match=name):
            load_decoder(tmp_path / 'out')
        write_safetensors(path, {k: v for k, v in tensors.items() if k != name}, metadata)
        with pytest.raises(CheckpointError, match=name):
            load_decoder(tmp_path / 'out')
    write_safetensors(path, tensors, metadata | {'packing': '2bit'})
    with pytest.raises(CheckpointError, match='packing'):
        load_decoder(tmp_path / 'out')
    write_safetensors(path, tensors, metadata)
    load_decoder(tmp_path / 'out')
