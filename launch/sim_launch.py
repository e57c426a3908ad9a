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


"""Fly in the built-in simulator: sim_node, and vla_node as vla_launch.py starts it."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('edge_vla'))


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments, the simulator and the pilot."""
    arguments = [
        DeclareLaunchArgument(
            'instruction', default_value='fly to the red sphere',
            description='what to do; the objects it names are put into the scene'),
        DeclareLaunchArgument(
            'seed', default_value='',
            description='which scene; empty leaves that to sim_params_file'),
        DeclareLaunchArgument(
            'sim_params_file', default_value=str(SHARE / 'config' / 'sim.yaml'),
            description='YAML file with the parameters of sim_node'),
        DeclareLaunchArgument(
            'params_file', default_value=str(SHARE / 'config' / 'vla.yaml'),
            description='YAML file with the parameters of vla_node'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='namespace of both nodes'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='true', choices=['true', 'false'],
            description='vla_node takes time from the simulator'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=['true', 'false'],
            description='configure and activate vla_node without a lifecycle manager'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'], description='logging level')]
    pilot = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'vla_launch.py')),
        launch_arguments={name: LaunchConfiguration(name) for name in (
            'params_file', 'namespace', 'use_sim_time', 'autostart', 'log_level',
            'instruction')}.items())
    # the pilot comes first: its profile for the middleware also serves the simulator
    return LaunchDescription([*arguments, pilot, OpaqueFunction(function=simulator)])


def simulator(context: LaunchContext) -> list[Node]:
    """Describe the simulator, now that the arguments are known."""
    given = {'sim.instruction': ParameterValue(LaunchConfiguration('instruction'),
                                               value_type=str)}
    if LaunchConfiguration('seed').perform(context):
        given['sim.seed'] = ParameterValue(LaunchConfiguration('seed'), value_type=int)
    return [Node(
        package='edge_vla', executable='sim_node', name='sim_node',
        namespace=LaunchConfiguration('namespace'), output='screen', emulate_tty=True,
        parameters=[LaunchConfiguration('sim_params_file'), given],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')])]
