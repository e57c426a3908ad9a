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

"""Test that programs of decoders are compiled by another process, and here if that fails."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from edge_vla.kernels.compiling import compiled
from edge_vla.kernels.ternary_tables import PANEL, panels

sys.executable = sys.argv[1]
assert compiled(panels, 1)(2 * PANEL + 1) == 3
assert panels(2 * PANEL) == 2
print(sum(panels.stats.cache_hits.values()), sum(panels.stats.cache_misses.values()))
"""


def hits_and_misses(cache: Path, executable: str) -> list[int]:
    """Return how often a new process found a program in the cache, and how often it did not."""
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, executable], check=False, timeout=300, text=True,
        capture_output=True, env={**os.environ, 'NUMBA_CACHE_DIR': str(cache)})
    assert not done.returncode, done.stderr
    assert not done.stderr
    return [int(word) for word in done.stdout.split()]


def test_another_process_compiles(tmp_path: Path) -> None:
    assert hits_and_misses(tmp_path, sys.executable) == [1, 0]
    assert hits_and_misses(tmp_path, '/nowhere') == [1, 0]  # nobody is asked for what is there


@pytest.mark.parametrize('executable', ['/bin/false', '/nowhere', ''])
def test_what_another_process_could_not_compile_is_compiled_here(
        executable: str, tmp_path: Path) -> None:
    assert hits_and_misses(tmp_path, executable) == [0, 1]


@pytest.mark.parametrize('kind', ['nbi', 'nbc'])
@pytest.mark.parametrize('left', [0, 40])
def test_a_damaged_cache_is_written_anew(kind: str, left: int, tmp_path: Path) -> None:
    hits_and_misses(tmp_path, sys.executable)
    for path in tmp_path.rglob(f'*.{kind}'):
        path.write_bytes(path.read_bytes()[:left])  # as a power failure leaves it
    hits_and_misses(tmp_path, sys.executable)
    assert hits_and_misses(tmp_path, sys.executable) == [1, 0]
