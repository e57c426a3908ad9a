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

"""
How far two cores are from each other, beside how fast they read memory together.

A virtual machine's cores may be moved by their host, which changes what two threads can do: cores
of one chiplet hand a cache line to each other quickly and share one way to memory, those of two
have a way each. ``python benchmarks/core_distance.py --seconds 60`` prints both every half second.
"""

import argparse
import json
from pathlib import Path
from statistics import median
import time

from edge_vla.evaluation.language_speed import Bandwidth, machine
from edge_vla.kernels import team
from edge_vla.kernels.isa import best_isa
from edge_vla.language.threads import Crew
from numba import njit
import numpy as np

TURNS, READS, BYTES = 400, 30, 600_000_000


@njit(nogil=True)
def _turns(sync: np.ndarray, me: int) -> None:
    """Hand a cache line from the one thread to the other and back, TURNS times."""
    for turn in range(TURNS):
        if me == 0:
            team.done(sync, 0)
            team.wait(sync, 1, 0, turn + 1)
        else:
            team.wait(sync, 0, 0, turn + 1)
            team.done(sync, 1)


def distance(crew: Crew, sync: np.ndarray) -> float:
    """Return the nanoseconds of a round trip, the least of ten."""
    found = []
    for _ in range(10):
        team.begin(sync, 0)
        crew.run(lambda me: _turns(sync, me), 2)  # the first turn waits for the other thread
        team.begin(sync, 0)
        started = time.perf_counter()
        crew.run(lambda me: _turns(sync, me), 2)
        found.append((time.perf_counter() - started) / TURNS * 1e9)
    return min(found)


def main() -> None:
    """Measure for a while."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    data, crew = np.ones(BYTES, np.uint8), Crew(2)
    read, sync = Bandwidth(best_isa(), [data], 2), np.zeros(2 * team.STRIDE, np.int64)
    read()
    rows, end = [], time.perf_counter() + args.seconds
    while time.perf_counter() < end:
        before, times = distance(crew, sync), []
        for _ in range(READS):
            started = time.perf_counter()
            read()
            times.append(time.perf_counter() - started)
        # moved meanwhile: says nothing
        if abs((after := distance(crew, sync)) - before) < .3 * before:
            rows.append({'round_trip_ns': round(min(before, after)),
                         'gb_s': round(BYTES / median(times) / 1e9, 1)})
            print(f'{rows[-1]["round_trip_ns"]} ns, {rows[-1]["gb_s"]} GB/s', flush=True)
    if args.json:
        args.json.write_text(json.dumps({'machine': machine(), 'results': rows}) + '\n')


if __name__ == '__main__':
    main()
