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

from pathlib import Path

from edge_vla.language.decoder import load_decoder
from edge_vla.language.head import LanguageHead
from edge_vla.language.plan import Plan
from edge_vla.language.tokenizer import Tokenizer
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
    language.train_tokenizer(RECIPE, path)
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
    batches = language.Batches(Tokenizer.load(tokenizer_file), np.random.default_rng(0))
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
    for row, w, start, plan in zip(ids, weight, starts, plans, strict=True):
        words = [plan.verb] if plan.verb == 'hover' else [plan.verb, plan.colour, plan.shape]
        end = int(start) + len(words) + 1
        assert row[start:end].tolist() == [tokens[f'<{x}>'] for x in (*words, 'eos')]
        assert (w[start:end] == 1).all() and (w[end:] == 0).all() and w[0] == 0
        assert isinstance(plan, Plan)
