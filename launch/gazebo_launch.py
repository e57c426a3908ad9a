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


"""Fly in Gazebo: a world with the vehicle, the bridge to ROS, and vla_node."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory, PackageNotFoundError
from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import AppendEnvironmentVariable, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
import yaml

SHARE = launching.share()
WORLDS = SHARE / 'worlds'
# Garden and newer, then Fortress, which knows the first from 6.16 on
RESOURCE_PATHS = ('GZ_SIM_RESOURCE_PATH', 'IGN_GAZEBO_RESOURCE_PATH')
FORWARDED = ('params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level')


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments, Gazebo, the bridge and the pilot."""
    argument = launching.argument
    return LaunchDescription([
        argument('task', 'go', 'which of the worlds that come with edge_vla',
                 sorted(p.stem for p in WORLDS.glob('*.sdf'))),
        argument('world', '', 'SDF file of another world instead, which includes '
                 'model://edge_vla_quadrotor (edge-vla world makes such)'),
        argument('headless', 'false', 'no window; the camera needs EGL then, on a GPU or in '
                 'software', launching.BOOL),
        # not named gz_version: the file of ros_gz would see that, empty as it is
        argument('gazebo_version', '', "Gazebo's major version where several are installed; "
                 'empty is the one that ros_gz was built for'),
        argument('gazebo_args', '-r -v 2', 'arguments for Gazebo; without -r it starts paused'),
        argument('bridge_file', str(SHARE / 'config' / 'ros_gz_bridge.yaml'),
                 'YAML file with the topics of ros_gz_bridge'),
        *launching.arguments(
            ('instruction', *FORWARDED),
            instruction=('', 'what to do; empty is what tasks.yaml beside the world says'),
            namespace=('', 'namespace of the pilot and the bridge'),
            use_sim_time=('true', 'vla_node takes time from Gazebo')),
        OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Describe what is started, now that the arguments are known."""
    given = {name: launching.value(context, name) for name in (
        'task', 'world', 'instruction', 'headless', 'gazebo_version', 'gazebo_args')}
    sim, _ = (_share(package) for package in ('ros_gz_sim', 'ros_gz_bridge'))
    world = Path(given['world']).expanduser() if given['world'] else WORLDS / (
        given['task'] + '.sdf')
    if not world.is_file():
        raise RuntimeError(f'world: {world} does not exist')
    world = world.absolute()  # Gazebo looks elsewhere too
    instruction = given['instruction'] or _instruction(world)
    options = given['gazebo_args'] + (
        ' -s --headless-rendering' if given['headless'] == 'true' else '')
    gazebo = {'gz_args': f'{options} "{world}"', 'on_exit_shutdown': 'true'}
    if given['gazebo_version']:
        gazebo['gz_version'] = given['gazebo_version']
    models = [AppendEnvironmentVariable(path, str(folder)) for path in RESOURCE_PATHS
              for folder in (world.parent.parent / 'models', SHARE / 'models')]
    pilot = {name: LaunchConfiguration(name) for name in FORWARDED}
    # the pilot comes first: its profile for the middleware also serves the bridge
    return [
        _include(SHARE / 'launch' / 'vla_launch.py', pilot | {'instruction': instruction}),
        *models,
        _include(sim / 'launch' / 'gz_sim.launch.py', gazebo),
        Node(package='ros_gz_bridge', executable='parameter_bridge', name='ros_gz_bridge',
             namespace=LaunchConfiguration('namespace'), output='screen',
             parameters=[{'config_file': LaunchConfiguration('bridge_file')}],
             ros_arguments=['--log-level', LaunchConfiguration('log_level')])]


def _share(package: str) -> Path:
    """Return where a package of ros_gz keeps its files."""
    try:
        return Path(get_package_share_directory(package))
    except PackageNotFoundError as error:
        raise RuntimeError(f'{package} is not installed: apt install ros-$ROS_DISTRO-ros-gz '
                           'brings it and Gazebo, then source ROS again') from error


def _instruction(world: Path) -> str:
    """Return the sentence for a world, or nothing if there is none."""
    file = world.with_name('tasks.yaml')
    tasks = yaml.safe_load(file.read_text(encoding='utf-8')) if file.is_file() else None
    return str(tasks.get(world.stem, '')) if isinstance(tasks, dict) else ''


def _include(file: Path, arguments: dict) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(str(file)),
                                    launch_arguments=arguments.items())
