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
processes changes it, and the same episode under another pilot or shift has the same scene, task
and words.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.datatypes import Action, Observation
from edge_vla.evaluation.metrics import wilson
from edge_vla.evaluation.workers import on_processes
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.sim.instructions import sample_instruction, sample_mission
from edge_vla.sim.judge import MissionJudge
from edge_vla.sim.shifts import Effect
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import MISSIONS, TASKS
import numpy as np

WORLDS = ('builtin', 'mujoco')


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


@dataclass(frozen=True)
class Setting:
    """
    Where episodes are flown.

    Attributes
    ----------
    sim : SimConfig
        Wind and style; the seed is the episode's.
    camera : CameraConfig
        Camera; its rate is the rate of control.
    shift : Effect
        What is unlike the training.
    world : str
        One of ``WORLDS``.

    """

    sim: SimConfig = SimConfig()
    camera: CameraConfig = CameraConfig()
    shift: Effect = Effect()
    world: str = 'builtin'


def make_world(setting: Setting) -> Simulator:
    """Return the world of a setting."""
    if setting.world == 'mujoco':
        from edge_vla.sim.mujoco_world import MujocoWorld
        return MujocoWorld(setting.sim, setting.camera, setting.shift)
    return Simulator(setting.sim, setting.camera, setting.shift)


class Flyer:
    """
    Flies episodes, one after the other.

    Parameters
    ----------
    pipeline : Pipeline
        A synchronous one.
    setting : Setting, optional
        Where.

    """

    def __init__(self, pipeline: Pipeline, setting: Setting | None = None) -> None:
        self.pipeline = pipeline
        self.gate = SafetyGate()
        self.simulator = make_world(setting or Setting())
        self._period_ns = round(1e9 / self.simulator.camera.rate)

    def fly(self, seed: int, index: int, task: str | None = None,
            watch: Callable[[Action], None] | None = None) -> Episode:
        """
        Fly an episode.

        Parameters
        ----------
        seed, index : int
            Which.
        task : str, optional
            One of ``TASKS`` or ``MISSIONS``; by default one of ``TASKS``, drawn uniformly.
        watch : callable, optional
            Called with every action, when the frame it answers is the newest.

        """
        sim, pipeline, gate = self.simulator, self.pipeline, self.gate
        scene_seed, words_seed = np.random.SeedSequence([seed, index]).generate_state(2)
        sim.reset(int(scene_seed), task)
        words = np.random.default_rng(words_seed)
        if len(sim.asked) > 1:
            instruction = sample_mission(words, sim.asked, 'held_out')
        else:
            instruction = sample_instruction(words, sim.asked[0], 'held_out', sim.other)
        pipeline.reset()
        gate.reset()
        judge = MissionJudge(sim.scene, sim.plans, sim.position, sim.yaw, sim.time_ns)
        before, path, answered_ns = sim.position, 0.0, sim.time_ns
        while True:
            if sim.dropped():  # the last command holds, until it is stale
                command = gate.decay((sim.time_ns - answered_ns) * 1e-9)
            else:
                action = pipeline.step(Observation(sim.frame(), instruction, sim.motion()))
                if watch is not None:
                    watch(action)
                command, answered_ns = gate.filter(action), sim.time_ns
                pipeline.sent(command)
            sim.command(np.array(command.velocity), command.yaw_rate)
            sim.advance(self._period_ns)
            verdict = judge.update(sim.time_ns, sim.position, sim.velocity_world, sim.yaw)
            path += float(np.linalg.norm(sim.position - before))
            before = sim.position
            if verdict.status != 'running':
                break
        closest = verdict.closest_distractor
        kind = task if task in MISSIONS else sim.plan.verb
        return Episode(index, kind, instruction, self._understood(), verdict.status,
                       round(verdict.elapsed, 3), round(path, 3),
                       round(closest, 3) if np.isfinite(closest) else None)

    def _understood(self) -> bool:
        """Tell whether the likeliest reading is what was meant."""
        context = self.pipeline.context
        return context is not None and [s.plan for s in context.steps] == self.simulator.asked


