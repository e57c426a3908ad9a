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


"""Fly in the built-in simulator: sim_node and vla_node."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

TASK = 'fly to the red sphere'


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments, the simulator and the pilot."""
    return LaunchDescription([
        *launching.arguments(
            use_sim_time='true',
            instruction=('', 'what to do; the objects it names are put into the scene; empty is '
                         f'what the parameter files say, or "{TASK}" if neither says anything'),
            clock_topic=('', 'topic of the simulated time; empty is /clock, or clock where a '
                         'namespace is given')),
        launching.argument('seed', '', 'which scene; empty leaves that to sim_params_file'),
        launching.argument('sim_params_file', str(launching.share() / 'config' / 'sim.yaml'),
                           'YAML file with the parameters of sim_node'),
        launching.single_process(), launching.middleware(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Describe both nodes, now that the arguments are known."""
    namespace = launching.value(context, 'namespace')
    if not launching.value(context, 'clock_topic'):
        # every simulator has a time of its own: in a namespace it stays in there
        context.launch_configurations['clock_topic'] = 'clock' if namespace else '/clock'
    sim_file = launching.value(context, 'sim_params_file')
    text = launching.value(context, 'instruction')
    if not text and not launching.told(sim_file, 'sim.instruction'):
        text = launching.told(launching.value(context, 'params_file'), 'pipeline.instruction')
        if not text:
            text = context.launch_configurations['instruction'] = TASK
    given: dict[str, str | int] = {'sim.instruction': text} if text else {}
    if seed := launching.value(context, 'seed'):
        given['sim.seed'] = int(seed)
    remappings = [(name, launching.value(context, f'{name}_topic'))
                  for name in ('odom', 'cmd_vel', 'image')]
    return launching.pilot(
        context, 'sim_node', [sim_file], given,
        [*remappings, *([('/tf', 'tf')] if namespace else [])])
