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


"""The decoder against transformers and the torch model it is trained as, and against itself."""

from dataclasses import replace
import json
from pathlib import Path
from queue import Queue
import threading

from bitnet_models import (
    config_of,
    decoder_of,
    masters,
    runnable_isas,
    SIZES,
    some_ids,
)
from edge_vla.checkpoints.packing import pack, ternarise
from edge_vla.checkpoints.safetensors import write_safetensors
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.isa import Isa
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import DecoderSettings, load_decoder
from edge_vla.language.threads import Crew, Pace
import numpy as np
import pytest

every_isa = pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)
SEQUENCES = range(6)


def nearly_all_equal(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """
    Equal but for the rare activation that two float sums put on two sides of a rounding.

    Such a one moves by 1/127 of the largest, and what follows in its sequence with it.
    """
    errors = [(np.abs(got - want) / np.abs(want).max()).max() for got, want in pairs]
    assert sum(e < 2e-5 for e in errors) >= len(errors) - 2, errors
    assert max(errors) < 5e-2, errors


def transformers_model(config: BitNetConfig, weights: dict[str, np.ndarray]) -> object:
    """Return transformers' own BitNet in online mode, float32, with these masters."""
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    try:
        from transformers.integrations.bitnet import replace_with_bitnet_linear
        from transformers.utils.quantization_config import BitNetQuantConfig
    except ImportError as error:
        pytest.skip(f'this transformers has no BitNet ({error})')
    theirs = transformers.BitNetForCausalLM(transformers.BitNetConfig(
        **{k: getattr(config, k) for k in (
            'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
            'num_key_value_heads', 'vocab_size', 'max_position_embeddings', 'rms_norm_eps',
            'tie_word_embeddings')},
        rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta},
        attn_implementation='eager')).eval()
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()},
                           strict=False)
    online = BitNetQuantConfig(linear_class='autobitlinear', quantization_mode='online')
    torch.compiler.set_stance('force_eager')  # the same arithmetic without a C++ compiler
    replace_with_bitnet_linear(theirs, ['lm_head'], online)
    for name, module in theirs.named_modules():
        if type(module).__name__ == 'AutoBitLinear':
            module.to_empty(device='cpu')
            module.weight.data = torch.from_numpy(weights[name + '.weight'])
    return lambda ids: theirs(torch.tensor([ids])).logits[0].detach().numpy()


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('size', SIZES)
def test_logits_equal_transformers(size: str, tied: bool) -> None:
    config = config_of(size, tie_word_embeddings=tied)
    weights = masters(config)
    theirs, pairs = transformers_model(config, weights), []
    for seed in SEQUENCES:
        ids = some_ids(config, 8, seed)
        pairs.append((decoder_of(config, weights).logits(ids), theirs(ids)))
    nearly_all_equal(pairs)


@pytest.mark.parametrize('layers', [1, 2, 3, 4])
def test_every_layer_equals_transformers(layers: int) -> None:
    """The same weights cut off after each layer, so an error shows where it is made."""
    config = config_of('odd rows', num_hidden_layers=4)
    weights, cut = masters(config), replace(config, num_hidden_layers=layers)
    theirs, pairs = transformers_model(cut, weights), []
    for seed in SEQUENCES:
        ids = some_ids(config, 12, seed)
        pairs.append((decoder_of(cut, weights).logits(ids), theirs(ids)))
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
        pairs.append((decoder_of(config, weights).logits(ids), want))
    nearly_all_equal(pairs)


@pytest.mark.parametrize('kv', ['float32', 'float16', 'int8'])
@pytest.mark.parametrize('size', SIZES)
def test_tokens_at_once_equal_tokens_one_by_one(size: str, kv: str) -> None:
    config = config_of(size)
    weights, ids = masters(config), some_ids(config, 50)
    at_once = decoder_of(config, weights, kv=kv).logits(ids)
    single = decoder_of(config, weights, kv=kv)
    np.testing.assert_array_equal(np.stack([single.forward([i]) for i in ids]), at_once)
    for chunk in (1, 7, 50, 64):
        parts = decoder_of(config, weights, kv=kv, chunk=chunk)
        np.testing.assert_array_equal(parts.logits(ids), at_once)


@every_isa
def test_the_matrix_unit_takes_more_tokens_at_once(isa: Isa) -> None:
    config = config_of('as shipped')
    assert decoder_of(config, isa=replace(isa, amx=False)).at_once == 8
    assert decoder_of(config, isa=replace(isa, amx=True)).at_once == 16


