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


"""A PX4 that is only its commander: arming, modes, offboard loss, failsafe, link and clock."""

from dataclasses import dataclass, field

from edge_vla.autopilot.px4_offboard import Setpoint
from edge_vla.autopilot.px4_requests import (
    ARM_DISARM,
    HOLD,
    MAIN_OFFBOARD,
    OFFBOARD,
    SET_MODE,
    Vehicle,
    VehicleCommand,
)

POSITION = 2  # NAVIGATION_STATE_POSCTL
LOSS_S = 1.0  # COM_OF_LOSS_T
ACCEPT, REJECT, DENY = 0, 1, 2


@dataclass
class SimulatedPx4:
    """
    What PX4's documentation says of offboard mode, as a state machine.

    The mode is accepted, and armed in, only while heartbeats come; ``LOSS_S`` after the last one
    an armed vehicle falls into Hold, keeping the user's intention, and returns by itself when
    heartbeats come back. That last habit is the one our side has to guard against.
    """

    armed: bool = False
    nav_state: int = POSITION
    intention: int = POSITION
    failsafe: bool = False
    checks_pass: bool = True
    accepts_offboard: bool = True
    mute: bool = False  # commands arrive, answers do not
    deaf: bool = False  # commands do not arrive
    heartbeat_at: float = float('-inf')
    setpoint: Setpoint | None = None
    commands: list[tuple[float, int]] = field(default_factory=list)
    entered_by_itself: int = 0

    def hear_heartbeat(self, now: float, setpoint: Setpoint) -> None:
        self.heartbeat_at, self.setpoint = now, setpoint

    def alive(self, now: float) -> bool:
        return now - self.heartbeat_at <= LOSS_S

    def advance(self, now: float) -> None:
        alive = self.alive(now)
        if self.intention == OFFBOARD and self.armed:
            if self.nav_state == OFFBOARD and not alive:
                self.nav_state, self.failsafe = HOLD, True
            elif self.nav_state != OFFBOARD and alive:
                self.nav_state, self.failsafe = OFFBOARD, False
                self.entered_by_itself += 1

    def choose(self, now: float, mode: int) -> bool:
        """Let the user choose a mode, as by remote control."""
        if mode == OFFBOARD and not (self.alive(now) and self.accepts_offboard):
            return False
        self.intention = self.nav_state = mode
        self.failsafe = False
        return True

    def obey(self, now: float, command: VehicleCommand) -> tuple[int, int] | None:
        """Take a command; return its acknowledgement, or None where that is lost."""
        if self.deaf:
            return None
        self.commands.append((now, command.command))
        result = ACCEPT
        if command.command == ARM_DISARM:
            arm = command.params[0] == 1.0
            runs = self.nav_state != OFFBOARD or self.alive(now)  # a mode that cannot is not armed
            if arm and not (self.checks_pass and runs):
                result = REJECT
            else:
                self.armed = arm
        elif command.command == SET_MODE:
            mode = OFFBOARD if command.params[1] == MAIN_OFFBOARD else HOLD
            result = ACCEPT if self.choose(now, mode) else DENY
        return None if self.mute else (command.command, result)

    def status(self) -> Vehicle:
        return Vehicle(self.armed, self.nav_state, self.intention, self.failsafe,
                       self.checks_pass)
