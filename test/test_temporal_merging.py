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

"""Temporal merging of tokens: what DyCoke promises, live and on a clip, and on real video."""

from dataclasses import replace
from math import acos, cos
from pathlib import Path
import tracemalloc

import cv2
from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.compression.temporal import (
    compress_clip,
    LIVE,
    MODES,
    TemporalSettings,
    TemporalStream,
)
from edge_vla.compression.visual_tokens import VisualTokens
from edge_vla.kernels import reference
from edge_vla.kernels.selection import list_marked, mark_largest, uniform
from edge_vla.kernels.similarity import compare_rows, squared_lengths
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.vision.encoder import PatchEncoder
from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest

VIDEOS = Path(__file__).resolve().parents[2] / 'shared' / 'data'
SEEDS = st.integers(0, 999)


def clip(rng: np.random.Generator, frames: int, tokens: int, channels: int,
         change: float = .5) -> np.ndarray:
    """Return a scene in which everything changes, some positions more than others."""
    scene = rng.normal(0, 1, (tokens, channels))
    moves = rng.normal(0, change, (frames, tokens, channels)) * rng.random((1, tokens, 1))
    return (scene + moves).astype(np.float32)


def stream_of(frames: np.ndarray, s: TemporalSettings, memory: int | None = None
              ) -> tuple[TemporalStream, list[int]]:
    stream = TemporalStream(*frames.shape[1:], s, memory or max(1, len(frames)))
    return stream, [stream.push(f) for f in frames]


def assert_same(a: VisualTokens, b: VisualTokens) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-np.inf, -2., -1e-45, 0., 1e-45, .5, 1., 3e38, np.inf]),
                min_size=1, max_size=40), st.data())
def test_the_largest_are_marked_ties_going_to_the_first(values: list, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(values)))
    array, marks = np.array(values, np.float32), np.zeros(len(values), np.uint8)
    mark_largest(array, count, marks)
    want = np.argsort(-array, kind='stable')[:count]
    assert sorted(want) == list(np.flatnonzero(marks))
    out = np.zeros(len(values), np.int64)
    assert list(out[:list_marked(marks, out)]) == sorted(want)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), SEEDS)
def test_similarities(n: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 1, (2, n, channels)).astype(np.float32)
    squares, own, out = np.zeros((3, n), np.float32)
    squared_lengths(y, squares)
    mean = compare_rows(x, y, squares, own, out)
    np.testing.assert_allclose(out, np.diag(reference.cosines(x, y)), atol=3e-6)
    assert mean == pytest.approx(out.mean(), abs=1e-6)
    compare_rows(y, y, squares, own, out)
    assert (out == 1).all() and (own == squares).all()


def test_similarity_of_odd_tokens() -> None:
    huge = np.float32(3e38)
    x = np.array([[0, 0], [0, 0], [1, 0], [np.nan, 1], [np.inf, 1], [huge, huge]], np.float32)
    y = np.array([[0, 0], [1, 0], [0, 0], [1, 1], [np.inf, 1], [huge, huge]], np.float32)
    squares, own, out = np.zeros((3, 6), np.float32)
    squared_lengths(y, squares)
    compare_rows(x, y, squares, own, out)
    assert list(out) == [1, 0, 0, -1, -1, -1]  # what is no number is never taken for another


def test_draws_are_uniform_and_depend_on_seed_and_counter_alone() -> None:
    u = np.array([uniform(np.uint64(7), np.uint64(i)) for i in range(4000)])
    assert (u >= 0).all() and (u < 1).all() and len(np.unique(u)) == 4000
    counts = np.histogram(u, 10, (0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared, 9 degrees, 0.001
    again = [uniform(np.uint64(7), np.uint64(i)) for i in range(9)]
    assert list(u[:9]) == again and uniform(np.uint64(8), np.uint64(0)) != u[0]


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('frames', [1, 2, 3, 4, 5, 9])
def test_without_pruning_every_token_is_kept_bit_for_bit(mode: str, frames: int) -> None:
    x = clip(np.random.default_rng(0), frames, 7, 19)
    s = TemporalSettings(pruning_rate=0, mode=mode)
    for kept in (compress_clip(x, s), stream_of(x, s)[0].gather()):
        np.testing.assert_array_equal(kept.tokens.view(np.uint32),
                                      x.reshape(-1, 19).view(np.uint32))
        assert (kept.sizes == 1).all()
        np.testing.assert_array_equal(kept.positions(7), np.arange(7 * frames))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 13), st.integers(1, 23), st.integers(1, 40),
       st.sampled_from([0, .1, .3, .5, .7, .9, 1]), st.sampled_from([1, 2, 4, 8]),
       st.sampled_from([np.inf, .95, .5]), st.sampled_from([-1, .6, .9]), st.sampled_from(MODES),
       SEEDS)
