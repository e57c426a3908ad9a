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


"""Sampling against transformers' logits processors, and against itself."""

from edge_vla.exceptions import CheckpointError, ConfigError
from edge_vla.language.sampling import probabilities, Sampler, SamplingConfig
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

CONFIGS = [
    {'temperature': 1.0}, {'temperature': 0.3}, {'temperature': 2.5, 'top_k': 1},
    {'temperature': 1.0, 'top_k': 40}, {'temperature': 1.0, 'top_k': 10**6},
    {'temperature': 0.8, 'top_p': 0.9}, {'temperature': 1.0, 'top_p': 0.0},
    {'temperature': 1.0, 'top_p': 1.0}, {'temperature': 1.5, 'top_k': 50, 'top_p': 0.5},
    {'temperature': 0.7, 'top_k': 20, 'top_p': 0.95, 'repetition_penalty': 1.3},
    {'temperature': 1.0, 'repetition_penalty': 0.5, 'top_p': 0.99},
]


def logits_of(size: int, seed: int, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, size).astype(np.float32)


def theirs(logits: np.ndarray, ids: list[int], config: SamplingConfig) -> np.ndarray:
    """Return the distribution transformers' generate draws from."""
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    pytest.importorskip('transformers', reason='needs transformers')
    from transformers.generation import logits_process as hf
    chain = []
    if config.repetition_penalty != 1:
        chain.append(hf.RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    chain.append(hf.TemperatureLogitsWarper(config.temperature))
    if config.top_k:
        chain.append(hf.TopKLogitsWarper(config.top_k))
    if config.top_p < 1:
        chain.append(hf.TopPLogitsWarper(config.top_p))
    scores, seen = torch.tensor(logits, dtype=torch.float64)[None], torch.tensor([ids])
    for process in chain:
        scores = process(seen, scores)
    return scores.softmax(-1)[0].numpy()


@pytest.mark.parametrize('size', [7, 300, 20_000])
@pytest.mark.parametrize('values', CONFIGS, ids=str)
def test_distribution_equals_transformers(values: dict[str, float], size: int) -> None:
    config = SamplingConfig(**values)
    for seed, scale in ((0, 3.0), (1, 0.1), (2, 12.0)):  # the second has a nucleus of thousands
        logits, ids = logits_of(size, seed, scale), [1, 5, 5, 2, 6]
        want = theirs(logits, ids, config)
        got = probabilities(logits, ids, config)
        assert ((got > 0) == (want > 0)).all()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-300)


def test_equals_of_the_last_of_top_k_stay_as_in_transformers() -> None:
    logits = np.array([1, 3, 2, 2, 2, 0], np.float32)
    config = SamplingConfig(temperature=1.0, top_k=2)
    got = probabilities(logits, [], config)
    assert np.flatnonzero(got).tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(got, theirs(logits, [0], config), rtol=1e-12)


def test_equals_stay_by_their_ids_in_a_nucleus() -> None:
    p = probabilities(np.zeros(1000), [], SamplingConfig(temperature=1.0, top_p=0.4995))
    assert np.flatnonzero(p).tolist() == list(range(500))


def test_forbidden_tokens_never_come() -> None:
    logits = np.full(500, -np.inf, np.float32)
    logits[[3, 400]] = 0
    for values in CONFIGS:
        p = probabilities(logits, [3], SamplingConfig(**values))
        assert set(np.flatnonzero(p)) <= {3, 400} and abs(p.sum() - 1) < 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.integers(0, 10**6), st.floats(0, 1),
       st.sampled_from([0, 1, 5, 90]), st.sampled_from([0.01, 0.5, 1.0, 4.0]), st.booleans())
def test_nucleus_is_the_smallest_that_reaches_top_p(size: int, seed: int, top_p: float,
                                                    top_k: int, temperature: float,
                                                    rounded: bool) -> None:
    logits = logits_of(size, seed)
    logits = logits.round() if rounded else logits  # many equals
    before = probabilities(logits, [], SamplingConfig(temperature=temperature, top_k=top_k))
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    after = probabilities(logits, [], config)
    order = np.argsort(-before, kind='stable')  # equals: the lowest id first
    kept = int((after > 0).sum())
    assert (after[order[:kept]] > 0).all() and abs(after.sum() - 1) < 1e-9
    assert kept == 1 or before[order[:kept - 1]].sum() < top_p + 1e-9
    assert before[order[:kept]].sum() > top_p - 1e-9


