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
The shift suite: pilots flown under every shift of the simulator, each on the same episodes.

A cell is one pilot under one shift in one strength. Cells go to a file of JSON lines as they are
done, and those that it holds are not flown again. Episodes are paired: number i is the same
scene, task and wording in every cell.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from edge_vla.config import CameraConfig, SimConfig
from edge_vla.evaluation.closed_loop import Episode, fly_all, Job, Setting
from edge_vla.exceptions import ConfigError
from edge_vla.pipeline import Pipeline
from edge_vla.sim.shifts import Effect, find, NONE, SHIFTS

CAMERA = CameraConfig(width=160, height=120)  # half of the usual one: three times as fast


@dataclass(frozen=True)
class Pilot:
    """
    One who flies the suite.

    Attributes
    ----------
    name : str
        Of the policy.
    adaptation : bool
        Whether it adapts to the vehicle in flight.
    load : callable
        Returns a synchronous pipeline; must pickle for more than one process.
    version : str
        Something that changes with the weights: results of other weights are not reused.

    """

    name: str
    adaptation: bool
    load: Callable[[], Pipeline]
    version: str = ''

    @property
    def label(self) -> str:
        """Name for tables."""
        return label(self.name, self.adaptation)


def label(name: str, adaptation: bool) -> str:
    """Return how a policy with or without adaptation is called in tables."""
    return f'{name} + adaptation' if adaptation else name


def conditions(shifts: Iterable[str] = tuple(SHIFTS),
               strengths: Iterable[str] = ('medium',)) -> list[tuple[str, str]]:
    """
    Return pairs of shift and strength, after the plain simulator.

    Raises
    ------
    ConfigError
        A shift or a strength is unknown, or a shift is named with a strength of its own.

    """
    shifts = tuple(shifts)
    if own := [shift for shift in shifts if ':' in shift]:
        raise ConfigError(f'{", ".join(own)}: the shifts of a suite have its strength, not their '
                          'own')
    pairs = [(shift, strength) for strength in strengths for shift in shifts if shift != NONE]
    for pair in pairs:
        find(*pair)
    return [(NONE, ''), *pairs]


def run_suite(pilots: Sequence[Pilot], pairs: Sequence[tuple[str, str]], episodes: int, seed: int,
              jobs: int = 1, camera: CameraConfig = CAMERA, log: Path | None = None,
              progress: Callable[[int, int], None] = lambda done, total: None) -> list[
                  dict[str, Any]]:
    """
    Fly every pilot under every condition.

    Parameters
    ----------
    pilots : sequence of Pilot
        With distinct labels.
    pairs : sequence of tuple
        Shift and strength, as `conditions` returns them.
    episodes, seed : int
        How many per cell, and of which seed.
    jobs : int
        Processes; the result does not depend on it.
    camera : CameraConfig, optional
        Camera.
    log : Path, optional
        File of JSON lines with finished cells; grows.
    progress : callable, optional
        Called with episodes done and in all.

    Returns
    -------
    list of dict
        One per cell: what was flown, and 'status' and 'time_s' of every episode in order.

    """
    if len({p.label for p in pilots}) < len(pilots):
        raise ConfigError('two policies have the same name')
    cells = [(k, _identity(pilot, pair, episodes, seed, camera))
             for k, pilot in enumerate(pilots) for pair in pairs]
    finished = _read(log)
    flown: dict[int, list[Episode]] = {}
    work = []
    for tag, (k, cell) in enumerate(cells):
        if _key(cell) in finished:
            continue
        setting = Setting(SimConfig(), camera, _effect(cell['shift'], cell['strength']))
        work += [Job(k, setting, seed, i, tag=tag) for i in range(episodes)]
        flown[tag] = []
    total = episodes * len(cells)
    before = total - len(work)
    with closing(fly_all([p.load for p in pilots], work, jobs)) as flights:
        for done, (job, episode) in enumerate(flights, 1):
            progress(before + done, total)
            flown[job.tag].append(episode)
            if len(flown[job.tag]) == episodes:
                record = _record(cells[job.tag][1], flown.pop(job.tag))
                finished[_key(record)] = record
                _append(log, record)
    return [finished[_key(cell)] for _, cell in cells]


def _effect(shift: str, strength: str) -> Effect:
    return find(shift, strength) if strength else find(shift)


def _identity(pilot: Pilot, pair: tuple[str, str], episodes: int, seed: int,
              camera: CameraConfig) -> dict[str, Any]:
    """Return everything that a cell's result depends on."""
    shift, strength = pair
    return {'policy': pilot.name, 'adaptation': pilot.adaptation, 'version': pilot.version,
            'shift': shift, 'strength': strength,
            'effect': _effect(shift, strength).changes(),
            'episodes': episodes, 'seed': seed,
            'camera': f'{camera.width}x{camera.height} {camera.fov:g} deg {camera.rate:g} Hz'}


def _record(cell: dict[str, Any], flights: list[Episode]) -> dict[str, Any]:
    ordered = sorted(flights, key=lambda e: e.index)
    return {**cell, 'status': [e.status for e in ordered],
            'time_s': [e.time_s for e in ordered]}


def _key(cell: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in cell.items() if k not in ('status', 'time_s')},
                      sort_keys=True)


def _read(log: Path | None) -> dict[str, dict[str, Any]]:
    """Return the finished cells of a file; a line cut short by an interruption is none."""
    if log is None or not log.is_file():
        return {}
    finished = {}
    for line in log.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        status = record.get('status') if isinstance(record, dict) else None
        if isinstance(status, list) and len(status) == record.get('episodes'):
            finished[_key(record)] = record
    return finished


def _append(log: Path | None, record: dict[str, Any]) -> None:
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    whole = not log.is_file() or log.read_bytes()[-1:] in (b'', b'\n')
    with log.open('a', encoding='utf-8') as file:
        file.write(('' if whole else '\n') + json.dumps(record) + '\n')
