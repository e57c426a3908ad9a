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


"""Tokenizers and chat templates of downloaded checkpoints, against transformers."""

import builtins
import json
from pathlib import Path
import re
from typing import Any

from edge_vla.exceptions import CheckpointError, InstructionError, MissingDependencyError
from edge_vla.language import chat
from edge_vla.language.chat import BITNET, ChatTemplate, load_chat_template
from edge_vla.language.text_tokenizer import load_text_tokenizer, TextStream, TextTokenizer
from edge_vla.language.tokenizer import Tokenizer
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

tokenizers = pytest.importorskip('tokenizers', reason='needs tokenizers (make oracles)')
SHIPPED = Path(__file__).resolve().parents[1] / 'edge_vla/checkpoints/pilot/language'
PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+')
SPECIAL = ['<|begin_of_text|>', '<|end_of_text|>', '<|start_header_id|>', '<|eot_id|>',
           '<|eot_id|>!']
TEXTS = [
    '', ' ', 'a', 'Fly to the red quetzal.', "I'LL say it's 12345 times, they'Ve",
    '\n\n  \t x \n ', 'ünïcödé façade', '無人機は赤い球へ飛ぶ。', 'भारत 123४५६',
    '🚁🚀👩‍👩‍👧‍👦 go!', 'a\r\n\r\nb   c    \n',
    '  leading and trailing  ', 'x=3.14159;//ok\n\treturn',
    '\u00a0\u2003\u200b', '\x00\x7f', 'e\u0301',
    '<|eot_id|>', 'User: <|begin_of_text|> <|eot_id|>hi', '<|eot_id', 'Ġ Ċ',
]
anything = st.text() | st.lists(st.sampled_from([*TEXTS, *SPECIAL, ' ', '<', '|>', 'é'])).map(
    ''.join)


@pytest.fixture(scope='module')
def trained() -> dict[str, Any]:
    """Return the tokenizer.json of a small tokenizer made like LLaMA 3's."""
    from tokenizers import decoders, models, pre_tokenizers, Regex, trainers
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    corpus = [p.read_text() for p in sorted(Path(chat.__file__).parent.glob('*.py'))] + TEXTS[:16]
    inner.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=900, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    raw = json.loads(inner.to_str())
    first = len(raw['model']['vocab'])
    raw['model']['ignore_merges'] = True
    raw['model']['merges'] = [' '.join(m) for m in raw['model']['merges']]
    # a word that no merges lead to: found only as a whole
    raw['model']['vocab']['Ġquetzal'] = first
    raw['added_tokens'] = [
        {'id': first + 1 + k, 'content': name, 'special': True, 'normalized': False,
         'single_word': False, 'lstrip': False, 'rstrip': False} for k, name in enumerate(SPECIAL)]
    raw['post_processor'] = {
        'type': 'TemplateProcessing',
        'single': [{'SpecialToken': {'id': SPECIAL[0], 'type_id': 0}},
                   {'Sequence': {'id': 'A', 'type_id': 0}}],
        'pair': [{'Sequence': {'id': 'A', 'type_id': 0}}, {'Sequence': {'id': 'B', 'type_id': 1}}],
        'special_tokens': {SPECIAL[0]: {'id': SPECIAL[0], 'ids': [first + 1],
                                        'tokens': [SPECIAL[0]]}}}
    return raw


@pytest.fixture(scope='module')
def ours(trained: dict[str, Any]) -> TextTokenizer:
    return TextTokenizer(json.dumps(trained), 'here')


@pytest.fixture(scope='module')
def folder(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('checkpoint')
    (path / 'tokenizer.json').write_text(json.dumps(trained))
    (path / 'tokenizer_config.json').write_text(json.dumps({
        'tokenizer_class': 'PreTrainedTokenizerFast', 'bos_token': SPECIAL[0],
        'eos_token': {'content': SPECIAL[1], '__type': 'AddedToken'}, 'chat_template': BITNET}))
    return path


@pytest.fixture(scope='module')
def theirs(folder: Path) -> Any:
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / 'tokenizer.json'), bos_token=SPECIAL[0], eos_token=SPECIAL[1],
        additional_special_tokens=SPECIAL[2:], clean_up_tokenization_spaces=False)