@example(5, 1, 1, .7, 4, np.inf, -1, 'drop', 0)
def test_a_stream_keeps_what_the_whole_clip_keeps(
        frames: int, tokens: int, channels: int, rate: float, window: int, threshold: float,
        cut: float, mode: str, seed: int) -> None:
    x = clip(np.random.default_rng(seed), frames, tokens, channels)
    s = TemporalSettings(rate, threshold, window, mode, cut)
    stream, counts = stream_of(x, s, memory=frames * window)
    whole = compress_clip(x, s)
    assert_same(whole, stream.gather())
    assert sum(counts) == len(whole.tokens)
    for i in range(frames):  # nothing looks ahead: a shorter clip keeps the same
        part = compress_clip(x[:i + 1], s)
        assert len(part.tokens) == sum(counts[:i + 1])
        np.testing.assert_array_equal(part.patches, whole.patches[:len(part.patches)])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 13), st.integers(1, 23), st.sampled_from([0, .3, .7, 1]),
       st.sampled_from([1, 2, 4, 8]), st.sampled_from([np.inf, .5]),
       st.sampled_from([-1, .6]), st.sampled_from(MODES), SEEDS)
@example(5, 13, 0, 8, .5, -1, 'drop', 2)
def test_renewed_the_last_frame_is_whole_and_nothing_else_is_more(
        frames: int, tokens: int, rate: float, window: int, threshold: float, cut: float,
        mode: str, seed: int) -> None:
    x = clip(np.random.default_rng(seed), frames, tokens, 12)
    paper = TemporalSettings(rate, threshold, window, mode, cut)
    first, last = compress_clip(x, paper), compress_clip(x, replace(paper, renew=True))
    stream = stream_of(x, replace(paper, renew=True), memory=frames * window)[0]
    assert_same(last, stream.gather())
    assert (np.diff(last.positions(tokens)) > 0).all()  # in the order of time and space
    whole = last.frames == frames - 1
    np.testing.assert_array_equal(last.patches[whole], np.arange(tokens))
    shown = np.zeros((tokens, 12), np.float32)
    stream.represented(shown)
    np.testing.assert_array_equal(last.tokens[whole], shown)
    # the same tokens, and what did not move is where it was
    rows = [sorted(map(tuple, np.column_stack([k.tokens, k.sizes, k.patches])))
            for k in (first, last)]
    assert rows[0] == rows[1]
    before = set(zip(first.frames.tolist(), first.patches.tolist(), strict=True))
    assert before >= set(zip(last.frames[~whole].tolist(), last.patches[~whole].tolist(),
                             strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 30), st.integers(2, 40),
       st.sampled_from([.3, .5, .7, .9]), SEEDS)
def test_a_window_is_what_the_paper_says(frames: int, tokens: int, channels: int, rate: float,
                                         seed: int) -> None:
    x = clip(np.random.default_rng(seed), frames, tokens, channels)
    kept = compress_clip(x, TemporalSettings(rate))
    want = reference.thin_window(x, int((1 - rate) * tokens))
    np.testing.assert_array_equal(kept.patches, np.concatenate(want))
    np.testing.assert_array_equal(kept.frames, np.repeat(range(frames), [len(w) for w in want]))
    np.testing.assert_array_equal(kept.tokens, x[kept.frames, kept.patches])
    assert (np.diff(kept.positions(tokens)) > 0).all()  # spatial order within a frame


