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


"""The record of a flight: what was asked, flown and seen, and the report of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import json
import math
from pathlib import Path
from typing import Any

import cv2
from edge_vla.datatypes import Frame, Observation
from edge_vla.exceptions import EdgeVlaError
from edge_vla.language.plan import not_understood, Plan
from edge_vla.pipeline import Pipeline
from edge_vla.sim.judge import MissionJudge, Verdict
from edge_vla.sim.scene import Scene
from edge_vla.visualization.overlay import draw, Overlay
from edge_vla.visualization.trajectory import Leg, plot_flight
from edge_vla.visualization.video import VideoWriter
import numpy as np

OUTCOMES = {'success': 'obeyed', 'collision': 'collided', 'timeout': 'ran out of time',
            'lost': 'flew off', 'running': 'stopped early'}
NOT_JUDGED, NOT_UNDERSTOOD = 'not judged', 'not understood'
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Picture:
    """A camera picture of the flight, kept as JPEG, and what is drawn over it."""

    stamp_ns: int
    jpeg: np.ndarray
    overlay: Overlay


@dataclass
class LegRecord:
    """
    The flight under one instruction.

    Parameters
    ----------
    instruction : str
        What was asked.
    plans : sequence of Plan
        The steps that means; empty where no rule knows the wording, then nobody judges.
    scene : Scene
        Where.

    """

    instruction: str
    plans: Sequence[Plan]
    scene: Scene
    verdict: Verdict | None = None
    narration: str = ''
    stamps_ns: list[int] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    yaws: list[float] = field(default_factory=list)
    speed: float = 0.0
    pictures: list[Picture] = field(default_factory=list)
    _judge: MissionJudge | None = None

    def pose(self, stamp_ns: int, position: np.ndarray, velocity: np.ndarray,
             yaw: float) -> None:
        """Take one pose, world frame; repeated stamps are skipped."""
        if self.stamps_ns and stamp_ns <= self.stamps_ns[-1]:
            return
        position = np.array(position, float)
        self.stamps_ns.append(stamp_ns)
        self.positions.append(position)
        self.yaws.append(float(yaw))
        self.speed = float(np.linalg.norm(velocity))
        if not self.plans:
            return
        if self._judge is None:
            try:
                self._judge = MissionJudge(self.scene, self.plans, position, yaw, stamp_ns)
            except ValueError as error:
                raise EdgeVlaError(f'"{self.instruction}" cannot be flown: {error}') from error
        self.verdict = self._judge.update(stamp_ns, position, velocity, yaw)

    def picture(self, frame: Frame, velocity: Sequence[float] | None, yaw_rate: float,
                start_ns: int) -> None:
        """Keep a camera picture with the command in force; repeated stamps are skipped."""
        if self.pictures and frame.stamp_ns <= self.pictures[-1].stamp_ns:
            return
        _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
                               [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self.pictures.append(Picture(frame.stamp_ns, jpeg, Overlay(
            self.instruction, self.narration, velocity, yaw_rate, self.speed,
            time_s=(frame.stamp_ns - start_ns) * 1e-9)))

    @property
    def elapsed(self) -> float:
        """Seconds since the instruction."""
        return (self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9 if self.stamps_ns else 0.0

    @property
    def over(self) -> bool:
        """Whether the judge has decided."""
        return self.verdict is not None and self.verdict.status != 'running'

    @property
    def understood(self) -> bool:
        """Whether the pilot said nothing else."""
        return self.narration != not_understood(self.instruction)

    @property
    def reached(self) -> bool | None:
        """Whether the instruction was obeyed; None if nobody could judge."""
        if not self.understood:
            return False
        if not self.plans:
            return None
        return self.verdict is not None and self.verdict.status == 'success'

    @property
    def outcome(self) -> str:
        """Return the end in words."""
        if not self.understood:
            return NOT_UNDERSTOOD
        if not self.plans:
            return NOT_JUDGED
        status = 'running' if self.verdict is None else self.verdict.status
        if status == 'success' and [p.verb for p in self.plans] == ['hover']:
            return 'hovered'  # on an order to
        return OUTCOMES[status]

    def row(self) -> dict[str, Any]:
        """Return the leg's part of the report."""
        way = np.array(self.positions).reshape(-1, 3)
        path = float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())
        v = self.verdict
        return {
            'instruction': self.instruction,
            'meaning': ', then '.join(p.text() for p in self.plans) or None,
            'narration': self.narration, 'reached': self.reached, 'outcome': self.outcome,
            'time_s': round(self.elapsed, 2), 'path_length_m': round(path, 2),
            'final_distance_m': None if v is None else round(v.distance, 2),
            'closest_distractor_m': None if v is None or not math.isfinite(v.closest_distractor)
            else round(v.closest_distractor, 2)}


def exit_status(legs: Sequence[LegRecord]) -> int:
    """Return 0 if every instruction was obeyed, 1 if one was not, 3 if one was not judged."""
    if any(leg.reached is False for leg in legs):
        return 1
    return 3 if any(leg.reached is None for leg in legs) else 0


def rate(stamps_ns: Sequence[int]) -> float | None:
    """Return the mean rate of increasing stamps, Hz, or None for fewer than two."""
    if len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return round((len(stamps_ns) - 1) / ((stamps_ns[-1] - stamps_ns[0]) * 1e-9), 2)


def write_report(path: Path, legs: Sequence[LegRecord], **facts: Any) -> None:
    """Write the flight's JSON report; `facts` are added to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {'obeyed': exit_status(legs) == 0, 'instructions': [leg.row() for leg in legs],
              **facts}
    path.write_text(json.dumps(report, indent=1, default=str) + '\n')


def write_trajectory(path: Path, legs: Sequence[LegRecord], title: str) -> None:
    """Draw the flight from above."""
    plot_flight(path, legs[0].scene, [
        Leg(leg.instruction, f'{leg.outcome}, {leg.elapsed:.1f} s',
            np.array(leg.positions).reshape(-1, 3), np.array(leg.yaws)) for leg in legs], title)


def write_video(path: Path, legs: Sequence[LegRecord], pictures_per_s: float,
                pilot: Pipeline | None = None) -> None:
    """
    Write the camera's pictures with what was asked, understood and commanded.

    With a `pilot`, where it looks is painted too. That depends on a picture and the instruction
    alone, so it can be computed afterwards and costs the flight nothing.
    """
    with VideoWriter(path, pictures_per_s) as video:
        for leg in legs:
            for picture in leg.pictures:
                image = cv2.cvtColor(cv2.imdecode(picture.jpeg, cv2.IMREAD_COLOR),
                                     cv2.COLOR_BGR2RGB)
                overlay = picture.overlay
                if pilot is not None:
                    seen = pilot.step(Observation(Frame(picture.stamp_ns, image),
                                                  leg.instruction))
                    overlay = replace(overlay, attention=seen.info['attention'])
                video.write(draw(image, overlay))
