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


"""Generating text: stop strings, streaming, prompt caching, and the command."""

from collections.abc import Sequence
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bitnet_models import config_of, decoder_of, some_ids
from edge_vla.cli.main import main
from edge_vla.exceptions import CheckpointError, ConfigError, InstructionError
from edge_vla.language import decoder as decoder_module
from edge_vla.language.chat import ChatTemplate
from edge_vla.language.generation import CachedIds, generate, Generation, StopStrings, stream
from edge_vla.language.sampling import probabilities, SamplingConfig
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

BEGIN, END, TURN, OTHER = 256, 257, 258, 259


class Bytes:
    """A tokenizer whose tokens are bytes, so that every character beyond ASCII is several."""

    size, begin = 260, BEGIN
    special = {'<|begin_of_text|>': BEGIN, '<|end_of_text|>': END, '<|eot_id|>': TURN,
               '<o>': OTHER}

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def bytes_of(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b''


class FakeCache:
    """Counts tokens."""

    appended = 0

    def __init__(self, capacity: int) -> None:
        self.length, self.capacity = 0, capacity

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.length = length


class Scripted:
    """A decoder that says the tokens it was told, and then goes on with 'z'."""

    def __init__(self, says: Sequence[int], tokenizer: Any = None, capacity: int = 10**6,
                 end: Any = END) -> None:
        self.config = SimpleNamespace(vocab_size=300, eos_token_id=end)
        self.cache = FakeCache(capacity)
        self.tokenizer, self.chat = tokenizer, ChatTemplate()
        self.says, self.fed = list(says), []
        self._said = 0

    def forward(self, ids: Sequence[int]) -> np.ndarray:
        assert len(ids) and self.cache.length + len(ids) <= self.cache.capacity
        self.cache.length += len(ids)
        self.cache.appended += len(ids)
        self.fed.append(list(ids))
        logits = np.zeros(300, np.float32)
        logits[self.says[self._said] if self._said < len(self.says) else ord('z')] = 1
        self._said += 1
        return logits

    def generate(self, prompt: Any, **how: Any) -> Generation:
        return generate(self, prompt, **how)


def said(text: str | bytes, **how: Any) -> tuple[list[str], Generation]:
    """Return the pieces and the result of a decoder that says this text, byte by byte."""
    raw = text if isinstance(text, bytes) else text.encode()
    pieces: list[str] = []
    how = {'max_tokens': max(1, len(raw))} | how
    result = generate(Scripted(list(raw), Bytes()), 'go', on_text=pieces.append, **how)
    assert ''.join(pieces) == result.text and all(pieces)
    return pieces, result


def test_text_streams_in_whole_characters() -> None:
    pieces, result = said('né 無🚁!')
    assert pieces == ['n', 'é', ' ', '無', '🚁', '!'] and result.finish == 'length'
    pieces, result = said('ab無'.encode()[:-1])
    assert pieces == ['a', 'b', '\ufffd']
    pieces, result = said(b'a\xff\xe7\x84b')
    assert result.text == b'a\xff\xe7\x84b'.decode('utf-8', 'replace')


@pytest.mark.parametrize(('text', 'stop', 'want'), [
    ('hello STOP more', ['STOP'], 'hello '), ('STOP', ['STOP'], ''),
    ('abab abac x', ['abac'], 'abab '), ('one\n\ntwo', ['\n\n', 'two'], 'one'),
    ('aaab', ['aab'], 'a'), ('née 無🚁🚀', ['無🚁🚀'], 'née '), ('abcd', ['abcd', 'bc'], 'a'),
    ('xabc', ['abc', 'c', 'bc'], 'x'),
])
def test_stop_strings_end_the_text_before_them(text: str, stop: list[str], want: str) -> None:
    pieces, result = said(text + ' and so on', stop=stop)
    assert result.text == want and result.finish == 'stop string'
    whole = StopStrings(stop)
    assert whole.push(text + ' and so on') == want and whole.found


def test_nothing_of_a_stop_string_is_shown_and_nothing_else_is_held_back() -> None:
    pieces, result = said('a<b<|c', stop=['<|end|>'])
    assert pieces == ['a', '<b', '<|c'] and result.finish == 'length'
    pieces, result = said('a<|en', stop=['<|end|>'])  # it was none after all
    assert pieces == ['a', '<|en'] and result.finish == 'length'
    pieces, result = said(b'a' + '無'.encode()[:2], stop=['\ufffd'])
    assert result.text == 'a' and result.finish == 'stop string'


def naive(text: str, strings: list[str]) -> tuple[str, bool]:
    """Return where the first stop string to be complete ends a text, letter by letter."""
    for end in range(len(text) + 1):
        starts = [end - len(s) for s in strings if text[:end].endswith(s)]
        if starts:
            return text[:min(starts)], True
    return text, False


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab無', max_size=5), max_size=8),
       st.lists(st.text('ab無', min_size=1, max_size=4), max_size=3))
