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


"""Which of the words that arrive is the instruction to follow, and what is said of one refused."""

from collections.abc import Mapping
import time
from typing import Any

from edge_vla.language.head import LONGEST
from edge_vla.ros.diagnostics import said

SHOWN = 40  # characters of a refused instruction


class Words:
    """
    Knows what was heard from whom, so that every word counts once and the newest in the end.

    Two subscriptions hear instructions: a volatile one all that is said from now on, and one that
    asks publishers for what they keep also their last word from before.
    """

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, int]] = {}  # time and number of each sender's newest
        self._last_ns = 0  # when anybody's newest was said

    def said_now(self, info: Mapping[str, Any]) -> bool:
        """Tell whether a word is news that was said now: the newest, whatever its stamp is."""
        # not every middleware says when it came
        self._last_ns = max(self._last_ns, info.get('received_timestamp') or _sent(info))
        return self._news(info)

    def kept(self, info: Mapping[str, Any]) -> bool:
        """
        Tell whether a word that its publisher kept is news, and nobody said another after it.

        Such words of several publishers are found in any order: only stamps tell which was the
        last, none of which is later than now. What is said now comes here too, but the other
        subscription has it as well, so a clock that is behind loses no word but one that was
        said before that subscription was found, and after which another was heard.
        """
        sent = _sent(info)
        if 0 < sent < self._last_ns:
            return False
        self._last_ns = max(sent, self._last_ns)
        return self._news(info)

    def _news(self, info: Mapping[str, Any]) -> bool:
        sender = str(info.get('publisher_gid'))
        sent = info.get('source_timestamp') or 0
        number = info.get('publication_sequence_number') or 0
        last, newest = self._heard.get(sender, (0, 0))
        # the other subscription had it, unless a clock was set back or nobody says when it came
        if sent and (sent == last or (sent < last and 0 < number <= newest)):
            return False
        self._heard[sender] = sent, number
        return True


def _sent(info: Mapping[str, Any]) -> int:
    """Return when a word was said, not later than now; 0 where nobody tells."""
    return min(info.get('source_timestamp') or 0, time.time_ns())


def shortened(instruction: str, most: int = LONGEST) -> str:
    """Return an instruction as it is shown: cut at what can be read, for some are of megabytes."""
    return instruction if len(instruction) <= most else instruction[:most] + '...'


def refusal(instruction: str, error: Exception) -> str:
    """Say which instruction cannot be read, and why."""
    return f'"{shortened(instruction, SHOWN)}" is refused, hovering: {said(error)}'
