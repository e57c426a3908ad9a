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

"""What lies between the products of a decoder, against NumPy: norms, attention, heads, threads."""

import threading
from typing import NamedTuple

from bitnet_models import runnable_isas
from edge_vla.kernels import reference, rows, team
from edge_vla.kernels.attention import attend, write_token
from edge_vla.kernels.compiling import compiled
from edge_vla.kernels.head import (
    byte_logit,
    dequantise_groups,
    float_logit,
    GROUP,
    group_logits,
    quantise_groups,
    quantise_rows_8bit,
)
from edge_vla.kernels.head_phases import Sketch
from edge_vla.kernels.isa import Isa
from edge_vla.kernels.lending import borrow, Lent, replace
from edge_vla.kernels.phases import pieces, share
from edge_vla.kernels.vectors import vexp, vload, vstore
from hypothesis import given, settings, strategies as st
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
import numpy as np
import pytest

SEEDS = st.integers(0, 2**32 - 1)
every_isa = pytest.mark.parametrize('isa', runnable_isas(), ids=lambda isa: isa.name)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def widened(x: np.ndarray) -> np.ndarray:
    """Pad with zeros to whole vectors."""
    return np.concatenate([x, np.zeros(-len(x) % 16, x.dtype)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.sampled_from([1e-20, 1e-3, 1, 1e4, 1e30]), SEEDS)
def test_quantisation(k: int, size: float, seed: int) -> None:
    x = normal(np.random.default_rng(seed), k) * np.float32(size)
    codes = np.full(len(widened(x)), 5, np.int8)
    scale, total = rows.quantise_row(widened(x), len(codes), codes)
    want, want_scale = reference.quantise(x[None])
    assert scale == want_scale[0]
    np.testing.assert_array_equal(codes[:k], want[0])
    assert not codes[k:].any() and total == want.sum() and codes.min() >= -127


def test_quantisation_rounds_ties_to_even_and_survives_zeros() -> None:
    x = widened(np.array([127, .5, 1.5, 2.5, -.5, -1.5], np.float32))
    codes = np.zeros(16, np.int8)
    assert rows.quantise_row(x, 16, codes) == (1, 129)
    assert codes[:6].tolist() == [127, 0, 2, 2, 0, -2]
    scale, total = rows.quantise_row(np.zeros(16, np.float32), 16, codes)
    assert np.isfinite(scale) and total == 0 and not codes.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.sampled_from([1e-20, 1, 1e30]), SEEDS)
def test_sixteen_bits_in_two_bytes(k: int, size: float, seed: int) -> None:
    x = normal(np.random.default_rng(seed), k) * np.float32(size)
    high, low = np.zeros(k, np.int8), np.zeros(k, np.int8)
    step, *totals = rows.quantise_row_16bit(x, k, high, low)
    assert totals == [high.sum(dtype=np.int64), low.sum(dtype=np.int64)]
    got = (high.astype(np.float64) * 256 + low) * step
    assert np.abs(got - x).max() <= .51 * step + 1e-30
    assert step == 0 or step <= np.abs(x).max() / 32000 + 1e-30


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.sampled_from([1e-6, 1.0, 1e6]), SEEDS)
def test_rms_norm(d: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, gain = normal(rng, d) * np.float32(size), normal(rng, d)
    out = np.full(len(widened(x)), 3, np.float32)
    rows.norm_row(widened(x), widened(gain), d, 1e-5, out)
    want = reference.rms_norm(x[None], gain, 1e-5)[0]
    np.testing.assert_allclose(out[:d], want, rtol=3e-5, atol=1e-6)
    assert not out[d:].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 16), st.integers(0, 40), SEEDS)
def test_rope(heads: int, half: int, position: int, seed: int) -> None:
    x = normal(np.random.default_rng(seed), heads * 2 * half)
    angles = position * 500000.0 ** (-np.arange(half) / half)
    want = reference.rope(x[None], 500000.0, position, heads).reshape(heads, -1)
    out = np.zeros((heads, 2 * half + 3), np.float32)
    rows.rope_row(x, heads, np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32),
                  out.reshape(-1), 2 * half + 3)
    np.testing.assert_allclose(out[:, :2 * half], want, atol=2e-6)
    assert not out[:, 2 * half:].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), SEEDS)
