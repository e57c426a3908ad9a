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

"""The slow loop: the newest instruction counts, errors are told, nothing waits for it."""

from collections.abc import Callable
from dataclasses import replace
import threading

from edge_vla.datatypes import Context
from edge_vla.exceptions import InstructionError
from edge_vla.language.slow_loop import SlowLoop
from edge_vla.pipeline import Pipeline
import numpy as np
import pytest

PATIENCE_S = 20.0


class Head:
    """Reads what it is told, one sentence per `allow`."""

    def __init__(self) -> None:
        self.begun, self.allowed = threading.Semaphore(0), threading.Semaphore(0)

    def read(self, instruction: str) -> Context:
        self.begun.release()
        assert self.allowed.acquire(timeout=PATIENCE_S)
        if 'wrong' in instruction:
            raise InstructionError(f'{instruction} cannot be read')
        if 'broken' in instruction:
            raise RuntimeError('the head broke')
        return Context(np.zeros(1, np.float32), instruction, instruction, 1.0)


class Listener:
    """Keeps what the loop reports."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self._told = threading.Semaphore(0)

    def context(self, context: Context | None) -> None:
        self.heard.append(None if context is None else context.text)
        self._told.release()

    def error(self, instruction: str, error: Exception) -> None:
        self.heard.append((instruction, type(error)))
        self._told.release()

    def newest(self) -> object:
        assert self._told.acquire(timeout=PATIENCE_S), 'nothing was told'
        return self.heard[-1]


@pytest.fixture
def parts():  # noqa: ANN201
    head, listener = Head(), Listener()
    loop = SlowLoop(head, listener.context, listener.error)
    yield head, listener, loop
    head.allowed.release(100)
    loop.stop()


def test_only_the_newest_instruction_is_told(parts) -> None:  # noqa: ANN001
    head, listener, loop = parts
    loop.instruct('first')
    assert head.begun.acquire(timeout=PATIENCE_S)
    for text in ('second', 'third'):
        loop.instruct(text)  # returns although the head is busy
    head.allowed.release(2)
    assert listener.newest() == 'third'
    assert listener.heard == ['third']


def test_a_blank_instruction_revokes_the_one_being_read(parts) -> None:  # noqa: ANN001
    head, listener, loop = parts
    loop.instruct('fly away')
    assert head.begun.acquire(timeout=PATIENCE_S)
    loop.instruct('  ')
    head.allowed.release()
    assert listener.newest() is None
    assert listener.heard == [None]


def test_errors_are_told_and_the_loop_goes_on(parts) -> None:  # noqa: ANN001
    head, listener, loop = parts
    head.allowed.release(3)
    for text, told in (('wrong', ('wrong', InstructionError)),
                       ('broken', ('broken', RuntimeError)), ('right', 'right')):
        loop.instruct(text)
        assert listener.newest() == told


def test_an_error_of_an_outdated_instruction_is_not_told(parts) -> None:  # noqa: ANN001
    head, listener, loop = parts
    loop.instruct('wrong')
    assert head.begun.acquire(timeout=PATIENCE_S)
    loop.instruct('right')
    head.allowed.release(2)
    assert listener.newest() == 'right'
    assert listener.heard == ['right']


def test_jobs_wait_for_instructions_and_the_newest_of_a_kind_is_done(parts) -> None:  # noqa: ANN001, E501
    head, listener, loop = parts
    done: list[str] = []
    finished = threading.Event()
    loop.instruct('fly')
    assert head.begun.acquire(timeout=PATIENCE_S)
    loop.do('say', lambda: done.append('old'))
    loop.do('say', lambda: done.append('new'))
    loop.do('answer', lambda: done.append(f'after {listener.heard}'))
    loop.do('last', finished.set)
    head.allowed.release()
    assert finished.wait(PATIENCE_S)
    assert done == ['new', "after ['fly']"]


def test_a_job_that_fails_is_told_and_the_loop_goes_on(parts) -> None:  # noqa: ANN001
    head, listener, _ = parts
    errors: list[Exception] = []
    finished = threading.Event()
    loop = SlowLoop(head, listener.context, listener.error, on_job_error=errors.append)
    loop.do('wrong', lambda: int('x'))
    loop.do('right', finished.set)
    assert finished.wait(PATIENCE_S)
    loop.stop()
    assert [type(e) for e in errors] == [ValueError]


def test_a_second_reading_follows_the_first() -> None:
    head, listener = Head(), Listener()
    head.allowed.release(100)

    def reconsider(context: Context, outdated: Callable[[], bool]) -> Context | None:
        assert not outdated()
        return replace(context, text='better') if context.text == 'good' else None

    loop = SlowLoop(head, listener.context, listener.error, reconsider)
    for text, told in (('good', ['good', 'better']), ('best', ['best']),
                       ('wrong', [('wrong', InstructionError)]), (' ', [None])):
        loop.instruct(text)
        for _ in told:
            listener.newest()
        assert listener.heard == told
        listener.heard.clear()
    loop.stop()


@pytest.mark.parametrize('newer', ['stop', ' '])
def test_a_newer_instruction_does_not_wait_for_a_second_reading(newer: str) -> None:
    head, listener, begun = Head(), Listener(), threading.Semaphore(0)
    head.allowed.release(100)

    def reconsider(context: Context, outdated: Callable[[], bool]) -> Context | None:
        if context.text != 'first':
            return None
        begun.release()
        while not outdated():  # for ever
            pass
        return replace(context, text='too late')

    loop = SlowLoop(head, listener.context, listener.error, reconsider)
    loop.instruct('first')
    assert begun.acquire(timeout=PATIENCE_S)
    loop.instruct(newer)
    for _ in range(2):
        listener.newest()
    assert listener.heard == ['first', 'stop' if newer == 'stop' else None]
    loop.stop()


def test_after_stop_nothing_is_told(parts) -> None:  # noqa: ANN001
    head, listener, loop = parts
    loop.instruct('late')
    assert head.begun.acquire(timeout=PATIENCE_S)
    stopper = threading.Thread(target=loop.stop, args=(PATIENCE_S,))
    stopper.start()
    while not loop._stopping:
        pass
    head.allowed.release()
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive() and not loop._thread.is_alive()
    assert listener.heard == []


def test_the_shipped_head_reads_the_same_in_the_loop(pilot: Pipeline) -> None:
    contexts: list[Context] = []
    told = threading.Event()

    def take(context: Context) -> None:
        contexts.append(context)
        told.set()

    loop = SlowLoop(pilot.language, take, lambda *_: told.set())
    loop.instruct('fly to the red sphere')
    assert told.wait(PATIENCE_S)
    loop.stop()
    direct = pilot.language.read('fly to the red sphere')
    assert np.array_equal(contexts[0].vector, direct.vector)
    assert contexts[0].text == direct.text
