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

"""Training: labels are right, a run can be interrupted, one seed gives one result."""

from dataclasses import replace
from pathlib import Path
import shutil

from edge_vla.config import PipelineConfig
from edge_vla.datatypes import Frame, Observation
from edge_vla.exceptions import CheckpointError, ConfigError, EdgeVlaError
from edge_vla.language.head import LanguageHead
from edge_vla.language.plan import COLOURS, SHAPES, UNSEEN_PAIRS
from edge_vla.pipeline import Pipeline, SHIPPED_MODEL
from edge_vla.policy.liquid import INPUTS, UNITS
from edge_vla.sim import judge
from edge_vla.sim.scene import sample_scene
from edge_vla.sim.worlds import Worlds
from edge_vla.vision import layout
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason="torch is not installed: extra 'train'")

from edge_vla.checkpoints.safetensors import read_safetensors, take_weight  # noqa: E402, I100
from edge_vla.training import grounding, imitation, optimise, pilot, policy  # noqa: E402
from edge_vla.training.baselines import POLICIES  # noqa: E402
from edge_vla.training.blackouts import Blackouts, LIT_S, SHORTEST_S  # noqa: E402
from edge_vla.training.export import export_pilot  # noqa: E402
from edge_vla.training.pilot_torch import PilotNet, TernaryConv2d  # noqa: E402
from edge_vla.training.torch_pipeline import TorchPipeline  # noqa: E402

TINY = policy.Recipe(grounding_steps=6, save_every=3, iterations=2, expert_iterations=1, worlds=4,
                     horizon=70, updates=3, evaluated=1, workers=0, blackout=.5,
                     recall=.5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def state(path: Path) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in torch.load(path, weights_only=False)['net'].items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


class Interrupted(Exception):
    """Stands for a power cut."""


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch) -> None:  # noqa: ANN001, E501
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    whole.mkdir()
    broken.mkdir()
    policy.train_grounding(TINY, whole)
    imitation.train_imitation(TINY, whole, whole / 'grounding.pt')
    save = optimise.save

    def save_and_stop(path: Path, **content) -> None:  # noqa: ANN003
        save(path, **content)
        raise Interrupted

    for stage in (policy, imitation):
        monkeypatch.setattr(stage, 'save', save_and_stop)
    with pytest.raises(Interrupted):
        policy.train_grounding(TINY, broken)
    with pytest.raises(Interrupted):
        policy.train_grounding(TINY, broken)  # ends with the second half's checkpoint
    with pytest.raises(Interrupted):
        imitation.train_imitation(TINY, broken, broken / 'grounding.pt')
    monkeypatch.setattr(imitation, 'save', save)
    imitation.train_imitation(TINY, broken, broken / 'grounding.pt')
    for name in ('grounding.pt', 'imitation.pt'):
        assert same(state(whole / name), state(broken / name)), name
    tensors, metadata = read_safetensors(broken / 'policy.safetensors')
    assert '"seed": 0' in metadata['recipe']
    final = state(broken / 'imitation.pt')
    for name in tensors:
        if not name.endswith('_scale'):
            weight = take_weight(tensors, name, final[name].shape)
            assert np.array_equal(weight, final[name]) or tensors[name].dtype == np.uint8, name
    assert (whole / 'policy.safetensors').read_bytes() == (
        broken / 'policy.safetensors').read_bytes()


def test_labels_say_what_every_patch_shows() -> None:
    ids = np.full((1, 72, 96), -1, np.int8)
    depth = np.full((1, 72, 96), 1e9, np.float32)
    ids[0, 8:16, 16:24], depth[0, 8:16, 16:24] = 2, 3.0  # patch (1, 2), whole
    ids[0, 40:44, 40:48], depth[0, 40:44, 40:48] = 0, 1.0  # half of patch (5, 5)
    coverage, near, kind = grounding.labels(ids, depth, np.array([2]))
    at, half = 1 * layout.COLUMNS + 2, 5 * layout.COLUMNS + 5
    assert coverage[0, at] == 1 and coverage.sum() == 1
    assert near[0, at] == pytest.approx(.25) and near[0, half] == pytest.approx(.5)
    assert kind[0, at] == 2 and kind[0, half] == 0 and (kind >= 0).sum() == 2
    assert grounding.labels(ids, depth, np.array([-1]))[0].sum() == 0


