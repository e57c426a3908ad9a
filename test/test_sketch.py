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

"""The sketch of a head: a bound that holds, and the same tokens as without it."""

from dataclasses import replace
from pathlib import Path

from bitnet_models import runnable_isas
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels import screen
from edge_vla.kernels.block_layout import INT4
from edge_vla.kernels.head_phases import MOST
from edge_vla.kernels.isa import best_isa, Isa
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import Decoder, DecoderSettings
from edge_vla.language.engine import HEADS, random_model
from edge_vla.language.generation import generate
from edge_vla.language.lfm2_config import Lfm2Config
from edge_vla.language.lfm2_engine import build_lfm2, RandomSource
from edge_vla.language.ngram import NGramDraft
from edge_vla.language.programs import AnyModel
from edge_vla.language.sampling import SamplingConfig
from edge_vla.language.sketch import sketched, unsketched
from edge_vla.language.store import load_model, save_model
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

BITNET = BitNetConfig(hidden_size=192, intermediate_size=256, num_hidden_layers=1,
                      num_attention_heads=4, num_key_value_heads=2, vocab_size=5000)
LFM2 = Lfm2Config(hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                  num_attention_heads=4, num_key_value_heads=2, vocab_size=4500,
                  layer_types=('conv', 'full_attention'))


def model_of(kind: str, head: str) -> AnyModel:
    if kind == 'lfm2':
        return sketched(build_lfm2(RandomSource(LFM2, INT4), LFM2, 'int4', head))
    return sketched(random_model(BITNET, best_isa().packing, head))


def with_head(model: AnyModel, rows: np.ndarray) -> AnyModel:
    """Put other rows into a float32 head, and sketch it."""
    head = model.tensors['head'].copy()
    head[:, :rows.shape[1]] = rows
    return sketched(replace(model, tensors=unsketched(model).tensors | {'head': head}))


def decoder_of(model: AnyModel, isa: Isa | None = None, **how: object) -> Decoder:
    return Decoder(model, DecoderSettings(**{'capacity': 96, **how}), isa)


def assert_the_likeliest(decoder: Decoder, ids: list[int], best: int) -> float:
    """Compare with all logits; return the share that was computed."""
    decoder.cache.truncate(0)
    want = decoder.logits(ids)
    decoder.cache.truncate(0)
    got = decoder.logits(ids, best=best)
    computed = got > -np.inf
    np.testing.assert_array_equal(got[computed], want[computed])
    for row, there in zip(want, computed, strict=True):
        assert there[row >= np.sort(row)[-best]].all()  # equals of the last one too
    return float(computed.mean())


def rotation_of(width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.choice(np.float32([-1, 1]), (screen.ROUNDS, width)),
            np.stack([rng.permutation(width) for _ in range(screen.ROUNDS)]).astype(np.int32),
            rng.random(width, np.float32))


@pytest.mark.parametrize('width', [64, 192, 768, 2048, 2560])
def test_a_rotation_keeps_lengths_and_angles(width: int) -> None:
    signs, order, _ = rotation_of(width)
    rows = np.random.default_rng(1).normal(0, 1, (6, width)).astype(np.float32)
    turned = rows.copy()
    for row in turned:
        screen.rotate(row, signs, order, screen.block_of(width), np.empty(width, np.float32))
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, rtol=1e-4, atol=2e-3)
    assert np.abs(turned - rows).max() > 1
    spike = np.zeros(width, np.float32)
    spike[3] = 1
    screen.rotate(spike, signs, order, screen.block_of(width), np.empty(width, np.float32))
    assert np.abs(spike).max() < 8 / np.sqrt(width)  # what was in one column is in all


@pytest.mark.parametrize('width', [200, 96, 52, 2564])
def test_widths_that_cannot_be_rotated_have_no_sketch(width: int) -> None:
    assert screen.block_of(width) == 0
    model = random_model(replace(BITNET, hidden_size=width, num_attention_heads=2,
                                 num_key_value_heads=1), best_isa().packing, 'float32')
    assert sketched(model) is model
    decoder = decoder_of(model)
    assert not decoder.sketched and np.isfinite(decoder.forward([1], best=1)).all()


@settings(max_examples=25, deadline=None)
@given(width=st.sampled_from([64, 192, 1280]), seed=st.integers(0, 2**32 - 1),
       skew=st.sampled_from([0.0, 1.0, 3.0]))
