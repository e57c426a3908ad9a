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

"""Training of the seeing head: clips, layout of questions, resuming, and torch against numba."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.compression.temporal import compress_clip, TemporalSettings
from edge_vla.exceptions import CheckpointError, ConfigError
from edge_vla.language.plan import UNSEEN_PAIRS
from edge_vla.language.seeing import SCHEMES, SeeingHead
from edge_vla.language.sight import describe, DISTANCES, SIDES
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.questions import Asked
from edge_vla.sim.raycast import OBJECT_COLUMNS
from edge_vla.sim.scene import RGB
from edge_vla.vision import layout
from edge_vla.vision.encoder import PatchEncoder
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason="training needs 'edge_vla[train]'")
pytest.importorskip('tokenizers', reason="training needs 'edge_vla[train]'")
seeing = pytest.importorskip('edge_vla.training.seeing')
lessons = pytest.importorskip('edge_vla.training.lessons')
flown_module = pytest.importorskip('edge_vla.training.flown')
clips_module = pytest.importorskip('edge_vla.training.clips')
adopt = pytest.importorskip('edge_vla.training.language').adopt
ClipSampler, repaint, Flown = clips_module.ClipSampler, clips_module.repaint, flown_module.Flown

RECIPE = seeing.SeeingRecipe(steps=4, clips=2, questions=3, hidden=32, feed_forward=48, layers=2,
                             heads=2, kv_heads=1, save_every=2, float_share=.5, flights=1,
                             workers=0)


@pytest.fixture(scope='module')
def encoder() -> PatchEncoder:
    return PatchEncoder(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])


@pytest.fixture(scope='module')
def clips(encoder: PatchEncoder) -> list:
    return ClipSampler(np.random.default_rng(3), encoder, 0).batch(3, 2)


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for four steps, stopping after two."""
    out = tmp_path_factory.mktemp('seeing')
    original, seeing.accuracy = seeing.accuracy, lambda *a, **k: {'all': 0.0}
    try:
        seeing.train(RECIPE, out)
    finally:
        seeing.accuracy = original
    return out


def test_clips_show_what_their_labels_say(clips: list) -> None:
    for clip in clips:
        assert clip.tokens.shape == (2 * layout.TOKENS, layout.CHANNELS)
        assert not np.array_equal(*clip.tokens.reshape(2, layout.TOKENS, -1))  # it moves
        for o, covered in zip(clip.objects, clip.covered, strict=True):
            last = covered.reshape(2, layout.ROWS, layout.COLUMNS)[1]
            assert last.any() == (o.pixels > 0)
            if o.pixels > 100:  # on the side of the picture that its bearing says
                middle = np.nonzero(last)[1].mean() - (layout.COLUMNS - 1) / 2
                assert abs(o.bearing) < .15 or np.sign(middle) == -np.sign(o.bearing)


def test_a_question_among_others_is_as_alone(run: Path, clips: list) -> None:
    tokenizer = Tokenizer.load(run / 'tokenizer.json')
    torch.manual_seed(0)
    net = seeing.SeeingNet(seeing.BitNetConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=RECIPE.vocabulary, max_position_embeddings=512,
        rope_theta=10000.0))
    net.decoder.quantise(False)  # so that no rounding flips
    pairs = [('where is it?', 'here'), ('what is on the left?', 'a red box'), ('so?', 'yes')]
    view = torch.as_tensor(clips[0].tokens)[None]
    with torch.no_grad():
        text = lessons.batch_text(tokenizer, [pairs], view.shape[1])
        where = torch.arange(view.shape[1])[None]
        together = net(text.ids, view, where, text.asked, text.positions)[0]
        for k, pair in enumerate(pairs):
            own = lessons.batch_text(tokenizer, [[pair]], view.shape[1])
            alone = net(own.ids, view, where, own.asked, own.positions)[0]
            torch.testing.assert_close(together[text.asked[0] == k], alone, atol=1e-4, rtol=1e-4)


