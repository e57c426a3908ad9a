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


"""Start the pilot: vla_node with its parameters, ready for a camera."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import UnlessCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('edge_vla'))


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the node."""
    arguments = [
        DeclareLaunchArgument(
            'params_file', default_value=str(SHARE / 'config' / 'vla.yaml'),
            description='YAML file with the parameters of vla_node'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='namespace of the node and its topics'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=['true', 'false'],
            description='take time from /clock'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=['true', 'false'],
            description='configure and activate without a lifecycle manager'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'], description='logging level'),
        DeclareLaunchArgument(
            'instruction', default_value='',
            description='instruction in force from the start; empty leaves that to params_file'),
        DeclareLaunchArgument(
            'image_topic', default_value='image',
            description='topic of the camera images; compressed ones below it'),
        DeclareLaunchArgument(
            'odom_topic', default_value='odom', description='topic of the odometry'),
        DeclareLaunchArgument(
            'cmd_vel_topic', default_value='cmd_vel',
            description='topic of the velocity commands (geometry_msgs/TwistStamped)')]

    # keep a profile the user has chosen; ours makes room for whole images in shared memory
    profile = SetEnvironmentVariable(
        'FASTDDS_DEFAULT_PROFILES_FILE', str(SHARE / 'config' / 'fastdds.xml'),
        condition=UnlessCondition(PythonExpression(
            ["'", EnvironmentVariable('FASTDDS_DEFAULT_PROFILES_FILE', default_value=''),
             "' != ''"])))
    return LaunchDescription([*arguments, profile, OpaqueFunction(function=pilot)])


def pilot(context: LaunchContext) -> list[LifecycleNode]:
    """Describe the node, now that the arguments are known."""
    given: dict[str, Any] = {name: ParameterValue(LaunchConfiguration(name), value_type=bool)
                             for name in ('use_sim_time', 'autostart')}
    instruction = LaunchConfiguration('instruction').perform(context)
    if instruction:  # an empty one must not hide that of the params_file
        given['pipeline.instruction'] = ParameterValue(instruction, value_type=str)
    image = LaunchConfiguration('image_topic')
    return [LifecycleNode(
        package='edge_vla', executable='vla_node', name='vla_node',
        namespace=LaunchConfiguration('namespace'), output='screen', emulate_tty=True,
        parameters=[LaunchConfiguration('params_file'), given],
        remappings=[('image', image), ('image/compressed', [image, '/compressed']),
                    ('odom', LaunchConfiguration('odom_topic')),
                    ('cmd_vel', LaunchConfiguration('cmd_vel_topic'))],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')])]