@pytest.mark.parametrize(('rate', 'total'), [(.7, 2960), (.5, 3920), (.3, 4856), (.9, 2024)])
def test_token_counts_of_the_paper(rate: float, total: int) -> None:
    """32 frames of 196, every window processed; the published code leaves the last one out."""
    x = clip(np.random.default_rng(1), 32, 196, 8)
    counts = stream_of(x, TemporalSettings(rate))[1]
    assert counts == [196, *[int((1 - rate) * 196)] * 3] * 8 and sum(counts) == total
    assert total / 6272 == pytest.approx(1 - .75 * rate, abs=.004)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(MODES))
def test_identical_frames(tokens: int, rate: float, mode: str) -> None:
    frame = np.random.default_rng(tokens).normal(0, 1, (tokens, 17)).astype(np.float32)
    s = TemporalSettings(rate, mode=mode)
    stream, counts = stream_of(np.stack([frame] * 8), s)
    assert sum(counts) == 2 * (tokens + 3 * int((1 - rate) * tokens))
    kept = stream.gather()
    np.testing.assert_allclose(kept.tokens, frame[kept.patches], atol=1e-6)
    by_threshold = stream_of(np.stack([frame] * 8), replace(s, pruning_rate=0, threshold=1.))[1]
    assert by_threshold == [tokens, 0, 0, 0] * 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(1, 20), st.integers(1, 40), st.floats(0, 1),
       st.sampled_from([1, 2, 4, 16]), SEEDS)
def test_merging_conserves_mass(frames: int, tokens: int, channels: int, rate: float, window: int,
                                seed: int) -> None:
    x = clip(np.random.default_rng(seed), frames, tokens, channels)
    kept = compress_clip(x, TemporalSettings(rate, window=window, mode='merge'))
    assert kept.sizes.sum() == frames * tokens
    mass = (kept.tokens.astype(np.float64) * kept.sizes[:, None]).sum(0)
    np.testing.assert_allclose(mass, x.astype(np.float64).sum((0, 1)), atol=2e-5 * frames * tokens)
    dropped = compress_clip(x, TemporalSettings(rate, window=window))
    np.testing.assert_array_equal(kept.positions(tokens), dropped.positions(tokens))
    assert (dropped.sizes == 1).all()


def test_a_merged_token_is_the_mean_of_what_it_stands_for() -> None:
    x = np.array([[[4, 0]], [[4, 2]], [[4, 4]], [[-1, 9]]], np.float32)
    # frame 1 and 2 fall to frame 0; frame 3, compared with the full frame 2, falls there too
    kept = compress_clip(x, TemporalSettings(pruning_rate=1, mode='merge'))
    np.testing.assert_allclose(kept.tokens, [[2.75, 3.75]])
    assert list(kept.sizes) == [4]
    # with a threshold frame 3 stays, and is compared with frame 2 as it came, not as merged
    s = TemporalSettings(pruning_rate=0, threshold=.7, mode='merge')
    stream, counts = stream_of(x, s)
    assert counts == [1, 0, 0, 1]
    assert stream.similarity[0] == pytest.approx(32 / np.sqrt(82 * 32), abs=1e-6)


def test_only_what_changed_is_kept() -> None:
    rng = np.random.default_rng(3)
    still = rng.normal(0, 1, (12, 24)).astype(np.float32)
    moved = still.copy()
    moved[[2, 9]] = rng.normal(0, 1, (2, 24))
    stream = TemporalStream(12, 24, replace(LIVE, cut=-1))
    stream.push(still)
    assert stream.push(moved) == 2
    assert list(np.flatnonzero(stream.marks)) == [2, 9] and (stream.similarity[:2] == 1).all()
    shown = np.zeros((12, 24), np.float32)
    stream.represented(shown)
    np.testing.assert_array_equal(shown, moved)
    stream = TemporalStream(12, 24, TemporalSettings(.75, threshold=.9))
    stream.push(still)
    assert stream.push(-still) == 3  # no more than the budget, whatever moved


