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

"""LFM2 against transformers, and against itself."""

from dataclasses import replace
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from bitnet_models import runnable_isas
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels import lfm2, reference
from edge_vla.kernels.block_layout import dequantise_blocks, quantise_blocks, WIDEST
from edge_vla.kernels.isa import Isa
from edge_vla.language.chat import CHATML, ChatTemplate
from edge_vla.language.decoder import load_decoder
from edge_vla.language.generation import generate
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import WEIGHTS
from hypothesis import given, settings, strategies as st
from lfm2_models import (
    config_of,
    decoder_of,
    SIZES,
    some_ids,
    transformers_model,
    weights_of,
    write_folder,
)
import numpy as np
import pytest

every_isa = pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max(), rtol=1e-4)


@pytest.mark.parametrize('size', SIZES)
def test_logits_equal_transformers(size: str) -> None:
    config = config_of(size)
    for seed in range(3):
        weights, ids = weights_of(config, seed), some_ids(config, 40, seed)
        assert_close(decoder_of(config, weights).logits(ids),
                     transformers_model(config, weights)(ids))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_random_shapes_equal_transformers(data: st.DataObject) -> None:
    kv, group, head, taps = (data.draw(st.integers(*r)) for r in ((1, 3), (1, 6), (1, 5), (1, 5)))
    kinds = data.draw(st.lists(st.sampled_from(['conv', 'full_attention']), min_size=1,
                               max_size=4))
    config = config_of('both kinds', hidden_size=2 * kv * group * head, num_attention_heads=kv
                       * group, num_key_value_heads=kv, conv_L_cache=taps,
                       num_hidden_layers=len(kinds), layer_types=tuple(kinds),
                       intermediate_size=data.draw(st.integers(1, 90)))
    weights, ids = weights_of(config), some_ids(config, data.draw(st.integers(1, 30)))
    assert_close(decoder_of(config, weights).logits(ids), transformers_model(config, weights)(ids))


@pytest.mark.parametrize('layers', [1, 2, 3, 4, 5])
def test_every_layer_equals_transformers(layers: int) -> None:
    """The same weights cut off after each layer, so an error shows where it is made."""
    config = config_of('both kinds')
    cut = replace(config, num_hidden_layers=layers, layer_types=config.layer_types[:layers])
    weights, ids = weights_of(config), some_ids(config, 20)
    inside = {k: v for k, v in weights.items()
              if not k.startswith('model.layers.') or int(k.split('.')[2]) < layers}
    assert_close(decoder_of(cut, inside).logits(ids), transformers_model(cut, inside)(ids))


@pytest.mark.parametrize('kept', WEIGHTS)
@pytest.mark.parametrize('size', SIZES)
def test_tokens_at_once_equal_tokens_one_by_one(size: str, kept: str) -> None:
    config = config_of(size)
    weights, ids = weights_of(config), some_ids(config, 50)
    at_once = decoder_of(config, weights, kept=kept).logits(ids)
    single = decoder_of(config, weights, kept=kept)
    np.testing.assert_array_equal(np.stack([single.forward([i]) for i in ids]), at_once)
    for chunk in (1, 7, 50):
        parts = decoder_of(config, weights, kept=kept, chunk=chunk)
        np.testing.assert_array_equal(parts.logits(ids), at_once)


@every_isa
@pytest.mark.parametrize('kept', WEIGHTS)
def test_instruction_sets_and_threads_give_the_same_floats(isa: Isa, kept: str) -> None:
    config = config_of('odd sizes')
    weights, ids = weights_of(config), some_ids(config, 30)
    want = decoder_of(config, weights, kept=kept).logits(ids)
    for threads in (1, 3):
        decoder = decoder_of(config, weights, isa, kept, threads=threads)
        np.testing.assert_array_equal(decoder.logits(ids), want)
        decoder.cache.truncate(0)
        again = np.concatenate([decoder.logits(ids[k:k + 3]) for k in range(0, 30, 3)])
        np.testing.assert_array_equal(again, want)
        decoder.close()