def test_looking_is_rewarded_where_the_object_is(run: Path, clips: list) -> None:
    tokenizer = Tokenizer.load(run / 'tokenizer.json')
    clip = next(c for c in clips if any(o.pixels > 50 for o in c.objects))
    j = max(range(len(clip.objects)), key=lambda k: clip.objects[k].pixels)
    seen, nothing = clip.objects[j].seen, len(clip.objects)
    asked = [[Asked('where', 'where?', describe(seen), *seen[:2]),
              Asked('nearest', 'nearest?', describe(seen), '', ''),
              Asked('exists', 'else?', 'no', 'red', 'moon')]]
    told = lessons.lesson(np.random.default_rng(0), tokenizer, [clip], asked)
    assert told.answers.tolist() == [
        [0, 0, j, SIDES.index(seen.side), DISTANCES.index(seen.distance)],
        [0, 2, nothing, lessons.IGNORED, lessons.IGNORED]]
    size = 1 + len(clip.tokens) + told.text.asked.shape[1]

    def loss(tokens: np.ndarray, absent: np.ndarray, side: str, distance: str) -> float:
        looks = torch.full((1, size, size), -30.0)
        for k, there in ((0, tokens), (2, absent)):
            row = torch.nonzero(told.text.asked[0] == k) + len(clip.tokens)
            looks[0, row, np.nonzero(there)[0][None]] = -float(np.log(there.sum()))
        read = [float(name in (side, distance)) * 40 for name in (*SIDES, *DISTANCES)]
        return float(seeing.looking_loss(
            SimpleNamespace(reading=lambda found: torch.tensor([read] * len(found))),
            SimpleNamespace(looks=looks, found=torch.zeros(1, size, 8)), told))
    there = np.append(False, clip.covered[j])
    begin = np.arange(len(there)) == 0
    elsewhere = SIDES[SIDES.index(seen.side) - 1]
    assert loss(there, begin, seen.side, seen.distance) == pytest.approx(0, abs=1e-4)
    assert loss(~there, begin, seen.side, seen.distance) > 5
    assert loss(there, there, seen.side, seen.distance) > 5
    assert loss(there, begin, elsewhere, seen.distance) > 10
    assert loss(there, begin, seen.side, DISTANCES[DISTANCES.index(seen.distance) - 1]) > 10


def test_a_token_is_named_after_what_it_shows(run: Path, clips: list) -> None:
    tokenizer = Tokenizer.load(run / 'tokenizer.json')
    torch.manual_seed(0)
    net = seeing.SeeingNet(seeing.BitNetConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=RECIPE.vocabulary, max_position_embeddings=512))
    told = lessons.lesson(np.random.default_rng(0), tokenizer, clips, [[]] * len(clips))
    for clip, owner in zip(clips, told.owner, strict=True):
        shown = (owner >= 0).numpy()
        assert np.array_equal(shown, clip.covered.any(0)) and 0 < shown.mean() < 1
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    before = float(seeing.alignment_loss(net, told).detach())
    for _ in range(60):
        loss = seeing.alignment_loss(net, told)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < .5 * before


def test_dropped_tokens_are_left_out_and_the_rest_stays_where_it_was(run: Path, clips: list,
                                                                     ) -> None:
    tokenizer = Tokenizer.load(run / 'tokenizer.json')
    asked = [[Asked('exists', 'is it there?', 'yes', 'red', 'box')]] * len(clips)
    paper = TemporalSettings(.5, window=2)
    told = lessons.lesson(np.random.default_rng(0), tokenizer, clips, asked, paper)
    assert told.view.shape[1] == layout.TOKENS + paper.budget(layout.TOKENS)
    for clip, view, where, covered in zip(clips, told.view, told.where, told.covered, strict=True):
        assert np.array_equal(view, clip.tokens[where])
        assert np.array_equal(covered[:len(clip.objects), 1:], clip.covered[:, where])
    whole = lessons.lesson(np.random.default_rng(0), tokenizer, clips, asked)
    assert torch.equal(told.text.positions, whole.text.positions)  # the text does not move
    head = SeeingHead.load(run)
    net = seeing.SeeingNet(head.decoder.config)
    padded = [torch.cat([x, x[:, :3]], 1) for x in (told.view, told.where)]
    padded[1][:, -3:] = -1
    with torch.no_grad():
        torch.testing.assert_close(
            net(told.text.ids, *padded, told.text.asked, told.text.positions),
            net(told.text.ids, told.view, told.where, told.text.asked, told.text.positions),
            atol=1e-4, rtol=1e-4)


def test_a_repainted_scene_has_the_colours_it_says(clips: list) -> None:
    rng = np.random.default_rng(1)
    rows = np.zeros((2, 8, OBJECT_COLUMNS))
    rows[:, :, 0] = 0, 0, 0, 0, 0, 0, 0, 1  # seven spheres and a box
    names = repaint(rng, rows, 8)
    assert len(set(names)) == 8 and not set(names) & set(UNSEEN_PAIRS)
    for j, (colour, shape) in enumerate(names):
        assert shape == ('sphere', 'box')[j == 7]
        assert np.abs(rows[:, j, 9:12] - RGB[colour]).max() < .25


