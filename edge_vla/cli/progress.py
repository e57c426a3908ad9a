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


"""Progress on standard error, with tqdm where it is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(name: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows (done, total), from its first call on; silent without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: None
        return
    shown: list[Any] = []

    def show(done: int, total: int) -> None:
        if not shown:
            shown.append(tqdm(desc=name, unit=unit, total=total, mininterval=.5))
        shown[0].update(done - shown[0].n)

    try:
        yield show
    finally:
        for opened in shown:
            opened.close()
