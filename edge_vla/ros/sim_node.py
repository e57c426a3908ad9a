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


"""The built-in simulator as a node: camera, odometry and clock out, velocity commands in."""

from collections.abc import Sequence
import gc
import math
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from edge_vla.config import SimNodeConfig
from edge_vla.datatypes import Frame
from edge_vla.memory import memory_mb
from edge_vla.ros import conversions, diagnostics, parameters, qos, spin
from edge_vla.sim.simulator import Simulator
from geometry_msgs.msg import TransformStamped, TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # not among the PyPI wheels
    TFMessage = None

TICK_HZ = 120.0  # rate of /clock and odometry; frames come every few ticks
LATE_S = 0.05  # this much delay is made up for; what is beyond it is lost time
CAMERA_FRAME = 'camera_optical_frame'  # z along the view, x right, y down (REP-103)
OPTICAL = (-.5, .5, -.5, .5)  # quaternion x y z w of that frame in the body
REMEMBERED = 256  # frames whose commands are still waited for


class SimNode(Node):
    """Flies the simulated quadrotor in real time or at any other speed."""

    def __init__(self, **options: Any) -> None:
        super().__init__('sim_node', **options)
        self.config = parameters.declare(self, SimNodeConfig)
        camera = self.config.camera
        self.sim = Simulator(self.config.sim, camera)
        self._epoch_ns = 0  # time goes on over a reset
        self._per_frame = max(1, round(TICK_HZ / camera.rate))
        self._tick_ns = round(1e9 / camera.rate / self._per_frame)
        self._ticks = 0
        self._heard_ns: int | None = None
        self._sent: dict[int, float] = {}
        self._latencies: list[float] = []
        create = self.create_publisher
        self._image = create(Image, 'image', qos.SENSOR_OUT)
        self._info = create(CameraInfo, 'camera_info', qos.SENSOR_OUT)
        self._odometry = create(Odometry, 'odom', qos.SENSOR_OUT)
        self._time_out = create(ClockMessage, '/clock', qos.CLOCK)
        self._tf = None if TFMessage is None else create(TFMessage, '/tf', qos.RELIABLE)
        self._diagnostics = create(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        self.create_subscription(TwistStamped, 'cmd_vel', self._on_command, qos.COMMAND)
        self.create_service(Trigger, '~/reset', self._on_reset)
        factor = self.config.sim.real_time_factor
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._period = self._tick_ns * 1e-9 / factor if factor > 0 else 0.0
        self._due = time.monotonic()
        self.create_timer(self._period, self._run, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        gc.collect()
        gc.freeze()  # a full collection takes longer than a frame: leave it nothing to walk
        self.get_logger().info(
            f'scene {self.config.sim.seed}: '
            + ', '.join(f'{o.colour} {o.shape}' for o in self.sim.scene.objects))

    @property
    def _now_ns(self) -> int:
        return self._epoch_ns + self.sim.time_ns

    def _run(self) -> None:
        """Tick as often as it is time: a timer that comes late leaves out what it missed."""
        now = time.monotonic()
        if self._period == 0.0:  # as fast as it goes
            self._tick()
            return
        self._due = max(self._due, now - LATE_S)
        while self._due <= now + self._period / 2:
            self._tick()
            self._due += self._period
            if self._ticks % self._per_frame == 0:
                return  # a picture is out: hear first what the pilot says to it

    def _tick(self) -> None:
        sim, camera = self.sim, self.config.camera
        if self._heard_ns is not None and (
                self._now_ns - self._heard_ns > self.config.sim.command_timeout * 1e9):
            sim.command(np.zeros(3), 0.0)  # the autopilot's own failsafe
            self._heard_ns = None
        sim.advance(self._tick_ns)
        self._ticks += 1
        now = self._now_ns
        self._time_out.publish(ClockMessage(clock=conversions.to_stamp(now)))
        self._odometry.publish(conversions.pose_to_odometry(
            now, sim.position, sim.quaternion, sim.velocity_world, sim.angular_velocity_body,
            'odom', 'base_link'))
        if self._ticks % self._per_frame:
            return
        frame = Frame(now, sim.frame().image)
        self._sent[now] = time.monotonic()
        self._image.publish(conversions.frame_to_image(frame, CAMERA_FRAME))
        self._info.publish(conversions.camera_info(
            now, CAMERA_FRAME, camera.width, camera.height, math.radians(camera.fov)))
        if self._tf is not None:
            self._tf.publish(TFMessage(transforms=[
                _transform(now, 'odom', 'base_link', sim.position, sim.quaternion),
                _transform(now, 'base_link', CAMERA_FRAME, (0, 0, 0), OPTICAL)]))
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def _on_command(self, message: TwistStamped) -> None:
        arrived = time.monotonic()
        t = message.twist
        values = np.array([t.linear.x, t.linear.y, t.linear.z])
        try:
            self.sim.command(values, t.angular.z)
        except ValueError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)
            return
        self._heard_ns = self._now_ns
        sent = self._sent.pop(conversions.to_nanoseconds(message.header.stamp), None)
        if sent is not None:
            self._latencies.append((arrived - sent) * 1e3)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._epoch_ns = self._now_ns
        self.sim.reset()
        self._heard_ns = None
        response.success, response.message = True, f'scene {self.config.sim.seed} again'
        return response

    def _report(self) -> None:
        """Tell the time from handing a frame to the middleware to the arrival of its command."""
        window, self._latencies = self._latencies, []
        self._diagnostics.publish(diagnostics.array(
            self.get_clock().now().to_msg(),
            f'{self.get_fully_qualified_name()}: simulator'.lstrip('/'), 'edge_vla',
            diagnostics.OK, 'flying', {
                'time [s]': f'{self._now_ns * 1e-9:.2f}',
                'memory [MB]': f'{memory_mb():.0f}',
                'camera to command [ms]': ' '.join(f'{v:.2f}' for v in window)}))

    def close(self) -> None:
        """Nothing has to be left in order."""


def _transform(stamp_ns: int, parent: str, child: str, position: Sequence[float],
               quaternion: Sequence[float]) -> TransformStamped:
    out = TransformStamped(child_frame_id=child)
    out.header.stamp, out.header.frame_id = conversions.to_stamp(stamp_ns), parent
    p, q = out.transform.translation, out.transform.rotation
    p.x, p.y, p.z = (float(v) for v in position)
    q.x, q.y, q.z, q.w = (float(v) for v in quaternion)
    return out


def main() -> int:
    """Run the node."""
    return spin.run(SimNode, 'sim_node')


if __name__ == '__main__':
    raise SystemExit(main())
