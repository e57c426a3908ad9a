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


"""Many replays: in turn, on several processes, or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_vla.config import (
    AdaptationConfig,
    build,
    PipelineConfig,
    read_yaml,
    settings_of,
    VlaNodeConfig,
)
from edge_vla.evaluation.replay import Job, replay, Run
from edge_vla.evaluation.workers import on_processes, on_ray
from edge_vla.exceptions import ConfigError, EdgeVlaError
from edge_vla.pipeline import Pipeline
import yaml

PARAMETERS = 'ros__parameters.'
NAMES = ('vla_node', '*', '**')  # of nodes in a parameter file that mean ours, whatever is before
# what ROS and the life of a node need, as `ros2 param dump` writes it
NODE_ONLY = ('autostart', 'qos_overrides', 'start_type_description_service', 'use_sim_time')
KEPT = 4  # pilots that stay loaded in a process
_pilots: dict[tuple[PipelineConfig, AdaptationConfig], Pipeline] = {}
_counter: Any = None


def read_settings(changes: Sequence[str], file: Path | None = None) -> dict[str, Any]:
    """
    Read settings of a pilot from the command line and a file.

    Parameters
    ----------
    changes : sequence of str
        Each is NAME=VALUE[,NAME=VALUE...], a YAML file, or the folder of a pilot.
    file : Path, optional
        YAML, plain or a parameter file of vla_node, where parameters that only a node needs and
        other nodes are passed over; `changes` come on top.

    Returns
    -------
    dict
        Dotted names and values of ``VlaNodeConfig``.

    Raises
    ------
    ConfigError
        Something is no setting, or cannot be read.

    """
    values = {} if file is None else _from_file(file)
    for text in changes:
        if '=' in text:
            values |= dict(_pair(part) for part in text.split(','))
        elif Path(text).suffix in ('.yaml', '.yml'):
            values |= _from_file(Path(text))
        elif text and Path(text).is_dir():
            values['pipeline.model'] = text
        else:
            raise ConfigError(f'{text!r} is no setting NAME=VALUE, YAML file or folder of a pilot')
    build(VlaNodeConfig, values)
    return values


def _from_file(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    others = set()
    for name, value in read_yaml(file).items():
        node, ros, own = name.rpartition(PARAMETERS)
        node = node.rstrip('.')
        if ros and node.replace('.', '/').rpartition('/')[2] not in NAMES:
            others.add(node)
        elif not ros or own.partition('.')[0] not in NODE_ONLY:
            values[own] = value
    if others and not values:
        raise ConfigError(f'{file} holds nothing for vla_node, but for '
                          f'{", ".join(sorted(others))}')
    return values


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not equals:
        raise ConfigError(f'{text!r} is no setting NAME=VALUE')
    name, kinds = name.strip(), {s.name: s.type for s in settings_of(VlaNodeConfig)}
    try:
        parsed = value if kinds.get(name) is str else yaml.safe_load(value)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f'{name}: {value!r} is no value') from error
    return name, parsed


def replay_all(work: Sequence[Job], processes: int = 1, ray: str = '',
               progress: Callable[[int, int], None] = lambda done, total: None) \
        -> Iterator[tuple[Job, Run | EdgeVlaError]]:
    """
    Replay many recordings and yield each as it is done, or why it could not be.

    Parameters
    ----------
    work : sequence of Job
        What to replay.
    processes : int
        How many on this machine; the results do not depend on it.
    ray : str
        Address of a Ray cluster to use instead; it must see the same files.
    progress : callable, optional
        Called with (images done, images there are), on Ray with recordings.

    """
    if ray:
        absolute = [replace(j, source=j.source.resolve(), out=j.out.resolve()) for j in work]
        own = dict(zip(absolute, work, strict=True))
        progress(0, len(work))
        for k, (job, result) in enumerate(on_ray(run_safely, absolute, ray), 1):
            progress(k, len(work))
            yield own[job], result
        return
    total = sum(_length(job) for job in work) if len(work) > 1 else 0
    if processes <= 1 or len(work) <= 1:
        done = 0
        for job in work:
            last = 0

            def show(count: int, length: int, before: int = done) -> None:
                nonlocal last
                last = count
                progress(before + count, max(total, before + length))
            yield job, run_safely(job, show)
            done += last
        return
    # compiles and caches the kernels before several processes need them
    pilot(work[0].config)
    from multiprocessing import get_context
    counter = get_context('spawn').Value('q', 0)

    def poll() -> None:
        progress(counter.value, max(total, counter.value))
    for job, future in on_processes(run_safely, work, min(processes, len(work)), _count_in,
                                    (counter,), poll):
        yield job, future.result()


def pilot(config: VlaNodeConfig) -> Pipeline:
    """Return a loaded pilot of these settings; a few stay loaded."""
    key = config.pipeline, config.adaptation
    if key not in _pilots:
        while len(_pilots) >= KEPT:
            del _pilots[next(iter(_pilots))]
        _pilots[key] = Pipeline.load(config.pipeline, adaptation=config.adaptation)
    return _pilots[key]


def run_safely(job: Job, progress: Callable[[int, int], None] | None = None) -> Run | EdgeVlaError:
    """Replay one job; what is wrong with it is returned, so that the others go on."""
    try:
        return replay(job, lambda: pilot(job.config), progress or _count)
    except EdgeVlaError as error:
        return error
    except OSError as error:  # no such place, no permission, disk full
        return EdgeVlaError(f'the results cannot be written to {job.out}: '
                            f'{error.strerror or error}; choose another --out')
    except Exception as error:  # noqa: B902  a defect: without others it is to be seen
        if job.alone:
            raise
        detail = ' '.join(f'{type(error).__name__} {error}'.split())
        return EdgeVlaError(f'{job.source}: the replay broke off at {detail}; please report it')


def _count_in(counter: Any) -> None:
    """Let this process count its images in a counter that all share."""
    global _counter
    _counter = counter


def _count(done: int, total: int) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def _length(job: Job) -> int:
    """Return how many images a job has; none if it cannot be opened, which is said later."""
    try:
        with job.open() as recording:
            return len(recording)
    except Exception:  # noqa: B902  a defect is said later too
        return 0
