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


"""Fly several drones side by side, each in a namespace and a built-in simulator of its own."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

FORWARDED = ('params_file', 'sim_params_file', 'single_process', 'respawn', 'autostart',
             'log_level')


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the drones."""
    return LaunchDescription([
        launching.argument('drones', '2', 'how many; their namespaces are drone1, drone2, ...'),
        launching.argument('instructions', 'fly to the red sphere; orbit the blue box',
                           'one for each drone, separated by semicolons; the last one serves '
                           'those that are left'),
        launching.argument('seed', '1', 'scene of the first drone; the others count on'),
        launching.argument('sim_params_file', str(launching.share() / 'config' / 'sim.yaml'),
                           'YAML file with the parameters of every sim_node'),
        launching.single_process(),
        *launching.arguments(FORWARDED),
        OpaqueFunction(function=drones)])


def drones(context: LaunchContext) -> list[GroupAction]:
    """Describe the drones, now that the arguments are known."""
    texts = [t.strip() or 'hover' for t in launching.value(context, 'instructions').split(';')]
    forwarded = {name: launching.value(context, name) for name in FORWARDED}
    source = PythonLaunchDescriptionSource(str(launching.share() / 'launch' / 'sim_launch.py'))
    return [GroupAction([IncludeLaunchDescription(source, launch_arguments=(forwarded | {
        'namespace': f'drone{k + 1}', 'instruction': texts[min(k, len(texts) - 1)],
        'seed': str(int(launching.value(context, 'seed')) + k)}).items())])
        for k in range(int(launching.value(context, 'drones')))]
