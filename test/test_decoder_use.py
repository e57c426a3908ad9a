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

"""Decoders as programs use them: texts in turn, from threads, thrown away, files of any name."""

import gc
import json
from pathlib import Path
import threading
from types import SimpleNamespace
import weakref

import bitnet_models
from edge_vla.cli.main import main
from edge_vla.exceptions import CheckpointError, ConfigError
from edge_vla.language import store
from edge_vla.language.chat import load_chat_template
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import DecoderSettings, load_decoder
from edge_vla.language.drafts import draft_for, ModelDraft
from edge_vla.language.generation import generate
from edge_vla.language.sampling import SamplingConfig
from edge_vla.language.tokenizer import BYTE_OF
import lfm2_models
import numpy as np
import pytest
from test_lfm2_files import gguf_bytes, gguf_metadata, gguf_tensors

A, B = [1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4]
MASKED = ("{% for m in messages %}{% generation %}<{{ m['content'] }}>{% endgeneration %}"
          '{% endfor %}')


def small() -> BitNetConfig:
    return bitnet_models.config_of('as shipped', eos_token_id=-1)


def test_texts_in_turn_are_those_of_new_decoders() -> None:
    want = {k: bitnet_models.decoder_of(small()).generate(p, max_tokens=10).ids
            for k, p in (('a', A), ('b', B))}
    decoder = bitnet_models.decoder_of(small())
    for _ in range(2):
        assert decoder.generate(A, max_tokens=10).ids == want['a']
        assert generate(decoder, B, max_tokens=10).ids == want['b']  # another record, as long
    assert decoder.generate(A, max_tokens=10).ids == want['a']
    assert decoder.generate(A, max_tokens=10).reused_tokens == len(A) - 1


def test_tokens_appended_by_hand_are_noticed() -> None:
    decoder, prompt = bitnet_models.decoder_of(small()), [*A, 1, 2]
    want = decoder.generate(prompt, max_tokens=5).ids
    decoder.generate([*A, 5], max_tokens=1)
    length = decoder.cache.length
    decoder.cache.truncate(0)
    decoder.logits(list(range(length)))  # as many as it remembers
    assert decoder.generate(prompt, max_tokens=5).ids == want


def test_a_decoder_that_generates_cannot_be_used_by_what_it_calls() -> None:
    decoder = bitnet_models.decoder_of(small())
    asks = SimpleNamespace(free=True, propose=lambda *how: decoder.generate(B, max_tokens=1))
    with pytest.raises(ConfigError, match='another decoder'):
        decoder.generate(A, max_tokens=5, draft=asks)
    with pytest.raises(ConfigError, match='load it a second time'):
        decoder.generate(A, max_tokens=20, draft=ModelDraft(decoder, small().vocab_size))
    assert decoder.generate(A, max_tokens=3).ids  # and it goes on


def test_threads_that_share_a_decoder_wait_for_their_turn() -> None:
    want = {tuple(p): bitnet_models.decoder_of(small()).generate(p, max_tokens=20).ids
            for p in (A, B)}
    decoder, wrong = bitnet_models.decoder_of(small()), []

    def work(prompt: list[int]) -> None:
        wrong.extend(k for k in range(10) if decoder.generate(
            prompt, max_tokens=20).ids != want[tuple(prompt)])
    threads = [threading.Thread(target=work, args=(p,), daemon=True) for p in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.parametrize('threads', [1, 2])
def test_a_decoder_that_nobody_needs_is_freed(threads: int) -> None:
    before = threading.active_count()
    decoder = bitnet_models.decoder_of(small(), threads=threads)
    decoder.generate(A, max_tokens=3)
    gone = weakref.ref(decoder)
    del decoder
    gc.collect()
    assert gone() is None and threading.active_count() == before


def write_gguf(path: Path) -> Path:
    config = lfm2_models.config_of('both kinds', hidden_size=64, intermediate_size=96,
                                   vocab_size=258)
    about = gguf_metadata(config) | {
        'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': 'lfm2',
        'tokenizer.ggml.tokens': ['<|im_start|>', '<|im_end|>', *BYTE_OF],
        'tokenizer.ggml.merges': [],
        'tokenizer.ggml.token_type': np.array([3, 3] + [1] * 256, np.int32)}
    path.write_bytes(gguf_bytes(about, gguf_tensors('F32', lfm2_models.weights_of(config))))
    return path


@pytest.mark.parametrize('name', ['a.gguf', 'A.GGUF', 'sha256-abc', 'a'])
def test_a_gguf_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip('tokenizers')
    assert load_decoder(write_gguf(tmp_path / name)).tokenizer.encode('ab')


def test_a_tokenizer_that_is_not_supported_is_refused_before_anything_is_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, 'tokenizer_json', refuse)
    assert main(['convert', str(write_gguf(tmp_path / 'a.gguf')), str(tmp_path / 'out')]) == 2
    assert not (tmp_path / 'out').exists()


