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
The MuJoCo world, in a process of its own.

A GL library may abort its process where it cannot draw, and must not take the other tests along.
"""

from importlib.util import find_spec
from pathlib import Path
import subprocess
import sys

import pytest


@pytest.mark.skipif(find_spec('mujoco') is None, reason="mujoco is not installed: extra 'sim'")
def test_the_mujoco_world_in_its_own_process() -> None:
    folder = Path(__file__).parent / 'gl'
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-rs', '-p', 'no:cacheprovider',
                           str(folder)], capture_output=True, text=True, timeout=600,
                          cwd=folder.parents[1])
    said = done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 0, said
    if ' passed' not in done.stdout:
        pytest.skip(said.strip().splitlines()[-1])
