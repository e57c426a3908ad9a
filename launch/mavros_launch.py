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


"""Fly through MAVROS, which runs already: sets its velocity frame, then starts vla_node."""

from edge_vla.ros import launching
from launch import LaunchContext, LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node

# its exit status does not tell whether the node agreed, its words do
SET = ('said=$(ros2 param set "$0" mav_frame "$1" 2>&1); status=$?; echo "$said"; '
       'case "$said" in *successful*) exit $status;; *) exit 1;; esac')
KEEP = 'keep'
ODOMETRY, VELOCITY = 'local_position/odom', 'setpoint_velocity'


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the nodes."""
    return LaunchDescription([
        *launching.arguments(
            odom_topic=('', f'topic of the odometry; empty is {ODOMETRY} of MAVROS'),
            cmd_vel_topic=('', 'topic of the velocity commands; empty is '
                           f'{VELOCITY}/cmd_vel of MAVROS')),
        launching.argument('mavros', '/mavros', 'namespace of MAVROS'),
        launching.argument('mav_frame', 'BODY_NED',
                           'frame that MAVROS takes velocities in; keep leaves it as it is, '
                           'which is the world unless MAVROS was told otherwise',
                           ['BODY_NED', 'BODY_OFFSET_NED', KEEP]),
        launching.middleware(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[ExecuteProcess | RegisterEventHandler | Node]:
    """Describe the nodes; vla_node starts only where its velocities will be understood."""
    mavros = launching.value(context, 'mavros').rstrip('/')
    for name, topic in (('odom_topic', ODOMETRY), ('cmd_vel_topic', f'{VELOCITY}/cmd_vel')):
        if not launching.value(context, name):
            context.launch_configurations[name] = f'{mavros}/{topic}'
    pilot = launching.pilot(context)
    frame = launching.value(context, 'mav_frame')
    if frame == KEEP:
        return pilot
    setting = ExecuteProcess(
        cmd=['sh', '-c', SET, f'{mavros}/{VELOCITY}', frame],
        output='screen')
    return [setting, RegisterEventHandler(OnProcessExit(
        target_action=setting,
        on_exit=lambda event, _: pilot if event.returncode == 0 else [Shutdown(
            reason=f'{mavros}/{VELOCITY} did not take mav_frame: is MAVROS running?')]))]