def test_estimates_err_as_the_law_says(width: int, seed: int, skew: float) -> None:
    """Unbiased, with the spread that was promised, and never beyond the bounds."""
    rng = np.random.default_rng(seed)
    signs, order, dither = rotation_of(width, seed)
    rows = rng.normal(0, 1, (3000, width)) * np.exp(skew * rng.normal(0, 1, width))
    x = (rng.normal(0, 1, width) * np.exp(skew * rng.normal(0, 1, width))).astype(np.float32)
    rows = rows.astype(np.float32)
    padded = screen.padded_width(width)
    codes, scales = np.zeros((3000, padded // 4), np.uint8), np.zeros((3000, 3), np.float32)
    screen.sketch_rows(rows.copy(), signs, order, screen.block_of(width), codes, scales)
    fields = [codes.reshape(3000, -1, 1, 64) >> 2 * f & 3 for f in range(4)]
    levels = 2.0 * np.concatenate(fields, 2).reshape(3000, -1)[:, :width] - 3
    turned, probe = x.copy(), np.zeros(padded, np.int8)
    screen.rotate(turned, signs, order, screen.block_of(width), np.empty(width, np.float32))
    step, total, size = screen.quantise_probe(turned, dither, probe)
    assert total == probe.sum() and size == pytest.approx(np.linalg.norm(x), rel=1e-4)
    error = scales[:, 0] * (levels @ (step * probe[:width])) - rows.astype(float) @ x
    turning, dithering = scales[:, 1] * size, scales[:, 2] * step
    assert (np.abs(error) <= screen.ROUNDING * (
        screen.EPSILON * turning + screen.KAPPA * dithering)).all()
    # rows of one skew are much alike, and so is what their estimates err by
    if not skew:
        assert .8 < (error / turning).std() < 1.3 and abs((error / turning).mean()) < .3


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('kind', ['bitnet', 'lfm2'])
def test_the_likeliest_are_those_of_all_logits(kind: str, head: str) -> None:
    model, rng = model_of(kind, head), np.random.default_rng(2)
    shares = []
    for threads in (1, 2):
        decoder = decoder_of(model, threads=threads)
        for tokens in (1, 2, 3, 4, 5, 9, 70):
            for best in (1, 7, MOST):
                ids = rng.integers(0, model.config.vocab_size, tokens).tolist()
                shares.append((best, assert_the_likeliest(decoder, ids, best)))
        decoder.close()
    assert np.mean([share for best, share in shares if best == 1]) < .35


@pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)
def test_every_instruction_set_finds_them(isa: Isa) -> None:
    decoder = decoder_of(model_of('bitnet', 'int8').repacked(isa.packing), isa)
    for ids in ([3], [3, 4], [5, 6, 7], list(range(20))):
        assert assert_the_likeliest(decoder, ids, 1) < .5


def test_heads_that_are_hard() -> None:
    """Equal rows, empty rows, rows of very different length, rows that look at the answer."""
    model, rng = model_of('bitnet', 'float32'), np.random.default_rng(3)
    rows = rng.normal(0, .02, (5000, 192)).astype(np.float32)
    rows[100:200] = rows[100]
    rows[200:300] = 0
    rows[300:400] *= 100
    rows[400:500] *= 1e-6
    for ids in ([7], [450, 301], [150, 199, 3, 4, 5]):
        assert_the_likeliest(decoder_of(with_head(model, rows)), ids, 1)
        assert_the_likeliest(decoder_of(with_head(model, rows)), ids, 20)
    decoder = decoder_of(with_head(model, np.tile(rows[:1], (5000, 1))))
    assert assert_the_likeliest(decoder, [1], 1) == 1  # all are equal
    decoder = decoder_of(with_head(model, np.zeros_like(rows)))
    assert assert_the_likeliest(decoder, [1, 2], 3) == 1


def test_an_answer_that_stands_out_is_found_at_once() -> None:
    """As the tokens of a trained model do, other than those of random weights."""
    model, rng = model_of('bitnet', 'float32'), np.random.default_rng(4)
    rows = rng.normal(0, .02, (5000, 192)).astype(np.float32)
    decoder = decoder_of(with_head(model, rows))
    decoder.forward([9])
    rows[17] = decoder.work.x[0, :192] * .02
    decoder = decoder_of(with_head(model, rows))
    assert assert_the_likeliest(decoder, [9], 1) < .002


def test_what_is_no_number_is_not_hidden() -> None:
    model = model_of('bitnet', 'float32')
    rows = model.tensors['head'].copy()
    rows[77, 3] = np.nan
    assert np.isnan(decoder_of(with_head(model, rows)).forward([1], best=1)[77])
    decoder = decoder_of(model)
    decoder.embed = lambda token, out: out.fill(np.nan)
    with pytest.raises(CheckpointError):
        generate(decoder, [1, 2], max_tokens=1)


@pytest.mark.parametrize('sampling', [
    SamplingConfig(), SamplingConfig(temperature=.8, top_k=20, seed=3),
    SamplingConfig(temperature=1.2, top_k=MOST, top_p=.7, seed=4),
    SamplingConfig(temperature=1.0, seed=5), SamplingConfig(temperature=.7, top_k=400, seed=6),
    SamplingConfig(repetition_penalty=1.3)], ids=str)
def test_texts_are_the_same(sampling: SamplingConfig) -> None:
    model = model_of('bitnet', 'int6')
    with_it, without = decoder_of(model), decoder_of(unsketched(model))
    assert with_it.sketched and not without.sketched
    for seed in range(5):
        prompt = np.random.default_rng(seed).integers(0, 5000, 6).tolist()
        how = {'max_tokens': 24, 'sampling': replace(sampling, seed=seed)}
        want = without.generate(prompt, **how).ids
        assert with_it.generate(prompt, **how).ids == want
        assert with_it.generate(prompt, draft=NGramDraft(), **how).ids == want


def test_a_converted_model_keeps_its_sketch(tmp_path: Path) -> None:
    model = model_of('bitnet', 'int6')
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.tensors.keys() == model.tensors.keys()
    assert assert_the_likeliest(decoder_of(loaded), [1, 2], 3) < .5
    for name, array in loaded.tensors.items():  # loads that cross a cache line are slow
        assert array.nbytes % 64 or array.ctypes.data % 64 == 0, name
    for broken in ({'head_sketch_scales': None}, {'head_sketch': model.tensors['head_sketch'][1:]},
                   {'head_sketch_order': model.tensors['head_sketch_order'].astype(np.int64)},
                   {'head_sketch_order': model.tensors['head_sketch_order'] + 1}):
        tensors = {k: v for k, v in (model.tensors | broken).items() if v is not None}
        save_model(replace(model, tensors=tensors), tmp_path / 'broken')
        with pytest.raises(CheckpointError, match=next(iter(broken))):
            load_model(tmp_path / 'broken')
