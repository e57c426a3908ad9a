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

"""Vision and policy kernels against plain NumPy, and the numba pilot against torch."""

from pathlib import Path

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.datatypes import Motion
from edge_vla.exceptions import CheckpointError, ImageError
from edge_vla.kernels import reference
from edge_vla.kernels.cfc import cfc_step
from edge_vla.kernels.dense import convolve3x3, dense, normalise_patches
from edge_vla.kernels.grounding import focus, ground, ground_level
from edge_vla.language.plan import CONTEXT_SIZE
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.policy.liquid import ACTION_SCALE, Grounding, INPUTS, LiquidPolicy
from edge_vla.vision import layout
from edge_vla.vision.encoder import fit_image, PatchEncoder
from edge_vla.vision.exposure import expose
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.booleans(),
       st.integers(0, 99))
def test_dense(n: int, k: int, m: int, relu: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, b, out = normal(rng, n, k), normal(rng, k, m), normal(rng, m), normal(rng, n, m)
    dense(x, w, b, relu, out)
    np.testing.assert_allclose(out, reference.dense(x, w, b, relu), atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.sampled_from([1, 2]),
       st.booleans(), st.integers(0, 99))
def test_convolution(h: int, w: int, k: int, stride: int, residual: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    residual = residual and stride == 1
    m = k if residual else k + 3
    x, weight, bias = normal(rng, h, w, k), normal(rng, 3, 3, k, m), normal(rng, m)
    out = normal(rng, -(-h // stride), -(-w // stride), m)
    where, before = rng.integers(0, 2, out.shape[:2]).astype(np.uint8), out.copy()
    convolve3x3(x, weight, bias, stride, residual, where, out)
    want = reference.convolve3x3(x, weight, bias, stride, residual)
    np.testing.assert_allclose(out[where == 1], want[where == 1], atol=2e-5)
    assert (out[where == 0] == before[where == 0]).all()


def test_patches_keep_row_column_channel_order() -> None:
    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    out = np.zeros((6, 48), np.float32)
    normalise_patches(image, 4, out)
    np.testing.assert_allclose(out, reference.normalise_patches(image, 4), atol=1e-6)
    np.testing.assert_allclose(out[5], image[4:8, 8:12].reshape(-1) / 127.5 - 1, atol=1e-6)


def cfc_arrays(rng: np.random.Generator, inputs: int, units: int, backbone: int) -> tuple:
    return (normal(rng, inputs + units, backbone) * .2, normal(rng, backbone),
            normal(rng, backbone, 4 * units) * .2, normal(rng, 4 * units))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 50), st.integers(0, 99))
def test_cfc_step(dt: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, inputs, backbone = 7, 5, 11
    w1, b1, w2, b2 = cfc_arrays(rng, inputs, units, backbone)
    x, h = normal(rng, inputs), np.tanh(normal(rng, units))
    want, ff1, ff2 = reference.cfc_step(x, h, dt, (w1, b1), (w2, b2))
    joined = np.concatenate([x, np.zeros(units, np.float32)])
    cfc_step(joined, dt, w1, b1, w2, b2, np.zeros(backbone, np.float32),
             np.zeros(4 * units, np.float32), h)
    np.testing.assert_allclose(h, want, atol=2e-5 * (1 + dt))
    # the state is a blend of two tanh, so it can never leave (-1, 1)
    assert (np.abs(h) <= 1).all()
    assert (h >= np.minimum(ff1, ff2) - 1e-5).all() and (h <= np.maximum(ff1, ff2) + 1e-5).all()


def test_grounding_kernel() -> None:
    rng = np.random.default_rng(0)
    rows, columns, g, v = 3, 4, 6, 2
    hidden, scale, shift = normal(rng, 12, g), normal(rng, g), normal(rng, g)
    w, values, centres = normal(rng, g), normal(rng, 12, v), normal(rng, 12, 2)
    near = np.maximum(normal(rng, 12), 0)
    p, out = np.zeros(12, np.float32), np.zeros(8 + v + 2 * columns, np.float32)
    mark, scratch = np.zeros(12, np.int16), np.zeros(12, np.float32)
    ground(hidden, scale, shift, w, .3, values, near, centres, rows, 2, p, mark, scratch, out)
    want_p, want = reference.ground(hidden, scale, shift, w, .3, values, near, centres, rows, 2)
    np.testing.assert_allclose(p, want_p, atol=1e-6)
    np.testing.assert_allclose(out, want, atol=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6))
def test_one_place_is_kept(rows: int, columns: int, seed: int) -> None:
    p = np.random.default_rng(seed).random(rows * columns).astype(np.float32) ** 2
    want = reference.one_place(p.reshape(rows, columns)).ravel()
    focus(p, columns, np.zeros(p.size, np.int16))
    np.testing.assert_array_equal(p, want.astype(np.float32))


def test_what_is_larger_and_surer_is_kept_whole() -> None:
    p = np.zeros((5, 8), np.float32)
    p[1, 1], p[2, 2], p[3, 1] = .9, .8, .9  # touch at corners
    p[0:2, 6] = .95
    p[4, 4] = .2  # seen nowhere near enough to be a place
    want = p.copy()
    want[0:2, 6] = 0
    flat = p.ravel()
    focus(flat, 8, np.zeros(flat.size, np.int16))
    np.testing.assert_array_equal(flat.reshape(5, 8), want)


def test_ground_like_the_target_lowers_scores_by_its_median() -> None:
    scratch = np.zeros(48, np.float32)
    scores = np.full(48, -9, np.float32)
    assert ground_level(scores, 24, scratch) == 0
    scores[24:] = np.random.default_rng(0).permutation(np.linspace(-4, -1, 24))
    assert ground_level(scores, 24, scratch) == pytest.approx(np.sort(scores[24:])[12] + 4)
    scores[:24] = 8  # what stands above the horizon does not count
    assert ground_level(scores, 24, scratch) < 2
    scores[24:] = 7
    assert ground_level(scores, 24, scratch) == 5  # and no more than that


def test_images_are_cropped_not_stretched() -> None:
    out = np.zeros((72, 96, 3), np.uint8)
    wide = np.zeros((90, 160, 3), np.uint8)
    wide[:, 20:140] = 200  # the middle 4:3 part
    fit_image(wide, out)
    assert (out == 200).all()
    tall = np.zeros((200, 96, 3), np.uint8)
    tall[64:136] = 200
    fit_image(tall, out)
    assert (out == 200).all()


@pytest.mark.parametrize('image', [
    np.zeros((72, 96), np.uint8), np.zeros((72, 96, 4), np.uint8),
    np.zeros((72, 96, 3), np.float32), np.zeros((8, 8, 3), np.uint8)])
def test_bad_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError):
        fit_image(image, np.zeros((72, 96, 3), np.uint8))


@pytest.mark.parametrize('size', [(16, 12), (97, 61), (320, 240), (1920, 1080), (50, 400)])
def test_any_size_fits(size: tuple[int, int]) -> None:
    out = np.zeros((72, 96, 3), np.uint8)
    fit_image(np.full((size[1], size[0], 3), 77, np.uint8), out)
    assert (out == 77).all()


@pytest.mark.parametrize(('ternary', 'kind'), [(True, 'cfc'), (False, 'cfc'), (True, 'exact')])
def test_numba_pilot_equals_torch(ternary: bool, kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    from edge_vla.training.export import export_pilot
    from edge_vla.training.pilot_torch import PilotNet
    from edge_vla.training.policy import Recipe
    from edge_vla.training.torch_pipeline import TorchPilot
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = PilotNet(kind)
    net.encoder.quantise(ternary)
    tensors, _ = read_safetensors(export_pilot(net, Recipe(), tmp_path))
    loaded = TorchPilot(tensors)
    encoder, grounding, policy = PatchEncoder(tensors), Grounding(tensors), LiquidPolicy(tensors)
    rng, h = np.random.default_rng(0), None
    for _ in range(5):
        image = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
        context = rng.random(CONTEXT_SIZE).astype(np.float32)
        dt = float(rng.uniform(.01, .3))
        tokens = encoder.encode(image)
        exposed = image.copy()
        expose(exposed)
        want = net.encoder(torch.as_tensor(exposed)[None])
        np.testing.assert_allclose(tokens, want[0].detach(), atol=2e-5)
        grounding.attend(context)
        features = grounding.look(tokens)
        seen, score, _ = net.grounding(want, torch.as_tensor(context)[None], flying=True)
        np.testing.assert_allclose(features, seen[0].detach(), atol=2e-5)
        np.testing.assert_allclose(grounding.probability, torch.sigmoid(score[0]).detach(),
                                   atol=1e-5)
        loaded.attend(context)
        np.testing.assert_allclose(loaded.look(loaded.encode(image)), features, atol=2e-5)
        np.testing.assert_allclose(loaded.recognise(), grounding.recognise(), atol=1e-5)
        shown = np.flatnonzero(rng.random(layout.TOKENS) < .2)
        np.testing.assert_allclose(loaded.place(7, shown), grounding.place(7, shown), atol=1e-3)
        m = Motion(0, rng.normal(0, 1, 3), .1, .02, -.03)
        x = np.concatenate([features, m.velocity, [.1, .02, -.03, 1], context])
        y, h = net.policy(torch.as_tensor(x.astype(np.float32))[None, None],
                          torch.tensor([[dt]], dtype=torch.float32), torch.zeros(1, 1), h)
        got = policy.step(features, m, context, dt)
        np.testing.assert_allclose(got, np.clip(y[0, 0].detach().numpy(), -1, 1) * ACTION_SCALE,
                                   atol=2e-5)
        assert x.size == INPUTS


def test_unknown_motion_is_marked_not_trusted() -> None:
    torch = pytest.importorskip('torch')
    from edge_vla.training.pilot_torch import PilotNet
    torch.manual_seed(1)
    tensors = {k: v.numpy() for k, v in PilotNet().state_dict().items()}
    features = np.zeros(layout.VISION_FEATURES, np.float32)
    context = np.zeros(CONTEXT_SIZE, np.float32)
    actions = []
    for motion in (None, Motion(0, np.array([np.nan, 0, 0]), 0., 0., 0.),
                   Motion(0, np.zeros(3), np.inf, 0., 0.)):
        policy = LiquidPolicy(tensors)
        actions.append(policy.step(features, motion, context, .03))
    assert np.isfinite(actions).all()
    np.testing.assert_array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2])