def test_a_similarity_at_the_threshold_is_judged_alike_by_stream_and_clip() -> None:
    frames = np.array([[[1, 0]], [[24, 7]]], np.float32)  # as close to 0.96 as float32 comes
    for threshold in (.96, float(np.float32(.96)), np.nextafter(np.float32(.96), np.float32(1))):
        s = TemporalSettings(pruning_rate=0.0, threshold=float(threshold))
        assert_same(stream_of(frames, s)[0].gather(), compress_clip(frames, s))


def test_a_scene_cut_is_kept_whole_and_begins_a_window() -> None:
    rng = np.random.default_rng(5)
    scenes = [clip(rng, 6, 30, 32, .1) for _ in range(3)]
    x = np.concatenate(scenes)
    s = TemporalSettings(.7, cut=.5)
    stream = TemporalStream(30, 32, s, frames=64)
    counts, refreshed = [], []
    for frame in x:
        counts.append(stream.push(frame))
        refreshed.append(stream.refreshed)
    assert [i for i, r in enumerate(refreshed) if r] == [0, 4, 6, 10, 12, 16] and stream.cuts == 2
    assert [c for c, r in zip(counts, refreshed, strict=True) if r] == [30] * 6
    each = [compress_clip(scene, replace(s, cut=-1)) for scene in scenes]
    kept = stream.gather()
    np.testing.assert_array_equal(kept.tokens, np.concatenate([e.tokens for e in each]))
    assert list(np.unique(kept.frames)) == list(range(18))


