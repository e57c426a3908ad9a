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


"""What a pilot did on a recording: columns of numbers, some hundred bytes per image."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
import json

import cv2
from edge_vla.datatypes import Action, Command
from edge_vla.language.seeing import Cost
import numpy as np

THUMBNAILS = 16  # kept while an unknown number of images goes by; a report shows about half
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 480, 4800  # px, at most
WITHIN = 3  # frames after a window of tokens began
STATES = ('ok', 'limited', 'stale', 'rejected', 'disabled')
ADAPTING = ('off', 'active', 'frozen', 'reverted')
# action, command, target (visible, bearing, distance), tokens, measured speed, adaptation
# (norm of the parameters, error, error without, compensation)
WIDTHS = {'action': 4, 'command': 4, 'target': 3, 'tokens': 1, 'speed': 1, 'adaptation': 4}


@dataclass
class Track:
    """
    One pilot on one camera.

    Attributes
    ----------
    stamp_ns, recorded_ns : array of int64
        Stamp of each image and when it was recorded.
    columns : dict of str to array of float64
        Rows of ``WIDTHS``, flat; `table` has them as NumPy arrays.
    state, adapting : bytearray
        Indices into ``STATES`` and ``ADAPTING``.
    latency_ms : array of float64
        Wall time of each step: the only thing here that differs between two runs.
    said : list of (int, str)
        Recorded time and narration, where it changed.
    pictures : list of (int, bytes)
        Index of an image, and a JPEG of it with the overlay.
    read : list of Cost
        What the seeing head's look at each narration cost.
    all_read : Cost or None
        What reading all tokens would have cost each time.

    """

    stamp_ns: array = field(default_factory=lambda: array('q'))
    recorded_ns: array = field(default_factory=lambda: array('q'))
    columns: dict[str, array] = field(
        default_factory=lambda: {name: array('d') for name in WIDTHS})
    state: bytearray = field(default_factory=bytearray)
    adapting: bytearray = field(default_factory=bytearray)
    latency_ms: array = field(default_factory=lambda: array('d'))
    said: list[tuple[int, str]] = field(default_factory=list)
    pictures: list[tuple[int, bytes]] = field(default_factory=list)
    read: list[Cost] = field(default_factory=list)
    all_read: Cost | None = None
    _stride: int = 1

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.stamp_ns)

    def add(self, action: Action, command: Command, recorded_ns: int, speed: float | None,
            tokens: int, latency_ms: float, adaptation: Mapping[str, float | str]) -> None:
        """
        Append one step.

        Parameters
        ----------
        action : Action
            What the policy wanted.
        command : Command
            What the gate let out.
        recorded_ns : int
            When the image was recorded.
        speed : float or None
            Measured, m/s.
        tokens : int
            How many tokens an image has before any are dropped.
        latency_ms : float
            Wall time of the step.
        adaptation : mapping
            State of the adaptation.

        """
        info, c = action.info, self.columns
        self.stamp_ns.append(action.stamp_ns)
        self.recorded_ns.append(recorded_ns)
        c['action'].extend((*map(float, action.velocity), float(action.yaw_rate)))
        c['command'].extend((*command.velocity, command.yaw_rate))
        c['target'].extend((float(info['target_visible']), float(info['target_bearing']),
                            float(info['target_distance'])))
        c['tokens'].append(info['tokens'] / tokens)
        c['speed'].append(float('nan') if speed is None else speed)
        c['adaptation'].extend(float(adaptation[k]) for k in (
            'parameters', 'error', 'error_without', 'compensation'))
        self.state.append(STATES.index(command.state))
        self.adapting.append(ADAPTING.index(adaptation['state']))
        self.latency_ms.append(latency_ms)

    def table(self, name: str) -> np.ndarray:
        """Return a column of ``WIDTHS``, float64 [N, width]."""
        return np.array(self.columns[name], np.float64).reshape(-1, WIDTHS[name])

    def times(self) -> np.ndarray:
        """Return when the images were recorded, int64 [N], ns."""
        return np.array(self.recorded_ns, np.int64)

    def wants_picture(self) -> bool:
        """
        Tell whether the newest image is the first, or one of an evenly spaced few.

        These lie within the windows of the token stream, not where one begins: there all is kept.
        """
        newest = len(self) - 1
        return newest == 0 or newest >= WITHIN and (newest - WITHIN) % self._stride == 0

    def picture(self, image: np.ndarray) -> None:
        """Keep a picture of the newest image, uint8 [H, W, 3] RGB; drop some when it gets many."""
        width, height = THUMBNAIL_WIDTH, round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1])
        if height > THUMBNAIL_HEIGHT:  # JPEG has its limits
            width, height = max(1, width * THUMBNAIL_HEIGHT // height), THUMBNAIL_HEIGHT
        small = cv2.resize(image, (width, max(1, height)), interpolation=cv2.INTER_AREA)
        data = cv2.imencode('.jpg', cv2.cvtColor(small, cv2.COLOR_RGB2BGR),
                            [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
        self.pictures.append((len(self) - 1, data))
        if len(self.pictures) > THUMBNAILS:
            self.pictures = self.pictures[:1] + self.pictures[1::2]
            self._stride *= 2

    def actions(self) -> list[str]:
        """Return one line of JSON per step."""
        action, command, target = (self.table(n).tolist() for n in (
            'action', 'command', 'target'))
        return [json.dumps({
            'stamp_ns': self.stamp_ns[i], 'velocity': action[i][:3], 'yaw_rate': action[i][3],
            'command': command[i][:3], 'command_yaw_rate': command[i][3],
            'state': STATES[self.state[i]], 'target_visible': target[i][0],
            'target_bearing': target[i][1], 'target_distance': target[i][2]})
            for i in range(len(self))]
