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

"""The threads of a decoder, and how many of them are worth using just now."""

from collections import deque
from collections.abc import Callable, Hashable
import os
from queue import SimpleQueue
from statistics import median
import threading
import time

from edge_vla.exceptions import ConfigError


class Crew:
    """
    Threads that wait for a call and then run it together with the caller.

    Parameters
    ----------
    threads : int
        Including the caller.
    cores : tuple of int
        The core of each thread, the caller's first; empty leaves it to the system.

    """

    def __init__(self, threads: int, cores: tuple[int, ...] = ()) -> None:
        if cores and len(cores) != threads:
            raise ValueError(f'{threads} threads need {threads} cores, got {len(cores)}')
        if missing := set(cores) - os.sched_getaffinity(0):
            raise ValueError(f'cores {sorted(missing)} are not there, or not for this process')
        self.threads, self._cores = threads, cores
        self._jobs: list[SimpleQueue[Callable[[int], None] | None]] = [
            SimpleQueue() for _ in range(threads - 1)]
        self._members: list[threading.Thread] = []

    def run(self, job: Callable[[int], None], threads: int) -> None:
        """
        Call ``job(me)`` in `threads` threads; returns when the caller's own call returns.

        Parameters
        ----------
        job : callable
            Must leave by itself when its work is done by others.
        threads : int
            How many, the caller included.

        """
        if threads > 1 and not self._members:
            self._start()
        before = os.sched_getaffinity(0) if self._cores else None
        try:
            if self._cores:
                os.sched_setaffinity(0, {self._cores[0]})
            for jobs in self._jobs[:threads - 1]:
                jobs.put(job)
            job(0)
        finally:
            if before is not None:
                os.sched_setaffinity(0, before)

    def close(self) -> None:
        """End the threads."""
        for jobs, member in zip(self._jobs, self._members, strict=False):
            jobs.put(None)
            member.join()
        self._members = []

    def _start(self) -> None:
        for k in range(self.threads - 1):
            member = threading.Thread(target=self._work, args=(k,),
                                      name=f'edge_vla decoder {k + 1}', daemon=True)
            try:
                member.start()
            except RuntimeError as error:
                self.close()
                raise ConfigError(f'the system gives no {self.threads} threads ({error}): ask for '
                                  'fewer') from error
            self._members.append(member)

    def _work(self, k: int) -> None:
        if self._cores:
            os.sched_setaffinity(0, {self._cores[k + 1]})
        while True:
            job = self._jobs[k].get()
            while not self._jobs[k].empty():  # late: only the newest call matters
                job = self._jobs[k].get()
            if job is None:
                return
            job(k + 1)
            del job  # whatever it holds


class Pace:
    """
    Chooses between one thread and all of them by what each was worth lately.

    A thread that has to share its core with another program delays every phase. So now and then
    the other choice is tried for a step, and whichever is faster is kept. Steps of a kind take
    about the same time per token; a trial is compared with steps of its kind just before, and
    says something about all kinds.

    Parameters
    ----------
    threads : int
        All of them.

    """

    OFTEN, SELDOM = 8, 32  # steps between trials: rarer and rarer while they fail
    MARGIN = .95  # of the time: what counts as faster

    def __init__(self, threads: int) -> None:
        self._all, self._using, self._trying = threads, threads, threads
        self._left = self._patience = self.OFTEN
        self._step = 0
        self._seen: dict[Hashable, tuple[int, deque[float]]] = {}  # by kind, see `_times`
        self._won = 0  # trials in a row that were faster
        self._began = 0.0

    def begin(self, kind: Hashable = None) -> int:
        """
        Return how many threads the next step should use.

        Parameters
        ----------
        kind : hashable
            What it does.

        """
        self._step, self._left = self._step + 1, self._left - 1
        trial = self._all > 1 and self._left <= 0 and len(self._times(kind)) > 1
        self._trying = (1 if self._using > 1 else self._all) if trial else self._using
        self._began = time.perf_counter()
        return self._trying

    def end(self, tokens: int, kind: Hashable = None) -> None:
        """Say that the step is over, how many tokens it took, and what it did."""
        seconds = (time.perf_counter() - self._began) / tokens
        times = self._times(kind)
        self._seen[kind] = self._step, times
        if self._trying == self._using:
            times.append(seconds)
            return
        if seconds >= self.MARGIN * median(times):
            self._won, self._patience = 0, min(2 * self._patience, self.SELDOM)
        elif self._won == 0:
            self._won = 1  # which alone proves nothing: again
            return
        else:
            self._using, self._patience = self._trying, self.OFTEN
            self._seen.clear()  # when the other is tried again, what is true then counts
            self._won = 0
        self._left = self._patience

    def _times(self, kind: Hashable) -> deque[float]:
        """Return the seconds of the last steps of a kind, without trials; none if long ago."""
        last, times = self._seen.get(kind, (self._step, deque[float](maxlen=3)))
        if self._step - last > self.OFTEN:
            times.clear()
        return times