@settings(deadline=None)
@given(size=st.integers(1, 700), multiple=st.sampled_from([16, WIDEST]),
       threads=st.integers(1, 9))
def test_threads_share_columns_none_of_which_begins_in_the_padding(size: int, multiple: int,
                                                                   threads: int) -> None:
    width = -(-size // multiple) * multiple
    parts = [lfm2._columns(width, 1, threads, piece) for piece in range(threads)]
    assert [t for t, _, _ in parts] == [0] * threads
    assert [begin for _, begin, _ in parts] == [0, *(end for _, _, end in parts[:-1])]
    assert parts[-1][2] == width
    assert all(begin <= end and begin < size for _, begin, end in parts)


@pytest.mark.parametrize('kept', WEIGHTS)
@pytest.mark.parametrize(('size', 'threads'), [('tiny', 2), ('attention last', 4)])
def test_more_threads_than_columns_to_share(size: str, threads: int, kept: str) -> None:
    config = config_of(size)
    weights, ids = weights_of(config), some_ids(config, 5)
    one, many = (decoder_of(config, weights, kept=kept, threads=n) for n in (1, threads))
    for i in ids:
        np.testing.assert_array_equal(many.forward([i]), one.forward([i]))
    many.close()


@pytest.mark.parametrize('size', ['both kinds', 'many taps', 'one tap', 'attention only'])
def test_rolling_back_is_exact_however_far(size: str) -> None:
    """Across pages, after several rollbacks, and where the state has to be computed again."""
    config = config_of(size, max_position_embeddings=2000)
    weights, ids = weights_of(config), some_ids(config, 1300)
    want = decoder_of(config, weights).logits(ids)
    decoder = decoder_of(config, weights)
    decoder.logits(ids)
    others = some_ids(config, 700, 9)
    for length, more in ((1299, 1), (1290, 5), (700, 600), (512, 3), (511, 2), (257, 700),
                         (256, 1), (9, 40), (2, 1), (1, 0), (0, 3)):
        decoder.cache.truncate(length)
        if more:
            decoder.forward(others[:more])
            decoder.cache.truncate(length)
        step = ids[length:length + 11]
        np.testing.assert_array_equal(decoder.logits(step), want[length:length + 11])
        assert decoder.cache.length == length + len(step)
        decoder.cache.truncate(length)
        np.testing.assert_array_equal(decoder.forward(ids[length:]), want[-1])
    with pytest.raises(ValueError, match='truncate'):
        decoder.cache.truncate(1301)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 90)), max_size=12))
def test_any_rollbacks_leave_the_state_of_a_plain_run(steps: list[tuple[int, int]]) -> None:
    """A cache whose recent past is short, so that pages are used."""
    config = config_of('both kinds', max_position_embeddings=700)
    decoder, held = decoder_of(config, chunk=8), some_ids(config, 600)
    decoder.forward(held)
    for back, more in steps:
        held = held[:back % (len(held) + 1)][:600]
        decoder.cache.truncate(len(held))
        new = some_ids(config, more, back)
        held += new
        got = decoder.forward(new)
    if steps:
        np.testing.assert_array_equal(got, decoder_of(config).forward(held))


def test_what_a_convolution_remembers_equals_numpy() -> None:
    """One convolution by hand, and its state in the cache."""
    config = config_of('many taps', num_hidden_layers=1, layer_types=('conv',))
    w, ids = weights_of(config), some_ids(config, 30)
    at, eps, d = 'model.layers.0.', config.norm_eps, config.hidden_size

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return reference.rms_norm(x, w[f'{name}.weight'], eps)
    h = w['model.embed_tokens.weight'][ids].astype(np.float64)
    parts = norm(h, f'{at}operator_norm') @ w[f'{at}conv.in_proj.weight'].T
    seen = parts[:, :d] * parts[:, 2 * d:]
    mixed = reference.short_convolution(seen, w[f'{at}conv.conv.weight'][:, 0].T)
    h = h + (parts[:, d:2 * d] * mixed) @ w[f'{at}conv.out_proj.weight'].T
    x = norm(h, f'{at}ffn_norm')
    h = h + reference.gated_silu(x @ w[f'{at}feed_forward.w1.weight'].T,
                                 x @ w[f'{at}feed_forward.w3.weight'].T) @ (
                                     w[f'{at}feed_forward.w2.weight'].T)
    decoder = decoder_of(config, w)
    assert_close(decoder.logits(ids),
                 norm(h, 'model.embedding_norm') @ w['model.embed_tokens.weight'].T)
    assert_close(decoder.cache.arrays.recent[0, :len(ids)], seen)


