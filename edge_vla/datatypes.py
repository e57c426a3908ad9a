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
The data that flows through the stack: NumPy arrays plus time stamps.

Frames follow REP-103: body x forward, y left, z up; yaw rate about z, counter-clockwise
positive; SI units. Stamps are integer nanoseconds of whatever clock the source uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_vla.language.plan import Step


@dataclass(frozen=True)
class Frame:
    """
    One camera image.

    Attributes
    ----------
    stamp_ns : int
        Time of exposure, nanoseconds.
    image : numpy.ndarray
        uint8 [H, W, 3], RGB, C-contiguous.

    """

    stamp_ns: int
    image: np.ndarray


@dataclass(frozen=True)
class Motion:
    """
    Measured motion of the body, from odometry.

    Attributes
    ----------
    stamp_ns : int
        Time of measurement, nanoseconds.
    velocity : numpy.ndarray
        float64 [3], m/s, in the *heading frame*: x forward along the yaw direction, y left,
        z up (the frame in which commands are given, without roll and pitch).
    yaw_rate : float
        rad/s about z up.
    roll, pitch : float
        rad, ZYX convention; positive pitch is nose down in the forward-left-up frame.

    """

    stamp_ns: int
    velocity: np.ndarray
    yaw_rate: float
    roll: float
    pitch: float


@dataclass(frozen=True)
class Observation:
    """
    What the pipeline sees at one camera frame.

    Attributes
    ----------
    frame : Frame
        The newest image; its stamp is the time of this step.
    instruction : str
        The instruction in force, plain language.
    motion : Motion or None
        Newest measured motion, or None where there is no odometry.

    """

    frame: Frame
    instruction: str
    motion: Motion | None = None


@dataclass(frozen=True)
class Context:
    """
    What the language head hands to the policy.

    Attributes
    ----------
    vector : numpy.ndarray
        float32 [CONTEXT_SIZE], slot probabilities of the first step; see ``language.plan``.
    text : str
        All steps in words, published as narration.
    instruction : str
        The instruction this context was read from.
    confidence : float
        That of the least certain step, in [0, 1].
    steps : tuple of Step
        What to do, in this order.

    """

    vector: np.ndarray
    text: str
    instruction: str
    confidence: float
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Action:
    """
    What the policy wants, before the safety gate.

    Attributes
    ----------
    stamp_ns : int
        Stamp of the frame this action answers.
    velocity : numpy.ndarray
        float64 [3], m/s, heading frame (x forward, y left, z up).
    yaw_rate : float
        rad/s about z up.
    info : dict
        Read-outs for display: ``attention`` float32 [rows, cols] in [0, 1], 0 without a target,
        ``target_visible`` float in [0, 1], ``target_bearing`` rad (left positive),
        ``target_distance`` m, ``dark_s`` s since the picture last showed anything, ``hangs``
        whether the camera repeats it while the vehicle moves, ``covered`` share of the picture
        that dirt on the lens covers, ``tokens`` int, ``step`` of the mission being flown (from 1,
        0 without one) and ``doing``, what that is in words.

    """

    stamp_ns: int
    velocity: np.ndarray
    yaw_rate: float
    info: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """
    A velocity command that passed the safety gate; only ``SafetyGate`` makes these.

    Attributes
    ----------
    stamp_ns : int
        Stamp of the observation it answers.
    velocity : tuple of float
        (x, y, z) m/s, heading frame, finite and inside the limits.
    yaw_rate : float
        rad/s, finite and inside the limits.
    state : str
        Why it is what it is: 'ok', 'limited', 'stale', 'rejected' or 'disabled'.

    """

    stamp_ns: int
    velocity: tuple[float, float, float]
    yaw_rate: float
    state: str
