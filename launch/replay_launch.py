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


"""Play a recording to the live pilot, with its clock; ends with the recording."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments, the player and the pilot."""
    return LaunchDescription([
        DeclareLaunchArgument('bag', description='recording (folder, .mcap or .db3)'),
        launching.argument('rate', '', 'recorded seconds per second'),
        launching.argument('lockstep', '', 'hold after every image until its command has come: '
                           'no frame is lost, however slow the computer', launching.MAYBE),
        launching.argument('loop', '', 'begin again at the end', launching.MAYBE),
        launching.argument('actions', '', 'actions.json of edge-vla replay, to compare the '
                           'commands with; the result goes to live.json beside it'),
        launching.argument('adaptation', 'false', 'adapt, although the vehicle that was recorded '
                           'does not do what is commanded', launching.BOOL),
        launching.argument('player_params_file',
                           str(launching.share() / 'config' / 'player.yaml'),
                           'YAML file with the parameters of bag_player_node; empty arguments '
                           'leave them to it'),
        *launching.arguments(use_sim_time='true'),
        launching.single_process(), launching.middleware(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Describe both nodes, now that the arguments are known."""
    given: dict[str, str | float | bool] = {'player.bag': launching.value(context, 'bag')}
    if rate := launching.value(context, 'rate'):
        given['player.rate'] = float(rate)
    if actions := launching.value(context, 'actions'):
        given['player.actions'] = actions
    given |= {f'player.{name}': v
              for name, v in launching.truths(context, 'lockstep', 'loop').items()}
    image = launching.value(context, 'image_topic')
    return launching.pilot(
        context, 'bag_player_node', [launching.value(context, 'player_params_file')], given,
        [('image', image), ('image/compressed', f'{image}/compressed'),
         *((name, launching.value(context, f'{name}_topic')) for name in ('odom', 'cmd_vel'))],
        ends=True, own={'adaptation.enabled': launching.truth(context, 'adaptation')})
