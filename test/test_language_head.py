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
from edge_vla.language.head import canonical, LanguageHead, special_tokens
from edge_vla.language.plan import (
    ANCHORED,
    ANY,
    COLOURS,
    CONTEXT_SIZE,
    MAX_STEPS,
    MOVING,
    next_words,
    parse,
    Plan,
    RELATIONS,
    SHAPES,
    SLOTS,
    UNSEEN_PAIRS,
    VERBS,
)
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.instructions import sample_instruction, sample_mission
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

HELD_OUT_LIMIT = 40  # of 1000
MISSION_LIMIT = 60  # of 300
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
        # an idiom it never heard ("sit tight") may remain unknown: it hovers all the same
        if context.text != plan.text() and not (
                plan.verb == 'hover' and context.text == Plan('unknown').text()):
            wrong.append((text, context.text))
    assert len(wrong) <= HELD_OUT_LIMIT, wrong[:10]


def read_right(head: LanguageHead, text: str, plans: list[Plan]) -> bool:
    got = [step.plan.text() for step in head.read(text).steps]
    return got == [plan.text() for plan in plans] or (
        'I did not understand' in (p.text() for p in plans) and got == ['I did not understand'])


@pytest.mark.parametrize(('first', 'limit'), [(0, .11), (152, .11)])
def test_sentences_written_by_hand(head: LanguageHead, first: int, limit: float) -> None:
    """The second part was written for relations and several steps, before any result."""
    rows = [line.split('\t') for line in (DATA / 'instructions.txt').read_text().splitlines()
            if line[:1] not in '#']
    rows = rows[first:152] if first < 152 else rows[152:]
    wrong = [(text, head.read(text).text) for want, text in rows
             if not read_right(head, text, parse(want.split()))]
    assert len(wrong) <= limit * len(rows), wrong


def test_pairs_it_was_never_trained_on(head: LanguageHead) -> None:
    for colour, shape in UNSEEN_PAIRS:
        for verb in VERBS[:4]:
            plan = Plan(verb, colour, shape)
            assert head.read(plan.text()).text == plan.text()


def test_relations_in_their_own_words(head: LanguageHead) -> None:
    wrong = []
    for verb in ('go', 'orbit_right'):
        for relation in RELATIONS[1:]:
            for shape in SHAPES:
                anchor = ('blue', 'pillar') if relation in ANCHORED else ()
                plan = Plan(verb, ANY, shape, relation, *anchor)
                if head.read(plan.text()).text != plan.text():
                    wrong.append((plan.text(), head.read(plan.text()).text))
    assert len(wrong) <= 6, wrong


def test_missions_step_by_step(head: LanguageHead) -> None:
    context = head.read('go to the red sphere, then orbit the green box to the left and then land')
    assert [step.plan for step in context.steps] == [
        Plan('go', 'red', 'sphere'), Plan('orbit_left', 'green', 'box'), Plan('land')]
    assert context.text == ('go to the red sphere, then orbit the green box to the left, then '
                            'land')
    assert context.vector is context.steps[0].vector
    assert context.confidence == min(step.confidence for step in context.steps)


def test_missions_it_was_never_trained_on(head: LanguageHead) -> None:
    rng = np.random.default_rng(11)
    wrong = []
    for _ in range(300):
        pairs = [(str(rng.choice(COLOURS)), str(rng.choice(SHAPES))) for _ in range(2)]
        plans = [Plan(str(rng.choice(MOVING)), *pair) for pair in pairs]
        text = sample_mission(rng, plans, 'held_out')
        if not read_right(head, text, plans):
            wrong.append((text, head.read(text).text))
    assert len(wrong) <= MISSION_LIMIT, wrong[:10]


@pytest.mark.parametrize('text', [
    'sing a song', 'go to the pink ball', 'fly to the car', 'what time is it'])
def test_what_it_does_not_understand_it_says(head: LanguageHead, text: str) -> None:
    context = head.read(text)
    assert context.text == 'I did not understand' and len(context.steps) == 1
    assert context.vector[:5].argmax() == VERBS.index('hover')


