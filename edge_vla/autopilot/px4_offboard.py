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


"""
PX4's offboard control, without ROS: when a setpoint may be sent, and what it says.

PX4 flies offboard as long as ``OffboardControlMode`` keeps coming, its heartbeat, whatever the
setpoints beside it say. A heartbeat from a timer therefore outlives a pilot that died. Here no
timer makes one: a heartbeat and its setpoint are the answer to one command, and where a command
is refused there is neither, so that PX4's own failsafe takes over after ``COM_OF_LOSS_T``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from edge_vla.autopilot import frames
from edge_vla.autopilot.bridge import VelocityBridge
from edge_vla.autopilot.px4_requests import OFFBOARD, Request, Requests, Vehicle, VehicleCommand
from edge_vla.config import Px4Config

STREAM_BEFORE_S = 1.0  # so long PX4 wants heartbeats before it accepts the mode


@dataclass(frozen=True)
class Setpoint:
    """
    What one command comes to: a heartbeat for velocity control and this setpoint.

    Attributes
    ----------
    velocity : tuple of float
        (north, east, down), m/s.
    yaw_rate : float
        rad/s, clockwise seen from above.

    """

    velocity: tuple[float, float, float]
    yaw_rate: float


class Px4Offboard(VelocityBridge[Setpoint]):
    """
    Decides over every command, and carries out what was asked of PX4.

    What is to be sent is a `Setpoint`, together with a heartbeat.

    Parameters
    ----------
    config : Px4Config

    Attributes
    ----------
    vehicle : Vehicle or None
        Newest state of PX4.

    """

    config: Px4Config

    def __init__(self, config: Px4Config) -> None:
        super().__init__(config)
        self.vehicle: Vehicle | None = None
        self._requests = Requests(config.request_timeout)
        self._vehicle_at = self._stream_since = -math.inf
        self._interrupted = False

    def hear_vehicle(self, now: float, vehicle: Vehicle) -> None:
        """
        Take PX4's state.

        Parameters
        ----------
        now : float
            Time of arrival, s.
        vehicle : Vehicle
            What it says of itself.

        """
        self.vehicle, self._vehicle_at = vehicle, now
        if not vehicle.armed or vehicle.intention != OFFBOARD:
            self._interrupted = False  # somebody took over

    def hear_attitude(self, now: float, quaternion: Sequence[float]) -> None:
        """
        Take PX4's attitude; one that is not finite counts as none.

        Parameters
        ----------
        now : float
            Time of arrival, s.
        quaternion : sequence of float
            w x y z, body FRD to world NED.

        """
        yaw = frames.swap_yaw(frames.yaw_of(frames.swap_attitude(quaternion)))
        if math.isfinite(yaw):
            self._yaw, self._yaw_at = yaw, now

    def connected(self, now: float) -> bool:
        """Tell whether PX4's state was heard lately."""
        return now - self._vehicle_at <= self.config.max_status_age

    def streaming(self, now: float) -> bool:
        """Tell whether setpoints are going out."""
        return now - self._sent_at <= self.config.max_gap

    def _refuse(self, now: float) -> str:
        vehicle = self.vehicle
        if vehicle is None or not self.connected(now):
            return 'PX4 is not heard'
        if now - self._yaw_at > self.config.max_odometry_age:
            return 'no odometry of PX4: which way is forward?'
        if vehicle.armed and vehicle.intention == OFFBOARD:
            # in its failsafe it would be back in the mode with the next heartbeat, by itself
            self._interrupted |= vehicle.nav_state != OFFBOARD or not self.streaming(now)
        if self._interrupted:
            return 'offboard was interrupted: choose another mode, then offboard again'
        return ''

    def _answer(self, now: float, velocity: Sequence[float], yaw_rate: float) -> Setpoint:
        if not self.streaming(now):
            self._stream_since = now
        north, east, down = (float(v) for v in frames.heading_to_ned(velocity, self._yaw))
        return Setpoint((north, east, down), -float(yaw_rate))

    def request(self, now: float, kind: str) -> Request:
        """
        Begin to ask something of PX4.

        Parameters
        ----------
        now : float
            s.
        kind : str
            'arm', 'disarm', 'offboard' or 'hold'.

        Returns
        -------
        Request
            It ends by itself as time passes and PX4 answers; refused ones have ended.

        """
        refusal = ''
        if not self.config.allow_commands:
            refusal = ('commands to PX4 are off: use the remote control, or set the parameter '
                       'px4.allow_commands')
        elif not self.connected(now):
            refusal = 'PX4 is not heard'
        elif kind == 'offboard' and not (
                self.streaming(now) and now - self._stream_since >= STREAM_BEFORE_S):
            refusal = (f'PX4 needs {STREAM_BEFORE_S:g} s of commands before it flies offboard'
                       + (f': {self.reason}' if self.reason else ''))
        return self._requests.begin(now, kind, refusal)

    def hear_ack(self, now: float, command: int, result: int) -> None:
        """
        Take PX4's answer to a command.

        Parameters
        ----------
        now : float
            Time of arrival, s.
        command : int
            Which one.
        result : int
            ``VEHICLE_CMD_RESULT`` of px4_msgs.

        """
        self._requests.hear_ack(now, command, result)

    def tick(self, now: float) -> VehicleCommand | None:
        """
        Let time pass; call it ten times a second or oftener.

        Parameters
        ----------
        now : float
            s.

        Returns
        -------
        VehicleCommand or None
            To be sent to PX4; only ever for a request.

        """
        return self._requests.tick(now, self.vehicle if self.connected(now) else None,
                                   self.streaming(now))

    def state(self, now: float) -> str:
        """Return what it does, in a word or two."""
        vehicle = self.vehicle
        if vehicle is None or not self.connected(now):
            return 'PX4 is not heard'
        if not self.streaming(now):
            return self.reason or 'no commands'
        return 'flying offboard' if vehicle.armed and vehicle.nav_state == OFFBOARD else 'ready'