def metadata_of(raw: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return what a converter to GGUF writes for a tokenizer.json."""
    special = {t['id']: t['content'] for t in raw['added_tokens']}
    names = {i: t for t, i in raw['model']['vocab'].items()} | special
    values = {
        'model': 'gpt2', 'pre': 'llama-bpe', 'tokens': [names[i] for i in range(len(names))],
        'token_type': np.array([3 if i in special else 1 for i in range(len(names))], np.int32),
        'merges': list(raw['model']['merges']), 'bos_token_id': min(special),
        'eos_token_id': min(special) + 1} | more
    return {f'tokenizer.ggml.{k}': v for k, v in values.items() if v is not None}


@settings(max_examples=150, deadline=None)
@given(anything)
def test_ids_equal_transformers(ours: TextTokenizer, theirs: Any, text: str) -> None:
    plain = theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert ours.encode(text) == plain
    assert not set(ours.encode(text)) & set(ours.special.values())
    assert ours.decode(plain) == text
    parsed = theirs(text, add_special_tokens=False).input_ids
    assert ours.encode(text, special=True) == parsed
    assert ours.decode(parsed, skip_special=False) == text
    assert ours.decode(parsed) == theirs.decode(parsed, skip_special_tokens=True)
    assert [ours.begin, *parsed] == theirs(text).input_ids


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 950), max_size=30))
def test_any_ids_decode_as_in_transformers(ours: TextTokenizer, theirs: Any,
                                           ids: list[int]) -> None:
    want = theirs.decode(ids, skip_special_tokens=True)
    assert ours.decode(ids) == want
    stream = TextStream(ours)
    pieces = [stream.push(i) for i in ids]
    assert ''.join(pieces) + stream.finish() == want


@settings(max_examples=150, deadline=None)
@given(anything)
def test_the_stream_gives_whole_characters(ours: TextTokenizer, text: str) -> None:
    stream, ids, said = TextStream(ours), ours.encode(text), ''
    for k, i in enumerate(ids):
        said += stream.push(i)
        assert text.startswith(said)
        assert len(text[len(said):].encode()) == len(text.encode()) - len(said.encode())
        rest = b''.join(ours.bytes_of(i) for i in ids[:k + 1])[len(said.encode()):]
        assert len(rest) < 4  # nothing is held back but a part of one character
    assert said == text and stream.finish() == ''


def test_lone_surrogates_become_question_marks(ours: TextTokenizer) -> None:
    assert ours.decode(ours.encode('a\ud800b')) == 'a?b'


def test_names_and_sizes(ours: TextTokenizer, trained: dict[str, Any]) -> None:
    first = trained['model']['vocab']['Ġquetzal'] + 1
    assert ours.special == {name: first + k for k, name in enumerate(SPECIAL)}
    assert ours.token_id('<|eot_id|>') == first + 3 and ours.token_id('<|im_end|>') is None
    assert ours.begin == first and ours.size == first + 5
    assert ours.encode(' quetzal') == [first - 1]  # ignore_merges
    assert ours.bytes_of(10**6) == b''


@settings(max_examples=100, deadline=None)
@given(anything)
def test_gguf_equals_json(ours: TextTokenizer, from_gguf: TextTokenizer, text: str) -> None:
    for special in (False, True):
        assert from_gguf.encode(text, special) == ours.encode(text, special)
    ids = ours.encode(text, True)
    assert from_gguf.decode(ids, False) == ours.decode(ids, False)


@pytest.fixture(scope='module')
def from_gguf(trained: dict[str, Any]) -> TextTokenizer:
    made = load_text_tokenizer(metadata_of(trained))
    assert made is not None
    return made


def test_gguf_details(ours: TextTokenizer, from_gguf: TextTokenizer,
                      trained: dict[str, Any]) -> None:
    assert (from_gguf.special, from_gguf.begin, from_gguf.size) == (
        ours.special, ours.begin, ours.size)
    unnamed = load_text_tokenizer(metadata_of(trained, pre=None))  # as Microsoft's
    assert unnamed is not None and unnamed.encode(TEXTS[4]) == ours.encode(TEXTS[4])
    bare = load_text_tokenizer(metadata_of(trained, add_bos_token=False))
    assert bare is not None and bare.begin is None
    kinds = metadata_of(trained)['tokenizer.ggml.token_type'].copy()
    kinds[-1] = 4  # the user's own: text may produce it
    own = load_text_tokenizer(metadata_of(trained, token_type=kinds))
    assert own is not None and own.encode(SPECIAL[-1]) == [own.size - 1]
    assert own.decode([own.size - 1]) == SPECIAL[-1]


@pytest.mark.parametrize(('more', 'said'), [
    ({'model': 'llama'}, 'only the tokenizer of LLaMA 3 .* this is llama, llama-bpe'),
    ({'pre': 'qwen2'}, 'this is gpt2, qwen2'), ({'merges': None}, 'merges is missing'),
    ({'token_type': np.zeros(3, np.int32)}, 'do not fit together'),
    ({'token_type': [1, 2]}, 'token_type is missing or malformed'),
    ({'merges': ['no pair']}, 'not a tokenizer.json'),
])
def test_other_gguf_tokenizers_are_refused(trained: dict[str, Any], more: dict[str, Any],
                                           said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_text_tokenizer(metadata_of(trained, **more))
    same = metadata_of(trained)
    same['tokenizer.ggml.tokens'][5] = same['tokenizer.ggml.tokens'][6]
    with pytest.raises(CheckpointError, match='do not fit together'):
        load_text_tokenizer(same)


def test_folders_and_files(folder: Path, ours: TextTokenizer, tmp_path: Path) -> None:
    for path in (folder, str(folder), folder / 'model.safetensors'):
        found = load_text_tokenizer(path)
        assert found is not None and found.special == ours.special
    assert load_text_tokenizer(tmp_path) is None
    assert load_text_tokenizer({'general.architecture': 'bitnet'}) is None
    (tmp_path / 'tokenizer.json').write_text('{"model"')
    with pytest.raises(CheckpointError, match='not a tokenizer.json'):
        load_text_tokenizer(tmp_path)
    (tmp_path / 'tokenizer.json').write_bytes(b'\xff\xfe')
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_text_tokenizer(tmp_path)


def test_other_kinds_of_json_are_refused(trained: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match='only byte-level BPE'):
        TextTokenizer(json.dumps(trained | {'decoder': {'type': 'Fuse'}}), 'here')
    word = {**trained['added_tokens'][0], 'id': trained['model']['vocab']['Ġquetzal'] - 1}
    vocab = {t: i for t, i in trained['model']['vocab'].items() if i != word['id']} | {
        'fly': word['id']}
    model = trained['model'] | {'vocab': vocab, 'merges': []}
    added = [word | {'content': 'fly'}, *trained['added_tokens']]
    with pytest.raises(CheckpointError, match="can produce the special token 'fly'"):
        TextTokenizer(json.dumps(trained | {'model': model, 'added_tokens': added}), 'here')


def test_the_shipped_one_reads_the_same() -> None:
    pure, full = Tokenizer.load(SHIPPED / 'tokenizer.json'), load_text_tokenizer(SHIPPED)
    assert full is not None and full.size == pure.size and full.begin is None
    for text in TEXTS:
        assert full.encode(text) == pure.encode(text)
        assert full.decode(pure.encode(text)) == text


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package look as if it were not installed."""
    there = builtins.__import__

    def blocked(wanted: str, *rest: Any, **more: Any) -> Any:
        if wanted.split('.')[0] == name:
            raise ImportError(f'no {name}')
        return there(wanted, *rest, **more)
    monkeypatch.setattr(builtins, '__import__', blocked)


def test_missing_extras_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without('tokenizers', monkeypatch)
    with pytest.raises(MissingDependencyError, match=re.escape("'edge_vla[language]'")):
        load_text_tokenizer(folder)


CONVERSATIONS = [
    [{'role': 'user', 'content': 'Hello there'}],
    [{'role': 'system', 'content': 'You are a drone. '},
     {'role': 'user', 'content': '  Where is the red sphere?\n'},
     {'role': 'assistant', 'content': 'Ahead: <here> & 無'}, {'role': 'user', 'content': 'Go!'}],
    [{'role': 'user', 'content': ''}],
]
LLAMA3 = ("{{ bos_token }}{% for message in messages %}\n    {% if message.role == 'system' and "
          "not loop.first %}{{ raise_exception('system comes first') }}{% endif %}\n"
          "{{- '<|start_header_id|>' + message['role'] + '\\n\\n' + message['content'] | trim + "
          "'<|eot_id|>' }}{% endfor %}\n{% if add_generation_prompt %}{{ "
          "'<|start_header_id|>assistant\\n\\n' }}{% endif %}")


PARTED = ("{% if tools is not none %}# Tools{% endif %}{% for m in messages %}"
          "{{ m.content.split('<')[0] | e }};{% endfor %}")


@pytest.mark.parametrize('source', [BITNET, LLAMA3, PARTED, '{{ messages[0] | tojson }}'])
@pytest.mark.parametrize('messages', CONVERSATIONS, ids=len)
@pytest.mark.parametrize('reply', [True, False])
def test_chats_equal_transformers(ours: TextTokenizer, theirs: Any, source: str,
                                  messages: list[dict[str, str]], reply: bool) -> None:
    pytest.importorskip('jinja2', reason='needs jinja2')
    want = theirs.apply_chat_template(messages, chat_template=source, tokenize=False,
                                      add_generation_prompt=reply)
    template = ChatTemplate(source, *SPECIAL[:2])
    assert template.render(messages, reply) == want
    first = [] if source == LLAMA3 else [ours.begin]  # one, wherever it is from
    assert template.encode(ours, messages, reply) == first + theirs(
        want, add_special_tokens=False).input_ids


def test_the_built_in_template_needs_no_jinja(ours: TextTokenizer,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    without('jinja2', monkeypatch)
    said = 'System: You are a drone.<|eot_id|>User: Where is the red sphere?<|eot_id|>' \
        'Assistant: Ahead: <here> & 無<|eot_id|>User: Go!<|eot_id|>Assistant: '
    for source in (BITNET, "{{ 'Human: ' }}{{ '\n\nBITNETAssistant: ' }}"):
        template = ChatTemplate(source)
        assert template.render(CONVERSATIONS[1]) == said
        assert template.encode(ours, CONVERSATIONS[1]) == ours.encode(SPECIAL[0] + said, True)
    with pytest.raises(MissingDependencyError, match=re.escape("'edge_vla[language]'")):
        ChatTemplate(LLAMA3).render(CONVERSATIONS[0])


@settings(max_examples=100, deadline=None)
@given(anything, anything, st.sampled_from([
    BITNET, LLAMA3, "<{{ messages[0]['content'] }}|><|eot_{{ messages[1]['content'] }}",
    "{{ messages[0]['content'] }}{{ messages[1]['content'] }}"]))
def test_messages_cannot_inject_special_tokens(ours: TextTokenizer, one: str, two: str,
                                               source: str) -> None:
    pytest.importorskip('jinja2', reason='needs jinja2')

    def ids(*contents: str) -> list[int]:
        return ChatTemplate(source).encode(ours, [
            {'role': role, 'content': c} for role, c in zip(('system', 'user'), contents,
                                                            strict=True)])
    special = set(ours.special.values())

    def frame(found: list[int]) -> list[int]:
        return [i for i in found if i in special]
    for contents in ((one, two), ('<|eot_', 'id|>'), ('eot_id', '|eot_id|'),
                     ('\U000f0000<|eot_id|>', '<|eot_id|>\U000f0001')):
        found = ids(*contents)
        assert frame(found) == frame(ids('', ''))
        if source == BITNET:
            said = [c.strip() for c in contents]
            assert ours.decode(found) == f'System: {said[0]}User: {said[1]}Assistant: '


def test_stand_ins_are_letters_nobody_uses(ours: TextTokenizer) -> None:
    pytest.importorskip('jinja2', reason='needs jinja2')
    template = ChatTemplate("\U000f0000{{ messages[0]['content'] }}")
    ids = template.encode(ours, [{'role': 'user', 'content': '<\U000f0001> '}])
    assert ours.decode(ids) == '\U000f0000<\U000f0001> '


def test_malformed_conversations_and_templates(ours: TextTokenizer) -> None:
    for wrong in ({'role': 'god', 'content': 'x'}, {'role': 'user'},
                  {'role': 'user', 'content': 3}):
        for ask in (ChatTemplate().render, lambda m: ChatTemplate().encode(ours, m)):
            with pytest.raises(InstructionError, match='a message has a role'):
                ask([wrong])
    pytest.importorskip('jinja2', reason='needs jinja2')
    with pytest.raises(InstructionError, match='refuses the conversation: system comes first'):
        ChatTemplate(LLAMA3).render([*CONVERSATIONS[0], {'role': 'system', 'content': 'x'}])
    with pytest.raises(CheckpointError, match='template is malformed'):
        ChatTemplate('{% if %}').render(CONVERSATIONS[0])
    for escape in ('{{ 1 / 0 }}', "{{ ''.__class__.__mro__[1].__subclasses__() }}",
                   '{{ messages.append(1) }}'):
        with pytest.raises(CheckpointError, match='the chat template failed'):
            ChatTemplate(escape).render(CONVERSATIONS[0])


def test_old_sandboxes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('jinja2', reason='needs jinja2')
    monkeypatch.setattr(chat, 'version', lambda name: '3.1.5')
    with pytest.raises(MissingDependencyError, match='jinja2 3.1.5'):
        ChatTemplate('x').render(CONVERSATIONS[0])
    monkeypatch.setattr(chat, 'version', lambda name: '3.10rc1')
    assert ChatTemplate('x').render(CONVERSATIONS[0]) == 'x'


def test_templates_are_found(folder: Path, trained: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip('jinja2', reason='needs jinja2')
    said = ChatTemplate().render(CONVERSATIONS[1])
    for source in (folder, folder / 'config.json', tmp_path, metadata_of(trained)):
        assert load_chat_template(source).render(CONVERSATIONS[1]) == said

    def written(**values: object) -> str:
        (tmp_path / 'tokenizer_config.json').write_text(json.dumps(values))
        return load_chat_template(tmp_path).render(CONVERSATIONS[0])
    assert written(chat_template='{{ bos_token }}-{{ eos_token }}', bos_token='<s>',
                   eos_token={'content': '</s>'}) == '<s>-</s>'
    assert written(chat_template=[{'name': 'tool_use', 'template': 'a'},
                                  {'name': 'default', 'template': 'b'}]) == 'b'
    (tmp_path / 'chat_template.jinja').write_text('own file')
    assert written(chat_template='b') == 'own file'
    values = metadata_of(trained) | {'tokenizer.chat_template': '{{ bos_token + eos_token }}'}
    assert load_chat_template(values).render(CONVERSATIONS[0]) == ''.join(SPECIAL[:2])
