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

"""The built-in simulator's tasks for Gazebo: worlds, and the models they refer to."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from edge_vla.config import CameraConfig, read_yaml, SimConfig
from edge_vla.exceptions import ConfigError
from edge_vla.language.plan import Plan
from edge_vla.sim.gazebo_scene import CONE, cone, cone_mesh, QUADROTOR, world
from edge_vla.sim.gazebo_vehicle import quadrotor
from edge_vla.sim.sdf import GAZEBOS, manifest
from edge_vla.sim.simulator import Simulator
from edge_vla.sim.tasks import MISSIONS
import yaml

_TASKS = 'worlds/tasks.yaml'


def instruction(plans: list[Plan]) -> str:
    """Return steps as a sentence for the pilot."""
    return ', then '.join(plan.text() for plan in plans)


def files(sim: SimConfig, tasks: Iterable[str], camera: CameraConfig | None = None,
          gazebo: str = GAZEBOS[0]) -> dict[str, str]:
    """
    Return all that Gazebo needs to fly tasks.

    Parameters
    ----------
    sim : SimConfig
        Seed and style of the scenes; objects that its instruction names are put into them.
    tasks : iterable of str
        Of ``TASKS`` and ``MISSIONS``: one world each, with the scene that the built-in
        simulator has for this seed and task.
    camera : CameraConfig, optional
        The vehicle's camera.
    gazebo : str
        See ``document``.

    Returns
    -------
    dict of str to str
        Contents by path: worlds/TASK.sdf, worlds/tasks.yaml with the instruction of each, and
        the models that the worlds refer to.

    Raises
    ------
    ConfigError
        A task or `gazebo` is unknown, or a task makes its own instruction and one is given.

    """
    out, said = {}, {}
    simulator = Simulator(replace(sim, wind=0.0))
    for task in tasks:
        if sim.instruction and task in MISSIONS:
            raise ConfigError(f'the task {task} makes its own instruction: leave out one of them')
        simulator.reset(task=task)
        out[f'worlds/{task}.sdf'] = world(simulator.scene, task, gazebo)
        said[task] = sim.instruction or instruction(simulator.asked)
    out[_TASKS] = _tasks(said)
    for name, model, description in (
            (QUADROTOR, quadrotor(camera or CameraConfig(), gazebo),
             'A 2 kg quadrotor with a camera that takes velocity commands.'),
            (CONE, cone(), 'The shape that SDFormat 1.9 lacks.')):
        out[f'models/{name}/model.sdf'] = model
        out[f'models/{name}/model.config'] = manifest(name, description)
    out[f'models/{CONE}/meshes/cone.obj'] = cone_mesh()
    return out


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """
    Write what ``files`` returns below a folder; what to do in other worlds there stays.

    Raises
    ------
    ConfigError
        The folder cannot be written to, or its list of tasks is none.

    """
    try:
        for name, content in contents.items():
            path = folder / name
            if name == _TASKS and path.exists():
                content = _tasks(read_yaml(path) | yaml.safe_load(content))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding='utf-8')
    except OSError as error:
        raise ConfigError(f'{folder} cannot be written to: {error}') from error


def _tasks(said: Mapping[str, str]) -> str:
    return '# What to do in each world.\n' + yaml.safe_dump(dict(said), sort_keys=False, width=99)
