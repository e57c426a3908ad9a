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

"""What is said of this process's memory."""

import mmap
from pathlib import Path
import resource

from edge_vla.memory import memory_mb, peak_memory_mb
import numpy as np
import pytest


def test_it_grows_by_what_is_written() -> None:
    before = memory_mb()
    with mmap.mmap(-1, 30_000_000) as written:  # an array may get pages that are resident already
        np.frombuffer(written, np.uint8)[:] = 1
        assert memory_mb() - before == pytest.approx(len(written) / 1e6, abs=5)
    assert peak_memory_mb() >= before + 25


def test_pages_have_the_size_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    size, usual = resource.getpagesize(), memory_mb()
    monkeypatch.setattr(resource, 'getpagesize', lambda: 4 * size)  # as a Raspberry Pi 5 has
    assert memory_mb() == pytest.approx(4 * usual, rel=.1)


def test_a_system_that_does_not_tell_gives_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(path: Path, encoding: str) -> str:
        raise FileNotFoundError(path)
    monkeypatch.setattr(Path, 'read_text', nothing)
    assert memory_mb() == 0