def test_a_half_understood_instruction_is_not_understood(head: LanguageHead) -> None:
    context = head.read('go to the red sphere and then go to the pink elephant')
    assert context.text == 'I did not understand'
    assert context.vector[:5].argmax() == VERBS.index('hover')


@pytest.mark.parametrize('text', ['stop', 'wait', 'do not go to the red box'])
def test_to_stop_is_to_hover(head: LanguageHead, text: str) -> None:
    assert head.read(text).text == 'hover'


def check(context: Context) -> None:
    assert 1 <= len(context.steps) <= MAX_STEPS
    for step in context.steps:
        v, plan = step.vector, step.plan
        assert v.shape == (CONTEXT_SIZE,) and v.dtype == np.float32
        assert (v >= 0).all() and (v <= 1 + 1e-6).all()
        verbs, colours, shapes = np.split(v, np.cumsum([len(s) for s in SLOTS])[:-1])
        assert verbs.sum() == pytest.approx(1, abs=1e-5)
        moving = 1 - verbs[VERBS.index('hover')] if plan.verb in MOVING else 0
        assert colours.sum() <= moving + 1e-5 and shapes.sum() <= moving + 1e-5
        if plan.verb in MOVING:
            assert plan.colour == ANY or COLOURS[colours.argmax()] == plan.colour
            assert plan.shape == ANY or SHAPES[shapes.argmax()] == plan.shape
        said: list[str] = []
        for word in plan.words():
            assert word in next_words(said)
            said.append(word)
        assert 0 < step.confidence <= 1
    assert context.text == ', then '.join(step.plan.text() for step in context.steps)
    assert context.confidence == min(step.confidence for step in context.steps)


def test_special_tokens_are_the_words_of_the_grammar() -> None:
    tokens = special_tokens()
    assert len(tokens) == len(set(tokens)) == 33
    assert tokens[:5] == ['<bos>', '<plan>', '<eos>', '<go>', '<orbit_left>']


class Scripted:
    """A decoder that wants to say given tokens, whatever was asked."""

    def __init__(self, tokenizer: Tokenizer, words: list[str]) -> None:
        self.config = BitNetConfig.load(FOLDER / 'config.json')
        self.cache = type('Cache', (), {'capacity': 400, 'truncate': lambda *_: None})()
        self._ids = [tokenizer.special[f'<{w}>'] for w in words]
        self._k = -1

    def forward(self, ids: list[int]) -> np.ndarray:
        """Prefer the next word of the script most, the later ones less."""
        self._k += 1
        logits = np.zeros(self.config.vocab_size, np.float32)
        logits[self._ids[self._k]] = 5
        return logits


@pytest.mark.parametrize('words', [
    'go red box eos', 'go any any behind red any eos', 'land eos', 'hover then land eos',
    'orbit_left any box nearest then search blue cone then hover then land eos'])
def test_the_grammar_is_followed(words: str) -> None:
    tokenizer = Tokenizer.load(FOLDER / 'tokenizer.json')
    context = LanguageHead(Scripted(tokenizer, words.split()), tokenizer).read('anything')
    check(context)
    assert [s.plan for s in context.steps] == parse(words.removesuffix(' eos').split())
    first = context.steps[0]
    assert (first.vector == context.vector).all()


def test_more_steps_than_four_are_not_said() -> None:
    tokenizer = Tokenizer.load(FOLDER / 'tokenizer.json')
    words = 'hover then hover then hover then hover then hover then hover then'.split()
    assert len(LanguageHead(Scripted(tokenizer, words), tokenizer).read('wait').steps) == 4


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(str.strip))
def test_any_text_gives_a_context(text: str) -> None:
    check(_any_head().read(text))


def _any_head(cache: list[LanguageHead] = []) -> LanguageHead:  # noqa: B006
    return cache[0] if cache else cache.append(LanguageHead.load(FOLDER)) or cache[0]


def test_contexts_are_probabilities(head: LanguageHead) -> None:
    for text in ('fly to the red sphere', 'hover', 'circle the blue box', 'go to the ball',
                 'land', 'go to the red box, then land', 'the box left of the blue pillar'):
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
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 1_500_000
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
