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


"""Work on several processes, and on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
import os
from queue import Empty, SimpleQueue
import signal
from threading import Thread
from typing import Any, TypeVar

from edge_vla.exceptions import EdgeVlaError, MissingDependencyError

T = TypeVar('T')
ONE_THREAD = {'NUMBA_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1',
              'LP_NUM_THREADS': '1'}
POLL_S = 0.25


@contextmanager
def _for_workers(values: dict[str, str]) -> Iterator[None]:
    """Give processes started inside the block environment variables, and no interrupts."""
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the parent ends them
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(start: Callable[..., None], *arguments: Any) -> None:
    """Start as asked, and end with the parent, even where it was killed."""
    parent = parent_process()

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)
    Thread(target=follow, daemon=True).start()
    start(*arguments)


def on_processes(function: Callable[[T], Any], work: Sequence[T], processes: int,
                 start: Callable[..., None], arguments: tuple[Any, ...] = (),
                 poll: Callable[[], None] = lambda: None) -> Iterator[tuple[T, Future]]:
    """
    Call a function for every piece of work, one thread each, and yield what is done.

    Parameters
    ----------
    function : callable
        At the top of a module; takes one piece of work.
    work : sequence
        Pieces; hashable and picklable.
    processes : int
        How many.
    start : callable
        Called once per process with `arguments`.
    arguments : tuple
        Picklable, or shared values of ``multiprocessing``.
    poll : callable, optional
        Called now and then while waiting.

    Yields
    ------
    tuple
        A piece of work and its finished future.

    Raises
    ------
    EdgeVlaError
        A process died.

    """
    others = set(active_children())
    pool = ProcessPoolExecutor(processes, get_context('spawn'), _begin, (start, *arguments))
    pending: dict[Future, T] = {}
    # futures.wait takes the locks of all: interrupted in the midst of that, it keeps some for ever
    finished: SimpleQueue[Future] = SimpleQueue()
    try:
        with _for_workers(ONE_THREAD):
            pending = {pool.submit(function, piece): piece for piece in work}
            for future in pending:
                future.add_done_callback(finished.put)
        while pending:
            poll()
            try:
                future = finished.get(timeout=POLL_S)
            except Empty:
                continue
            if isinstance(future.exception(), BrokenProcessPool):
                future.result()
            yield pending.pop(future), future
    except BrokenProcessPool as error:
        raise EdgeVlaError('a process of the evaluation died, perhaps for want of memory; '
                           'try fewer with --jobs') from error
    finally:
        queue = getattr(pool, '_call_queue', None)
        if pending and queue is not None:
            # Python 3.11 waits at its end until the queue was read, by processes that are ended
            queue.cancel_join_thread()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - others:  # after an error or an interruption
            process.terminate()


def on_ray(function: Callable[[T], Any], work: Sequence[T],
           address: str) -> Iterator[tuple[T, Any]]:
    """
    Call a function for every piece of work on a Ray cluster, and yield what is done.

    Parameters
    ----------
    function : callable
        Takes one piece of work; it and what it returns are pickled.
    work : sequence
        Pieces.
    address : str
        Of the cluster, as ``ray.init`` takes it: host:port, ray://host:port, auto or local.

    Yields
    ------
    tuple
        A piece of work and what the function returned.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    EdgeVlaError
        No cluster answers there, or a task died.

    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("--ray needs Ray: pip install 'edge_vla[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level='error')
    except Exception as error:  # noqa: B902  Ray has many ways to fail
        raise EdgeVlaError(f'no Ray cluster at {address}: {" ".join(str(error).split())}; start '
                           'one with "ray start --head", or use --jobs') from error
    try:
        task = ray.remote(function).options(
            num_cpus=1, runtime_env={'env_vars': dict(ONE_THREAD)})
        pending = {task.remote(piece): piece for piece in work}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                try:
                    result = ray.get(reference)
                except Exception as error:  # noqa: B902  Ray has many ways to fail
                    raise EdgeVlaError('a task on the Ray cluster failed: '
                                       f'{" ".join(str(error).split())[-300:]}') from error
                yield pending.pop(reference), result
    finally:
        ray.shutdown()