def test_sampled_frames_match_their_labels() -> None:
    batch = grounding.FrameSampler(np.random.default_rng(0), 4, 4).batch()
    seen = batch['coverage'].max(1) > .1
    assert seen.any() and not seen.all()
    centres = layout.token_centres()
    for i in np.nonzero(seen)[0]:
        # the bearing (left positive) and the place in the picture (right positive) agree
        x = centres[batch['coverage'][i].argmax(), 0]
        assert np.tan(batch['located'][i, 0]) == pytest.approx(-x, abs=.45)
    assert np.allclose(batch['context'][:, :5].sum(1), 1, atol=1e-5)


def test_augmentation_is_seeded_and_keeps_the_range() -> None:
    images = torch.full((8, 72, 96, 3), 120, dtype=torch.uint8)
    a, b = (grounding.augment(torch.Generator().manual_seed(3), images) for _ in range(2))
    assert torch.equal(a, b) and a.dtype == torch.uint8 and not torch.equal(a, images)


def test_frames_follow_from_seed_and_step_alone() -> None:
    frames, again = grounding.Frames(5, 200), grounding.Frames(5, 200)
    monotone = [frames[k]['images'] for k in (0, 1, grounding.Frames.DELAY + 1)]
    assert torch.equal(again[grounding.Frames.DELAY + 1]['images'], monotone[2])
    assert torch.equal(frames[0]['coverage'], frames[grounding.Frames.DELAY + 1]['coverage'])
    assert not torch.equal(monotone[0], monotone[2])  # seen again, augmented anew


def test_hard_frames_come_with_clear_ones_of_the_same_scene() -> None:
    frames, again = (grounding.Frames(5, 200, wide=True) for _ in range(2))
    batch = frames[3]
    assert all(torch.equal(v, again[3][k]) for k, v in batch.items())
    hard, clear = batch['images'].numpy(), batch['clear'].numpy()
    assert hard.shape == clear.shape and hard.dtype == clear.dtype == np.uint8
    # in a meadow by day the same objects stand in the same places, nothing is dark and dirty
    blue_above = clear[:, :24, :, 2].mean((1, 2)) > clear[:, 48:, :, 2].mean((1, 2))
    assert blue_above.mean() > .9
    assert 10 < np.abs(hard.astype(int) - clear).mean()
    kept = [k for k in range(len(hard)) if np.abs(hard[k].astype(int) - clear[k]).mean() < 20]
    assert .1 * len(hard) < len(kept) < .6 * len(hard)


def test_hard_pictures_learn_to_be_seen_as_clear_ones() -> None:
    colour = torch.tensor([[-1, 3]])
    wanted = torch.randn(1, 2, 64, generator=torch.Generator().manual_seed(0))
    assert grounding.likeness_loss(wanted, wanted, colour) == 0
    ground, thing = wanted.clone(), wanted.clone()
    ground[0, 0] += 1
    thing[0, 1] += 1
    ratio = (grounding.likeness_loss(thing, wanted, colour)
             / grounding.likeness_loss(ground, wanted, colour))
    assert ratio == pytest.approx(4)
    torch.manual_seed(0)
    teacher = PilotNet().requires_grad_(False)
    torch.manual_seed(0)
    net = PilotNet()
    sampler = grounding.FrameSampler(np.random.default_rng(0), 4, 4, wide=True)
    batch = {k: torch.as_tensor(v) for k, v in sampler.batch().items()}
    alike = batch | {'images': batch['clear']}
    assert grounding.grounding_loss(net, alike, False, teacher, 1.)[1]['unlike'] < 1e-6
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    unlike = []
    for _ in range(25):
        loss, readings = grounding.grounding_loss(net, batch, False, teacher, 2.)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        unlike.append(readings['unlike'])
    assert unlike[-1] < .8 * unlike[0]