@dataclass(frozen=True)
class Job:
    """
    One episode to fly.

    Attributes
    ----------
    pilot : int
        Index of the pilot.
    setting : Setting
        Where.
    seed, index : int
        Which episode.
    task : str or None
        One of ``TASKS`` or ``MISSIONS``, or None to draw one.
    tag : int
        What the caller knows it by.

    """

    pilot: int
    setting: Setting
    seed: int
    index: int
    task: str | None = None
    tag: int = 0


class Crew:
    """
    Pilots that fly jobs in turn; each is loaded when first needed.

    Parameters
    ----------
    loads : sequence of callable
        Each returns a synchronous pipeline.

    """

    def __init__(self, loads: Sequence[Callable[[], Pipeline]]) -> None:
        self._loads = loads
        self._pilots: dict[int, Pipeline] = {}
        self._last: tuple[int, Setting] | None = None
        self._flyer: Flyer | None = None

    def pilot(self, index: int) -> Pipeline:
        """Return a pilot."""
        if index not in self._pilots:
            self._pilots[index] = self._loads[index]()
        return self._pilots[index]

    def fly(self, job: Job) -> Episode:
        """Fly a job."""
        if self._flyer is None or self._last != (job.pilot, job.setting):
            self._flyer = Flyer(self.pilot(job.pilot), job.setting)
            self._last = (job.pilot, job.setting)
        return self._flyer.fly(job.seed, job.index, job.task)


_crew: Crew | None = None


def _start_worker(loads: Sequence[Callable[[], Pipeline]]) -> None:
    global _crew
    _crew = Crew(loads)


def _fly(job: Job) -> Episode:
    if _crew is None:
        raise RuntimeError('the worker was not started')
    return _crew.fly(job)


def fly_all(loads: Sequence[Callable[[], Pipeline]], work: Sequence[Job],
            jobs: int = 1) -> Iterator[tuple[Job, Episode]]:
    """
    Fly many jobs, on one or more processes, and yield each as it is done.

    Parameters
    ----------
    loads : sequence of callable
        The pilots: each returns a synchronous pipeline; they must pickle if `jobs` > 1.
    work : sequence of Job
        What to fly.
    jobs : int
        Processes.

    Raises
    ------
    EdgeVlaError
        A process died.

    """
    crew = Crew(loads)
    for pilot in sorted({job.pilot for job in work}):
        # also fills the cache of compiled kernels before several processes need it
        crew.pilot(pilot)
    if jobs <= 1:
        yield from ((job, crew.fly(job)) for job in work)
        return
    with closing(on_processes(_fly, work, jobs, _start_worker, (loads,))) as done:
        for job, future in done:
            yield job, future.result()


def evaluate(load: Callable[[], Pipeline], episodes: int, seed: int, task: str | None = None,
             jobs: int = 1, setting: Setting | None = None,
             progress: Callable[[Iterable[Episode]], Iterable[Episode]] = iter,
             ) -> list[Episode]:
    """
    Fly episodes 0 to `episodes` - 1.

    Parameters
    ----------
    load : callable
        Returns a synchronous pipeline; must pickle if `jobs` > 1.
    episodes, seed : int
        How many, and of which seed.
    task : str, optional
        One of ``TASKS`` or ``MISSIONS``; by default each episode draws its own.
    jobs : int
        Processes; the result does not depend on it.
    setting : Setting, optional
        Where.
    progress : callable, optional
        Wraps the stream of finished episodes, as tqdm does.

    Returns
    -------
    list of Episode
        In order.

    """
    setting = setting or Setting()
    work = [Job(0, setting, seed, i, task) for i in range(episodes)]
    with closing(fly_all([load], work, jobs)) as flights:
        done = list(progress(episode for _, episode in flights))
    return sorted(done, key=lambda e: e.index)


def summarise(flights: list[Episode], seed: int, **settings: Any) -> dict[str, Any]:
    """Return the report: rates with 95 % intervals, per-task rows and every failure."""
    if not flights:
        raise ValueError('no episodes')
    rows = {task: [e for e in flights if e.task == task] for task in (*TASKS, *MISSIONS)}
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
