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

from collections.abc import Callable

from edge_vla.language.speculative import DraftLength
import numpy as np
import pytest


def run_rounds(length: DraftLength, chance: float, draft: float,
               looking: Callable[[int], float], steps: int) -> tuple[int, float]:
    """Return tokens and time of steps that cost this much, a plain one 1."""
    rng, tokens, time = np.random.default_rng(0), 0, 0.0
    for _ in range(steps):
        n = length.choose()
        if n == 0:
            length.plain(1.0)
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

    def choose(self) -> int:
        return self.most


@pytest.mark.parametrize('chance', [.95, .8, .6, .4])
def test_a_step_in_the_cost_is_found(chance: float) -> None:
    """Kernels take four tokens at once: a fifth costs as much as four."""
    def looking(n: int) -> float:
        return .5 + .5 * (1 + n // 4)

    def speed(length: DraftLength) -> float:
        tokens, time = run_rounds(length, chance, .02, looking, 3000)
        return tokens / time
    assert speed(DraftLength()) > .95 * max(speed(Fixed(n)) for n in range(1, 9))