@every_isa
def test_instruction_sets_packings_and_threads_give_the_same_floats(isa: Isa) -> None:
    config = config_of('odd rows')
    weights, ids = masters(config), some_ids(config, 30)
    want = decoder_of(config, weights).logits(ids)
    for threads in (1, 2, 4):
        decoder = decoder_of(config, weights, isa, threads=threads)
        np.testing.assert_array_equal(decoder.logits(ids), want)
        decoder.cache.truncate(0)
        again = np.concatenate([decoder.logits(ids[k:k + 3]) for k in range(0, 30, 3)])
        np.testing.assert_array_equal(again, want)
        decoder.close()


def test_threads_that_come_and_go_never_change_a_logit() -> None:
    """Many short steps by two threads while others keep both cores busy."""
    config = config_of('as shipped')
    weights, ids = masters(config), some_ids(config, 90)
    want = decoder_of(config, weights).logits(ids)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            np.sort(np.arange(100_000)[::-1])
    others = [threading.Thread(target=busy) for _ in range(3)]
    for other in others:
        other.start()
    try:
        for threads in (2, 3):
            decoder = decoder_of(config, weights, threads=threads)
            for _ in range(3):
                decoder.cache.truncate(0)
                got = np.stack([decoder.forward([i]) for i in ids])
                np.testing.assert_array_equal(got, want)
            decoder.close()
    finally:
        stop.set()
        for other in others:
            other.join()


def test_rolling_back_forgets() -> None:
    config = config_of('no sharing')
    for kv in ('float32', 'float16', 'int8'):
        decoder = decoder_of(config, kv=kv)
        ids = some_ids(config, 20)
        want = decoder.logits(ids)
        decoder.cache.truncate(8)
        decoder.forward([5, 6, 7])
        decoder.cache.truncate(8)
        np.testing.assert_array_equal(decoder.logits(ids[8:]), want[8:])
        with pytest.raises(ValueError, match='truncate'):
            decoder.cache.truncate(21)


@pytest.mark.parametrize('head', ['float32', 'int8', 'int6', 'int4'])
@pytest.mark.parametrize('tied', [True, False])
def test_some_logits_equal_those_of_all(head: str, tied: bool) -> None:
    config = config_of('much sharing', tie_word_embeddings=tied)
    ids, some = some_ids(config, 9), [36, 0, 7, 7]
    every = decoder_of(config, head=head).logits(ids)
    decoder = decoder_of(config, head=head)
    np.testing.assert_array_equal(decoder.logits(ids[:5], some), every[:5, some])
    np.testing.assert_array_equal(decoder.forward(ids[5:], some), every[8, some])
    for bad in ([], [37], [-1]):
        with pytest.raises(ValueError, match='ids'):
            decoder.forward([1], bad)


def test_what_quantised_heads_and_caches_cost() -> None:
    """Close to the exact ones, and closer the more bits they have."""
    config = config_of('wide')
    weights, ids = masters(config), some_ids(config, 60)
    exact = decoder_of(config, weights).logits(ids)

    def error(**kinds: str) -> float:
        got = decoder_of(config, weights, **kinds).logits(ids)
        return float(np.sqrt(((got - exact) ** 2).mean() / exact.var()))
    # a moved activation code moves what follows, so the caches are held to less than their step
    assert error(kv='float16') < .02 and error(kv='int8') < .05
    eight, six, four = (error(head=head) for head in ('int8', 'int6', 'int4'))
    assert max(eight, six) < .06 < four < .25


def test_ids_that_do_not_exist_and_a_full_cache_are_refused() -> None:
    config = config_of('one head')
    decoder = decoder_of(config, capacity=4)
    decoder.forward([1, 2, 3])
    for bad in ([11], [-1], [], [1, 2]):
        with pytest.raises(ValueError):
            decoder.forward(bad)
    assert decoder.cache.length == 3
    decoder.warm_up()
    assert decoder.cache.length == 3
    assert np.isfinite(decoder.forward([4])).all()


@pytest.mark.parametrize('bad', [{'kv': 'int3'}, {'packing': '1bit'},
                                 {'threads': -1}, {'chunk': 0}, {'threads': 2, 'cores': (0,)},
                                 {'threads': 2, 'cores': (0, 999)}])
def test_settings_that_do_not_exist_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError):
        decoder_of(config_of('one head'), **bad)


def test_a_head_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match='q6'):
        DecoderSettings(head='q6')


