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


"""The slow loop: language has a thread of its own, so that the fast loop never waits."""

from collections.abc import Callable
from functools import partial
import threading

from edge_vla.datatypes import Context
from edge_vla.language.head import LanguageHead


class SlowLoop:
    """
    Reads the newest instruction, and else does the newest jobs of each kind.

    What was not reached before something newer of its kind came is dropped.

    Parameters
    ----------
    head : LanguageHead
    on_context : callable
        Called with each new Context, from this thread; with None when the newest instruction
        is blank.
    on_error : callable
        Called with the instruction and the exception when one cannot be read.
    reconsider : callable, optional
        Called with each new Context after `on_context`, and with what tells whether a newer
        instruction has come; returns the Context to fly by instead, None if it stays.
    on_job_error : callable
        Called with the exception of a job, or of a call above.

    """

    def __init__(self, head: LanguageHead, on_context: Callable[[Context | None], None],
                 on_error: Callable[[str, Exception], None],
                 reconsider: Callable[[Context, Callable[[], bool]], Context | None] | None = None,
                 on_job_error: Callable[[Exception], None] = lambda error: None) -> None:
        self._head, self._on_context, self._on_error = head, on_context, on_error
        self._reconsider, self._on_job_error = reconsider, on_job_error
        self._wake = threading.Condition()
        self._instruction: str | None = None
        self._jobs: dict[str, Callable[[], None]] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='edge_vla language', daemon=True)
        self._thread.start()

    def instruct(self, instruction: str) -> None:
        """Hand over an instruction; returns at once. A blank one revokes those before it."""
        with self._wake:
            self._instruction = instruction
            self._wake.notify()

    def do(self, kind: str, job: Callable[[], None]) -> None:
        """
        Hand over something else to do when no instruction waits; returns at once.

        Parameters
        ----------
        kind : str
            A newer job of the same kind replaces one that was not begun.
        job : callable
            Called from this thread.

        """
        with self._wake:
            self._jobs[kind] = job
            self._wake.notify()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and wait for it."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._jobs
                                    or self._instruction is not None)
                if self._stopping:
                    return
                instruction, self._instruction = self._instruction, None
                job = self._jobs.pop(next(iter(self._jobs))) if instruction is None else None
            if job is not None:
                self._attempt(job)
                continue
            context, error = None, None
            try:
                if instruction.strip():
                    context = self._head.read(instruction)
            except Exception as caught:  # noqa: B902  the thread must outlive any one sentence
                error = caught
            if self._outdated():
                continue
            if error is not None:
                self._on_error(instruction, error)
                continue
            self._attempt(partial(self._consider, context))

    def _consider(self, context: Context | None) -> None:
        self._on_context(context)
        if context is not None and self._reconsider is not None:
            better = self._reconsider(context, self._outdated)
            if better is not None and not self._outdated():
                self._on_context(better)

    def _outdated(self) -> bool:
        """Tell whether what is being read is no longer wanted."""
        with self._wake:
            return self._stopping or self._instruction is not None

    def _attempt(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: B902  the thread must outlive any one job
            self._on_job_error(error)
