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

"""Dark pictures are exposed anew, bright and empty ones are left alone."""

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.config import CameraConfig, SimConfig
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.sim.shifts import find
from edge_vla.sim.simulator import Simulator
from edge_vla.vision.encoder import PatchEncoder
from edge_vla.vision.exposure import exponent, expose, MEAN, STRONGEST
from hypothesis import given, strategies as st
import numpy as np
import pytest

PICTURE = CameraConfig(width=96, height=72)


def noise(seed: int, brightest: int) -> np.ndarray:
    """Return a random picture, uint8 [72, 96, 3]."""
    return np.random.default_rng(seed).integers(0, brightest + 1, (72, 96, 3), dtype=np.uint8)


@given(seed=st.integers(0, 99), brightest=st.integers(1, 255))
def test_a_picture_is_only_ever_made_brighter(seed: int, brightest: int) -> None:
    before = noise(seed, brightest)
    after = before.copy()
    expose(after)
    assert (after >= before).all()
    values = np.argsort(before, axis=None)
    assert (np.diff(after.ravel()[values].astype(int)) >= 0).all()  # what was brighter still is
    if before.mean() >= MEAN:
        assert np.array_equal(after, before)


@given(st.floats(.05, .54))
def test_the_mean_comes_to_where_it_should_be(level: float) -> None:
    even = np.full((72, 96, 3), round(level * 255), np.uint8)
    gamma = exponent(even)
    expose(even)
    assert STRONGEST <= gamma <= 1
    if gamma > STRONGEST:
        assert abs(even.mean() - MEAN) < 2.5
    else:
        assert even.mean() < MEAN + 2.5


@pytest.mark.parametrize('value', [0, 255])
def test_black_and_white_stay_what_they_are(value: int) -> None:
    image = np.full((72, 96, 3), value, np.uint8)
    expose(image)
    assert (image == value).all()


def test_a_picture_that_shows_nothing_is_not_exposed() -> None:
    encoder = PatchEncoder(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])
    encoder.encode(np.full((72, 96, 3), 9, np.uint8))
    assert encoder.blank and (encoder.image == 9).all()
    dark = noise(0, 30)
    dark[:, 48:] //= 4
    encoder.encode(dark)
    assert not encoder.blank and encoder.image.max() > 60


def test_in_the_dark_tokens_are_more_like_those_of_day_for_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = PatchEncoder(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])

    def apart() -> float:
        """Return the mean distance between tokens of the same scenes by day and under-exposed."""
        out = []
        for seed in range(6):
            day, dark = (Simulator(SimConfig(seed=seed), PICTURE, find(name)).frame().image
                         for name in ('none', 'under_exposed:strong'))
            encoder.reset()
            wanted = encoder.encode(day).copy()
            encoder.reset()
            out.append(np.abs(encoder.encode(dark) - wanted).mean())
        return float(np.mean(out))
    exposed = apart()
    monkeypatch.setattr('edge_vla.vision.encoder.expose', lambda image: None)
    assert exposed < .8 * apart()
