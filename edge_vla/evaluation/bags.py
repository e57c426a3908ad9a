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


"""Recordings: rosbag2 folders and files through ``rosbags``, and video files through OpenCV."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from edge_vla.datatypes import Frame, Motion
from edge_vla.exceptions import BagError, ImageError, MissingDependencyError
from edge_vla.motion import motion_from_message
from edge_vla.vision.image_encodings import decode_compressed, to_rgb

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
ODOMETRY = 'nav_msgs/msg/Odometry'
SECOND_NS = 10**9


def rosbags() -> Any:
    """
    Import ``rosbags``, or say how to get it.

    Raises
    ------
    MissingDependencyError
        It is not installed.

    """
    try:
        import rosbags.highlevel
        import rosbags.rosbag2
        import rosbags.typesys
    except ImportError as error:
        raise MissingDependencyError(
            "recordings need the package rosbags: pip install 'edge_vla[bag]'") from error
    return rosbags


def typestore() -> Any:
    """Return the message types of ROS 2."""
    r = rosbags()
    return r.typesys.get_typestore(r.typesys.Stores.LATEST)


@dataclass(frozen=True)
class Sample:
    """One image of a recording, with the newest motion before it."""

    frame: Frame
    recorded_ns: int
    motion: Motion | None


class Bag:
    """
    A rosbag2 (folder, .mcap or .db3), read image by image; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
    topic : str, optional
        Image topic; needed only where there are several.
    odometry : str, optional
        Odometry topic; by default the only one there is, if any.

    Raises
    ------
    BagError
        The bag cannot be read, is empty, or has no usable image topic.

    """

    def __init__(self, path: Path, topic: str = '', odometry: str = '') -> None:
        self.path = path
        r = rosbags()
        if not path.is_dir() and path.suffix not in ('.mcap', '.db3'):
            raise BagError(f'{path} is neither a rosbag2 folder nor a .mcap or .db3 file')
        if path.is_dir() and not (path / 'metadata.yaml').is_file():
            raise BagError(f'{path} is no rosbag2: it has no metadata.yaml')
        with self._reading():
            self.reader = r.highlevel.AnyReader([path], default_typestore=typestore())
            self.reader.open()
        try:
            self.topic = self._choose(topic, (IMAGE, COMPRESSED), 'image', '--topic')
            odometries = self._topics((ODOMETRY,))
            self.odometry = ''
            if odometry or len(odometries) == 1:
                self.odometry = self._choose(odometry, (ODOMETRY,), 'odometry', '--odometry')
        except BagError:
            self.reader.close()
            raise

    def __enter__(self) -> 'Bag':
        """Return the open bag."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.reader.close()

    def __len__(self) -> int:
        """Return the number of images."""
        return self._topics((IMAGE, COMPRESSED))[self.topic]

    def __iter__(self) -> Iterator[Sample]:
        """Yield the images in the order in which they were recorded."""
        wanted = [c for c in self.reader.connections if c.topic in (self.topic, self.odometry)]
        motion = None
        for connection, time_ns, raw in self._messages(wanted):
            with self._reading():
                message: Any = self.reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp.sec * SECOND_NS + message.header.stamp.nanosec
            if connection.msgtype == ODOMETRY:
                motion = motion_from_message(message, stamp)
                continue
            try:
                image = (decode_compressed(message.data) if connection.msgtype == COMPRESSED
                         else to_rgb(message.data, message.encoding, message.height,
                                     message.width, message.step, bool(message.is_bigendian)))
            except ImageError as error:
                raise ImageError(f'{self.path}, {self.topic}: {error}') from error
            # drivers without a clock leave the stamp zero
            yield Sample(Frame(stamp or time_ns, image), time_ns, motion)

    @property
    def rate(self) -> float:
        """Mean rate of the images, kept within 1 to 120 Hz."""
        duration = self.reader.duration * 1e-9
        return min(120.0, max(1.0, (len(self) - 1) / duration)) if duration > 0 else 30.0

    def copy_into(self, writer: Any, leave_out: Collection[str] = ()) -> None:
        """Copy every message, untouched, into an open ``rosbags`` writer."""
        made = {}
        copied = [c for c in self.reader.connections if c.topic not in leave_out]
        for c in copied:
            known = {'msgdef': c.msgdef.data, 'rihs01': c.digest} if c.msgdef.data and c.digest \
                else {'typestore': self.reader.typestore}
            made[c.id, id(c.owner)] = writer.add_connection(
                c.topic, c.msgtype, serialization_format=c.ext.serialization_format,
                offered_qos_profiles=c.ext.offered_qos_profiles, **known)
        for connection, time_ns, raw in self._messages(copied):
            writer.write(made[connection.id, id(connection.owner)], time_ns, raw)

    def _messages(self, connections: Any = ()) -> Iterator[tuple[Any, int, bytes]]:
        messages = self.reader.messages(connections)
        while True:
            with self._reading():
                item = next(messages, None)
            if item is None:
                return
            yield item

    def _topics(self, types: tuple[str, ...]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for c in self.reader.connections:
            if c.msgtype in types:
                counts[c.topic] = counts.get(c.topic, 0) + c.msgcount
        return dict(sorted(counts.items()))

    def _choose(self, topic: str, types: tuple[str, ...], kind: str, flag: str) -> str:
        counts = self._topics(types)
        listed = ', '.join(counts)
        if topic and topic not in counts and '/' + topic in counts:
            topic = '/' + topic
        if topic and topic not in counts:
            raise BagError(f'{self.path} has no {kind} topic {topic}; '
                           + (f'it has {listed}' if listed else f'it has no {kind} topic at all'))
        if not topic:
            if not self.reader.connections or not self.reader.message_count:
                raise BagError(f'{self.path} is empty: it holds no messages')
            if not counts:
                has = ', '.join(sorted({f'{c.topic} ({c.msgtype})'
                                        for c in self.reader.connections}))
                raise BagError(f'{self.path} has no {kind} topic; it has {has}')
            if len(counts) > 1:
                raise BagError(f'{self.path} has several {kind} topics; '
                               f'choose one with {flag}: {listed}')
            topic = next(iter(counts))
        if not counts[topic]:
            raise BagError(f'{self.path}: topic {topic} holds no messages')
        return topic

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever goes wrong inside ``rosbags`` (it has many ways) into a BagError."""
        try:
            yield
        except Exception as error:
            detail = ' '.join(str(error).split()) or type(error).__name__
            raise BagError(f'{self.path} cannot be read, it is truncated or corrupt: '
                           f'{detail}') from error


class Video:
    """
    A video file, read image by image; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
    rate : float
        Frames per second; 0 takes the file's.

    Raises
    ------
    BagError
        It cannot be read, or does not say its frame rate.

    """

    topic = '/image'

    def __init__(self, path: Path, rate: float = 0.0) -> None:
        self.path = path
        self.capture = cv2.VideoCapture(str(path))
        if not self.capture.isOpened():
            raise BagError(f'{path} cannot be read as a video: not a video, truncated, or of a '
                           'codec that OpenCV lacks')
        self.rate = rate or self.capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self.rate <= 1000:
            raise BagError(f'{path} does not say its frame rate; give --rate')

    def __enter__(self) -> 'Video':
        """Return the open video."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.capture.release()

    def __len__(self) -> int:
        """Return the number of images that the file says it has."""
        return max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[Sample]:
        """Yield the images from the first on, stamped from 0 at the frame rate."""
        self.capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        k = 0
        while True:
            ok, image = self.capture.read()
            if not ok:
                break
            stamp = round(k * SECOND_NS / self.rate)
            yield Sample(Frame(stamp, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), stamp, None)
            k += 1
        if k == 0:
            raise BagError(f'{self.path} holds no readable images')


def open_recording(path: Path, topic: str = '', odometry: str = '',
                   rate: float = 0.0) -> Bag | Video:
    """
    Open a rosbag2 or a video.

    Raises
    ------
    BagError
        There is no such file, or it cannot be used; the message says why.

    """
    if not path.exists():
        raise BagError(f'{path} does not exist')
    if path.is_dir() or path.suffix in ('.mcap', '.db3'):
        return Bag(path, topic, odometry)
    if topic or odometry:
        raise BagError(f'{path} is taken as a video, which has no topics')
    return Video(path, rate)