def test_stop_strings_whatever_the_pieces(pieces: list[str], strings: list[str]) -> None:
    stops, shown, seen = StopStrings(strings), '', ''
    want, found = naive(''.join(pieces), strings)
    for piece in pieces:
        shown += stops.push(piece)
        seen += piece
        assert want.startswith(shown)  # never a letter too many
        if stops.found:
            break
        held = seen[len(shown):]  # nothing but the longest possible beginning
        assert not held or any(s.startswith(held) and s != held for s in strings)
        assert not any(s.startswith(shown[k:] + held) for s in strings
                       for k in range(len(shown)))
    assert (shown + ('' if stops.found else stops.finish()), stops.found) == (want, found)


def test_ends_of_text() -> None:
    for end, extra in ((END, {}), (TURN, {}), (OTHER, {'end': [END, OTHER]})):
        decoder = Scripted([*b'hi', end, *b'no'], Bytes(), **extra)
        result = generate(decoder, 'x', stop=['hip'])
        assert (result.text, result.finish) == ('hi', 'end of text')
        assert result.ids == (*b'hi', end) and len(decoder.fed) == 3
    result = generate(Scripted([OTHER, *b'a', END], Bytes()), 'x')
    assert (result.text, result.ids) == ('a', (OTHER, ord('a'), END))


def test_length_and_a_full_cache() -> None:
    decoder = Scripted([], Bytes(), capacity=8)
    result = generate(decoder, 'four', max_tokens=3)
    assert (result.text, result.finish, result.prompt_tokens) == ('zzz', 'length', 5)
    assert decoder.fed == [[BEGIN, *b'four'], [122], [122]] and decoder.cache.length == 7
    result = generate(decoder, 'four')
    assert (result.text, result.finish) == ('zzzz', 'context full')
    assert generate(decoder, 'sixteen').text == 'z'  # fits exactly
    with pytest.raises(InstructionError, match='the prompt has 9 tokens, at most 8 fit'):
        generate(decoder, 'sixteen!')


def test_ids_without_a_tokenizer() -> None:
    decoder = Scripted([5, 6, 7])
    result = generate(decoder, np.array([1, 2]), max_tokens=3)
    assert (result.text, result.ids) == ('', (5, 6, 7))
    assert list(stream(decoder, [1, 2], max_tokens=3)) == []
    assert generate(Scripted([5, END]), [1]).finish == 'end of text'
    for how in ({'prompt': 'text'}, {'prompt': [1], 'stop': ['x']}, {'prompt': [1], 'chat': True}):
        with pytest.raises(ConfigError, match='tokenizer|a chat needs text'):
            generate(decoder, **how)


@pytest.mark.parametrize(('prompt', 'how', 'said'), [
    ('x', {'max_tokens': 0}, 'max_tokens is 0'), ('x', {'stop': ['a', '']}, 'string is empty'),
    ([], {}, 'prompt is empty'), ([300], {}, r'lie in \[0, 300\)'), ([-1], {}, r'lie in \[0, 300'),
    ('x', {'system': 'y'}, 'needs a chat'),
])
def test_wrong_arguments_are_refused_at_once(prompt: Any, how: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, InstructionError), match=said):
        stream(Scripted([], Bytes()), prompt, **how)
    big = Bytes()
    big.size = 301
    with pytest.raises(ConfigError, match='do not belong together'):
        stream(Scripted([], big), 'x')


def test_one_stop_string_needs_no_list() -> None:
    assert generate(Scripted([*b'to be END'], Bytes()), 'x', stop='END').text == 'to be '
    with pytest.raises(ConfigError, match='max_tokens is 2.5'):
        generate(Scripted([]), [1], max_tokens=2.5)