def test_streaming_equals_transformers_streaming() -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    config = config_of('many taps')
    weights, ids = weights_of(config), some_ids(config, 30)
    theirs = transformers_model(config, weights).model
    decoder, past = decoder_of(config, weights), None
    for i in ids:
        with torch.no_grad():
            out = theirs(torch.tensor([[i]]), past_key_values=past, use_cache=True)
        past = out.past_key_values
        assert_close(decoder.forward([i]), out.logits[0, 0].numpy())


@pytest.mark.parametrize(('kept', 'most'), [('int8', .06), ('int4', .6), ('q4_0', .6)])
def test_what_quantised_weights_cost(kept: str, most: float) -> None:
    """Near a float model of the dequantised weights; activations of 8 bits are the difference."""
    config = config_of('both kinds', hidden_size=256, intermediate_size=512)
    weights, ids = weights_of(config), some_ids(config, 30)
    kind, seen = WEIGHTS[kept], dict(weights)
    for i in range(config.num_hidden_layers):
        for name in config.linears(i):
            key = f'model.layers.{i}.{name}.weight'
            seen[key] = dequantise_blocks(quantise_blocks(weights[key], kind), kind)
    got = decoder_of(config, weights, kept=kept).logits(ids)
    exact, same = (decoder_of(config, w).logits(ids) for w in (weights, seen))
    scale = exact.std()
    assert np.sqrt(((got - same) ** 2).mean()) < .05 * scale
    assert np.sqrt(((got - exact) ** 2).mean()) < most * scale


@pytest.mark.parametrize('head', ['float32', 'int8', 'int6', 'int4'])
def test_some_logits_equal_those_of_all(head: str) -> None:
    config = config_of('untied')
    ids, some = some_ids(config, 9), [36, 0, 7, 7]
    every = decoder_of(config, head=head).logits(ids)
    decoder = decoder_of(config, head=head)
    np.testing.assert_array_equal(decoder.logits(ids[:5], some), every[:5, some])
    np.testing.assert_array_equal(decoder.forward(ids[5:], some), every[8, some])


PUBLISHED = {
    'architectures': ['Lfm2ForCausalLM'], 'block_auto_adjust_ff_dim': True, 'block_dim': 2048,
    'block_ff_dim': 12288, 'block_ffn_dim_multiplier': 1.0, 'block_multiple_of': 256,
    'bos_token_id': 1, 'conv_L_cache': 3, 'conv_bias': False, 'eos_token_id': 7,
    'full_attn_idxs': [2, 5, 8, 10, 12, 14], 'hidden_size': 2048,
    'max_position_embeddings': 128000, 'model_type': 'lfm2', 'norm_eps': 1e-05,
    'num_attention_heads': 32, 'num_heads': 32, 'num_hidden_layers': 16,
    'num_key_value_heads': 8, 'pad_token_id': 0, 'rope_theta': 1000000.0,
    'torch_dtype': 'bfloat16', 'vocab_size': 65536}


def test_the_published_size() -> None:
    config = Lfm2Config.from_dict(PUBLISHED, 'it')
    assert config == Lfm2Config()
    assert config.parameters == 1_170_340_608
    assert (config.intermediate_size, config.head_dim, config.context) == (8192, 64, 32768)
    assert Lfm2Config.from_dict(json.loads(config.to_json()), 'it') == config
    assert sum(v.size for v in weights_of(config_of('biased')).values()) == (
        config_of('biased').parameters)
    small = config_of('untied')
    assert sum(v.size for v in weights_of(small).values()) == small.parameters


