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


"""The shipped language head: what it understands, and what it refuses."""

import json
from pathlib import Path
import shutil
import threading

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.datatypes import Context
from edge_vla.exceptions import CheckpointError, InstructionError
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import load_decoder
from edge_vla.language.head import canonical, LanguageHead
from edge_vla.language.plan import COLOURS, CONTEXT_SIZE, Plan, SHAPES, SLOTS, VERBS
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.instructions import sample_instruction, sample_vague
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

HELD_OUT_LIMIT = 20  # of 1000
VAGUE_LIMIT = 5  # of 100
FOLDER = SHIPPED_MODEL / 'language'
DATA = Path(__file__).parent / 'data'


@pytest.fixture(scope='module')
def head() -> LanguageHead:
    return LanguageHead.load(FOLDER)


def test_every_plan_in_its_own_words(head: LanguageHead) -> None:
    wrong = []
    for verb in VERBS[:4]:
        for colour in COLOURS:
            for shape in SHAPES:
                plan = Plan(verb, colour, shape)
                context = head.read(plan.text())
                if context.text != plan.text() or context.confidence < .6:
                    wrong.append((context.instruction, context.text, context.confidence))
    assert not wrong


def test_wording_it_was_never_trained_on(head: LanguageHead) -> None:
    rng = np.random.default_rng(2024)
    wrong = []
    for _ in range(1000):
        plan, other = (Plan(str(rng.choice(VERBS)), str(rng.choice(COLOURS)),
                            str(rng.choice(SHAPES))) for _ in range(2))
        text = sample_instruction(rng, plan, 'held_out', other)
        context = head.read(text)
        if context.text != plan.text():
            wrong.append((text, context.text))
    assert len(wrong) <= HELD_OUT_LIMIT, wrong[:10]


def test_sentences_written_by_hand(head: LanguageHead) -> None:
    rows = [line.split('\t') for line in (DATA / 'instructions.txt').read_text().splitlines()
            if line[:1] not in '#']
    wrong = [(text, got) for want, text in rows
             if (got := head.read(text).text) != Plan(*want.split()).text()]
    assert len(wrong) <= .07 * len(rows), wrong


def test_what_is_left_open_is_not_guessed_with_confidence(head: LanguageHead) -> None:
    rng = np.random.default_rng(3)
    sure = [head.read(sample_vague(rng, Plan(
        str(rng.choice(VERBS[:4])), str(rng.choice(COLOURS)), str(rng.choice(SHAPES)))))
        for _ in range(100)]
    flown = [c for c in sure if c.confidence > .9 and c.text != 'hover']
    assert len(flown) < VAGUE_LIMIT, [(c.instruction, c.text) for c in flown[:8]]


def check(context: Context) -> None:
    v = context.vector
    assert v.shape == (CONTEXT_SIZE,) and v.dtype == np.float32
    assert (v >= 0).all() and (v <= 1).all()
    verbs, colours, shapes = np.split(v, np.cumsum([len(s) for s in SLOTS])[:-1])
    assert verbs.sum() == pytest.approx(1, abs=1e-5)
    moving = 1 - verbs[VERBS.index('hover')]
    assert colours.sum() == pytest.approx(moving, abs=1e-5)
    assert shapes.sum() == pytest.approx(moving, abs=1e-5)
    best = Plan(VERBS[verbs.argmax()], COLOURS[colours.argmax()], SHAPES[shapes.argmax()])
    if moving > 1e-4:
        assert context.text == best.text()
    assert 0 < context.confidence <= 1


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(str.strip))
def test_any_text_gives_a_context(text: str) -> None:
    check(_any_head().read(text))


def _any_head(cache: list[LanguageHead] = []) -> LanguageHead:  # noqa: B006
    return cache[0] if cache else cache.append(LanguageHead.load(FOLDER)) or cache[0]


def test_contexts_are_probabilities(head: LanguageHead) -> None:
    for text in ('fly to the red sphere', 'hover', 'circle the blue box', 'go to the ball'):
        check(head.read(text))
        assert head.read(text).instruction == text


@pytest.mark.parametrize('bad', ['', '  \n\t ', None, 7, b'fly', ['fly'], 'go ' * 200])
def test_what_is_no_instruction_is_refused(head: LanguageHead, bad: object) -> None:
    with pytest.raises(InstructionError) as error:
        head.read(bad)
    assert '\n' not in str(error.value)
    assert head.read('fly to the red sphere').text == 'go to the red sphere'


def test_the_longest_instruction_is_read(head: LanguageHead) -> None:
    text = 'fly to the red sphere ' + 'x' * 378
    assert len(text) == 400
    check(head.read(text))
    with pytest.raises(InstructionError, match='401'):
        head.read(text + 'x')
    try:
        check(head.read('\U0001f681' * 400))  # four bytes each
    except InstructionError as error:
        assert 'tokens' in str(error)


