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


"""Which topics of a recording are used: by name, or the only ones that can be meant."""

from dataclasses import dataclass
from typing import Any

from edge_vla.evaluation.bag_messages import Messages
from edge_vla.evaluation.commands import COMMANDS, FIELDS
from edge_vla.exceptions import BagError

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
ODOMETRY = 'nav_msgs/msg/Odometry'
STRING = 'std_msgs/msg/String'
OURS = '/replay/'  # what a replay added to a copy of a bag
NONE = 'none'


@dataclass(frozen=True)
class Wanted:
    """
    Topics asked for by name; empty takes the only one that can be meant, 'none' none at all.

    Attributes
    ----------
    image, odometry, commands, instructions : str
        Names, with or without the leading slash.

    """

    image: str = ''
    odometry: str = ''
    commands: str = ''
    instructions: str = ''


class Topics:
    """
    Chooses topics of a bag.

    Parameters
    ----------
    name : str
        What messages call the bag.
    connections : list of rosbags.interfaces.Connection
    messages : Messages
        Knows which types can be read.

    Attributes
    ----------
    notes : list of str
        What could not be used, and why.

    """

    def __init__(self, name: str, connections: list[Any], messages: Messages) -> None:
        self._name, self._connections, self._messages = name, connections, messages
        self.notes: list[str] = []

    def count(self, topic: str) -> int:
        """Return the number of messages on a topic."""
        return sum(c.msgcount for c in self._connections if c.topic == topic)

    def image(self, asked: str) -> str:
        """
        Choose the image topic.

        Left out of the choice are depth images, what an earlier replay wrote, and the compressed
        twin of a raw topic.

        Raises
        ------
        BagError
            There is none, several, or an empty one.

        """
        return self._choose(asked, (IMAGE, COMPRESSED), 'image', '--topic', self.cameras())

    def cameras(self) -> list[str]:
        """Return the topics that may show what a camera saw, raw ones before compressed ones."""
        names = [t for t in self._of((IMAGE, COMPRESSED)) if self.count(t)]
        names = [t for t in names if 'depth' not in t.lower() and not t.startswith(OURS)] or names
        return [t for t in names if t.removesuffix('/compressed') == t
                or t.removesuffix('/compressed') not in names]

    def odometry(self, asked: str) -> str:
        """Choose the odometry topic; empty if there is none."""
        return self._optional(asked, (ODOMETRY,), 'odometry', '--odometry', self._of((ODOMETRY,)))

    def commands(self, asked: str) -> str:
        """
        Choose the topic of recorded velocity commands; empty if there is none.

        Twists are also used for measurements, so only topics named like commands are considered.
        """
        every = [t for t in self._of(COMMANDS) if not t.startswith(OURS)]
        named = [t for t in every if any(w in t.lower() for w in ('cmd', 'command', 'setpoint'))]
        if not asked and not named and every:
            self.notes.append(f'{", ".join(every)} may hold commands; if so, name one with '
                              '--commands')
        return self._optional(asked, COMMANDS, 'command', '--commands', named)

    def instructions(self, asked: str) -> str:
        """Choose the topic with instructions; empty if there is none."""
        named = [t for t in self._of((STRING,)) if t.endswith('instruction')]
        return self._optional(asked, (STRING,), 'instruction', '--instructions', named)

    def _of(self, types: tuple[str, ...]) -> list[str]:
        return sorted({c.topic for c in self._connections if c.msgtype in types})

    def _optional(self, asked: str, types: tuple[str, ...], kind: str, flag: str,
                  candidates: list[str]) -> str:
        if asked == NONE or not (asked or candidates):
            return ''
        unusable = {c.topic: why for c in self._connections
                    if c.msgtype in types and (why := self._unusable(c))}
        candidates = [t for t in candidates if t not in unusable and self.count(t)]
        if asked or candidates:
            chosen = self._choose(asked, types, kind, flag, candidates)
            if chosen not in unusable:
                return chosen
            raise BagError(f'{self._name}: {unusable[chosen]}, so {chosen} cannot be read')
        self.notes += [f'{t}: {why}, so it cannot be read' for t, why in unusable.items()]
        return ''

    def _unusable(self, connection: Any) -> str:
        """Say why messages cannot be read; empty if they can."""
        kind = connection.msgtype
        if not self._messages.known(connection):
            return f'the bag has no definition of {kind}'
        has = {name for name, _ in self._messages.store(connection).fielddefs[kind][1]}
        lacking = [name for name in FIELDS.get(kind, ()) if name not in has]
        return f'its {kind} has no {" and no ".join(lacking)}' if lacking else ''

    def _choose(self, topic: str, types: tuple[str, ...], kind: str, flag: str,
                candidates: list[str]) -> str:
        every = self._of(types)
        listed = ', '.join(every)
        if topic and topic not in every and '/' + topic in every:
            topic = '/' + topic
        if topic and topic not in every:
            raise BagError(f'{self._name} has no {kind} topic {topic}; '
                           + (f'it has {listed}' if listed else f'it has no {kind} topic at all'))
        if not topic:
            if not every:
                has = ', '.join(sorted({f'{c.topic} ({c.msgtype})' for c in self._connections}))
                raise BagError(f'{self._name} has no {kind} topic; it has {has}')
            if len(candidates) > 1:
                other = f', or {flag} none' if kind != 'image' else ', or --topic all'
                raise BagError(f'{self._name} has several {kind} topics; choose one with '
                               f'{flag}: {", ".join(candidates)}{other}')
            topic = candidates[0] if candidates else every[0]
        if not self.count(topic):
            raise BagError(f'{self._name}: topic {topic} holds no messages')
        return topic
