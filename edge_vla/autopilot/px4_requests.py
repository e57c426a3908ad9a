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


"""Arming and modes of PX4: asked for once, repeated until answered, reported truthfully."""

from dataclasses import dataclass

OFFBOARD, HOLD = 14, 4  # NAVIGATION_STATE_OFFBOARD and _AUTO_LOITER of px4_msgs/VehicleStatus
ARM_DISARM, SET_MODE = 400, 176  # VEHICLE_CMD_COMPONENT_ARM_DISARM and _DO_SET_MODE
# param1 (custom mode), param2 (main mode) and param3 (sub mode) as PX4 numbers them
CUSTOM, MAIN_AUTO, MAIN_OFFBOARD, SUB_LOITER = 1.0, 4.0, 6.0, 3.0
COMMANDS = {
    'arm': (ARM_DISARM, (1.0, 0.0, 0.0)), 'disarm': (ARM_DISARM, (0.0, 0.0, 0.0)),
    'offboard': (SET_MODE, (CUSTOM, MAIN_OFFBOARD, 0.0)),
    'hold': (SET_MODE, (CUSTOM, MAIN_AUTO, SUB_LOITER))}
ACCEPTED, IN_PROGRESS = 0, 5
RESULTS = {1: 'rejected for now', 2: 'denied', 3: 'not supported', 4: 'failed', 6: 'cancelled'}
REPEAT_S = 0.5  # the link is best effort: a command or its answer may be lost


@dataclass(frozen=True)
class Vehicle:
    """
    The part of PX4's state that counts here.

    Attributes
    ----------
    armed : bool
    nav_state : int
        Mode it flies in.
    intention : int
        Mode the user chose; another one than `nav_state` in a failsafe.
    failsafe : bool
    ready : bool
        Whether its checks before arming pass.

    """

    armed: bool
    nav_state: int
    intention: int
    failsafe: bool = False
    ready: bool = True


@dataclass(frozen=True)
class VehicleCommand:
    """One command to PX4: its number, the first parameters, how often it was sent before."""

    command: int
    params: tuple[float, float, float]
    confirmation: int


@dataclass
class Request:
    """
    One thing asked of PX4.

    Attributes
    ----------
    kind : str
        Key of ``COMMANDS``.
    outcome : str
        What came of it; empty while it is under way.
    success : bool

    """

    kind: str
    outcome: str = ''
    success: bool = False
    began: float = 0.0
    sent_at: float | None = None
    sent: int = 0
    accepted: bool = False
    in_progress: bool = False

    def end(self, outcome: str, success: bool = False) -> None:
        """Settle it."""
        self.outcome, self.success = outcome, success

    def reached(self, vehicle: Vehicle) -> bool:
        """Tell whether PX4 is in the state asked for."""
        if self.kind in ('arm', 'disarm'):
            return vehicle.armed == (self.kind == 'arm')
        return vehicle.nav_state == (OFFBOARD if self.kind == 'offboard' else HOLD)


class Requests:
    """
    Carries out one request at a time.

    Success is what PX4's state shows, not what its acknowledgement promises.

    Parameters
    ----------
    timeout_s : float
        So long a request may take.

    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._open: Request | None = None

    def begin(self, now: float, kind: str, refusal: str = '') -> Request:
        """
        Open a request, or refuse it.

        Parameters
        ----------
        now : float
            s.
        kind : str
            Key of ``COMMANDS``.
        refusal : str, optional
            Why it is refused, if it is.

        """
        request = Request(kind, began=now)
        if self._open is not None and not refusal:
            refusal = f'"{self._open.kind}" is still under way'
        if refusal:
            request.end(f'refused: {refusal}')
        else:
            self._open = request
        return request

    def hear_ack(self, now: float, command: int, result: int) -> None:
        """
        Take an acknowledgement.

        Parameters
        ----------
        now : float
            s.
        command : int
            Number of the command it answers.
        result : int
            ``VEHICLE_CMD_RESULT`` of px4_msgs.

        """
        request = self._open
        if request is None or not request.sent or command != COMMANDS[request.kind][0]:
            return
        if result == ACCEPTED:
            request.accepted = True
        elif result == IN_PROGRESS:
            request.in_progress = True
        else:
            self._end(f'PX4 answered: {RESULTS.get(result, f"result {result}")}')

    def tick(self, now: float, vehicle: Vehicle | None,
             streaming: bool) -> VehicleCommand | None:
        """
        Let time pass.

        Parameters
        ----------
        now : float
            s.
        vehicle : Vehicle or None
            Newest state; None where PX4 is not heard.
        streaming : bool
            Whether setpoints are going out.

        Returns
        -------
        VehicleCommand or None
            To be sent.

        """
        request = self._open
        if request is None:
            return None
        if vehicle is None:
            self._end('PX4 is not heard any more')
        elif request.reached(vehicle):
            self._end('done', success=True)
        elif request.kind == 'offboard' and not streaming:
            self._end('given up: the commands of the pilot stopped')
        elif now - request.began > self.timeout_s:
            what = 'accepted it but did not do it' if request.accepted else 'did not answer'
            self._end(f'PX4 {what} within {self.timeout_s:g} s')
        elif not (request.accepted or request.in_progress) and (
                request.sent_at is None or now - request.sent_at >= REPEAT_S):
            request.sent_at = now
            request.sent += 1
            number, params = COMMANDS[request.kind]
            return VehicleCommand(number, params, request.sent - 1)
        return None

    def _end(self, outcome: str, success: bool = False) -> None:
        if self._open is not None:
            self._open.end(outcome, success)
            self._open = None
