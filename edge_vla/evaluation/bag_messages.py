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


"""Messages of a recording: read by any definition there is, and copied into a new rosbag2."""

from collections.abc import Collection
from typing import Any

from edge_vla.exceptions import MissingDependencyError

HEADER = 'std_msgs/msg/Header'
ZSTD = b'\x28\xb5\x2f\xfd'  # no CDR begins like this


def rosbags() -> Any:
    """
    Import ``rosbags``, or say how to get it.

    Raises
    ------
    MissingDependencyError
        It is not installed.

    """
    try:
        import rosbags.rosbag1
        import rosbags.rosbag2
        import rosbags.typesys
    except ImportError as error:
        raise MissingDependencyError(
            "recordings need the package rosbags: pip install 'edge_vla[bag]'") from error
    return rosbags


def typestore(ros: int = 2) -> Any:
    """Return the message types of ROS 2, or of ROS 1."""
    r = rosbags()
    return r.typesys.get_typestore(r.typesys.Stores.LATEST if ros == 2
                                   else r.typesys.Stores.ROS1_NOETIC)


class Messages:
    """
    Deserialises the messages of one recording.

    Types of the ROS distributions are known; others are read by the definition in the recording.
    Each is looked up when it is first needed, so that a broken definition of something else
    does no harm.

    Parameters
    ----------
    ros : int
        1 or 2, which has written the recording.

    """

    def __init__(self, ros: int) -> None:
        self.ros = ros
        self.standard = typestore(ros)
        self._stores: dict[str, Any] = {}

    def known(self, connection: Any) -> bool:
        """Tell whether there is a definition of the messages of a connection."""
        try:
            return connection.msgtype in self.store(connection).fielddefs
        except Exception:  # noqa: B902  the parsers of rosbags raise whatever went wrong
            return False

    def store(self, connection: Any) -> Any:
        """Return the types to read a connection with."""
        kind = connection.msgtype
        if kind in self.standard.fielddefs:
            return self.standard
        if kind not in self._stores:
            r = rosbags()
            store = r.typesys.get_typestore(r.typesys.Stores.EMPTY)
            if connection.msgdef.data:
                store.register(definitions(connection))
            self._stores[kind] = store
        return self._stores[kind]

    def read(self, connection: Any, raw: bytes) -> Any:
        """
        Deserialise a message.

        Raises
        ------
        ValueError
            It is compressed, which nothing but the metadata.yaml of its bag says.
        Exception
            Whatever ``rosbags`` raises where it is damaged.

        """
        if self.ros == 2 and bytes(raw[:4]) == ZSTD:
            raise ValueError('its messages are compressed; give the folder, with its '
                             'metadata.yaml')
        store = self.store(connection)
        return (store.deserialize_ros1 if self.ros == 1 else store.deserialize_cdr)(
            raw, connection.msgtype)


def definitions(connection: Any) -> Any:
    """Parse the definition that a recording holds for a connection (MSG or IDL)."""
    r = rosbags()
    text, separator = connection.msgdef.data, '=' * 80 + '\n'
    if connection.msgdef.format.name == 'MSG':
        return r.typesys.get_types_from_msg(text, connection.msgtype)
    if not text.startswith(f'{separator}IDL: '):
        return r.typesys.get_types_from_idl(text)
    types: dict[str, Any] = {}
    for part in text.split(separator)[1:]:
        types |= r.typesys.get_types_from_idl(part.split('\n', 1)[1])
    return types


def without_sequence(connection: Any) -> Any:
    """Return the types of a ROS 1 connection with the header of ROS 2, to convert to CDR."""
    r = rosbags()
    types = dict(definitions(connection))
    ros2 = typestore()
    if HEADER in types:
        types[HEADER] = ros2.fielddefs[HEADER]
        time = 'builtin_interfaces/msg/Time'
        types[time] = ros2.fielddefs[time]
    store = r.typesys.get_typestore(r.typesys.Stores.EMPTY)
    store.register(types)
    return store


class Copier:
    """
    Copies messages into an open ``rosbags`` rosbag2 writer; ROS 1 ones are converted to CDR.

    Parameters
    ----------
    messages : Messages
        Those of the recording.
    writer : rosbags.rosbag2.Writer
    connections : sequence of rosbags.interfaces.Connection
        What to copy.
    leave_out : collection of str
        Topics that are not copied.

    Attributes
    ----------
    skipped : list of str
        Topics whose type has no definition anywhere, so that nobody could read a copy.
    damaged : int
        Messages that could not be converted, and so were not copied.

    """

    def __init__(self, messages: Messages, writer: Any, connections: Any,
                 leave_out: Collection[str] = ()) -> None:
        self._writer, self._ros1 = writer, messages.ros == 1
        self._made: dict[tuple[int, int], tuple[Any, Any]] = {}
        self.skipped: list[str] = []
        self.damaged = 0
        added: dict[tuple[str, str], tuple[Any, Any]] = {}
        for c in connections:
            if c.topic in leave_out:
                continue
            key = c.topic, c.msgtype
            try:
                if key not in added:  # several publishers may have shared a topic
                    added[key] = self._add(messages, c)
                self._made[c.id, id(c.owner)] = added[key]
            except Exception:  # noqa: B902  the parsers of rosbags raise whatever went wrong
                self.skipped.append(c.topic)

    def write(self, connection: Any, time_ns: int, raw: bytes) -> None:
        """Copy a message, unless its topic is left out."""
        made = self._made.get((connection.id, id(connection.owner)))
        if made is None:
            return
        target, store = made
        if store is not None:
            try:
                raw = store.ros1_to_cdr(raw, connection.msgtype)
            except Exception:  # noqa: B902  the parsers of rosbags raise whatever went wrong
                self.damaged += 1
                return
        self._writer.write(target, time_ns, raw)

    def _add(self, messages: Messages, c: Any) -> tuple[Any, Any]:
        """Return the new connection, and the types that convert ROS 1 messages for it."""
        if self._ros1:
            store = without_sequence(c)
            return self._writer.add_connection(c.topic, c.msgtype, typestore=store), store
        known = ({'msgdef': c.msgdef.data, 'rihs01': c.digest} if c.msgdef.data and c.digest
                 else {'typestore': messages.store(c)})
        return self._writer.add_connection(
            c.topic, c.msgtype, serialization_format=c.ext.serialization_format,
            offered_qos_profiles=c.ext.offered_qos_profiles, **known), None
