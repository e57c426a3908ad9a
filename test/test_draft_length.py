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

"""How much a draft proposes follows from what that brings."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from edge_vla.language.speculative import DraftLength, length_for
import numpy as np
import pytest


def asked(length: DraftLength, chances: Sequence[float] | None = None,
          plain: float = 1.0) -> int:
    """Return how many tokens to propose; while it rests none, and little is timed."""
    rests = length.rests()
    n = 0 if rests else length.choose(chances)
    if n == 0 and rests <= length.FRESH:
        length.plain(plain)
    return n


def run_rounds(length: DraftLength, chance: float, draft: float,
               looking: Callable[[int], float], steps: int) -> tuple[int, float]:
    """Return tokens and time of steps that cost this much, a plain one 1."""
    rng, tokens, time = np.random.default_rng(0), 0, 0.0
    for _ in range(steps):
        n = asked(length)
        if n == 0:
            tokens, time = tokens + 1, time + 1
            continue
        kept = int(np.argmin([*(rng.random(n) < chance), False]))
        length.looked(n, kept, n * draft, looking(n))
        tokens, time = tokens + kept + 1, time + looking(n) + n * draft
    return tokens, time


@pytest.mark.parametrize(('chance', 'draft', 'beside', 'least'), [
    (.9, 0, .1, 2.5), (.8, .1, .1, 1.6), (.95, .05, .05, 3.5), (.1, .3, .3, .97),
    (0, 0, .5, .97), (.5, 1, .2, .97), (0, 2, 1, .97), (.3, .9, .9, .97)])
def test_the_length_pays_or_is_none(chance: float, draft: float, beside: float,
                                    least: float) -> None:
    tokens, time = run_rounds(
        DraftLength(), chance, draft, lambda n: 1 + n * beside, 3000)
    assert tokens / time > least


def test_what_did_not_pay_is_tried_again() -> None:
    length = DraftLength()
    run_rounds(length, 0, 1, lambda n: 1 + n * .5, 2000)
    tokens, time = run_rounds(length, .95, .02, lambda n: 1 + n * .02, 4000)
    assert tokens / time > 2


class Fixed(DraftLength):
    """Proposes as much as it is told to."""

    def choose(self, chances: Sequence[float] | None = None) -> int:
        return self.most


@pytest.mark.parametrize('chance', [.95, .8, .6, .4])
def test_a_step_in_the_cost_is_found(chance: float) -> None:
    """Kernels take four tokens at once: a fifth costs as much as four."""
    def looking(n: int) -> float:
        return .5 + .5 * (1 + n // 4)

    def speed(length: DraftLength) -> float:
        tokens, time = run_rounds(length, chance, .02, looking, 3000)
        return tokens / time
    assert speed(DraftLength()) > .95 * max(speed(Fixed(n)) for n in range(1, 8))


def test_a_slow_beginning_of_the_draft_does_not_count() -> None:
    """With its first proposal it reads the prompt, and may be compiled."""
    length, compiling = DraftLength(), 400.0
    for _ in range(3):  # texts
        begun = False
        for _ in range(40):
            n = asked(length)
            if n > 0:
                late = (0 if begun else 20) + compiling
                length.looked(n, n, late + n * .01, 1 + .2 * n)
                begun, compiling = True, 0.0
    assert not length.rests() and length.choose() == length.most


@pytest.mark.parametrize('slow', [.5, 2.0])
def test_a_change_of_the_machine_is_no_fault_of_the_draft(slow: float) -> None:
    """Everything becomes slower or faster at once, again and again."""
    length, rng = DraftLength(), np.random.default_rng(1)
    tokens, time, none = 0, 0.0, 0
    for k in range(4000):
        scale = (slow if k // 150 % 2 else 1.0) * (5 if rng.random() < .05 else 1)
        n = asked(length, plain=scale)
        if n == 0:
            tokens, time, none = tokens + 1, time + scale, none + 1
        else:
            length.looked(n, n, 0.0, scale * (1 + .2 * n))
            tokens, time = tokens + n + 1, time + scale * (1 + .2 * n)
    assert none < 300 and tokens / time > 2 / (1 + (slow - 1) / 2)


@pytest.mark.parametrize('seed', range(40))
def test_other_work_does_not_make_a_good_draft_given_up(seed: int) -> None:
    """One step in fifty, of the model or the draft, takes up to 16 times as long."""
    length, rng = DraftLength(), np.random.default_rng(seed)
    tokens, time, prompt = 0, 0.0, 3.0

    def slowed(seconds: float) -> float:
        return seconds + (16 * rng.random() if rng.random() < .02 else 0)
    for _ in range(300):
        n, plain = asked(length, plain=slowed(1.0)), 1.0
        if n == 0:
            tokens, time = tokens + 1, time + plain
            continue
        kept = int(np.argmin([*(rng.random(n) < .8), False]))
        length.looked(n, kept, slowed(n * .08) + prompt, slowed(1 + n * .1))
        tokens, time, prompt = tokens + kept + 1, time + 1 + n * .18 + prompt, 0.0
    assert tokens / time > 1.5


@pytest.mark.parametrize('pause', [2.0, 60.0, 3600.0])
def test_a_pause_of_the_machine_is_no_fault_of_a_free_draft(pause: float) -> None:
    """Steps of 25 ms, and one look that takes a minute."""
    length, rng, tokens, time = DraftLength(), np.random.default_rng(0), 0, 0.0
    for k in range(4000):
        n = asked(length, [.9] * 7, plain=.025)
        kept = int(np.argmin([*(rng.random(n) < .9), False]))
        if n:
            length.looked(n, kept, 1e-5, .025 * (1 + .1 * n) + pause * (k == 100), free=True)
        tokens, time = tokens + kept + 1, time + .025 * (1 + .1 * n)
    assert tokens / time > 100


def test_chances_decide_how_much_is_worth_a_look() -> None:
    length = DraftLength()
    assert length.choose([.9] * 7) == 0  # a plain step must be known
    for _ in range(3):
        length.plain(1.0)
    for n in range(1, 8):
        length.looked(n, n, 0.0, 1 + .25 * n)
    length.plain(1.0)
    assert length.choose([.95] * 7) == 7
    assert length.choose([.95, .95, .2, .95]) == 2
    assert length.choose([]) == 0
    assert length.choose([.1, .9]) == 0


def test_a_free_draft_that_is_wrong_costs_nearly_nothing() -> None:
    length, time = DraftLength(), 0.0
    for _ in range(2000):
        n = asked(length, [.2] * 7)
        time += 1 + .4 * n
        if n:
            length.looked(n, 0, 0.0, 1 + .4 * n)
    assert 2000 / time > .99


def test_a_draft_that_is_slow_to_begin_is_tried_no_more_than_it_may_cost() -> None:
    """Reading the prompt costs it more than the model needs for the answer."""
    length, time, tokens = DraftLength(), 0.0, 0
    for text in range(40):
        begun = False
        for _ in range(100):
            n = asked(length)
            seconds = 1.0 if n == 0 else 1 + .5 * n + (n if begun else 60)
            if n > 0:
                length.looked(n, n, seconds - 1 - .5 * n, 1 + .5 * n)
                begun = True
            if text > 1:
                time, tokens = time + seconds, tokens + n + 1
    assert tokens / time > .97


def test_trials_of_a_hopeless_draft_lose_what_they_may() -> None:
    """No more, and not much less, or it would be found late that a draft has become better."""
    length, lost, steps = DraftLength(), 0.0, 0
    for _ in range(40000):
        n = asked(length)
        steps += 1
        if n > 0:
            length.looked(n, 0, 1.0, 2.0)
            lost += 2
    assert .3 * length.TRIFLE < lost / steps < length.TRIFLE


def test_a_good_draft_recovers_from_a_bad_beginning() -> None:
    """Its first four tokens are wrong, and each text costs it the reading of the prompt."""
    length, rng, asks = DraftLength(), np.random.default_rng(2), 0
    time = tokens = 0.0
    for text in range(6):
        for step in range(60):
            n = asked(length)
            asks += n > 0
            kept = 0 if asks <= 4 else int(np.argmin([*(rng.random(n) < .8), False]))
            seconds = 1.0 if n == 0 else 1.25 + .03 * n
            if n:
                length.looked(n, kept, .15 * n + (.4 if step == 0 else 0), seconds)
                seconds += .15 * n
            if text > 2:
                time, tokens = time + seconds, tokens + kept * (n > 0) + 1
    assert tokens / time > 1.3


def test_while_much_is_to_be_made_up_for_it_is_rarely_asked() -> None:
    """Asking takes as long as a tenth of a small model's step."""
    length, questions = DraftLength(), 0
    for k in range(10000):
        rests = length.rests()
        if not rests:
            questions += 1
            if length.choose() > 0:
                length.looked(1, 0, 100.0 if k < 1000 else 0.0, 2.0)
                continue
        if rests <= length.FRESH:
            length.plain(1.0)
    assert questions < 10000 / length.OFTEN / 4


def test_plain_steps_are_timed_anew_before_a_free_draft_is_given_up_again() -> None:
    """The machine has become slower while it rested, and the draft is right now."""
    length, tokens, time = DraftLength(), 0, 0.0
    for _ in range(400):  # of no use
        if asked(length, [.9] * 7) > 0:
            length.looked(7, 0, 0.0, 2.0, free=True)
    for _ in range(2000):
        n = asked(length, [.9] * 7, plain=3.0)
        if n > 0:
            length.looked(n, n, 0.0, 6.0, free=True)
        tokens, time = tokens + n + 1, time + (6.0 if n else 3.0)
    assert tokens / time > 1 / 3 * 1.5


@pytest.mark.parametrize('at_once', [8, 16])
def test_a_look_takes_no_more_than_the_kernels_at_once(at_once: int) -> None:
    length = length_for(SimpleNamespace(at_once=at_once))
    longest = 0

    def looking(n: int) -> float:
        nonlocal longest
        longest = max(longest, n)
        return 1 + .05 * n
    tokens, time = run_rounds(length, 1, .01, looking, 2000)
    assert longest == at_once - 1
    assert tokens / time > .9 * at_once / (looking(at_once - 1) + .01 * at_once)
