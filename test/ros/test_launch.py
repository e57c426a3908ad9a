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

FILES = {'vla_launch.py': (), 'sim_launch.py': ('sim_node',),
         'fleet_launch.py': ('sim_node',), 'px4_launch.py': ('px4_offboard_node',),
         'ardupilot_launch.py': ('ardupilot_node',), 'mavros_launch.py': (),
         'replay_launch.py': ('bag_player_node',)}
NEEDED = {'replay_launch.py': {'bag': 'flight'}}
COMMON = {'params_file', 'namespace', 'instruction', 'use_sim_time', 'clock_topic', 'autostart',
          'respawn', 'log_level', 'image_topic', 'odom_topic', 'cmd_vel_topic'}
NODES = ('vla_node', 'sim_node', 'px4_offboard_node', 'ardupilot_node', 'bag_player_node',
         'single_process')


@pytest.mark.parametrize('name', FILES)
def test_launch_files_parse(root: Path, name: str) -> None:
    tree = ast.parse((root / 'launch' / name).read_text())
    assert 'generate_launch_description' in {n.name for n in tree.body
                                             if isinstance(n, ast.FunctionDef)}
    assert ast.get_docstring(tree)


# stands in for every program: notes how it was started, one line each time
RECORDER = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
files = [w for i, w in enumerate(words) if i and words[i - 1] == '--params-file']
space = ''.join(w[6:].replace('/', '_') for w in words if w.startswith('__ns:=')).rstrip('_')
name = os.path.basename(sys.argv[0])
with open(os.environ['RECORD'] + name + space, 'a') as record:
    print(json.dumps({'words': words, 'parameters': [open(f).read() for f in files],
                      'profile': os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE')}), file=record)
if name == 'ros2':
    print(os.environ.get('SAYS', 'Set parameter successful'))
sys.exit(os.environ.get('FAIL') == name)
"""


class Launched:
    """Launches files with ROS's own `launch`; the programs only note how they were started."""

    def __init__(self, share: Path, folder: Path) -> None:
        self.share, self.folder = share, folder
        self.launch = importlib.import_module('launch')
        self.sources = importlib.import_module('launch.launch_description_sources')

    def include(self, name: str, **arguments: str) -> Any:
        """Return the action that includes a file."""
        return self.launch.actions.IncludeLaunchDescription(
            self.source(name), launch_arguments=arguments.items())

    def source(self, name: str) -> Any:
        """Return a launch file of ours."""
        return self.sources.PythonLaunchDescriptionSource(str(self.share / 'launch' / name))

    def run(self, *actions: Any) -> int:
        """Launch until everything has ended."""
        service = self.launch.LaunchService(noninteractive=True)
        service.include_launch_description(self.launch.LaunchDescription(list(actions)))
        return service.run()

    def declared(self, name: str) -> set[str]:
        """Return the arguments of a file; every one is described."""
        context = self.launch.LaunchService(noninteractive=True).context
        declared = self.source(name).get_launch_description(context).get_launch_arguments()
        assert all(a.description for a in declared)
        return {a.name for a in declared}

    def __call__(self, name: str, **arguments: str) -> dict[str, Any]:
        """Launch a file and return how each program was started last."""
        self.run(self.include(name, **arguments))
        return {n: runs[-1] for n, runs in self.records().items()}

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Return how each program was started, every time, with the parameters in force."""
        out = {}
        for path in self.folder.glob('record_*'):
            runs = [json.loads(line) for line in path.read_text().splitlines()]
            for run in runs:
                if path.name != 'record_ros2':
                    assert run['profile'] == str(self.share / 'config' / 'fastdds.xml')
                run['parameters'] = {k: v for text in run['parameters'] for k, v in flatten(
                    next(iter(yaml.safe_load(text).values()))['ros__parameters']).items()}
            out[path.name.removeprefix('record_')] = runs
        return out


@pytest.fixture
def launched(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    """Return what launches our files with programs that only note how they were started."""
    try:  # the PyPI package of the same name is something else
        importlib.import_module('launch.launch_description_sources')
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
    for program in [programs / name for name in NODES] + [tmp_path / 'ros2']:
        program.write_text(RECORDER)
        program.chmod(0o755)
    for variable, first in (('AMENT_PREFIX_PATH', tmp_path), ('PATH', tmp_path)):
        monkeypatch.setenv(variable, os.pathsep.join([str(first),
                                                      os.environ.get(variable, '')]))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    monkeypatch.setenv('RECORD', f'{tmp_path}/record_')
    for variable in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS'):
        monkeypatch.delenv(variable, raising=False)
    return Launched(share, tmp_path)


@pytest.mark.parametrize('name', FILES)
def test_every_file_runs_with_nothing_but_what_it_needs(launched: Launched, name: str) -> None:
    declared, records = launched.declared(name), launched(name, **NEEDED.get(name, {}))
    pilots = [r for n, r in records.items() if n.startswith('vla_node')]
    assert len(pilots) == (2 if name == 'fleet_launch.py' else 1)
    for node in FILES[name]:
        assert any(n.startswith(node) for n in records)
    for record in pilots:
        assert record['parameters']['autostart'] is True
        simulated = name in ('sim_launch.py', 'fleet_launch.py', 'replay_launch.py')
        assert record['parameters'].get('use_sim_time', False) is simulated
    if name == 'fleet_launch.py':
        assert declared >= {'drones', 'instructions', 'seed', 'respawn', 'single_process'}
    else:
        assert declared >= COMMON
        assert ('single_process' in declared) == bool(FILES[name])


@pytest.mark.parametrize('name', [n for n, nodes in FILES.items() if nodes])
def test_one_process_holds_all_nodes(launched: Launched, name: str) -> None:
    given = {'drones': '1'} if name == 'fleet_launch.py' else NEEDED.get(name, {})
    records = launched(name, single_process='true', **given)
    (program, record), = records.items()
    assert program.startswith('single_process')
    assert record['words'][:3] == ['vla_node', *FILES[name], '--ros-args']
    assert record['parameters'].items() >= {'autostart': True, 'node.enabled': True}.items()


def test_the_pilot_alone(launched: Launched) -> None:
    record = launched('vla_launch.py', namespace='drone', image_topic='eye/image',
                      log_level='warn', clock_topic='/time')['vla_node_drone']
    for word in ('__node:=vla_node', '__ns:=/drone', 'image:=eye/image', 'warn',
                 'image/compressed:=eye/image/compressed', 'odom:=odom', '/clock:=/time'):
        assert word in record['words']
    defaults = {s.name: s.default for s in settings_of(VlaNodeConfig)}
    assert record['parameters'] == defaults | {'autostart': True}


OWN = 'autostart: false, use_sim_time: true, safety: {max_forward: .3}'


@pytest.mark.parametrize('given', [{}, {'autostart': 'true'}, {'use_sim_time': 'false'}])
def test_a_file_of_the_users_own_holds_unless_an_argument_says_otherwise(
        launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict) -> None:
    (tmp_path / 'own.yaml').write_text(f'/**:\n  ros__parameters: {{{OWN}}}\n')
    monkeypatch.setenv('HOME', str(tmp_path))  # no shell expands this after :=
    values = launched('vla_launch.py', params_file='~/own.yaml', **given)['vla_node']['parameters']
    want = {'autostart': False, 'use_sim_time': True, 'safety.max_forward': .3}
    assert values == want | {name: text == 'true' for name, text in given.items()}


@pytest.mark.parametrize(('name', 'argument'), [
    ('vla_launch.py', 'params_file'), ('sim_launch.py', 'sim_params_file'),
    ('px4_launch.py', 'px4_params_file'), ('ardupilot_launch.py', 'ardupilot_params_file')])
def test_nobody_flies_without_the_limits_of_a_file_that_is_not_there(
        launched: Launched, name: str, argument: str) -> None:
    assert launched(name, **{argument: 'nowhere.yaml'}) == {}


@pytest.mark.parametrize(('variable', 'text', 'profile'), [
    ('FASTDDS_DEFAULT_PROFILES_FILE', 'mine.xml', 'mine.xml'),
    ('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4?sockets_size=4MB', None)])
def test_a_middleware_of_the_users_own_is_kept(launched: Launched, variable: str, text: str,
                                               profile: str | None,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, text)
    launched.run(launched.include('vla_launch.py'))
    assert json.loads((launched.folder / 'record_vla_node').read_text())['profile'] == profile


def test_the_pilot_in_the_simulator(launched: Launched) -> None:
    records = launched('sim_launch.py', instruction='orbit the blue box', seed='4')
    pilot, simulator = (records[n]['parameters'] for n in ('vla_node', 'sim_node'))
    assert pilot['pipeline.instruction'] == 'orbit the blue box' and pilot['use_sim_time'] is True
    assert simulator['sim.instruction'] == 'orbit the blue box' and simulator['sim.seed'] == 4
    assert '/clock:=/clock' in records['vla_node']['words']


def test_the_seed_of_the_parameter_file_holds(launched: Launched, tmp_path: Path) -> None:
    path = tmp_path / 'own.yaml'
    path.write_text('/**:\n  ros__parameters:\n    sim: {seed: 9}\n')
    records = launched('sim_launch.py', sim_params_file=str(path), autostart='false')
    assert records['sim_node']['parameters'] == {
        'sim.seed': 9, 'sim.instruction': 'fly to the red sphere'}
    assert records['vla_node']['parameters']['autostart'] is False


@pytest.mark.parametrize(('pilot', 'simulator', 'want'), [
    ('orbit the green box', '', ('orbit the green box', 'orbit the green box')),
    ('', 'a red cone', ('', 'a red cone')),
    ('land', 'a red cone', ('land', 'a red cone'))])
def test_the_instructions_of_the_parameter_files_hold(launched: Launched, tmp_path: Path,
                                                      pilot: str, simulator: str,
                                                      want: tuple[str, str]) -> None:
    files = {}
    for key, group, text in (('params_file', 'pipeline', pilot),
                             ('sim_params_file', 'sim', simulator)):
        files[key] = str(tmp_path / f'{group}.yaml')
        Path(files[key]).write_text(
            f'/**:\n  ros__parameters:\n    {group}: {{instruction: "{text}"}}\n')
    records = launched('sim_launch.py', **files)
    assert (records['vla_node']['parameters']['pipeline.instruction'],
            records['sim_node']['parameters']['sim.instruction']) == want


def test_two_drones_share_nothing_but_the_graph(launched: Launched) -> None:
    records = launched('fleet_launch.py', instructions='orbit the blue box; land', seed='5')
    assert set(records) == {f'{n}_drone{k}' for n in ('vla_node', 'sim_node') for k in (1, 2)}
    for k, text in ((1, 'orbit the blue box'), (2, 'land')):
        pilot, simulator = (records[f'{n}_drone{k}'] for n in ('vla_node', 'sim_node'))
        assert pilot['parameters']['pipeline.instruction'] == text
        assert simulator['parameters']['sim.seed'] == 4 + k
        assert simulator['parameters']['sim.instruction'] == text
        for record in (pilot, simulator):
            assert '/clock:=clock' in record['words'], 'two clocks on one topic'
        assert '/tf:=tf' in simulator['words']


def test_px4_gets_leave_only_when_asked(launched: Launched, tmp_path: Path) -> None:
    bridge = launched('px4_launch.py', namespace='drone1',
                      use_sim_time='true')['px4_offboard_node_drone1']
    assert bridge['parameters']['px4.allow_commands'] is False
    assert bridge['parameters']['use_sim_time'] is True
    assert bridge['parameters']['px4.topics'] == 'fmu'  # /drone1/fmu, as PX4 has it with -n
    own = tmp_path / 'own.yaml'
    own.write_text('/**:\n  ros__parameters:\n    px4: {allow_commands: true}\n')
    for given, want in (({}, True), ({'allow_commands': 'false'}, False)):
        records = launched('px4_launch.py', px4_params_file=str(own), **given)
        assert records['px4_offboard_node']['parameters']['px4.allow_commands'] is want
    records = launched('px4_launch.py', allow_commands='true', cmd_vel_topic='wanted')
    assert records['px4_offboard_node']['parameters']['px4.allow_commands'] is True
    for node in ('vla_node', 'px4_offboard_node'):
        assert 'cmd_vel:=wanted' in records[node]['words']


def test_mavros_is_told_the_frame_before_the_pilot_starts(launched: Launched) -> None:
    records = launched('mavros_launch.py', mavros='/uav1/mavros/')
    assert records['ros2']['words'] == [
        'param', 'set', '/uav1/mavros/setpoint_velocity', 'mav_frame', 'BODY_NED']
    for word in ('odom:=/uav1/mavros/local_position/odom',
                 'cmd_vel:=/uav1/mavros/setpoint_velocity/cmd_vel'):
        assert word in records['vla_node']['words']


def test_without_the_frame_the_pilot_does_not_start(launched: Launched,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as failing:
        failing.setenv('FAIL', 'ros2')
        assert set(launched('mavros_launch.py')) == {'ros2'}
    monkeypatch.setenv('SAYS', 'Setting parameter failed: no')  # with a status of 0
    assert set(launched('mavros_launch.py')) == {'ros2'}


def test_mavros_may_be_left_as_it_is(launched: Launched) -> None:
    assert set(launched('mavros_launch.py', mav_frame='keep')) == {'vla_node'}


def test_ardupilot_topics(launched: Launched) -> None:
    records = launched('ardupilot_launch.py', ardupilot_topics='/ap/v1')
    assert records['ardupilot_node']['parameters']['ardupilot.topics'] == '/ap/v1'
    assert 'cmd_vel:=cmd_vel' in records['vla_node']['words']
    bridge = launched('ardupilot_launch.py', namespace='drone1')['ardupilot_node_drone1']
    assert bridge['parameters']['ardupilot.topics'] == 'ap'  # /drone1/ap, not that of all


def test_replay(launched: Launched) -> None:
    records = launched('replay_launch.py', bag='7', rate='2', lockstep='true', image_topic='eye')
    values = records['bag_player_node']['parameters']
    assert values['player.bag'] == '7' and values['player.rate'] == 2.0
    assert values['player.lockstep'] is True and values['player.loop'] is False
    for node in ('bag_player_node', 'vla_node'):
        assert 'image/compressed:=eye/compressed' in records[node]['words']
    assert values['player.actions'] == ''
    # what was recorded does not do what is commanded: as in edge-vla replay
    assert records['vla_node']['parameters']['adaptation.enabled'] is False
    records = launched('replay_launch.py', bag='b', adaptation='true', actions='out/actions.json')
    assert records['vla_node']['parameters']['adaptation.enabled'] is True
    assert records['bag_player_node']['parameters']['player.actions'] == 'out/actions.json'
    assert '/clock:=/clock' in records['vla_node']['words']
    records = launched('replay_launch.py', bag='b', namespace='drone1', clock_topic='clock')
    for name in FILES['replay_launch.py'] + ('vla_node',):
        assert '/clock:=clock' in records[f'{name}_drone1']['words']


def test_a_node_that_ends_is_started_again(launched: Launched,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('edge_vla.ros.launching.RESPAWN_DELAY_S', 0.1)
    actions = launched.launch.actions
    launched.run(launched.include('vla_launch.py', respawn='true'),
                 actions.TimerAction(period=3.0, actions=[actions.Shutdown()]))
    assert len(launched.records()['vla_node']) > 1
