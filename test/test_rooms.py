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


"""The rules of the rooms: who may import whom, and what works without ROS and extras."""

import ast
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys

from edge_vla.cli.doctor import MESSAGES
import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'edge_vla'
ROS = {'rclpy', 'launch', 'launch_ros', 'rcl_interfaces', 'builtin_interfaces',
       'ament_index_python', 'rosidl_runtime_py', 'tf2_msgs', 'tf2_ros', 'cv_bridge', 'px4_msgs',
       *MESSAGES}
EXTRAS = {'torch', 'rosbags', 'matplotlib', 'gymnasium', 'tqdm', 'transformers', 'safetensors',
          'tokenizers', 'gguf', 'jinja2', 'mujoco', 'foxglove', 'rerun'}
RUNTIME = {'numpy', 'numba', 'llvmlite', 'cv2', 'yaml', 'edge_vla'}
# A room may import rooms of its own level and below; kernels only themselves.
LEVEL = {'exceptions': 0, 'datatypes': 0, 'kernels': 0, 'memory': 0, 'config': 1, 'motion': 1,
         'checkpoints': 2,
         'vision': 2, 'compression': 2, 'autopilot': 2, 'language': 3, 'policy': 3,
         'adaptation': 3, 'safety': 3,
         'pipeline': 4, 'sim': 4,
         'visualization': 5, 'evaluation': 6, 'training': 6, 'ros': 7, 'cli': 8, '__main__': 9}


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob('*.py'))


def room(path: Path) -> str:
    """Return the room a module is in, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports(path: Path, lazy: bool = True) -> Iterator[str]:
    """Yield the dotted names a module imports; without `lazy` only those at import time."""
    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (a.name for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f'{path}: relative import'
                yield from (f'{child.module}.{a.name}' for a in child.names)
            elif isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test):
                continue
            elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(child)
    yield from visit(ast.parse(path.read_text()))


@pytest.mark.parametrize('path', modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_rooms(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        top, *rest = name.split('.')
        if top in ROS:
            assert here == 'ros', f'only edge_vla/ros may import {name}'
        if top != 'edge_vla' or not rest or rest[0] == '__version__' or here == '__init__':
            continue
        there = rest[0]
        if here == 'kernels':
            assert there == 'kernels', f'kernels import nothing, not {name}'
        assert LEVEL[there] <= LEVEL[here], f'{here} is below {there}: {name}'
        assert there != 'training' or here in ('training', 'cli'), \
            f'training is imported by nothing else: {name}'
        assert there != 'ros' or here in ('ros', 'cli'), f'the core knows no ROS: {name}'


@pytest.mark.parametrize('path', modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_extras_are_imported_lazily(path: Path) -> None:
    if room(path) == 'training' or path.name == 'gym_env.py':
        pytest.skip('needs its extra as a whole')
    allowed = RUNTIME | set(sys.stdlib_module_names) | (ROS if room(path) == 'ros' else set())
    for name in imports(path, lazy=False):
        assert name.split('.')[0] in allowed, f'{name} is no runtime dependency'


def test_the_core_works_with_ros_and_extras_blocked() -> None:
    names = ['.'.join(('edge_vla', *p.relative_to(PACKAGE).with_suffix('').parts))
             for p in modules()
             if room(p) not in ('ros', 'training', '__init__', '__main__')
             and p.name != 'gym_env.py']
    program = f"""
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {ROS | EXTRAS!r}:
            raise ImportError(f'{{name}} is blocked')
sys.meta_path.insert(0, Blocked())
for name in {names!r}:
    importlib.import_module(name.removesuffix('.__init__'))
import numpy as np
from edge_vla.datatypes import Observation
from edge_vla.pipeline import Pipeline
from edge_vla.safety import SafetyGate
from edge_vla.sim.simulator import Simulator
simulator, pipeline, gate = Simulator(), Pipeline.load(), SafetyGate()
for _ in range(3):
    observation = Observation(simulator.frame(), 'fly to the red sphere', simulator.motion())
    command = gate.filter(pipeline.step(observation))
    simulator.command(np.array(command.velocity), command.yaw_rate)
    simulator.advance(33_000_000)
assert np.isfinite(command.velocity).all()
print('flew')
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          cwd=PACKAGE.parent)
    assert done.stdout.strip() == 'flew', done.stderr