def test_pieces_of_flights_are_those_that_were_flown(run: Path) -> None:
    with np.load(run / 'flights.npz') as stored:
        pieces = Flown(**stored)
    assert len(pieces.counts) > 3 and pieces.positions.shape[1:] == (lessons.MOST_FRAMES, 3)
    steps = np.linalg.norm(np.diff(pieces.positions, axis=1), axis=-1)
    assert 0 < steps.max() < .5  # m in a tenth of a second
    eye = pieces.rotations @ pieces.rotations.swapaxes(-1, -2)
    assert np.abs(eye - np.eye(3)).max() < 1e-9


def test_an_interrupted_run_gives_the_same_bytes(run: Path, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, 'accuracy', lambda *a, **k: {'all': 0.0})
    stopped: list[int] = []

    def record(path: Path, readings: dict) -> None:
        stopped.append(readings['step'])

    def save(path: Path, **state: object) -> None:
        torch.save(state, path)
        if len(stopped) == 1:
            raise KeyboardInterrupt
    monkeypatch.setattr(seeing, 'record', record)
    monkeypatch.setattr(seeing, 'save', save)
    with pytest.raises(KeyboardInterrupt):
        seeing.train(RECIPE, tmp_path)
    seeing.train(RECIPE, tmp_path)
    assert stopped == [2, 4]
    for name in ('model.safetensors', 'projection.safetensors', 'tokenizer.json'):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    with pytest.raises(ConfigError, match='seeing.pt was made with questions'):
        seeing.train(replace(RECIPE, questions=RECIPE.questions + 1), tmp_path)


def test_the_exported_head_says_what_torch_says(run: Path, clips: list) -> None:
    tokenizer = Tokenizer.load(run / 'tokenizer.json')
    state = torch.load(run / 'seeing.pt', weights_only=False)
    head = SeeingHead.load(run)
    net = seeing.SeeingNet(head.decoder.config)
    net.load_state_dict(state['net'])
    for clip in clips:
        view = compress_clip(clip.tokens.reshape(2, layout.TOKENS, -1), SCHEMES['full'].temporal)
        text = lessons.batch_text(tokenizer, [[('where is the red box?', 'nothing')]],
                                  len(clip.tokens))
        with torch.no_grad():
            want = net(text.ids, torch.as_tensor(clip.tokens)[None],
                       torch.arange(len(clip.tokens))[None], text.asked,
                       text.positions)[0].numpy()
        head.answer('where is the red box?', view)
        head.decoder.rewind(head._mark)
        got = head.decoder.logits(text.ids[0, 1:].tolist())
        # a rounding that two float sums put on two sides moves logits a little
        assert np.abs(got - want).max() < .3 and np.median(np.abs(got - want)) < .02


def test_a_run_that_goes_on_begins_with_what_the_head_says(
        run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = SeeingHead.load(run)
    before = seeing.SeeingNet(head.decoder.config)
    before.load_state_dict(torch.load(run / 'seeing.pt', weights_only=False)['net'])
    after = seeing.SeeingNet(head.decoder.config)
    adopt(after.decoder, run, 5)
    ids = torch.randint(0, RECIPE.vocabulary, (1, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(after.decoder(ids), before.decoder(ids), atol=.02, rtol=1e-3)
    sizes = after.decoder.model.layers[0].mlp.up_proj.weight.detach().abs()
    assert len(sizes.unique()) > .9 * sizes.numel()  # float weights that can change sides

    monkeypatch.setattr(seeing, 'accuracy', lambda *a, **k: {'all': 0.0})
    (tmp_path / 'flights.npz').write_bytes(b'left by another run')
    with pytest.raises(CheckpointError, match='flights.npz is corrupt: delete it'):
        flown_module.flown(tmp_path / 'flights.npz', SHIPPED_MODEL, 1, 2, 3)
    still = replace(RECIPE, steps=1, rate=1e-6, float_share=0.0)
    seeing.train(still, tmp_path, begin=run)
    kept, _ = read_safetensors(tmp_path / 'model.safetensors')
    for name, value in read_safetensors(run / 'model.safetensors')[0].items():
        np.testing.assert_allclose(kept[name], value, atol=1e-4)
    with pytest.raises(ConfigError, match='holds no trained seeing head'):
        seeing.train(still, tmp_path, begin=SHIPPED_MODEL / 'language')
    with pytest.raises(ConfigError, match='another shape'):
        seeing.train(replace(still, hidden=64), tmp_path, begin=run)
