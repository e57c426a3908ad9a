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


"""What the libraries below OpenCV print about damaged files, kept off the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys


class Complaints:
    """
    Catches what C libraries (libjpeg, libpng, FFmpeg) write to standard error.

    They print, where they should raise. Descriptor 2 is the whole process's, so this is for code
    that alone is at work, not for a node.

    Attributes
    ----------
    heard : bool
        Whether anything was printed while it listened last.

    """

    def __init__(self) -> None:
        self.heard = False
        try:
            self._file = os.memfd_create('complaints')
        except OSError:  # without a place for it, it stays on the terminal
            self._file = -1

    def __del__(self) -> None:
        """Release the memory."""
        if self._file >= 0:
            os.close(self._file)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Listen during a ``with`` block."""
        self.heard = False
        try:
            sys.stderr.flush()
            terminal = os.dup(2) if self._file >= 0 else -1
        except (OSError, ValueError, AttributeError):  # there is no standard error
            terminal = -1
        if terminal < 0:
            yield
            return
        os.dup2(self._file, 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            if os.fstat(self._file).st_size:
                self.heard = True
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
