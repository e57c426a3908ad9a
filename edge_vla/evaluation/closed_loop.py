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
Closed-loop success over seeded episodes, without ROS.

Episode i depends on (seed, i) alone, so neither the number of episodes nor the number of
processes changes it.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import active_children, get_context
import os
import signal
from typing import Any

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Observation
from edge_vla.evaluation.metrics import wilson
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.plan import COLOURS, Plan, SHAPES, VERBS
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.sim.instructions import sample_instruction
from edge_vla.sim.judge import Judge
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import TASKS
import numpy as np

ONE_THREAD = {'NUMBA_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}


@dataclass(frozen=True)
class Episode:
    """
    One flight.

    Attributes
    ----------
    index : int
        Which one.
    task, instruction : str
        What was asked, and in which words.
    understood : bool
        Whether the language head read the plan that was meant.
    status : str
        'success', 'collision', 'timeout' or 'lost'.
    time_s, path_m, closest_distractor_m : float
        Flight time, path length, and the smallest distance to any other object; the last is
        None without one.

    """

    index: int
    task: str
    instruction: str
    understood: bool
    status: str
    time_s: float
    path_m: float
    closest_distractor_m: float | None


class Flyer:
    """
    Flies episodes, one after the other.

    Parameters
    ----------
    pipeline : Pipeline
        A synchronous one.
    sim : SimConfig, optional
        Wind and style; the seed is the episode's.
    camera : CameraConfig, optional
        Camera; its rate is the rate of control.

    """

    def __init__(self, pipeline: Pipeline, sim: SimConfig | None = None,
                 camera: CameraConfig | None = None) -> None:
        self.pipeline = pipeline
        self.gate = SafetyGate()
        self.simulator = Simulator(sim, camera)
        self._period_ns = round(1e9 / self.simulator.camera.rate)

    def fly(self, seed: int, index: int, task: str | None = None) -> Episode:
        """Fly episode `index` of `seed`; `task` None draws one of ``TASKS`` uniformly."""
        sim, pipeline, gate = self.simulator, self.pipeline, self.gate
        scene_seed, words_seed = np.random.SeedSequence([seed, index]).generate_state(2)
        sim.reset(int(scene_seed), task)
        instruction = sample_instruction(np.random.default_rng(words_seed), sim.plan, 'held_out',
                                         sim.other)
        pipeline.reset()
        gate.reset()
        judge = Judge(sim.scene, sim.plan, sim.position, sim.yaw, sim.time_ns)
        before, path = sim.position, 0.0
        while True:
            action = pipeline.step(Observation(sim.frame(), instruction, sim.motion()))
            command = gate.filter(action)
            sim.command(np.array(command.velocity), command.yaw_rate)
            sim.advance(self._period_ns)
            verdict = judge.update(sim.time_ns, sim.position, sim.velocity_world, sim.yaw)
            path += float(np.linalg.norm(sim.position - before))
            before = sim.position
            if verdict.status != 'running':
                break
        closest = verdict.closest_distractor
        return Episode(index, sim.plan.verb, instruction, self._understood(), verdict.status,
                       round(verdict.elapsed, 3), round(path, 3),
                       round(closest, 3) if np.isfinite(closest) else None)

    def _understood(self) -> bool:
        """Tell whether the most probable word of each slot is the one that was meant."""
        context = self.pipeline.context
        if context is None:
            return False
        slots = np.split(context.vector, np.cumsum([len(VERBS), len(COLOURS)]))
        read = Plan(*(words[int(np.argmax(p))] for words, p in
                      zip((VERBS, COLOURS, SHAPES), slots, strict=True)))
        return read == self.simulator.plan


_flyer: Flyer | None = None


def _start_worker(load: Callable[[], Pipeline], sim: SimConfig | None,
                  camera: CameraConfig | None) -> None:
    global _flyer
    _flyer = Flyer(load(), sim, camera)


def _fly(job: tuple[int, int, str | None]) -> Episode:
    if _flyer is None:
        raise RuntimeError('the worker was not started')
    return _flyer.fly(*job)


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


def evaluate(load: Callable[[], Pipeline], episodes: int, seed: int, task: str | None = None,
             jobs: int = 1, sim: SimConfig | None = None, camera: CameraConfig | None = None,
             progress: Callable[[Iterable[Episode]], Iterable[Episode]] = iter) -> list[Episode]:
    """
    Fly episodes 0 to `episodes` - 1.

    Parameters
    ----------
    load : callable
        Returns a synchronous pipeline; must pickle if `jobs` > 1.
    episodes, seed : int
        How many, and of which seed.
    task : str, optional
        One of ``TASKS``; by default each episode draws its own.
    jobs : int
        Processes; the result does not depend on it.
    sim : SimConfig, optional
        Wind and style.
    camera : CameraConfig, optional
        Camera.
    progress : callable, optional
        Wraps the stream of finished episodes, as tqdm does.

    Returns
    -------
    list of Episode
        In order.

    """
    work = [(seed, i, task) for i in range(episodes)]
    # also fills the cache of compiled kernels before several processes need it
    flyer = Flyer(load(), sim, camera)
    if jobs <= 1:
        return list(progress(flyer.fly(*job) for job in work))
    pool = ProcessPoolExecutor(jobs, get_context('spawn'), _start_worker, (load, sim, camera))
    try:
        with _for_workers(ONE_THREAD):
            flights = [pool.submit(_fly, job) for job in work]
        done = list(progress(f.result() for f in as_completed(flights)))
    except BrokenProcessPool as error:
        raise EdgeVlaError('a process of the evaluation died, perhaps for want of memory; '
                           'try fewer with --jobs') from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():  # only left after an error or an interruption
            process.terminate()
    return sorted(done, key=lambda e: e.index)


def summarise(flights: list[Episode], seed: int, **settings: Any) -> dict[str, Any]:
    """Return the report: rates with 95 % intervals, per-task rows and every failure."""
    if not flights:
        raise ValueError('no episodes')
    rows = {task: [e for e in flights if e.task == task] for task in TASKS}
    failures = [asdict(e) for e in flights if e.status != 'success']
    return {'episodes': len(flights), 'seed': seed, **settings, **_row(flights),
            'per_task': {task: _row(row) for task, row in rows.items() if row},
            'failures': failures}


def _row(flights: list[Episode]) -> dict[str, Any]:
    n = len(flights)
    count = {s: sum(e.status == s for e in flights)
             for s in ('success', 'collision', 'timeout', 'lost')}
    times = [e.time_s for e in flights if e.status == 'success']
    row: dict[str, Any] = {'count': n}
    for status, k in count.items():
        low, high = wilson(k, n)
        row[f'{status}_rate'] = round(k / n, 4)
        row[f'{status}_interval'] = [round(low, 4), round(high, 4)]
    row['understood_rate'] = round(sum(e.understood for e in flights) / n, 4)
    row['mean_time_s'] = round(float(np.mean(times)), 2) if times else None
    return row