def test_likeness_wants_a_pilot_to_be_like(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='--initial'):
        policy.train_grounding(replace(TINY, wide=True, likeness=1.), tmp_path)


def test_a_wrong_white_balance_warms_or_cools() -> None:
    rng = np.random.default_rng(0)
    tints = np.stack([grounding.draw_tint(rng) for _ in range(400)])
    tinted = tints[(tints != 1).any(1)]
    assert .4 < len(tinted) / len(tints) < .6
    assert np.allclose(tints[:, 0] + tints[:, 2], 2) and (tints[:, 1] == 1).all()
    assert .7 <= tints.min() < .75 and 1.25 < tints.max() <= 1.3
    images = rng.integers(0, 256, (3, 6, 8, 3), np.uint8)
    before = images.copy()
    grounding.tint(images, np.array([[1, 1, 1], [1.2, 1, .8], [.8, 1, 1.2]], np.float32))
    wanted = before * np.array([[1, 1, 1], [1.2, 1, .8], [.8, 1, 1.2]])[:, None, None]
    assert (images[0] == before[0]).all() and (images != before).any((1, 2, 3)).sum() == 2
    assert np.abs(images - np.minimum(wanted, 255)).max() < 1 + 1e-4


def test_dirt_and_tint_stay_on_a_camera_for_a_flight() -> None:
    torch.manual_seed(0)
    net = PilotNet()
    fleet = imitation.Fleet(Worlds(24, 0, ('wide',), chain=0.), 0, wide=True)
    fleet.collect(net, 2, 0.)
    dirt, tints = list(fleet._dirt), fleet._tints.copy()
    assert 0 < sum(d is not None for d in dirt) < 16
    assert 4 < (tints != 1).any(1).sum() < 20
    fleet.collect(net, 2, 0.)
    assert all(a is b for a, b, reset in zip(dirt, fleet._dirt, fleet.reset, strict=True)
               if not reset)
    assert (tints == fleet._tints)[~fleet.reset].all()


def test_training_never_shows_the_unseen_pairs() -> None:
    worlds = Worlds(40, 3, without=UNSEEN_PAIRS)
    shown = {(o.colour, o.shape) for s in worlds.scenes for o in s.objects}
    assert len(shown) > 20 and not shown & set(UNSEEN_PAIRS)
    sampler = grounding.FrameSampler(np.random.default_rng(1), 2, 60)
    for _ in range(20):
        scene = sample_scene(sampler.rng, 'go', 'random', count=(2, 7), without=UNSEEN_PAIRS)
        assert not {(o.colour, o.shape) for o in scene.objects} & set(UNSEEN_PAIRS)
        for _ in range(20):
            vector = sampler._query(scene)[1]
            pair = COLOURS[vector[5:13].argmax()], SHAPES[vector[13:].argmax()]
            assert pair not in UNSEEN_PAIRS


def test_ternary_weights_are_exported_as_they_were_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = PilotNet()
    tensors, metadata = read_safetensors(export_pilot(net, TINY, tmp_path))
    assert metadata['kind'] == 'cfc' and tensors['encoder.mix.0.weight'].dtype == np.uint8
    for name, module in net.encoder.named_modules():
        if isinstance(module, TernaryConv2d):
            want = module.weights().detach().numpy()
            got = take_weight(tensors, f'encoder.{name}.weight', want.shape)
            np.testing.assert_allclose(got, want, atol=1e-7)
            assert all(len(np.unique(channel)) <= 3 for channel in got)


@pytest.mark.parametrize('kind', POLICIES)
def test_every_policy_steps_as_it_was_trained(kind: str) -> None:
    torch.manual_seed(0)
    net = POLICIES[kind]()
    x, dt = torch.randn(40, 3, INPUTS), torch.rand(40, 3) * .1
    reset = (torch.rand(40, 3) < .05).float()
    whole, last = net(x, dt, reset)
    h, single = None, []
    for t in range(40):
        y, h = net(x[t:t + 1], dt[t:t + 1], reset[t:t + 1], h)
        single.append(y)
    torch.testing.assert_close(torch.cat(single), whole)
    torch.testing.assert_close(h, last)
    other, _ = net(x, dt * 2, reset)
    assert torch.equal(other, whole) == (kind.endswith('_no_dt'))


