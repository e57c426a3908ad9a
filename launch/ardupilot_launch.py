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


"""Fly ArduPilot over its DDS interface: vla_node and ardupilot_node; needs the agent."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and both nodes."""
    return LaunchDescription([
        *launching.arguments(),
        launching.argument('ardupilot_params_file',
                           str(launching.share() / 'config' / 'ardupilot.yaml'),
                           'YAML file with the parameters of ardupilot_node'),
        launching.argument('ardupilot_topics', '',
                           'prefix of the topics of ArduPilot, for example /ap/v1; empty leaves '
                           'that to ardupilot_params_file'),
        launching.single_process(), launching.middleware(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Describe both nodes, now that the arguments are known."""
    given, topics = launching.truths(context, 'use_sim_time'), launching.value(
        context, 'ardupilot_topics')
    return launching.pilot(
        context, 'ardupilot_node', [launching.value(context, 'ardupilot_params_file')],
        given | ({'ardupilot.topics': topics} if topics else {}),
        [(name, launching.value(context, f'{name}_topic')) for name in ('odom', 'cmd_vel')])