def test_a_missing_or_misshapen_tensor_is_named() -> None:
    with pytest.raises(CheckpointError, match=r'encoder\.stem\.weight'):
        PatchEncoder({})
    with pytest.raises(CheckpointError, match='expected'):
        PatchEncoder({'encoder.stem.weight': np.zeros((1, 2), np.float32)})


# --- features that are not computed again ---

def moving_pictures(seed: int, frames: int, change: int) -> list[np.ndarray]:
    """Pictures in which a few patches change a little from one to the next."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(90, 250, (layout.HEIGHT, layout.WIDTH, 3))  # bright: as it comes
    out = []
    for _ in range(frames):
        for _ in range(int(rng.integers(0, 4))):
            y, x = rng.integers(0, layout.HEIGHT - 8), rng.integers(0, layout.WIDTH - 8)
            picture[y:y + 8, x:x + 8] += rng.integers(-change, change + 1, (8, 8, 3))
        out.append(np.clip(picture, 0, 255).astype(np.uint8))
    return out


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.integers(1, 40))
def test_unchanged_patches_keep_exactly_the_tokens_of_the_whole(seed: int, change: int) -> None:
    tensors = read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0]
    kept, whole = PatchEncoder(tensors), PatchEncoder(tensors, refresh=1)
    computed = []
    for picture in moving_pictures(seed, 6, change):
        np.testing.assert_array_equal(kept.encode(picture), whole.encode(picture))
        computed.append(kept.encoded.mean())
    assert computed[0] == 1 and min(computed) < 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.floats(.5, 20))
def test_tokens_are_those_of_a_picture_within_the_tolerance(seed: int, tolerance: float) -> None:
    tensors = read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0]
    kept, whole = PatchEncoder(tensors, tolerance, refresh=7), PatchEncoder(tensors, refresh=1)
    for k, picture in enumerate(moving_pictures(seed, 9, 30)):
        tokens = kept.encode(picture)
        np.testing.assert_array_equal(tokens, whole.encode(kept.seen))
        away = np.abs(kept.seen.astype(int) - picture).reshape(
            layout.ROWS, layout.PATCH, layout.COLUMNS, -1).mean((1, 3))
        assert away.max() <= tolerance
        assert away.max() == 0 or k % 7  # a refresh
    kept.reset()
    kept.encode(picture)
    assert (kept.seen == picture).all()


def test_torch_settles_scores_as_the_kernels_do() -> None:
    torch = pytest.importorskip('torch')
    from edge_vla.training.pilot_torch import settle
    rng = np.random.default_rng(4)
    scores = rng.normal(rng.uniform(-7, 0, (60, 1)), 2.5, (60, layout.TOKENS)).astype(np.float32)
    settled = torch.sigmoid(settle(torch.from_numpy(scores))).numpy()
    mark, scratch = np.zeros(layout.TOKENS, np.int16), np.zeros(layout.TOKENS, np.float32)
    for row, want in zip(scores, settled, strict=True):
        level = ground_level(row, layout.TOKENS - layout.COLUMNS * 5, scratch)
        p = (1 / (1 + np.exp(level - row))).astype(np.float32)
        if level > 0:
            focus(p, layout.COLUMNS, mark)
        np.testing.assert_allclose(p, want, atol=1e-6)
