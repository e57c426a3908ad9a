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


"""Fly PX4 over uXRCE-DDS: vla_node and px4_offboard_node; needs px4_msgs and the agent."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and both nodes."""
    return LaunchDescription([
        *launching.arguments(),
        launching.argument('px4_params_file', str(launching.share() / 'config' / 'px4.yaml'),
                           'YAML file with the parameters of px4_offboard_node'),
        launching.argument('allow_commands', '',
                           'let the services ~/arm and ~/offboard command PX4; nothing is '
                           'ever armed without a call of them; empty leaves that to '
                           'px4_params_file', launching.MAYBE),
        launching.single_process(), launching.middleware(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Describe both nodes, now that the arguments are known."""
    given = launching.truths(context, 'use_sim_time') | {
        f'px4.{name}': v for name, v in launching.truths(context, 'allow_commands').items()}
    return launching.pilot(
        context, 'px4_offboard_node', [launching.value(context, 'px4_params_file')], given,
        [(name, launching.value(context, f'{name}_topic')) for name in ('odom', 'cmd_vel')])