def refuse(*what: object) -> None:
    raise CheckpointError('it is of another kind')


def test_a_context_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    config = lfm2_models.config_of('both kinds')
    folder = lfm2_models.write_folder(tmp_path, config, lfm2_models.weights_of(config))
    with pytest.raises(ConfigError, match='does not fit into memory'):
        load_decoder(folder, DecoderSettings(capacity=1 << 50))


def test_drafts_whose_tokenizer_is_not_theirs_are_refused() -> None:
    decoders = [bitnet_models.decoder_of(small()) for _ in range(2)]
    for decoder in decoders:
        decoder.tokenizer = SimpleNamespace(size=10**6)
    with pytest.raises(ConfigError, match='do not belong together'):
        draft_for(*decoders, SamplingConfig())


def test_nothing_of_an_older_model_is_left(tmp_path: Path) -> None:
    pytest.importorskip('tokenizers')
    out = tmp_path / 'out'
    out.mkdir()
    for name in ('chat_template.jinja', 'tokenizer.json', 'generation_config.json'):
        (out / name).write_text('of another model')
    assert main(['convert', str(write_gguf(tmp_path / 'a.gguf')), str(out)]) == 0
    assert not (out / 'chat_template.jinja').exists()
    assert json.loads((out / 'tokenizer.json').read_text())['model']


def test_a_template_may_say_what_is_generated(tmp_path: Path) -> None:
    """LFM2.5 marks what a training loss counts; transformers ignores the marks elsewhere."""
    pytest.importorskip('jinja2')
    (tmp_path / 'chat_template.jinja').write_text(MASKED)
    template = load_chat_template(tmp_path, None)
    assert template.render([{'role': 'user', 'content': 'hi'}]) == '<hi>'


def test_a_bitnet_config_as_transformers_takes_it() -> None:
    base = json.loads(BitNetConfig().to_json())

    def read(**values: object) -> BitNetConfig:
        return BitNetConfig.from_dict(base | values, 'config.json')
    ends = read(eos_token_id=[128001, 128009])
    assert ends.eos_token_id == (128001, 128009)
    assert BitNetConfig.from_dict(json.loads(ends.to_json()), 'again') == ends
    assert read(num_key_value_heads=None).num_key_value_heads == base['num_attention_heads']
    assert read(rope_parameters={'rope_type': 'default', 'rope_theta': 7.0}).rope_theta == 7
    assert read(eos_token_id=None).eos_token_id == ()
    assert BitNetConfig.from_dict(json.loads(read(eos_token_id=None).to_json()),
                                  'again').eos_token_id == ()
    with pytest.raises(CheckpointError, match='by kind of layer'):
        read(rope_parameters={'full_attention': {'rope_theta': 7.0}})
    with pytest.raises(CheckpointError, match="'linear' is not supported"):
        read(rope_parameters={'rope_type': 'default', 'rope_theta': 5e5},
             rope_scaling={'rope_type': 'linear', 'factor': 4.0})