def test_frequencies_are_the_probabilities() -> None:
    logits, draws = logits_of(60, 4, 1.5), 20_000
    for values in ({'temperature': 0.9}, {'temperature': 1.3, 'top_k': 12, 'top_p': 0.9,
                                          'repetition_penalty': 1.2}):
        config = SamplingConfig(**values, seed=11)
        p = probabilities(logits, [3, 4], config)
        sampler = Sampler(config)
        counts = np.bincount([sampler(logits, [3, 4]) for _ in range(draws)], minlength=60)
        assert counts[p == 0].sum() == 0
        likely = p * draws > 5
        freedom = int(likely.sum()) - 1
        chi2 = ((counts - p * draws)[likely] ** 2 / (p * draws)[likely]).sum()
        # mean and deviation of the distribution; by chance beyond this once in 10^5
        assert freedom > 5 and chi2 < freedom + 5 * np.sqrt(2 * freedom), (chi2, freedom)


def test_greedy_takes_the_first_of_equals_and_the_penalty_counts() -> None:
    logits = np.array([0.5, 2, 2, -1], np.float32)
    assert Sampler(SamplingConfig())(logits, []) == 1
    assert Sampler(SamplingConfig(repetition_penalty=1.5))(logits, [1]) == 2
    assert probabilities(logits, [], SamplingConfig()).tolist() == [0, 1, 0, 0]
    near = SamplingConfig(temperature=1.0, top_p=0.0)
    assert Sampler(near)(logits, []) == 1
    assert Sampler(SamplingConfig(temperature=1e-310))(logits + logits_of(4, 0, .1), []) in (1, 2)


def test_seed_decides() -> None:
    logits = logits_of(1000, 5)

    def run(seed: int) -> list[int]:
        sampler = Sampler(SamplingConfig(temperature=1.0, seed=seed))
        return [sampler(logits, []) for _ in range(30)]
    assert run(1) == run(1) != run(2)


def test_a_draw_at_the_very_end_is_a_possible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(SamplingConfig(temperature=1.0))

    class Last:
        """Draws a number no generator draws."""

        def random(self) -> float:
            return 1.0  # beyond what a generator gives, as rounding may
    monkeypatch.setattr(sampler, '_random', Last())
    assert sampler.draw(np.array([0.2, 0.8, 0.0])) == 1


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    logits = logits_of(50, 0)
    logits[17] = bad
    for config in (SamplingConfig(), SamplingConfig(temperature=1.0, top_k=3)):
        with pytest.raises(CheckpointError, match='NaN or infinite logits'):
            Sampler(config)(logits, [])
    with pytest.raises(CheckpointError, match='NaN or infinite logits'):
        Sampler(SamplingConfig())(np.full(9, -np.inf), [])


@pytest.mark.parametrize(('values', 'said'), [
    ({'temperature': -0.1}, r'temperature: -0.1 is outside \[0.0, 100.0\]'),
    ({'temperature': float('nan')}, 'temperature: nan is outside'),
    ({'top_k': -1}, 'top_k: -1 is outside'), ({'top_k': 2.5}, 'top_k: expected int'),
    ({'top_p': 1.1}, r'top_p: 1.1 is outside \[0.0, 1.0\]'),
    ({'repetition_penalty': 0}, 'repetition_penalty: 0.0 is outside'),
    ({'seed': -1}, 'seed: -1 is outside'), ({'temperature': 'hot'}, 'expected float'),
])
def test_wrong_settings_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SamplingConfig(**values)


def test_the_logits_stay_as_they_are() -> None:
    logits = logits_of(100, 0)
    kept = logits.copy()
    probabilities(logits, [1, 2], SamplingConfig(temperature=0.5, repetition_penalty=2.0))
    assert (logits == kept).all()