def test_gated_relu2_and_sum(blocks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gate, up = normal(rng, 16 * blocks), normal(rng, 16 * blocks)
    want = reference.gated_relu2(gate, up)
    rows.gate_row(gate, up, 16 * blocks)
    np.testing.assert_allclose(gate, want, rtol=1e-6)
    total = gate + up
    rows.add_row(gate, up, 16 * blocks)
    np.testing.assert_array_equal(gate, total)


def test_the_exponential() -> None:
    @njit
    def exponential(x: np.ndarray) -> None:
        for j in range(0, x.shape[0], 16):
            vstore(x, j, vexp(vload(x, j)))
    x = np.concatenate([-np.linspace(0, 86.9, 1600), [-88, -1e30, -np.inf] + [0] * 13])
    got = x.astype(np.float32)
    exponential(got)
    want = np.exp(x.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(got[:1600], want[:1600], rtol=3e-7)
    assert not got[1600:1603].any() and (got[1603:] == 1).all()


@pytest.mark.parametrize(('kind', 'close'), [(np.float32, 2e-6), (np.uint16, 2e-3),
                                             (np.int8, 3e-2)])
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 3), st.booleans(), SEEDS)
def test_attention(kind: type, close: float, length: int, blocks: int, biased: bool, seed: int
                   ) -> None:
    rng = np.random.default_rng(seed)
    size, capacity, heads, head = 16 * blocks, 80, 3, 1
    cache = [np.zeros(heads * capacity * size, kind) for _ in range(2)]
    scales = [np.full(heads * capacity, np.nan, np.float32) for _ in range(2)]
    keys, values = normal(rng, length, size), normal(rng, length, size)
    for position in range(length):
        for h in (head - 1, head + 1, head):  # neighbours must not be touched
            write_token(*cache, *scales, h, capacity, position, size,
                        keys[position] * (h == head), values[position] * (h == head))
    for s in scales:  # what comes after must not be looked at
        s.reshape(heads, -1)[:, length:] = 1e30
    q, out = normal(rng, 4, size), np.zeros((4, size), np.float32)
    where = tuple(range(0, 4 * size, size))
    bias = normal(rng, capacity if biased else 0)
    attend(*cache, *scales, head, capacity, length, size, size ** -.5, q.reshape(-1), where,
           np.zeros(4 * capacity, np.float32), (0, 80, 160, 240), out.reshape(-1), bias)
    scores = q.astype(np.float64) @ keys.T / np.sqrt(size)
    if biased:
        scores += bias[:length]
    weight = np.exp(scores - scores.max(1, keepdims=True))
    want = weight / weight.sum(1, keepdims=True) @ values
    np.testing.assert_allclose(out, want, atol=close * np.abs(values).max())


def test_attention_survives_large_scores() -> None:
    cache, scales = [np.zeros(256, np.float32) for _ in range(2)], [np.ones(16, np.float32)] * 2
    for position, (key, value) in enumerate(((300, 1), (-300, 5))):
        write_token(*cache, *scales, 0, 16, position, 16, np.full(16, key, np.float32),
                    np.full(16, value, np.float32))
    out = np.zeros(64, np.float32)
    attend(*cache, *scales, 0, 16, 2, 16, .25, np.full(64, 300, np.float32), (0, 16, 32, 48),
           np.zeros(64, np.float32), (0, 16, 32, 48), out, np.zeros(0, np.float32))
    assert (out == 1).all()


