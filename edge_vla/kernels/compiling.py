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
How programs are compiled: in little time, and without keeping the memory that it takes.

Numba takes 400 MB to compile a large model's program, and keeps half of them. What another process
compiled is loaded from numba's cache on disk.
"""

from collections.abc import Callable
import ctypes
from importlib import import_module
import mmap
import os
from pathlib import Path
import pickle
import subprocess
import sys
from typing import Any

from numba import njit, typeof
from numba.core.dispatcher import Dispatcher

# What is called in one place, or in few, is compiled only there. Else it is compiled by itself
# too, and LLVM optimises it, with all that it calls, for each function above it once more.
inlined = njit(cache=True, nogil=True, inline='always')


def compiled(program: Dispatcher, *args: Any) -> Callable[..., Any]:
    """
    Return a program compiled for arguments of these types, which looks at nobody's types again.

    If it must be compiled, another process does it; this one if that fails.

    Parameters
    ----------
    program : numba.core.dispatcher.Dispatcher
        What ``njit(cache=True)`` made of a function of a module.
    *args
        What it is to be called with, or others of the same types: it does not check them.

    """
    kinds = tuple(typeof(arg) for arg in args)
    if not _is_cached(program, kinds):
        _compile_elsewhere(program, kinds)
    return program.compile(kinds)


def _is_cached(program: Dispatcher, kinds: tuple[Any, ...]) -> bool:
    """Tell whether numba's cache on disk has a program; also if this numba does not say."""
    try:
        cache = program._cache
        return cache._index_key(kinds, program.targetctx.codegen()) in (
            cache._cache_file._load_index())
    except AttributeError:
        return True


def _compile_elsewhere(program: Dispatcher, kinds: tuple[Any, ...]) -> None:
    """Let another process compile a program into numba's cache."""
    if not sys.executable or getattr(sys, 'frozen', False):  # no interpreter to be had
        return
    what = pickle.dumps((program.py_func.__module__, program.py_func.__name__, kinds))
    here = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    do = f'import sys; sys.path = [*filter(None, sys.path)]; from {__name__} import serve; serve()'
    try:  # what goes wrong there does so once more, and is reported, when it is compiled here
        # a node that is interrupted waits for it, so Ctrl-C is not for it
        subprocess.run([sys.executable, '-c', do], input=what, env=here, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       start_new_session=True)
    except OSError:
        pass


def serve() -> None:
    """Compile what another process asks for on the standard input."""
    module, name, kinds = pickle.load(sys.stdin.buffer)
    getattr(import_module(module), name).compile(kinds)


def release_compiler(program: Dispatcher) -> None:
    """
    Give back the memory that the compiler occupies (80 MB), which is not needed in flight.

    Of LLVM only pages of its file that nobody has written to, on Linux: the system reads them
    again if something is compiled.

    Parameters
    ----------
    program : numba.core.dispatcher.Dispatcher
        What was compiled; what could be linked of it into other compiled code is forgotten.

    """
    for result in program.overloads.values():
        if getattr(result.library, '_shared_module', None) is not None:  # loaded from the cache
            result.library._shared_module = None
    try:
        advise, trim = ctypes.CDLL(None).madvise, ctypes.CDLL(None).malloc_trim
        spans = _pages_of_file('llvmlite')
    except (OSError, AttributeError):
        return
    for start, end in spans:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
    trim(0)  # and what it allocated


def _pages_of_file(name: str) -> list[tuple[int, int]]:
    """Return the mapped parts of a file that are as they are in it; written ones would be lost."""
    spans: dict[int, int] = {}
    for line in Path('/proc/self/smaps').read_text().splitlines():
        key, *rest = line.split()
        if '-' in key:
            start, end = (int(part, 16) for part in key.split('-'))
            if rest[0] in ('r-xp', 'r--p') and name in rest[-1]:
                spans[start] = end
        elif key in ('Anonymous:', 'Swap:') and rest[0] != '0':
            spans.pop(start, None)
    return list(spans.items())