@pytest.mark.parametrize('change', [
    {}, {'block_auto_adjust_ff_dim': False}, {'block_multiple_of': 24, 'block_ff_dim': 1000},
    {'block_ffn_dim_multiplier': 1.3, 'block_multiple_of': 16}, {'full_attn_idxs': None},
    {'layer_types': ['conv'] * 15 + ['full_attention']}])
def test_sizes_are_as_in_transformers(change: dict[str, Any]) -> None:
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    values = PUBLISHED | change
    with torch.device('meta'):
        theirs = transformers.Lfm2ForCausalLM(transformers.Lfm2Config(**values))
    ours = Lfm2Config.from_dict(values, 'it')
    assert ours.parameters == sum(p.numel() for p in theirs.parameters())
    assert list(ours.layer_types) == theirs.config.layer_types


@pytest.mark.parametrize('change', [
    {'model_type': 'lfm3'}, {'hidden_size': 2050}, {'num_key_value_heads': 3},
    {'num_hidden_layers': 'many'}, {'num_hidden_layers': 0}, {'conv_L_cache': 0},
    {'layer_types': ['conv', 'sliding_attention'] * 8}, {'layer_types': ['conv']},
    {'layer_types': 7}, {'block_multiple_of': 0}, {'eos_token_id': 'x'}, {'head_dim': 63},
    {'norm_eps': -1}, {'full_attn_idxs': 3}, {'num_hidden_layers': 10**12},
    {'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e4}}, {'rope_parameters': [1]}])
def test_other_architectures_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match='positive|multiple|it: |layer_types'):
        Lfm2Config.from_dict(PUBLISHED | change, 'it')


def test_chatml_is_as_the_template_says() -> None:
    jinja2 = pytest.importorskip('jinja2', reason='needs jinja2')
    messages = [{'role': 'system', 'content': 'Be brief. '},
                {'role': 'user', 'content': 'Where to?\nNow'}]
    for reply in (True, False):
        want = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
            CHATML).render(messages=messages, add_generation_prompt=reply,
                           bos_token='<|startoftext|>')
        assert ChatTemplate(CHATML, '<|startoftext|>').render(messages, reply) == want
    assert want.startswith('<|startoftext|><|im_start|>system\nBe brief. <|im_end|>\n')


def test_generation_ends_at_any_of_several_tokens() -> None:
    config = config_of('both kinds')
    decoder = decoder_of(config)
    plain = generate(decoder, [5, 6, 7], max_tokens=12)
    assert plain.finish == 'length' or plain.ids[-1] == 2
    ending = replace(config, eos_token_id=(96, plain.ids[4]))
    cut = generate(decoder_of(ending), [5, 6, 7], max_tokens=12)
    assert cut.finish == 'end of text'
    assert cut.ids == plain.ids[:plain.ids.index(plain.ids[4]) + 1]


def test_the_command_generates(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, config_of('both kinds'), weights_of(config_of('both kinds')))
    want = load_decoder(folder).generate([4, 5], max_tokens=5).ids
    out = subprocess.run([sys.executable, '-m', 'edge_vla', 'generate', '--model', str(folder),
                          '--ids', '4 5', '--max-tokens', '5'], capture_output=True, text=True,
                         check=True).stdout
    assert out.split() == [str(i) for i in want]


def test_a_long_text_fits() -> None:
    """32,768 tokens by default, whatever longer one the file says."""
    config = config_of('tiny', max_position_embeddings=128000)
    decoder = decoder_of(config)
    assert decoder.cache.capacity == 32768
    ids = some_ids(config, 5000)
    first = decoder.forward(ids)
    decoder.cache.truncate(0)
    np.testing.assert_array_equal(np.stack(
        [decoder.forward(ids[k:k + 1000]) for k in range(0, 5000, 1000)])[-1], first)