def test_the_memory_forgets_whole_windows() -> None:
    x = clip(np.random.default_rng(2), 23, 6, 8)
    for memory, windows in ((1, 1), (4, 1), (5, 2), (8, 2), (16, 4)):
        stream = TemporalStream(6, 8, TemporalSettings(.5), memory)
        for i, frame in enumerate(x):
            stream.push(frame)
            kept = stream.gather()
            first = max(0, i // 4 + 1 - windows) * 4
            assert list(np.unique(kept.frames)) == list(range(first, i + 1))
            want = compress_clip(x[first:i + 1], TemporalSettings(.5))
            np.testing.assert_array_equal(kept.tokens, want.tokens)
            np.testing.assert_array_equal(kept.positions(6), want.positions(6))


def test_no_drift_over_ten_thousand_frames() -> None:
    """Tokens wander without end; what stands for them stays close, and the memory bounded."""
    rng = np.random.default_rng(0)
    tokens, channels, s = 24, 32, LIVE
    stream = TemporalStream(tokens, channels, s, frames=16)
    depth = s.window.bit_length() - 1  # comparisons from a frame to the window's first
    limit = cos(depth * acos(s.threshold)) - 1e-5
    x = rng.normal(0, 1, (tokens, channels)).astype(np.float32)
    first, shown, kept = x.copy(), np.zeros_like(x), 0
    for i in range(10_000):
        x = (.9995 * x + .02 * rng.standard_normal((tokens, channels))).astype(np.float32)
        kept += stream.push(x)
        stream.represented(shown)
        similar = np.einsum('ij,ij->i', x, shown) / np.linalg.norm(x, axis=1) / np.linalg.norm(
            shown, axis=1)
        assert similar.min() >= limit, i
        if i % 997 == 0:
            assert len(stream.gather().tokens) <= 16 * tokens
    assert np.abs(np.diag(reference.cosines(x, first))).mean() < .5  # it did wander
    assert stream.frame == 10_000 and 1 / 8 <= kept / 10_000 / tokens < .5
    fresh = TemporalStream(tokens, channels, s, frames=16)
    tail = [x + np.float32(.01 * k) for k in range(8)]  # as good as new after all that
    for frame in tail:
        assert stream.push(frame) == fresh.push(frame)


def test_it_is_deterministic_and_reset_forgets() -> None:
    x = clip(np.random.default_rng(4), 11, 9, 10)
    stream, counts = stream_of(x, replace(LIVE, threshold=.9), 16)
    before = VisualTokens(*(a.copy() for a in stream.gather()))
    stream.reset()
    assert len(stream.gather().tokens) == 0 and not stream.marks.any()
    assert [stream.push(f) for f in x] == counts
    assert_same(before, stream.gather())


def test_any_memory_layout_gives_the_same() -> None:
    x = clip(np.random.default_rng(6), 5, 12, 10)
    want = compress_clip(x, TemporalSettings(.5))
    assert_same(want, compress_clip(np.asfortranarray(x), TemporalSettings(.5)))
    stream = TemporalStream(12, 10, TemporalSettings(.5))
    for frame in x:
        frozen = np.asfortranarray(frame)
        frozen.setflags(write=False)
        stream.push(frozen)
    assert_same(want, stream.gather())


def test_nothing_is_allocated_per_frame() -> None:
    x = clip(np.random.default_rng(8), 40, 64, 64)
    for s in (TemporalSettings(), LIVE, TemporalSettings(mode='merge')):
        stream = TemporalStream(64, 64, s)
        stream.push(x[0])
        tracemalloc.start()
        for frame in x:
            stream.push(frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4096  # a frame is 16 kB; views of arrays are objects too


def test_broken_tokens_do_no_harm() -> None:
    x = clip(np.random.default_rng(7), 6, 40, 8, .01)
    x[1, 3], x[2, 5] = np.nan, np.inf
    stream, counts = stream_of(x, LIVE)
    assert counts[:3] == [40, 1, 1] and stream.cuts == 0
    kept = stream.gather()
    bad = ~np.isfinite(kept.tokens).all(1)
    where = list(zip(kept.frames[bad], kept.patches[bad], strict=True))
    assert (1, 3) in where and (2, 5) in where  # kept as they are, next to nothing else
    assert all(patch in (3, 5) for _, patch in where)


def test_an_empty_clip() -> None:
    for shape in ((0, 4, 3), (3, 0, 3)):
        kept = compress_clip(np.zeros(shape, np.float32))
        assert kept.tokens.shape == (0, 3) and kept.positions(4).shape == (0,)


@pytest.mark.parametrize(('values', 'says'), [
    ({'pruning_rate': -.1}, 'pruning_rate'), ({'pruning_rate': 1.1}, 'pruning_rate'),
    ({'pruning_rate': np.nan}, 'pruning_rate'), ({'threshold': np.nan}, 'threshold'),
    ({'window': 0}, 'power of two'), ({'window': 6}, 'power of two'), ({'mode': 'mean'}, 'merge'),
    ({'cut': 2}, 'cut'), ({'cut': np.nan}, 'cut')])
def test_settings_out_of_range(values: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TemporalSettings(**values)


@pytest.mark.parametrize('frame', [
    np.zeros((4, 3)), np.zeros((3, 4), np.float32), np.zeros((2, 4, 3), np.float32), None,
    np.zeros((4, 3), np.uint8), np.zeros(12, np.float32), np.zeros((4, 3), '>f4')])
def test_wrong_frames_are_refused(frame: np.ndarray) -> None:
    stream = TemporalStream(4, 3)
    with pytest.raises(ValueError, match=r'frame must be float32 \[4, 3\]'):
        stream.push(frame)
    assert stream.frame == 0
    with pytest.raises(ValueError, match='no frame'):
        stream.represented(np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match='at least 1'):
        TemporalStream(0, 3)
    with pytest.raises(ValueError, match='frames must be'):
        compress_clip(np.zeros((4, 3), np.float32))


@pytest.fixture(scope='module')
def encoder() -> PatchEncoder:
    return PatchEncoder(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])


def encoded(encoder: PatchEncoder, name: str, most: int = 10_000) -> np.ndarray:
    """Return the tokens of a video as the shipped encoder makes them."""
    path = VIDEOS / name
    if not path.exists():
        pytest.skip(f'{path} is not there')
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < most:
        good, image = video.read()
        if not good:
            break
        frames.append(encoder.encode(np.ascontiguousarray(image[..., ::-1])).copy())
    return np.stack(frames)


def keep_ratio(frames: np.ndarray, s: TemporalSettings) -> float:
    return sum(stream_of(frames, s, 16)[1]) / frames.shape[0] / frames.shape[1]


def test_on_real_video_the_keep_ratio_follows_motion(encoder: PatchEncoder) -> None:
    still = encoded(encoder, 'conveyor_static_camera.mp4', 400)
    moving = encoded(encoder, 'carphone_moving_background.mp4')
    road = encoded(encoder, 'road_static_camera.mp4')
    ratios = [keep_ratio(v, LIVE) for v in (still, moving, road)]
    assert ratios[0] < .16 and ratios[1] > 2 * ratios[0]
    # within one video: frames in which more changed keep more
    stream, kept, change = TemporalStream(*road.shape[1:], LIVE), [], []
    for i, frame in enumerate(road):
        n = stream.push(frame)
        if not stream.refreshed:
            kept.append(n)
            change.append(np.abs(frame - road[i - 1]).mean())
    assert np.corrcoef(kept, change)[0, 1] > .6


def test_cuts_between_real_videos_refresh(encoder: PatchEncoder) -> None:
    parts = [encoded(encoder, name, 30) for name in (
        'conveyor_static_camera.mp4', 'carphone_moving_background.mp4', 'road_static_camera.mp4')]
    stream = TemporalStream(*parts[0].shape[1:], LIVE)
    for part in parts:
        for i, frame in enumerate(part):
            kept = stream.push(frame)
            assert i or (stream.refreshed and kept == frame.shape[0])
    assert stream.cuts == 2


def test_no_drift_over_ten_thousand_frames_of_real_video(encoder: PatchEncoder) -> None:
    """
    Real videos to and fro, one after the other, until 10,000 frames have gone by.

    What stands for a token is never further away than the windows allow, no later pass is any
    worse than the first, and every change of the video is a cut, and nothing else is.
    """
    videos = [encoded(encoder, name, 300) for name in (
        'conveyor_static_camera.mp4', 'carphone_moving_background.mp4', 'road_static_camera.mp4')]
    limit = cos((LIVE.window.bit_length() - 1) * acos(LIVE.threshold)) - 1e-5
    stream, passes, cuts = TemporalStream(*videos[0].shape[1:], LIVE, 16), [], []
    shown, done = np.zeros_like(videos[0][0]), 0
    while done < 10_000:
        kept, least, means = 0, [], []
        for video in videos:
            for i, frame in enumerate((*video, *video[-2:0:-1])):  # no jump within a video
                before = stream.cuts
                n = stream.push(frame)
                if stream.cuts > before:
                    cuts.append((i, n))
                stream.represented(shown)
                similar = np.einsum('ij,ij->i', frame, shown) / np.linalg.norm(
                    frame, axis=1) / np.linalg.norm(shown, axis=1)
                least.append(similar.min())
                means.append(similar.mean())
                kept, done = kept + n, done + 1
        passes.append((min(least), np.mean(means), kept))
        assert min(least) >= limit, len(passes)
        assert len(stream.gather().tokens) <= 16 * videos[0].shape[1]
    assert len(passes) > 4 and len(cuts) == 3 * len(passes) - 1
    assert set(cuts) == {(0, videos[0].shape[1])}  # whole, and at the first frame of a video
    worst, close, kept = np.array(passes).T
    assert (close >= close[0] - 1e-4).all() and (np.abs(kept / kept[0] - 1) < .02).all()


def test_a_panning_camera_keeps_more_than_a_still_one(encoder: PatchEncoder) -> None:
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 256, (60, 200, 3)).astype(np.uint8), (1600, 480),
                      interpolation=cv2.INTER_CUBIC)
    ratios = []
    for speed in (0, 2, 8):
        frames = np.stack([encoder.encode(np.ascontiguousarray(
            wall[:, speed * i:speed * i + 640])).copy() for i in range(40)])
        ratios.append(keep_ratio(frames, LIVE))
    assert ratios[0] == pytest.approx(1 / 8) and ratios[0] * 2 < ratios[1] < ratios[2]
