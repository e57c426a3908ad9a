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


"""gazebo_launch.py with ROS's own `launch`, and with a Gazebo that only notes what it is told."""

import ast
import importlib
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest
import yaml

ARGUMENTS = {'task', 'world', 'instruction', 'headless', 'gazebo_version', 'gazebo_args',
             'bridge_file',
             'params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level'}

# takes the arguments of ros_gz_sim's own file
GAZEBO = """
import json, os
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
NAMES = 'gz_args', 'gz_version', 'on_exit_shutdown'

def note(context):
    with open(os.environ['RECORD'] + 'gazebo', 'w') as record:
        json.dump({name: LaunchConfiguration(name).perform(context) for name in NAMES}
                  | {name: os.environ.get(name, '') for name in os.environ
                     if name.endswith('RESOURCE_PATH')}, record)

def generate_launch_description():
    return LaunchDescription([DeclareLaunchArgument(name, default_value='8') for name in NAMES]
                             + [OpaqueFunction(function=note)])
"""
LAUNCH = """
import json, sys
import launch
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
service = launch.LaunchService(noninteractive=True)
declared = source.get_launch_description(service.context).get_launch_arguments()
assert all(argument.description for argument in declared)
assert sorted(argument.name for argument in declared) == json.loads(sys.argv[3])
service.include_launch_description(launch.LaunchDescription([
    launch.actions.IncludeLaunchDescription(
        source, launch_arguments=json.loads(sys.argv[2]).items())]))
sys.exit(service.run())
"""
RECORDER = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
files = [w for i, w in enumerate(words) if i and words[i - 1] == '--params-file']
with open(os.environ['RECORD'] + os.path.basename(sys.argv[0]), 'w') as record:
    json.dump({'words': words, 'parameters': [open(f).read() for f in files],
               'profile': os.environ['FASTDDS_DEFAULT_PROFILES_FILE']}, record)