def test_a_model_that_answers_nan_is_refused() -> None:
    decoder = Scripted([])
    decoder.forward = lambda ids: np.full(300, np.nan, np.float32)
    with pytest.raises(CheckpointError, match='NaN'):
        generate(decoder, [1])


def test_chats() -> None:
    decoder = Scripted([*b'Yes.', TURN], Bytes())
    result = generate(decoder, '<|eot_id|>hi', chat=True, system='Be kind')
    turn = [*b'System: Be kind', TURN, *b'User: <|eot_id|>hi', TURN, *b'Assistant: ']
    assert decoder.fed[0] == [BEGIN, *turn]
    assert (result.text, result.finish) == ('Yes.', 'end of text')
    decoder.tokenizer.special = {'<|begin_of_text|>': BEGIN}
    with pytest.raises(CheckpointError, match='lacks <|eot_id|>'.replace('|', '.')):
        generate(decoder, 'hi', chat=True)
    decoder.chat = None
    with pytest.raises(ConfigError, match='no chat template'):
        generate(decoder, 'hi', chat=True)


def test_times_add_up() -> None:
    result = Generation('', tuple(range(11)), 'length', 50, 20, 0.5, 0.6, 2.0)
    assert result.tokens_per_second == 5 and result.prompt_tokens_per_second == 60
    one = generate(Scripted([]), [1], max_tokens=1)
    assert one.tokens_per_second == 0 and 0 < one.prefill_seconds <= one.first_token_seconds
    assert generate(Scripted([]), [1], max_tokens=4).decode_seconds > 0


@pytest.fixture(scope='module')
def real() -> Any:
    decoder = decoder_of(config_of('as shipped', eos_token_id=-1), capacity=64)
    decoder.tokenizer = decoder.chat = None
    return decoder


def test_greedy_and_sampled_text_follow_the_logits(real: Any) -> None:
    prompt = some_ids(real.config, 7)
    for values in ({}, {'temperature': 20.0, 'top_k': 9, 'repetition_penalty': 1.5}):
        config = SamplingConfig(**values)
        ids = list(generate(real, prompt, max_tokens=12, sampling=config).ids)
        assert ids == list(generate(real, prompt, max_tokens=12, sampling=config).ids)
        real.cache.truncate(0)
        rows = real.logits(prompt + ids)[len(prompt) - 1:-1]
        for k, (row, token) in enumerate(zip(rows, ids, strict=True)):
            assert probabilities(row, prompt + ids[:k], config)[token] > 0
    assert len(set(ids)) > 3


def test_prompt_caching_changes_nothing(real: Any) -> None:
    cached, base = CachedIds(), some_ids(real.config, 20)
    sampling = SamplingConfig(temperature=20.0, top_p=0.9)
    reads: list[int] = []
    forward = real.forward
    for prompt, shared in ((base, 0), (base, 19), (base[:12] + [3, 4], 12), (base[:5], 4),
                           ([9] + base, 0), ([9] + base + [7] * 30, 21)):
        want = generate(real, prompt, max_tokens=5, sampling=sampling)
        real.cache.truncate(0)
        if shared:  # what the last call with `cached` left
            forward(cached.ids)
            cached.add(real.cache, [])
        real.forward = lambda ids: reads.append(len(ids)) or forward(ids)
        got = generate(real, prompt, max_tokens=5, sampling=sampling, cached=cached)
        real.forward = forward
        assert got.ids == want.ids and got.reused_tokens == shared
        assert reads[-5:] == [len(prompt) - shared, 1, 1, 1, 1]
        assert cached.ids == prompt + list(got.ids[:-1])
        assert len(cached.ids) == real.cache.length


def test_answers_are_cached_too_and_other_uses_are_noticed(real: Any) -> None:
    cached, prompt = CachedIds(), some_ids(real.config, 10)
    answer = generate(real, prompt, max_tokens=6, cached=cached)
    follow = [*prompt, *answer.ids, 1, 2]
    again = generate(real, follow, max_tokens=6, cached=cached)
    assert again.reused_tokens == 15  # the last token was chosen, not read
    assert again.ids == generate(real, follow, max_tokens=6).ids
    real.cache.truncate(3)
    third = generate(real, follow, max_tokens=6, cached=cached)
    assert third.reused_tokens == 0 and third.ids == again.ids