def test_written_special_tokens_are_plain_text(head: LanguageHead) -> None:
    tokenizer = Tokenizer.load(FOLDER / 'tokenizer.json')
    text = '<go><red><sphere><eos><plan><bos>'
    assert not set(tokenizer.encode(text)) & set(tokenizer.special.values())
    check(head.read(text))


def test_case_and_spacing_mean_nothing(head: LanguageHead) -> None:
    want = head.read('fly to the red sphere').vector
    for text in ('FLY TO THE RED SPHERE', '  Fly   to\nthe red\tsphere '):
        np.testing.assert_array_equal(head.read(text).vector, want)


def test_reading_leaves_no_trace(head: LanguageHead) -> None:
    want = head.read('orbit the blue box to the left').vector
    head.read('find the yellow cone, ' * 15)
    head.read('stop')
    np.testing.assert_array_equal(head.read('orbit the blue box to the left').vector, want)
    fresh = LanguageHead.load(FOLDER).read('orbit the blue box to the left').vector
    np.testing.assert_array_equal(fresh, want)


def test_threads_do_not_disturb_each_other(head: LanguageHead) -> None:
    texts = ['fly to the red sphere', 'orbit the blue box to the right', 'stop', 'find a cone']
    want = [head.read(t).vector for t in texts]
    wrong: list[str] = []

    def read(k: int) -> None:
        for _ in range(25):
            if not np.array_equal(head.read(texts[k]).vector, want[k]):
                wrong.append(texts[k])

    threads = [threading.Thread(target=read, args=(k,)) for k in range(len(texts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_golden_contexts(head: LanguageHead) -> None:
    """What the shipped weights said when they were shipped; exp and cos may differ in a bit."""
    golden = json.loads((DATA / 'language_golden.json').read_text())
    for text, (plan, vector) in golden.items():
        context = head.read(text)
        assert context.text == plan
        np.testing.assert_allclose(context.vector, vector, atol=2e-4, err_msg=text)


def test_the_shipped_weights_are_small_and_ternary() -> None:
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 1_000_000
    tensors, metadata = read_safetensors(FOLDER / 'model.safetensors')
    config = BitNetConfig.load(FOLDER / 'config.json')
    assert json.loads(metadata['recipe'])['unquantised'] is False
    for i in range(config.num_hidden_layers):
        for name in config.linears():
            assert tensors[f'model.layers.{i}.{name}.weight'].dtype == np.uint8


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors', 'tokenizer.json'])
def test_an_incomplete_folder_is_refused(name: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / 'm')
    (tmp_path / 'm' / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        LanguageHead.load(tmp_path / 'm')
    (tmp_path / 'm' / name).write_bytes(b'{}')
    with pytest.raises(CheckpointError, match=name):
        LanguageHead.load(tmp_path / 'm')


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / 'm')
    path = tmp_path / 'm' / 'tokenizer.json'
    values = json.loads(path.read_text())
    values['added_tokens'] = [t for t in values['added_tokens'] if t['content'] != '<plan>']
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match='<plan>'):
        LanguageHead.load(tmp_path / 'm')


def test_a_larger_vocabulary_than_the_model_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / 'm')
    path = tmp_path / 'm' / 'tokenizer.json'
    values = json.loads(path.read_text())
    values['added_tokens'][5]['id'] = 10**6
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError):
        LanguageHead.load(tmp_path / 'm')


SENTENCES = st.text(alphabet='abcdefghijklmnopqrstuvwxyzABCXYZ 0123456789.,!?\'"-:;()\n\t',
                    max_size=80)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), SENTENCES))
def test_tokens_equal_the_tokenizers_library(text: str) -> None:
    tokenizers = pytest.importorskip('tokenizers', reason='needs tokenizers (make oracles)')
    theirs = tokenizers.Tokenizer.from_file(str(FOLDER / 'tokenizer.json'))
    theirs.encode_special_tokens = True  # text never says '<bos>', as with ours
    ours = Tokenizer.load(FOLDER / 'tokenizer.json')
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False).ids
    assert ours.decode(ids) == text


def test_the_shipped_folder_loads_in_transformers(head: LanguageHead) -> None:
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    pytest.importorskip('accelerate', reason='transformers loads packed BitNet with accelerate')
    torch.compiler.set_stance('force_eager')
    theirs = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    ours = load_decoder(FOLDER)
    tokenizer = Tokenizer.load(FOLDER / 'tokenizer.json')
    ids = [tokenizer.special['<bos>'], *tokenizer.encode(canonical('fly to the red sphere')),
           tokenizer.special['<plan>']]
    with torch.no_grad():
        want = theirs(torch.tensor([ids])).logits[0].numpy()
    got = ours.logits(ids)
    assert np.median(np.abs(got - want)) < 1e-3 * np.abs(want).max()
    assert got[-1].argmax() == want[-1].argmax() == tokenizer.special['<go>']