"""


def test_the_file_parses(root: Path) -> None:
    tree = ast.parse((root / 'launch' / 'gazebo_launch.py').read_text())
    own = {n.args[0].value for n in ast.walk(tree) if isinstance(n, ast.Call)
           and getattr(n.func, 'id', '') == 'argument'}
    shared = next(ast.literal_eval(n.value) for n in tree.body
                  if isinstance(n, ast.Assign) and n.targets[0].id == 'FORWARDED')
    assert own | {'instruction', *shared} == ARGUMENTS


def index(prefix: Path, package: str) -> Path:
    """Make an empty package and return its share folder."""
    folder = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / package).touch()
    share = prefix / 'share' / package
    share.mkdir(parents=True)
    return share


@pytest.fixture
def launched(root: Path, tmp_path: Path, monkeypatch) -> Any:  # noqa: ANN001
    """Return a function that launches the file and returns what was started, and how."""
    try:  # the PyPI package of the same name is something else
        importlib.import_module('launch.launch_description_sources')
        importlib.import_module('launch_ros.actions')
    except ImportError as error:
        pytest.skip(f'ROS 2 launch is not installed ({error}); it is not on PyPI')
    prefix = tmp_path / 'prefix'
    share = index(prefix, 'edge_vla')
    for name in ('launch', 'config', 'worlds', 'models'):
        (share / name).symlink_to(root / name)
    for package, program in (('edge_vla', 'vla_node'), ('ros_gz_bridge', 'parameter_bridge')):
        file = prefix / 'lib' / package / program
        file.parent.mkdir(parents=True)
        file.write_text(RECORDER)
        file.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(
        [str(prefix), os.environ.get('AMENT_PREFIX_PATH', '')]))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    monkeypatch.setenv('RECORD', f'{tmp_path}/record_')
    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS',
                 'IGN_GAZEBO_RESOURCE_PATH'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('GZ_SIM_RESOURCE_PATH', '/mine')

    def start(without: str = '', **arguments: str) -> dict[str, Any]:
        for package in {'ros_gz_sim', 'ros_gz_bridge'} - {without}:
            made = index(prefix, package)
            if package == 'ros_gz_sim':
                (made / 'launch').mkdir()
                (made / 'launch' / 'gz_sim.launch.py').write_text(GAZEBO)
        done = subprocess.run(
            [sys.executable, '-c', LAUNCH, str(share / 'launch' / 'gazebo_launch.py'),
             json.dumps(arguments), json.dumps(sorted(ARGUMENTS))],
            capture_output=True, text=True, timeout=120)
        records = {p.name.removeprefix('record_'): json.loads(p.read_text())
                   for p in tmp_path.glob('record_*')}
        for record in records.values():
            record['values'] = {k: v for text in record.get('parameters', ())
                                for k, v in next(iter(yaml.safe_load(text).values()))[
                                    'ros__parameters'].items()}
        return records | {'status': done.returncode, 'share': share,
                          'said': done.stdout + done.stderr}
    return start


def test_it_starts_gazebo_the_bridge_and_the_pilot(launched, root: Path) -> None:  # noqa: ANN001
    got = launched(task='search', namespace='drone', headless='true', log_level='warn')
    assert got['status'] == 0
    share, gazebo, bridge, pilot = (got[n] for n in (
        'share', 'gazebo', 'parameter_bridge', 'vla_node'))
    assert gazebo['gz_args'] == (
        f'-r -v 2 -s --headless-rendering "{share}/worlds/search.sdf"')
    assert gazebo['on_exit_shutdown'] == 'true'
    assert gazebo['gz_version'] == '8', "ros_gz's own default holds"
    for name, mine in (('GZ_SIM_RESOURCE_PATH', ['/mine']), ('IGN_GAZEBO_RESOURCE_PATH', [])):
        paths = gazebo[name].split(os.pathsep)
        assert paths[:len(mine)] == mine and str(share / 'models') in paths
    assert bridge['values']['config_file'] == str(share / 'config' / 'ros_gz_bridge.yaml')
    assert '__ns:=/drone' in bridge['words'] and '__ns:=/drone' in pilot['words']
    assert 'warn' in bridge['words'] and 'warn' in pilot['words']
    said = yaml.safe_load((root / 'worlds' / 'tasks.yaml').read_text())['search']
    assert pilot['values']['pipeline.instruction'] == said
    assert pilot['values']['use_sim_time'] is True
    assert bridge['profile'] == pilot['profile'] == str(share / 'config' / 'fastdds.xml')


def test_an_own_world(launched, tmp_path: Path) -> None:  # noqa: ANN001
    own = tmp_path / 'own' / 'worlds' / 'hall.sdf'
    own.parent.mkdir(parents=True)
    own.write_text('<sdf/>')
    got = launched(world=str(own), gazebo_version='9', gazebo_args='-v 4',
                   instruction='go to the red box')
    assert got['gazebo']['gz_args'] == f'-v 4 "{own}"' and got['gazebo']['gz_version'] == '9'
    paths = got['gazebo']['GZ_SIM_RESOURCE_PATH'].split(os.pathsep)
    assert paths == ['/mine', str(tmp_path / 'own' / 'models'), str(got['share'] / 'models')]
    assert got['vla_node']['values']['pipeline.instruction'] == 'go to the red box'


def test_an_own_world_says_what_to_do(launched, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / 'hall.sdf').write_text('<sdf/>')
    (tmp_path / 'tasks.yaml').write_text('hall: orbit the red cone\n')
    got = launched(world=str(tmp_path / 'hall.sdf'))
    assert got['vla_node']['values']['pipeline.instruction'] == 'orbit the red cone'


@pytest.mark.parametrize('missing', ['ros_gz_sim', 'ros_gz_bridge'])
def test_a_missing_ros_gz_is_named(launched, missing: str) -> None:  # noqa: ANN001
    got = launched(without=missing)
    assert got['status'] == 1 and 'vla_node' not in got and 'gazebo' not in got
    assert f'{missing} is not installed: apt install ros-$ROS_DISTRO-ros-gz' in got['said']


def test_a_missing_world_is_named(launched) -> None:  # noqa: ANN001
    got = launched(world='/nowhere/hall.sdf')
    assert got['status'] == 1 and 'vla_node' not in got
    assert '/nowhere/hall.sdf does not exist' in got['said']


def test_an_unknown_task_is_refused(launched) -> None:  # noqa: ANN001
    got = launched(task='land')
    assert got['status'] == 1 and 'vla_node' not in got
    assert 'orbit_left' in got['said']