def test_a_baseline_learns_from_the_flights_of_another_run(tmp_path: Path, monkeypatch) -> None:  # noqa: ANN001, E501
    policy.train_grounding(TINY, tmp_path)
    imitation.train_imitation(TINY, tmp_path, tmp_path / 'grounding.pt')
    out = tmp_path / 'gru'
    out.mkdir()
    recipe = replace(TINY, policy='gru')
    with pytest.raises(ConfigError, match='flights'):
        imitation.train_on_flights(recipe, out, tmp_path / 'grounding.pt', out)
    imitation.train_on_flights(recipe, out, tmp_path / 'grounding.pt', tmp_path)
    (tmp_path / 'some').mkdir()
    shutil.copy(tmp_path / 'flights_0000.npz', tmp_path / 'some')
    with pytest.raises(ConfigError, match='from other files'):
        imitation.train_on_flights(recipe, out, tmp_path / 'grounding.pt', tmp_path / 'some')
    tensors, metadata = read_safetensors(out / 'policy.safetensors')
    assert metadata['kind'] == 'gru' and 'policy.cell.weight_ih' in tensors
    head = LanguageHead.load(SHIPPED_MODEL / 'language')
    TorchPipeline(tensors, head, kind='gru').warm_up()
    with pytest.raises(CheckpointError, match='gru'):
        Pipeline(tensors, head, kind='gru')
    broken, save = tmp_path / 'broken', optimise.save
    broken.mkdir()

    def save_and_stop(path: Path, **content) -> None:  # noqa: ANN003
        save(path, **content)
        raise Interrupted

    monkeypatch.setattr(imitation, 'save', save_and_stop)
    with pytest.raises(Interrupted):
        imitation.train_on_flights(recipe, broken, tmp_path / 'grounding.pt', tmp_path)
    monkeypatch.setattr(imitation, 'save', save)
    for _ in range(2):  # again when all is done: nothing more is learned, or logged
        imitation.train_on_flights(recipe, broken, tmp_path / 'grounding.pt', tmp_path)
        for name in ('policy.safetensors', 'imitation.jsonl'):
            assert (broken / name).read_bytes() == (out / name).read_bytes(), name
    with pytest.raises(ConfigError, match='flights in .* have 70 frames'):
        imitation.train_on_flights(replace(recipe, window=71), broken, tmp_path / 'grounding.pt',
                                   tmp_path)
    (tmp_path / 'flights_0000.npz').write_bytes(b'PK')
    with pytest.raises(CheckpointError, match='flights_0000'):
        imitation.train_on_flights(recipe, broken, tmp_path / 'grounding.pt', tmp_path)


@pytest.mark.parametrize('flags', ['--window 8', '--horizon 8', '--horizon 9', '--window 65 '
                                   '--horizon 70 --batch 64'])
def test_sequences_that_cannot_be_drawn_are_refused_at_once(tmp_path: Path, monkeypatch,  # noqa: ANN001, E501
                                                            flags: str) -> None:
    monkeypatch.setattr(policy, 'train_grounding', lambda *_: pytest.fail('an hour later'))
    with pytest.raises(ConfigError, match=flags.split()[0][2:]):
        policy.main(['--out', str(tmp_path), *flags.split()])
    with pytest.raises(ConfigError, match='window'):
        imitation.check(replace(TINY, window=imitation.BURN_IN))


def test_what_is_no_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    text = tmp_path / 'README.md'
    text.write_text('# Not a checkpoint')
    (tmp_path / 'grounding.pt').write_bytes(b'half of one')
    optimise.save(tmp_path / 'other.pt', net=torch.nn.Linear(2, 2).state_dict())
    for path in (text, tmp_path / 'grounding.pt', tmp_path / 'other.pt', tmp_path / 'none.pt'):
        with pytest.raises(CheckpointError, match=path.name):
            policy.initial_weights(path, True)
    with pytest.raises(CheckpointError, match='delete it'):
        policy.train_grounding(TINY, tmp_path)


