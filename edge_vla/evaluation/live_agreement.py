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


"""Whether a live pilot answers a recording as its replay did."""

from collections.abc import Collection, Sequence
import json
from pathlib import Path
from typing import Any

from edge_vla.exceptions import BagError
import numpy as np

TOLERANCE = 1e-6  # m/s and rad/s
ENOUGH = 0.999  # of the actions
LISTED = 10  # stamps in a sentence; a file has them all


class LiveAgreement:
    """
    Compares commands of a live pilot with ``actions.json`` of a replay of the same recording.

    Parameters
    ----------
    path : Path
        ``actions.json``, or the folder it is in.

    Raises
    ------
    BagError
        It is no such file.

    """

    def __init__(self, path: Path) -> None:
        self.path = path / 'actions.json' if path.is_dir() else path
        try:
            actions = json.loads(self.path.read_text(encoding='utf-8'))['actions']
            # a repeated stamp repeats its action
            self._replayed = {int(a['stamp_ns']): np.array(
                [*a['command'], a['command_yaw_rate']], np.float64) for a in actions}
        except OSError as error:
            raise BagError(f'{self.path} cannot be read: {error.strerror or error}') from error
        except (ValueError, TypeError, KeyError) as error:
            raise BagError(f'{self.path} is no actions.json of edge-vla replay') from error
        self._apart: dict[int, float] = {}

    def heard(self, stamp_ns: int, command: Sequence[float]) -> None:
        """
        Compare the first command that answers an image; ramps and zeros that follow do not count.

        Parameters
        ----------
        stamp_ns : int
            Of the image.
        command : sequence of float
            Forward, left, up, m/s, and yaw rate, rad/s.

        """
        if stamp_ns in self._replayed and stamp_ns not in self._apart:
            by = np.abs(np.array(command, np.float64) - self._replayed[stamp_ns]).max()
            self._apart[stamp_ns] = float(by) if np.isfinite(by) else np.inf

    def result(self, played: Collection[int]) -> dict[str, Any]:
        """
        Return what came of the images that were played.

        Parameters
        ----------
        played : collection of int
            Their stamps, ns. Those that the replay left out do not count.

        Returns
        -------
        dict
            images, answered, agreeing, share (of the images that agree), largest (difference),
            unanswered (stamps), different (stamp and by how much), explained (whether every
            difference comes after an image that got no answer: the pilot's state is then another).

        """
        both = sorted(s for s in set(played) if s in self._replayed)
        unanswered = [s for s in both if s not in self._apart]
        different = [{'stamp_ns': s, 'by': self._apart[s]} for s in both
                     if self._apart.get(s, 0.0) > TOLERANCE]
        answered = len(both) - len(unanswered)
        agreeing = answered - len(different)
        return {'images': len(both), 'answered': answered, 'agreeing': agreeing,
                'share': agreeing / len(both) if both else 0.0,
                'largest': max((self._apart[s] for s in both if s in self._apart), default=0.0),
                'tolerance': TOLERANCE, 'unanswered': unanswered, 'different': different,
                'explained': not different or bool(
                    unanswered and unanswered[0] < different[0]['stamp_ns'])}


def sentence(result: dict[str, Any]) -> str:
    """Say a result in one line."""
    if not result['images']:
        return 'none of the images is in the replay: it was of another recording, camera or part'
    text = (f'{result["agreeing"]} of {result["images"]} commands are those of the replay to '
            f'{result["tolerance"]:g} ({100 * result["share"]:.2f} %)')
    if lost := result['unanswered']:
        text += f'; {len(lost)} images got no command: {_some(lost)}'
    if other := result['different']:
        text += (f'; {len(other)} differ by up to {result["largest"]:.2g}, '
                 + ('after an image that got none' if result['explained'] else 'unexplained')
                 + f': {_some([d["stamp_ns"] for d in other])}')
    return text


def _some(stamps: Sequence[int]) -> str:
    return ', '.join(map(str, stamps[:LISTED])) + (' ...' if len(stamps) > LISTED else '')
