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


"""What the launch files share: arguments, remappings, the pilot and its partner."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from edge_vla.config import flatten
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.conditions import UnlessCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
import yaml

BOOL = ['true', 'false']
MAYBE, LEFT = ['', *BOOL], 'empty leaves that to params_file'
RESPAWN_DELAY_S = 2.0


def share() -> Path:
    """Return the folder with the launch, config and world files."""
    return Path(get_package_share_directory('edge_vla'))


def arguments(only: Collection[str] = (),
              **other: str | tuple[str, str]) -> list[DeclareLaunchArgument]:
    """
    Return the arguments that launch files have in common.

    Parameters
    ----------
    only : collection of str, optional
        Names of those wanted; empty takes all.
    **other : str or tuple of str
        Other default values; with a tuple, other descriptions too.

    """
    known = {
        'params_file': (str(share() / 'config' / 'vla.yaml'),
                        'YAML file with the parameters of vla_node', None),
        'namespace': ('', 'namespace of all nodes and their topics, for example drone1', None),
        'instruction': ('', f'instruction in force from the start; {LEFT}', None),
        'use_sim_time': ('', f'take time from the clock topic; {LEFT}', MAYBE),
        'clock_topic': ('/clock', 'topic of the simulated time', None),
        'autostart': ('', f'configure and activate vla_node without a lifecycle manager; {LEFT}',
                      MAYBE),
        'respawn': ('false', f'start a node that ended again, after {RESPAWN_DELAY_S:g} s', BOOL),
        'log_level': ('info', 'logging level', ['debug', 'info', 'warn', 'error', 'fatal']),
        'image_topic': ('image', 'topic of the camera images; compressed ones below it', None),
        'odom_topic': ('odom', 'topic of the odometry', None),
        'cmd_vel_topic': ('cmd_vel', 'topic of the velocity commands '
                          '(geometry_msgs/TwistStamped)', None)}
    made = []
    for name, (default, text, choices) in known.items():
        if only and name not in only:
            continue
        given = other.get(name, default)
        made.append(argument(name, *((given, text) if isinstance(given, str) else given),
                             choices))
    return made


def argument(name: str, default: str, description: str,
             choices: list[str] | None = None) -> DeclareLaunchArgument:
    """Return one argument."""
    return DeclareLaunchArgument(name, default_value=default, description=description,
                                 choices=choices)


def single_process() -> DeclareLaunchArgument:
    """Return the argument for all nodes in one process."""
    return argument('single_process', 'false', 'run the nodes of this file in one process', BOOL)


def middleware() -> SetEnvironmentVariable:
    """Choose our profile of Fast DDS, with room for whole images, unless the user chose."""
    chosen = [EnvironmentVariable(name, default_value='')
              for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS')]
    return SetEnvironmentVariable(
        'FASTDDS_DEFAULT_PROFILES_FILE', str(share() / 'config' / 'fastdds.xml'),
        condition=UnlessCondition(PythonExpression(["'", *chosen, "' != ''"])))


def value(context: LaunchContext, name: str) -> str:
    """Return the value of an argument."""
    return LaunchConfiguration(name).perform(context)


def truth(context: LaunchContext, name: str) -> bool:
    """Return the value of an argument that is true or false."""
    return value(context, name).lower() == 'true'


def truths(context: LaunchContext, *names: str) -> dict[str, bool]:
    """Return those of some arguments that are given: what is not must not hide a file's."""
    return {name: truth(context, name) for name in names if value(context, name)}


def parameter_file(name: str) -> Path:
    """
    Return a file of parameters, which must be there: without one its limits would be none.

    Raises
    ------
    RuntimeError
        It is not.

    """
    path = Path(name).expanduser()  # no shell does that after :=
    if not path.is_file():
        raise RuntimeError(f'{name} is no parameter file')
    return path


def told(name: str, parameter: str) -> str:
    """Return the text that a file of parameters gives one of them, or nothing."""
    text, files = '', list(yaml.safe_load_all(parameter_file(name).read_text(encoding='utf-8')))
    for tree in files:  # of namespaces and nodes
        for key, given in flatten(tree if isinstance(tree, dict) else {}).items():
            if given and key.endswith(f'ros__parameters.{parameter}'):
                text = str(given)
    return text


def pilot(context: LaunchContext, partner: str = '', partner_files: Sequence[str] = (),
          partner_values: Mapping[str, Any] | None = None,
          remappings: Sequence[tuple[str, str]] = (), ends: bool = False,
          own: Mapping[str, Any] | None = None) -> list[Node]:
    """
    Return vla_node and the node it works with, now that the arguments are known.

    Parameters
    ----------
    context : launch.LaunchContext
        Where the arguments have their values.
    partner : str, optional
        Executable of the other node; then the launch file has the argument `single_process`.
    partner_files : sequence of str, optional
        Parameter files of the partner.
    partner_values : mapping, optional
        Its parameters beside the files; strings, numbers and truth values.
    remappings : sequence of tuple of str, optional
        Remappings of the partner.
    ends : bool, optional
        Whether the launch ends when the partner does.
    own : mapping, optional
        Parameters of vla_node beside its file.

    """
    values: dict[str, Any] = truths(context, 'use_sim_time', 'autostart') | dict(own or {})
    if value(context, 'instruction'):  # an empty one must not hide that of the params_file
        values['pipeline.instruction'] = typed(value(context, 'instruction'))
    own_file, *partner_files = map(
        parameter_file, (value(context, 'params_file'), *partner_files))
    image = value(context, 'image_topic')
    clock = ('/clock', value(context, 'clock_topic'))
    ours = [('image', image), ('image/compressed', f'{image}/compressed'),
            ('odom', value(context, 'odom_topic')),
            ('cmd_vel', value(context, 'cmd_vel_topic')), clock]
    theirs = {name: typed(v) for name, v in (partner_values or {}).items()}
    common: dict[str, Any] = {
        'package': 'edge_vla', 'namespace': value(context, 'namespace'), 'output': 'screen',
        'emulate_tty': True, 'respawn': truth(context, 'respawn'),
        'respawn_delay': RESPAWN_DELAY_S,
        'ros_arguments': ['--log-level', value(context, 'log_level')]}
    last = common | ({'on_exit': Shutdown(reason=f'{partner} has ended'), 'respawn': False}
                     if ends else {})
    if partner and truth(context, 'single_process'):
        return [Node(executable='single_process', arguments=['vla_node', partner],
                     parameters=[own_file, *partner_files, values | theirs],
                     remappings=[*ours, *remappings], **last)]
    nodes: list[Node] = [LifecycleNode(
        executable='vla_node', name='vla_node', remappings=ours,
        parameters=[own_file, values], **common)]
    if partner:
        nodes.append(Node(
            executable=partner, name=partner, remappings=[clock, *remappings],
            parameters=[*partner_files, theirs], **last))
    return nodes


def typed(given: Any) -> Any:
    """Keep a string a string: YAML would read '7' or 'on' as something else."""
    return ParameterValue(given, value_type=str) if isinstance(given, str) else given