def test_threads_stay_on_their_cores() -> None:
    config, ids = config_of('as shipped'), [1, 2, 3]
    want = decoder_of(config).logits(ids)
    decoder = decoder_of(config, threads=2, cores=(0, 0))
    np.testing.assert_array_equal(decoder.logits(ids), want)
    decoder.close()


def test_threads_come_back_after_any_number_of_ends() -> None:
    crew = Crew(2)
    for _ in range(3):
        crew.close()
        crew.close()
        said: Queue[int] = Queue()
        crew.run(said.put, 2)
        assert {said.get(timeout=60), said.get(timeout=60)} == {0, 1}
    crew.close()


def test_the_pace_keeps_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr('edge_vla.language.threads.time.perf_counter', lambda: now[0])

    def steps(cost: dict[int, float], count: int) -> list[int]:
        used = []
        for _ in range(count):
            used.append(pace.begin())
            now[0] += cost[used[-1]]
            pace.end(1)
        return used
    pace = Pace(2)
    assert steps({1: 2, 2: 1}, 200).count(2) > 180
    busy = steps({1: 2, 2: 6}, 300)  # somebody else took the second core
    assert busy.count(1) > 200 and busy[-1] == 1 and 2 in busy[200:]
    assert steps({1: 2, 2: 1}, 300).count(2) > 200  # and gave it back


def test_rare_kinds_of_steps_follow_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at proposals are of many lengths, and a slow trial of each would cost much."""
    now, pace, used = [0.0], Pace(2), []
    monkeypatch.setattr('edge_vla.language.threads.time.perf_counter', lambda: now[0])
    for k in range(1200):
        kind = 100 + k % 14 if k % 2 else 1
        busy = 400 <= k < 800
        used.append(pace.begin(kind))
        now[0] += kind * (6 if busy and used[-1] == 2 else 3 - used[-1])
        pace.end(1, kind)
    assert used[1:400:2].count(1) == 0 and used[501:800:2].count(2) < 3
    assert used[901::2].count(1) == 0 and used[::2].count(1) > 150


def write_folder(folder: Path, config: BitNetConfig, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(config.to_json())
    write_safetensors(folder / 'model.safetensors', tensors)
    return folder


def packed(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = dict(weights)
    for name, w in weights.items():
        if '_proj.' in name:
            trits, scale = ternarise(w)
            out[name], out[name + '_scale'] = pack(trits), np.array([scale], np.float32)
    return out


def test_a_checkpoint_of_hugging_face_is_loaded(tmp_path: Path) -> None:
    config = config_of('much sharing')
    weights, ids = masters(config), some_ids(config, 12)
    folder = write_folder(tmp_path / 'model', config, packed(weights))
    want = decoder_of(config, weights).logits(ids)
    np.testing.assert_array_equal(load_decoder(folder).logits(ids), want)


# one by one: a program for all together would be compiled for this test alone
@pytest.mark.parametrize('given', [{'packing': '2bit'}, {'kv': 'int8'}, {'head': 'int4'}])
def test_settings_are_kept_while_loading(given: dict[str, str], tmp_path: Path) -> None:
    config = config_of('much sharing')
    weights, ids = masters(config), some_ids(config, 12)
    folder = write_folder(tmp_path / 'model', config, packed(weights))
    decoder = load_decoder(str(folder), DecoderSettings(**given))
    assert {'packing': decoder.isa.packing, 'kv': decoder.cache.kind, 'head': 'int4'}.items() >= (
        given.items())
    np.testing.assert_array_equal(decoder.logits(ids),
                                  decoder_of(config, weights, **given).logits(ids))


@pytest.mark.parametrize('name', ['model.layers.1.mlp.up_proj.weight', 'model.norm.weight',
                                  'model.layers.0.self_attn.k_proj.weight_scale',
                                  'model.embed_tokens.weight',
                                  'model.layers.1.mlp.ffn_sub_norm.weight'])
def test_missing_and_misshapen_tensors_are_named(name: str, tmp_path: Path) -> None:
    config = config_of('no sharing')
    tensors = packed(masters(config))
    whole = tensors.pop(name)
    with pytest.raises(CheckpointError, match=name):
        load_decoder(write_folder(tmp_path, config, tensors))
    tensors[name] = np.array([np.nan], np.float32) if 'scale' in name else (
        np.concatenate((whole, whole)))
    with pytest.raises(CheckpointError, match=name):
        load_decoder(write_folder(tmp_path, config, tensors))


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
    {'attention_bias': True},
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