def test_an_abandoned_stream_leaves_the_cache_known() -> None:
    decoder, cached = Scripted([], Bytes()), CachedIds()
    pieces = stream(decoder, 'go', cached=cached)
    assert next(pieces) + next(pieces) == 'zz'
    pieces.close()
    assert cached.ids == [BEGIN, *b'go', 122] and decoder.cache.length == 4
    assert generate(decoder, 'go!', max_tokens=1, cached=cached).reused_tokens == 3


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the command load a scripted decoder; returns what it was asked for."""
    asked: list[Any] = []

    def load(path: Path, settings: Any, progress: Any) -> Scripted:
        asked.append((path, settings))
        progress('compiling')
        return Scripted([*'né 無STOP'.encode(), END], Bytes())
    monkeypatch.setattr(decoder_module, 'load_decoder', load)
    return asked


def test_command(command: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path,
                 monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / 'new' / 'report.json'
    assert main(['generate', '--model', 'm', 'hi', '--threads', '2', '--kv', 'int8', '--head',
                 'int4', '--json', str(report)]) == 0
    out, err = capsys.readouterr()
    assert out == 'né 無STOP\n'
    assert err.startswith('compiling\n12 tokens (end of text), ') and 'peak memory' in err
    path, chosen = command[0]
    assert (path, chosen.threads, chosen.kv, chosen.head) == (Path('m'), 2, 'int8', 'int4')
    values = json.loads(report.read_text())
    assert values['text'] == 'né 無STOP' and values['prompt_tokens'] == 3
    assert values['ids'][-1] == END and values['peak_memory_mb'] > 10
    assert main(['generate', '--model', 'm', 'hi', '--stop', 'x', '--stop', 'STOP']) == 0
    assert capsys.readouterr().out == 'né 無\n'
    monkeypatch.setattr('sys.stdin', io.StringIO('four\n'))
    assert main(['generate', '--model', 'm', '-', '--max-tokens', '1', '--temperature', '0.5',
                 '--top-k', '1', '--chat', '--system', 's', '--json', str(report)]) == 0
    assert json.loads(report.read_text())['prompt_tokens'] == len(
        'System: s-User: four-Assistant: ') + 1
    assert main(['generate', '--model', 'm', '--ids', '1, 2 3', '--max-tokens', '2']) == 0
    assert capsys.readouterr().out.endswith('110 195\n')
    terminal = io.TextIOWrapper(io.BytesIO(), 'ascii')
    monkeypatch.setattr('sys.stdout', terminal)
    assert main(['generate', '--model', 'm', 'hi']) == 0
    terminal.seek(0)
    assert terminal.read() == 'n? ?STOP\n'
    monkeypatch.setattr('sys.stdin', None)
    assert main(['generate', '--model', 'm', '-']) == 2


@pytest.mark.parametrize(('arguments', 'said'), [
    (['hi', '--ids', '1'], 'give a prompt or --ids'), ([], 'give a prompt or --ids'),
    (['--ids', '1 x'], "--ids '1 x': expected numbers"), (['--ids', '999'], 'lie in [0, 300)'),
    (['hi', '--temperature', '-1'], 'temperature: -1.0 is outside'),
    (['hi', '--top-p', 'nan'], 'top_p: nan is outside'), (['hi', '--kv', 'bits'], "kv is 'bits'"),
    (['hi', '--context', '-1'], 'capacity'), (['--ids', '1', '--stop', 'x'], '--stop is text'),
    (['hi', '--max-tokens', '0'], 'max_tokens is 0'), (['hi', '--system', 'x'], 'needs a chat'),
])
def test_errors_of_the_command_are_one_line(command: list[Any], arguments: list[str], said: str,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['generate', '--model', 'm', *arguments]) == 2
    last = capsys.readouterr().err.removeprefix('compiling\n')
    assert last.startswith('edge-vla: ') and said in last and last.count('\n') == 1


def test_closed_and_narrow_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(f'sys.{name}', None)
    assert main(['generate', '--model', '/nowhere', 'hi']) == 2
    narrow = io.TextIOWrapper(io.BytesIO(), 'ascii')
    monkeypatch.setattr('sys.stderr', narrow)
    assert main(['generate', '--model', '/nöwhere', 'hi']) == 2
    narrow.seek(0)
    assert '/n?where' in narrow.read()


def test_a_missing_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['generate', '--model', '/nowhere', 'hi']) == 2
    assert '/nowhere' in capsys.readouterr().err