@every_isa
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), SEEDS)
def test_logits_of_every_kind_of_head(isa: Isa, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, vocabulary = 4 * GROUP * groups, 7
    table, x = normal(rng, vocabulary, width), normal(rng, width)
    exact = table.astype(np.float64) @ x
    for k in range(vocabulary):
        got = float_logit(table.reshape(-1), k * width, width, x, 0)
        assert got == pytest.approx(exact[k], abs=1e-4)
    high, low = np.zeros(width, np.int8), np.zeros(width, np.int8)
    step, *totals = rows.quantise_row_16bit(x, width, high, low)
    codes, scales = quantise_rows_8bit(table)
    want = ((codes.astype(np.float64) - 128) * scales[:, None]) @ x
    for k in range(vocabulary):
        got = byte_logit(isa, codes.reshape(-1), scales, k, width, high, low, 0, *totals, step)
        assert got == pytest.approx(want[k], abs=8e-3)
    np.testing.assert_allclose(want, exact, atol=.05 * np.sqrt(width))
    for bits, close in ((4, .13), (6, .035)):
        packed, halves = quantise_groups(table, bits)
        assert packed.size * 8 == bits * table.size
        values = np.stack([dequantise_groups(*row) for row in zip(packed, halves, strict=True)])
        assert np.sqrt(((values - table) ** 2).mean()) < close
        factors, totals = np.zeros(4 * width // GROUP, np.float32), np.zeros(
            4 * width // GROUP, np.int32)
        rows.quantise_groups_row(x, width, GROUP, 2 ** (bits - 1), high, factors, totals)
        rounded = (high.reshape(-1, GROUP) * factors[::4, None].astype(np.float64)).reshape(-1)
        assert np.abs(rounded - x).max() <= np.abs(x).max() / 250
        want = values.astype(np.float64) @ rounded
        for k in range(vocabulary):
            got, = group_logits(isa, bits, packed.reshape(-1), halves.view(np.uint16).reshape(-1),
                                (k,), width, high, (0,), factors, totals, (0,))
            assert got == pytest.approx(want[k], abs=2e-4)


@every_isa
@pytest.mark.parametrize('bits', [4, 6])
def test_tokens_together_have_the_logits_they_have_alone(isa: Isa, bits: int) -> None:
    width, rng = 1024, np.random.default_rng(bits)
    packed, halves = quantise_groups(normal(rng, 4, width), bits)
    about = 4 * width // GROUP
    x = np.zeros(4 * width, np.int8)
    factors, totals = np.zeros(4 * about, np.float32), np.zeros(4 * about, np.int32)
    for t in range(4):
        rows.quantise_groups_row(normal(rng, width), width, GROUP, 2 ** (bits - 1),
                                 x[t * width:], factors[t * about:], totals[t * about:])
    head = isa, bits, packed.reshape(-1), halves.view(np.uint16).reshape(-1)
    every, abouts = (0, width, 2 * width, 3 * width), (0, about, 2 * about, 3 * about)
    alone = np.array([[group_logits(*head, (k,), width, x, every[t:t + 1], factors, totals,
                                    abouts[t:t + 1])[0] for t in range(4)] for k in range(4)])
    assert len(set(alone.ravel())) == 16
    for k in range(4):
        together = group_logits(*head, (k,), width, x, every, factors, totals, abouts)
        assert list(together) == list(alone[k])
    for t in range(4):  # and rows together
        together = group_logits(*head, (2, 0, 3, 1), width, x, every[t:t + 1], factors, totals,
                                abouts[t:t + 1])
        assert list(together) == list(alone[[2, 0, 3, 1], t])


@every_isa
def test_extreme_heads_do_not_wrap(isa: Isa) -> None:
    width = 2560
    high, low = np.full(width, 127, np.int8), np.full(width, -128, np.int8)
    total = 256 * 127 - 128
    for code in (0, 255):
        got = byte_logit(isa, np.full(width, code, np.uint8), np.ones(1, np.float32), 0, width,
                         high, low, 0, np.int32(127 * width), np.int32(-128 * width),
                         np.float32(1))
        assert got == pytest.approx((code - 128) * width * total, rel=1e-6)
    for bits in (4, 6):
        for code in (0, 255):
            value = (-1 if code == 0 else 1) * 2 ** (bits - 1) - (code == 255)
            got, = group_logits(isa, bits, np.full(width * bits // 8, code, np.uint8), np.ones(
                20, np.float16).view(np.uint16), (0,), width, high, (0,), np.ones(80, np.float32),
                np.full(80, GROUP * 127 * 2 ** (bits - 3), np.int32), (0,))
            assert got == value * width * 127


@intrinsic
def _owner(typing, array):
    """Return the address of what counts an array's references, 0 for nothing."""
    def generate(context, builder, signature, args):
        owner = context.make_array(signature.args[0])(context, builder, args[0]).meminfo
        return builder.ptrtoint(owner, context.get_value_type(types.intp))
    return types.intp(array), generate


class _Lent(NamedTuple):
    """Arrays as a program is given them: some in a tuple of a tuple."""

    row: np.ndarray
    nested: tuple[np.ndarray, np.ndarray]
    number: int


def test_what_is_lent_is_the_same_and_counts_no_references() -> None:
    @njit(nogil=True)
    def call(lent):
        mine = borrow(lent)
        part = mine.nested[1][1:]
        part[:] = mine.row[1:] * mine.number
        counted = _owner(lent.row) != 0 and _owner(lent.nested[1]) != 0
        return counted, _owner(mine.row), _owner(mine.nested[1]), _owner(part)
    row, other = np.arange(4.), np.zeros(4)
    assert call(_Lent(row, (row, other), 3)) == (True, 0, 0, 0)
    assert list(other) == [0, 3, 6, 9]


def test_a_tuple_is_lent_once_and_seen_as_it_is() -> None:
    @njit(nogil=True)
    def call(lent, dither, factor):
        mine = replace(borrow(lent), 'dither', borrow(dither))
        mine.scales[:] = mine.dither * (factor * mine.codes.shape[0])
        return _owner(mine.dither), _owner(mine.signs), mine.order[0, 1]

    def sketch(codes: int) -> Sketch:  # of the package: the cache on disk must find its class
        return Sketch(np.zeros(codes, np.uint8), np.zeros(4, np.float32), np.eye(
            2, dtype=np.float32), np.int32([[5, 6]]), np.zeros(0, np.float32))
    value, dither = sketch(3), np.arange(4, dtype=np.float32)
    lent, other = Lent(value), Lent(sketch(7))
    ready = compiled(call, lent, dither, 2)
    for factor in (2, 5):
        assert ready(lent, dither, factor) == (0, 0, 6)
        assert list(value.scales) == [0, 3 * factor, 6 * factor, 9 * factor]
    assert other.kind is lent.kind and ready(other, dither, 1) == (0, 0, 6)
    assert list(other.value.scales) == [0, 7, 14, 21] and value.scales[3] == 45
    with pytest.raises(TypingError, match='dither is array.float32.* got array.float64'):
        call(lent, dither.astype(float), 1)


@given(st.integers(0, 5000), st.integers(1, 12))
def test_pieces_are_all_there_is_and_the_last_ones_short(count: int, threads: int) -> None:
    parts = [share(count, threads, p) for p in range(pieces(threads))]
    sizes = [b - a for a, b in parts]
    assert sum(sizes) == count and min(sizes) >= 0
    assert all(a == b for (_, a), (b, _) in zip(parts, parts[1:], strict=False))
    if threads > 1 and count > pieces(threads):
        assert max(sizes[threads:]) <= sizes[threads] + 1
        assert sizes[-1] <= count // (32 * threads) + 1


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_a_team_does_every_piece_once_and_in_order(threads: int) -> None:
    phases, count, calls = 30, 7, 60
    sync, log = np.zeros(phases * team.STRIDE, np.int64), np.zeros((phases, count), np.int64)

    @njit(nogil=True)
    def work(sync, log, call):
        for phase in range(log.shape[0]):
            piece = team.take(sync, phase, call, log.shape[1])
            while piece >= 0:
                for p in range(log.shape[0]):  # those before are complete, those after untouched
                    want = call if p < phase else call - 1
                    for k in range(log.shape[1]):
                        if p != phase and log[p, k] != want:
                            return False
                log[phase, piece] += 1
                team.done(sync, phase)
                piece = team.take(sync, phase, call, log.shape[1])
            if not team.wait(sync, phase, call, log.shape[1]):
                return True
        return True
    team.begin(sync, 0)
    good = []
    work(sync.copy(), log[:0], 1)
    others = []
    for call in range(1, calls + 1):
        team.begin(sync, call)
        # those of earlier calls may still be on their way: they must notice
        others += [threading.Thread(target=lambda c=call: good.append(work(sync, log, c)))
                   for _ in range(threads - 1)]
        for other in others[-(threads - 1):] if threads > 1 else []:
            other.start()
        good.append(work(sync, log, call))
        assert (log == call).all()
    for other in others:
        other.join()
    assert all(good) and len(good) == calls * threads
