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

"""The launch files: that they parse, and with ROS's own `launch` what they describe."""

import ast
import importlib
import json
import os
from pathlib import Path
from typing import Any

from edge_vla.config import flatten, settings_of, VlaNodeConfig
import pytest
import yaml

FILES = ('vla_launch.py', 'sim_launch.py')
NAV2 = {'params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level'}


@pytest.mark.parametrize('name', FILES)
def test_launch_files_parse(root: Path, name: str) -> None:
    tree = ast.parse((root / 'launch' / name).read_text())
    assert 'generate_launch_description' in {n.name for n in tree.body
                                             if isinstance(n, ast.FunctionDef)}


RECORDER = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
files = [w for i, w in enumerate(words) if i and words[i - 1] == '--params-file']
with open(os.environ['RECORD'] + os.path.basename(sys.argv[0]), 'w') as record:
    json.dump({'words': words, 'parameters': [open(f).read() for f in files],
               'profile': os.environ['FASTDDS_DEFAULT_PROFILES_FILE']}, record)
"""


@pytest.fixture
def launched(root: Path, tmp_path: Path, monkeypatch) -> Any:  # noqa: ANN001
    """Return a function that launches a file with nodes that only note how they were started."""
    try:  # the PyPI package of the same name is something else
        launch = importlib.import_module('launch')
        sources = importlib.import_module('launch.launch_description_sources')
        importlib.import_module('launch_ros.actions')
    except ImportError as error:
        pytest.skip(f'ROS 2 launch is not installed ({error}); it is not on PyPI')
    share, programs = tmp_path / 'share' / 'edge_vla', tmp_path / 'lib' / 'edge_vla'
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    for folder in (share, index, programs):
        folder.mkdir(parents=True)
    (index / 'edge_vla').touch()
    for name in ('launch', 'config'):
        (share / name).symlink_to(root / name)
    for name in ('vla_node', 'sim_node'):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(
        [str(tmp_path), os.environ.get('AMENT_PREFIX_PATH', '')]))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    monkeypatch.setenv('RECORD', f'{tmp_path}/record_')
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)

    def start(name: str, **arguments: str) -> tuple[set[str], dict[str, Any]]:
        source = sources.PythonLaunchDescriptionSource(str(share / 'launch' / name))
        service = launch.LaunchService(noninteractive=True)
        declared = source.get_launch_description(service.context).get_launch_arguments()
        assert all(a.description for a in declared)
        service.include_launch_description(launch.LaunchDescription([
            launch.actions.IncludeLaunchDescription(
                source, launch_arguments=arguments.items())]))
        assert service.run() == 0
        records = {p.name.removeprefix('record_'): json.loads(p.read_text())
                   for p in tmp_path.glob('record_*')}
        for record in records.values():
            assert record['profile'] == str(share / 'config' / 'fastdds.xml')
            record['parameters'] = {k: v for text in record['parameters'] for k, v in flatten(
                next(iter(yaml.safe_load(text).values()))['ros__parameters']).items()}
        return {a.name for a in declared}, records
    return start


def test_the_pilot_alone(launched) -> None:  # noqa: ANN001
    declared, records = launched('vla_launch.py', namespace='drone', image_topic='eye/image',
                                 log_level='warn')
    assert declared >= NAV2 | {'instruction', 'image_topic', 'odom_topic', 'cmd_vel_topic'}
    assert set(records) == {'vla_node'}
    words, values = records['vla_node']['words'], records['vla_node']['parameters']
    for word in ('__node:=vla_node', '__ns:=/drone', 'image:=eye/image', 'warn',
                 'image/compressed:=eye/image/compressed', 'odom:=odom'):
        assert word in words
    defaults = {s.name: s.default for s in settings_of(VlaNodeConfig)}
    assert values == defaults | {'use_sim_time': False, 'autostart': True}


def test_the_pilot_in_the_simulator(launched) -> None:  # noqa: ANN001
    declared, records = launched('sim_launch.py', instruction='orbit the blue box', seed='4')
    assert declared >= NAV2 | {'instruction', 'seed', 'sim_params_file'}
    pilot, simulator = (records[n]['parameters'] for n in ('vla_node', 'sim_node'))
    assert pilot['pipeline.instruction'] == 'orbit the blue box' and pilot['use_sim_time'] is True
    assert simulator['sim.instruction'] == 'orbit the blue box' and simulator['sim.seed'] == 4


def test_the_seed_of_the_parameter_file_holds(launched, tmp_path: Path) -> None:  # noqa: ANN001
    path = tmp_path / 'own.yaml'
    path.write_text('/**:\n  ros__parameters:\n    sim: {seed: 9}\n')
    _, records = launched('sim_launch.py', sim_params_file=str(path), autostart='false')
    assert records['sim_node']['parameters'] == {
        'sim.seed': 9, 'sim.instruction': 'fly to the red sphere'}
    assert records['vla_node']['parameters']['autostart'] is False
