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


"""The BitNet decoder against transformers and the torch model it is trained as."""

import json
from pathlib import Path

from edge_vla.checkpoints.packing import pack, ternarise
from edge_vla.exceptions import CheckpointError
from edge_vla.language.bitnet import BitNetDecoder
from edge_vla.language.config import BitNetConfig
import numpy as np
import pytest

SIZES = {  # hidden, feed-forward, layers, heads, key-value heads, vocabulary
    'as shipped': (128, 320, 3, 4, 2, 300),
    'one head': (16, 24, 1, 1, 1, 11),
    'no sharing': (48, 64, 2, 3, 3, 50),
    'much sharing': (80, 52, 2, 10, 2, 37),
}


def config_of(size: str, **more: object) -> BitNetConfig:
    d, f, layers, heads, kv, vocab = SIZES[size]
    return BitNetConfig(**{
        'hidden_size': d, 'intermediate_size': f, 'num_hidden_layers': layers,
        'num_attention_heads': heads, 'num_key_value_heads': kv, 'vocab_size': vocab,
        'max_position_embeddings': 96, 'rope_theta': 10000.0, 'bos_token_id': 0,
        'eos_token_id': 1} | more)


def masters(config: BitNetConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Full-precision weights, named as in Hugging Face checkpoints."""
    rng = np.random.default_rng(seed)
    d = config.hidden_size

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(shape[-1])).astype(np.float32)

    out = {'model.embed_tokens.weight': normal(config.vocab_size, d) * 8,
           'model.norm.weight': 1 + normal(d)}
    if not config.tie_word_embeddings:
        out['lm_head.weight'] = normal(config.vocab_size, d)
    for i in range(config.num_hidden_layers):
        out |= {f'model.layers.{i}.{n}.weight': normal(*s) for n, s in config.linears().items()}
        out |= {f'model.layers.{i}.{n}.weight': 1 + normal(s) for n, s in config.norms().items()}
    return out


def packed(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = dict(weights)
    for name, w in weights.items():
        if '_proj.' in name:
            trits, scale = ternarise(w)
            out[name], out[name + '_scale'] = pack(trits), np.array([scale], np.float32)
    return out


def some_ids(config: BitNetConfig, count: int, seed: int = 3) -> list[int]:
    return np.random.default_rng(seed).integers(0, config.vocab_size, count).tolist()


SEQUENCES = range(6)


def nearly_all_equal(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """
    Equal but for the rare activation that two float sums put on two sides of a rounding.

    Such a one moves by 1/127 of the largest, and what follows in its sequence with it.
    """
    errors = [(np.abs(got - want) / np.abs(want).max()).max() for got, want in pairs]
    assert sum(e < 2e-5 for e in errors) >= len(errors) - 2, errors
    assert max(errors) < 5e-2, errors


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('size', SIZES)
def test_logits_equal_transformers(size: str, tied: bool) -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    try:
        from transformers.integrations.bitnet import replace_with_bitnet_linear
        from transformers.utils.quantization_config import BitNetQuantConfig
    except ImportError as error:
        pytest.skip(f'this transformers has no BitNet ({error})')
    config = config_of(size, tie_word_embeddings=tied)
    theirs = transformers.BitNetForCausalLM(transformers.BitNetConfig(
        **{k: getattr(config, k) for k in (
            'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
            'num_key_value_heads', 'vocab_size', 'max_position_embeddings', 'rms_norm_eps',
            'tie_word_embeddings')},
        rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta},
        attn_implementation='eager')).eval()
    weights = masters(config)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()},
                           strict=False)
    online = BitNetQuantConfig(linear_class='autobitlinear', quantization_mode='online')
    torch.compiler.set_stance('force_eager')  # the same arithmetic without a C++ compiler
    replace_with_bitnet_linear(theirs, ['lm_head'], online)
    for name, module in theirs.named_modules():
        if type(module).__name__ == 'AutoBitLinear':
            module.to_empty(device='cpu')
            module.weight.data = torch.from_numpy(weights[name + '.weight'])
    pairs = []
    for seed in SEQUENCES:
        ids = some_ids(config, 8, seed)
        with torch.no_grad():
            want = theirs(torch.tensor([ids])).logits[0].numpy()
        pairs.append((BitNetDecoder(config, packed(weights)).logits(ids), want))
    nearly_all_equal(pairs)


@pytest.mark.parametrize('size', SIZES)
def test_logits_equal_the_torch_model(size: str) -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    from edge_vla.training.bitnet_torch import BitNet
    config = config_of(size)
    weights = masters(config, 1)
    net = BitNet(config)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    pairs = []
    for seed in SEQUENCES:
        ids = some_ids(config, 8, seed)
        with torch.no_grad():
            want = net(torch.tensor([ids]))[0].numpy()
        pairs.append((BitNetDecoder(config, packed(weights)).logits(ids), want))
    nearly_all_equal(pairs)


@pytest.mark.parametrize('size', SIZES)
def test_tokens_at_once_equal_tokens_one_by_one(size: str) -> None:
    config = config_of(size)
    tensors, ids = packed(masters(config)), some_ids(config, 50)
    at_once = BitNetDecoder(config, tensors).logits(ids)
    single = BitNetDecoder(config, tensors)
    np.testing.assert_array_equal(np.stack([single.forward([i]) for i in ids]), at_once)
    for chunk in (1, 7, 50, 64):
        parts = BitNetDecoder(config, tensors, chunk=chunk)
        np.testing.assert_array_equal(parts.logits(ids), at_once)


def test_rolling_back_forgets() -> None:
    config = config_of('no sharing')
    decoder = BitNetDecoder(config, packed(masters(config)))
    ids = some_ids(config, 20)
    want = decoder.logits(ids)
    decoder.cache.truncate(8)
    decoder.forward([5, 6, 7])
    decoder.cache.truncate(8)
    np.testing.assert_array_equal(decoder.logits(ids[8:]), want[8:])
    with pytest.raises(ValueError, match='truncate'):
        decoder.cache.truncate(21)


def test_ids_that_do_not_exist_and_a_full_cache_are_refused() -> None:
    config = config_of('one head')
    decoder = BitNetDecoder(config, packed(masters(config)), capacity=4)
    decoder.forward([1, 2, 3])
    for bad in ([11], [-1], [], [1, 2]):
        with pytest.raises(ValueError):
            decoder.forward(bad)
    assert decoder.cache.length == 3
    assert np.isfinite(decoder.forward([4])).all()


@pytest.mark.parametrize('name', ['model.layers.1.mlp.up_proj.weight', 'model.norm.weight',
                                  'model.layers.0.self_attn.k_proj.weight_scale',
                                  'model.embed_tokens.weight',
                                  'model.layers.1.mlp.ffn_sub_norm.weight'])
def test_missing_and_misshapen_tensors_are_named(name: str) -> None:
    config = config_of('no sharing')
    tensors = packed(masters(config))
    whole = tensors.pop(name)
    with pytest.raises(CheckpointError, match=name):
        BitNetDecoder(config, tensors)
    if 'scale' in name:
        tensors[name] = np.array([np.nan], np.float32)
    else:
        tensors[name] = np.concatenate((whole, whole))
    with pytest.raises(CheckpointError, match=name):
        BitNetDecoder(config, tensors)


def test_the_published_size_is_2b4t(tmp_path: Path) -> None:
    """The keys of microsoft/bitnet-b1.58-2B-4T give its 2,412,820,480 parameters."""
    published = {
        'architectures': ['BitNetForCausalLM'], 'bos_token_id': 128000, 'eos_token_id': 128001,
        'hidden_act': 'relu2', 'hidden_size': 2560, 'initializer_range': 0.02,
        'intermediate_size': 6912, 'max_position_embeddings': 4096, 'model_type': 'bitnet',
        'num_attention_heads': 20, 'num_hidden_layers': 30, 'num_key_value_heads': 5,
        'rms_norm_eps': 1e-05, 'rope_theta': 500000.0, 'tie_word_embeddings': True,
        'vocab_size': 128256, 'quantization_config': {
            'linear_class': 'autobitlinear', 'modules_to_not_convert': None,
            'quant_method': 'bitnet', 'quantization_mode': 'offline'}}
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(published))
    c = BitNetConfig.load(path)
    ternary = sum(o * i for o, i in c.linears().values()) * c.num_hidden_layers
    norms = sum(c.norms().values()) * c.num_hidden_layers + c.hidden_size
    assert ternary == 2_084_044_800
    assert ternary + norms + c.vocab_size * c.hidden_size == 2_412_820_480
    assert (c.head_dim, c.max_position_embeddings, c.rope_theta) == (128, 4096, 500000.0)
    path.write_text(c.to_json())
    assert BitNetConfig.load(path) == c


def test_newer_files_keep_the_rotation_elsewhere(tmp_path: Path) -> None:
    values = json.loads(config_of('as shipped').to_json())
    del values['rope_theta'], values['tie_word_embeddings']
    values['rope_parameters'] = {'rope_type': 'default', 'rope_theta': 1234.5}
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(values))
    config = BitNetConfig.load(path)
    assert config.rope_theta == 1234.5
    assert not config.tie_word_embeddings  # as transformers reads a file that does not say


@pytest.mark.parametrize('change', [
    {'model_type': 'llama'}, {'hidden_size': 130}, {'num_key_value_heads': 3},
    {'hidden_act': 'silu'}, {'num_hidden_layers': 'many'}, {'num_hidden_layers': 0},
    {'quantization_config': {'linear_class': 'bitlinear'}}, {'attention_bias': True},
    {'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e4}}])
def test_other_architectures_are_refused(change: dict, tmp_path: Path) -> None:
    path = tmp_path / 'config.json'
    path.write_text(json.dumps(json.loads(config_of('as shipped').to_json()) | change))
    with pytest.raises(CheckpointError):
        BitNetConfig.load(path)


@pytest.mark.parametrize('text', ['', '[1]', '{"model_type": "bitnet"'])
def test_a_config_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'config.json'
    path.write_text(text)
    with pytest.raises(CheckpointError, match='config.json'):
        BitNetConfig.load(path)