def test_a_run_goes_on_with_its_own_recipe_only(tmp_path: Path) -> None:
    net, path = torch.nn.Linear(2, 2), tmp_path / 'imitation.pt'
    assert optimise.resume(path, TINY, 'iterations', net=net) == {}
    optimise.save(path, net=net.state_dict(), iteration=2, recipe=policy.asdict(TINY))
    for change in ({}, {'iterations': 9, 'threads': 2, 'evaluate_every': 1, 'evaluated': 7}):
        state = optimise.resume(path, replace(TINY, **change), 'iterations', net=net)
        assert state['iteration'] == 2
    for change, told in (({'seed': 5, 'policy': 'gru'}, r'seed 0 \(now 5\), policy cfc \(now gru'),
                         ({'recall': 1.}, 'another --out, or delete imitation.pt'),
                         ({'iterations': 1}, 'further')):
        with pytest.raises(ConfigError, match=told):
            optimise.resume(path, replace(TINY, **change), 'iterations', net=net)
    optimise.resume(path, replace(TINY, policy='gru'), 'iterations', ('seed',), net=net)
    optimise.save(path, net=net.state_dict(), iteration=2)  # an old one does not say
    assert optimise.resume(path, replace(TINY, seed=5), 'iterations', net=net)['iteration'] == 2
    for parts in ({'net': torch.nn.Linear(3, 2)}, {'net': net, 'recall': net}):
        with pytest.raises(CheckpointError, match='does not fit'):
            optimise.resume(path, TINY, 'iterations', **parts)


def test_both_stages_say_how_they_were_made(tmp_path: Path) -> None:
    policy.train_grounding(TINY, tmp_path)
    grounded, other = tmp_path / 'grounding.pt', tmp_path / 'other.pt'
    imitation.train_imitation(TINY, tmp_path, grounded)
    changed = torch.load(grounded, weights_only=False)
    torch.save(changed | {'step': 1}, other)
    with pytest.raises(ConfigError, match='imitation.pt was made from other files'):
        imitation.train_imitation(replace(TINY, iterations=3), tmp_path, other)
    with pytest.raises(ConfigError, match='grounding.pt was made from other files'):
        policy.train_grounding(TINY, tmp_path, other)
    assert policy.main(['--out', str(tmp_path), *(
        f'--{k}={v}' for k, v in policy.asdict(TINY).items())]) == 0  # the same command again
    before = grounded.read_bytes()
    options = [f'--{k}={v}' for k, v in policy.asdict(
        replace(TINY, grounding_steps=TINY.grounding_steps + 1)).items()]
    with pytest.raises(ConfigError, match='imitation.pt was made with grounding_steps'):
        policy.main(['--out', str(tmp_path), *options])
    assert grounded.read_bytes() == before  # nothing was trained first
    with pytest.raises(ConfigError, match='grounding.pt was made with seed 0'):
        policy.train_grounding(replace(TINY, seed=5), tmp_path)
    with pytest.raises(ConfigError, match='imitation.pt was made with seed 0'):
        imitation.train_imitation(replace(TINY, seed=5), tmp_path, grounded)
    before = state(grounded)
    policy.train_grounding(replace(TINY, policy='gru'), tmp_path)  # that is not of stage 1
    assert same(before, state(grounded))


def test_what_is_not_finite_is_not_learned() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([weight])
    for loss in ((weight * torch.nan).sum(), weight.sum() * torch.inf,
                 (weight - 1).abs().sqrt().sum()):  # the last has no finite gradient
        with pytest.raises(EdgeVlaError, match='lower learning rate'):
            optimise.descend(optimiser, loss, 1e-3)
    assert (weight == 1).all()


