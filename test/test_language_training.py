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


"""Training of the language head, in small: deterministic, resumable, exported faithfully."""

from dataclasses import replace
from pathlib import Path

from edge_vla.exceptions import ConfigError
from edge_vla.language.decoder import load_decoder
from edge_vla.language.head import LanguageHead
from edge_vla.language.plan import ANY, next_words, Plan, THEN, UNSEEN_PAIRS
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.instructions import mentioned_objects
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='training needs torch (make oracles)')
pytest.importorskip('tokenizers', reason='training needs tokenizers (make oracles)')
language = pytest.importorskip('edge_vla.training.language')

RECIPE = language.LanguageRecipe(steps=8, batch=8, vocabulary=330, hidden=32, feed_forward=40,
                                 layers=2, save_every=4)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(language, 'accuracy', lambda *_: 0.0)


@pytest.fixture(scope='module')
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('tokens') / 'tokenizer.json'
    language.train_tokenizer(language.corpus_of(RECIPE), language.special_tokens(),
                             RECIPE.vocabulary, path)
    return path


def run(out: Path, tokenizer_file: Path, recipe: object = RECIPE) -> dict[str, np.ndarray]:
    out.mkdir(exist_ok=True)
    (out / 'tokenizer.json').write_bytes(tokenizer_file.read_bytes())
    net = language.train(recipe, out)
    return {k: v.detach().numpy() for k, v in net.named_parameters()}


def test_one_seed_gives_one_result_and_an_interruption_changes_nothing(
        tmp_path: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / 'a', tokenizer_file)
    real = language.save

    def interrupted(path: Path, **state: object) -> None:
        real(path, **state)
        raise KeyboardInterrupt

    monkeypatch.setattr(language, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / 'b', tokenizer_file)
    monkeypatch.setattr(language, 'save', real)
    resumed = run(tmp_path / 'b', tokenizer_file)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    same = [(tmp_path / d / 'model.safetensors').read_bytes() for d in 'ab']
    assert same[0] == same[1]
    (tmp_path / 'c').mkdir()  # where a run of another recipe left off before its checkpoint
    (tmp_path / 'c' / 'tokenizer.json').write_text('{}')
    language.train(RECIPE, tmp_path / 'c')
    assert (tmp_path / 'c' / 'model.safetensors').read_bytes() == same[0]
    with pytest.raises(ConfigError, match='language.pt was made with seed'):
        run(tmp_path / 'b', tokenizer_file, replace(RECIPE, seed=RECIPE.seed + 1))


def test_what_is_exported_computes_what_was_trained(tmp_path: Path, tokenizer_file: Path) -> None:
    out = tmp_path / 'a'
    out.mkdir()
    (out / 'tokenizer.json').write_bytes(tokenizer_file.read_bytes())
    net = language.train(RECIPE, out)
    ids = Tokenizer.load(out / 'tokenizer.json').encode(' fly to the red sphere')
    with torch.no_grad():
        want = net(torch.tensor([ids]))[0].numpy()
    got = load_decoder(out).logits(ids)
    assert np.median(np.abs(got - want)) < 1e-4 * np.abs(want).max()
    assert LanguageHead.load(out).read('fly to the red sphere').vector.sum() > 1


def test_the_baseline_is_not_quantised(tmp_path: Path, tokenizer_file: Path) -> None:
    recipe = language.LanguageRecipe(**{**RECIPE.__dict__, 'unquantised': True, 'steps': 4})
    run(tmp_path / 'a', tokenizer_file, recipe)
    assert not (tmp_path / 'a' / 'model.safetensors').exists()
    config = language.BitNetConfig(
        hidden_size=32, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, max_position_embeddings=16)
    torch.manual_seed(0)
    net = language.BitNet(config, quantised=False)
    ternary = language.BitNet(config)
    ternary.load_state_dict(net.state_dict())
    ids = torch.tensor([[1, 2, 3]])
    assert (net(ids) - ternary(ids)).abs().max() > 1e-2


def test_gradients_reach_every_weight(tokenizer_file: Path) -> None:
    batches = language.Batches(Tokenizer.load(tokenizer_file), np.random.default_rng(0),
                               language.shares(RECIPE))
    ids, weight, starts, plans = batches.draw(16, 'train')
    config = language.BitNetConfig(
        hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=330, max_position_embeddings=448)
    net = language.BitNet(config)
    loss = torch.nn.functional.cross_entropy(net(ids[:, :-1]).flatten(0, 1),
                                             ids[:, 1:].flatten())
    loss.backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
    # what is predicted after <plan> is the plan, and nothing after it counts
    tokens = Tokenizer.load(tokenizer_file).special
    for row, w, start, planned in zip(ids, weight, starts, plans, strict=True):
        words = language.plan_words(planned)
        end = int(start) + len(words)
        assert row[start:end].tolist() == [tokens[f'<{x}>'] for x in words]
        assert (w[start:end] == 1).all() and (w[end:] == 0).all() and w[0] == 0
        assert all(isinstance(plan, Plan) for plan in planned)


def objects(plans: list[Plan]) -> set[tuple[str, str]]:
    return {(p.colour, p.shape) for p in plans} | {(p.anchor_colour, p.anchor_shape)
                                                   for p in plans}


def test_the_unseen_pairs_are_never_trained_on() -> None:
    rng = np.random.default_rng(0)
    for kind in language.KINDS[:5]:
        read = []
        for _ in range(1500):
            text, plans = language.sample(rng, 'train', kind)
            assert not objects(plans) & set(UNSEEN_PAIRS)
            read.append(bool(set(mentioned_objects(text)) & set(UNSEEN_PAIRS)))
        # the rules may take two objects named in part for one
        assert np.mean(read) < (.001 if kind == 'single' else .02), kind
    for _ in range(50):
        text, plans = language.sample(rng, 'held_out', 'unseen')
        assert objects(plans) & set(UNSEEN_PAIRS)


@pytest.mark.parametrize('kind', language.KINDS)
def test_every_target_is_in_the_grammar(kind: str) -> None:
    rng = np.random.default_rng(1)
    for split in ('train', 'held_out'):
        for _ in range(500):
            text, plans = language.sample(rng, split, kind)
            said: list[str] = []
            steps = 0
            for word in language.plan_words(plans):
                assert word in next_words(said, steps) or 'unknown' in said, (text, plans)
                said, steps = ([], steps + 1) if word == THEN else ([*said, word], steps)
            assert all(p.relation == 'none' or ANY in (p.colour, p.shape) for p in plans)
            assert (len(plans) > 1) is (kind in ('mission', 'two steps'))


def test_readings_are_of_exact_plans() -> None:
    words = 'go any box left red any then land eos'.split()
    ids = {token: k for k, token in enumerate(language.special_tokens())}
    plans = [Plan('go', ANY, 'box', 'left', 'red', ANY), Plan('land')]
    logits = torch.zeros(len(words), len(ids))
    for k, word in enumerate(words):
        logits[k, ids[f'<{word}>']] = 1
        logits[k, ids['<bos>']] = 9  # what the grammar does not allow does not count
    assert language.read_right(logits, plans, ids)
    logits[4, ids['<blue>']] = 2
    assert not language.read_right(logits, plans, ids)


def test_a_recipe_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(language, 'train', lambda recipe, out: given.append(recipe))
    shipped = Path(__file__).parents[1] / 'config' / 'train' / 'language.yaml'
    language.main(['--config', str(shipped), '--out', str(tmp_path), '--steps', '7'])
    language.main(['--out', str(tmp_path), '--steps', '7'])
    assert given[0] == given[1] and given[0].steps == 7
