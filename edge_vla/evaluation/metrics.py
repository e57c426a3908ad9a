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


"""Small statistics for reports."""

from collections.abc import Sequence
import math

import numpy as np


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """
    Return the Wilson score interval of a proportion (Wilson 1927), 95 % by default.

    Raises
    ------
    ValueError
        There are no trials, or more successes than trials.

    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f'{successes} of {trials} is no proportion')
    p, n, zz = successes / trials, trials, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return p50, p95, p99, max and count, rounded to 0.001, or None without values."""
    if not len(values):
        return None
    p50, p95, p99 = np.percentile(np.asarray(values, float), (50, 95, 99))
    return {'p50': round(float(p50), 3), 'p95': round(float(p95), 3), 'p99': round(float(p99), 3),
            'max': round(float(max(values)), 3), 'count': len(values)}