def test_learning_lowers_the_loss() -> None:
    torch.manual_seed(0)
    net = PilotNet()
    batch = {k: torch.as_tensor(v) for k, v in grounding.FrameSampler(
        np.random.default_rng(0), 4, 4).batch().items()}
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss, _ = grounding.grounding_loss(net, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < .75 * losses[0]


def test_worlds_flown_by_the_expert_succeed_and_restart() -> None:
    worlds = Worlds(6, 0, restart=False)
    while worlds.live.any():
        worlds.step(worlds.expert())
    assert (worlds.status == judge.SUCCESS).all()
    worlds = Worlds(6, 0, rate=(10., 30.), chain=0.0)
    resets = np.zeros(6, int)
    for _ in range(400):
        dt, reset = worlds.step(worlds.expert())
        resets += reset
        assert (dt > .02).all() and (dt < .3).all()
    assert resets.sum() > 3


def test_who_sees_nothing_finds_nothing() -> None:
    worlds, dark = Worlds(8, 1), np.ones(8, bool)
    for _ in range(60):  # none turns to its target, all turn on
        commands = worlds.expert(dark)
        assert not worlds.seen.any() and (commands[:, 3] > .5).all()
        assert not commands[:, :2].any()
        worlds.step(commands)
    assert worlds.expert()[:, 0].any() and worlds.seen.any()


def test_blackouts_come_and_go_and_a_flight_begins_with_a_picture() -> None:
    rng, steps, dt = np.random.default_rng(0), 4000, .02
    cameras = Blackouts(40, .5, 3., rng)
    assert not cameras.dark.any()
    cameras.begin(np.ones(40, bool))
    dark = np.zeros((steps, 40), bool)
    for k in range(steps):
        dark[k] = cameras.dark
        cameras.advance(np.full(40, dt))
    assert not dark[:int(LIT_S[0] / dt)].any()
    assert 10 <= dark.any(0).sum() <= 30  # every other flight
    for world in np.nonzero(dark.any(0))[0]:
        changes = np.nonzero(np.diff(dark[:, world]))[0]
        for k, (low, high) in enumerate(((SHORTEST_S, 3.), LIT_S)):
            spans = np.diff(changes)[k::2] * dt
            assert low - .03 < spans.min() and spans.max() < high + .03
    images = np.full((40, 8, 8, 3), 99, np.uint8)
    cameras.darken(images)
    assert np.array_equal((images != 99).any((1, 2, 3)), cameras.dark)
    cameras.begin(cameras.dark.copy())
    assert not cameras.dark.any()


def test_what_was_never_seen_is_not_learned() -> None:
    torch.manual_seed(0)
    net, rng = PilotNet(), torch.Generator().manual_seed(1)
    x, dt = torch.randn(20, 2, INPUTS, generator=rng), torch.full((20, 2), .05)
    reset, lit = torch.zeros(20, 2), torch.ones(20, 2)
    lit[:, 1] = 0  # a sequence that begins and stays in the dark
    y = torch.randn(20, 2, 4, generator=rng)
    where = torch.ones(20, 2, 5)
    recall = torch.nn.Linear(UNITS, 4)
    for read in (None, recall):
        reset[3, 1] = 0
        loss = imitation.imitation_loss(net, (x, dt, reset, lit, y, where), read, .5)
        assert loss == imitation.imitation_loss(
            net, tuple(t[:, :1] for t in (x, dt, reset, lit, y, where)), read, .5)
        reset[3, 1] = 1  # a flight that begins counts, dark or not
        assert loss != imitation.imitation_loss(net, (x, dt, reset, lit, y, where), read, .5)
        nothing = (t[:, 1:] * 0 if t is reset else t[:, 1:] for t in (x, dt, reset, lit, y, where))
        assert imitation.imitation_loss(net, tuple(nothing), read, .5) == 0
    with_it = imitation.imitation_loss(net, (x, dt, reset, lit, y, where), recall, .5)
    assert with_it > imitation.imitation_loss(net, (x, dt, reset, lit, y, where))
    where[..., 4] = 0  # nor where it is, if it was never seen
    assert (imitation.imitation_loss(net, (x, dt, reset, lit, y, where), recall, .5)
            == imitation.imitation_loss(net, (x, dt, reset, lit, y, where)))


def test_one_command_trains_a_pilot_that_flies(tmp_path: Path, capsys) -> None:  # noqa: ANN001
    recipes, out = tmp_path / 'recipes', tmp_path / 'pilot'
    recipes.mkdir()
    flown = 'iterations: 1\nworlds: 2\nhorizon: 70\nupdates: 1\nevaluated: 1\n'
    (recipes / 'pilot.yaml').write_text(flown + 'grounding_steps: 2\nworkers: 0\n')
    (recipes / 'memory.yaml').write_text(flown + 'blackout: 0.5\nrecall: 0.5\n'
                                         'policy: exact\n')
    (recipes / 'language.yaml').write_text(
        'steps: 2\nbatch: 8\nvocabulary: 330\nhidden: 32\nfeed_forward: 40\nlayers: 1\n')
    (recipes / 'wide.yaml').write_text(flown + 'grounding_steps: 2\nworkers: 0\nwide: true\n'
                                       'likeness: 1.0\nfloat_share: 0.0\n')
    with pytest.raises(ConfigError, match='nowhere'):
        pilot.main(['--out', str(out), '--recipes', str(tmp_path / 'nowhere')])
    assert pilot.main(['--out', str(out), '--recipes', str(recipes)]) == 0
    assert f'edge-vla evaluate --model {out}' in capsys.readouterr().out
    made = Pipeline.load(PipelineConfig(model=str(out)))
    assert (out / 'language' / 'model.safetensors').stat().st_size < 2e5  # its own, not ours
    remembers, metadata = read_safetensors(out / 'memory' / 'policy.safetensors')
    flies, metadata_of_it = read_safetensors(out / 'policy.safetensors')
    assert '"likeness": 1.0' in metadata_of_it['recipe']
    base = read_safetensors(out / 'base' / 'policy.safetensors')[0]
    assert not np.array_equal(base['encoder.stem.weight'], flies['encoder.stem.weight'])
    assert metadata['kind'] == 'exact' and 'policy.cell.f.weight' in remembers
    assert all(k.startswith('policy.') for k in remembers)
    assert not np.array_equal(remembers['policy.head.weight'], flies['policy.head.weight'])
    image = np.full((72, 96, 3), 90, np.uint8)
    assert np.isfinite(made.step(Observation(Frame(1, image), 'go on', None)).velocity).all()


def test_the_state_restarts_with_a_flight() -> None:
    torch.manual_seed(0)
    net = PilotNet()
    x = torch.randn(6, 2, INPUTS)
    dt = torch.full((6, 2), .05)
    reset = torch.zeros(6, 2)
    reset[3] = 1
    whole, _ = net.policy(x, dt, reset)
    tail, _ = net.policy(x[3:], dt[3:], torch.zeros(3, 2))
    torch.testing.assert_close(whole[3:], tail)


def test_a_run_goes_on_from_a_shipped_pilot(tmp_path: Path) -> None:
    file = SHIPPED_MODEL / 'policy.safetensors'
    shipped = read_safetensors(file)[0]
    for ternary in (False, True):
        net = PilotNet()
        net.load_state_dict(policy.initial_weights(file, ternary), strict=False)
        net.encoder.quantise(ternary)
        for name, module in net.named_modules():
            if isinstance(module, TernaryConv2d):
                want = take_weight(shipped, f'{name}.weight', tuple(module.weight.shape))
                np.testing.assert_allclose(module.weights().detach(), want, rtol=1e-5, atol=1e-7)
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text('grounding_steps: 1\nfloat_share: 1.0\nworkers: 0\nhalf: false\n')
    assert policy.main(['--stage', 'grounding', '--config', str(recipe), '--initial', str(file),
                        '--out', str(tmp_path)]) == 0
    tensors = read_safetensors(tmp_path / 'policy.safetensors')[0]
    assert tensors['encoder.merge.weight'].dtype == np.float32  # this one stays float
    for name in shipped:
        if name.startswith('policy.'):
            assert np.array_equal(tensors[name], shipped[name]), name
    kept = imitation._grounded(TINY, tmp_path / 'grounding.pt', keep=True)[0].state_dict()
    assert np.array_equal(kept['policy.head.weight'], shipped['policy.head.weight'])
