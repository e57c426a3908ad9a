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


"""Recordings: ROS 2 and ROS 1 bags of any storage through ``rosbags``, and video files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from edge_vla.datatypes import Frame, Motion
from edge_vla.evaluation import topics
from edge_vla.evaluation.bag_files import (
    broken,
    kind_of,
    open_reader,
    REINDEX,
    ros_of,
    SUFFIXES,
)
from edge_vla.evaluation.bag_messages import Messages
from edge_vla.evaluation.commands import command_from_message, COMMANDS, yaw_of
from edge_vla.evaluation.quiet import Complaints
from edge_vla.evaluation.samples import LAST_NS, Sample, SECOND_NS, Series
from edge_vla.evaluation.topics import COMPRESSED, IMAGE, ODOMETRY, STRING, Wanted
from edge_vla.evaluation.videos import Video
from edge_vla.exceptions import BagError, EdgeVlaError, ImageError
from edge_vla.motion import believable, motion_from_message, MOTION_LIFE_S
from edge_vla.vision.encoder import check_size
from edge_vla.vision.image_encodings import decode_compressed, to_rgb
import numpy as np

__all__ = ['Bag', 'COMPRESSED', 'IMAGE', 'ODOMETRY', 'SECOND_NS', 'Wanted', 'open_recording']
HOPELESS = 10  # so many damaged images before the first good one: look whether there is one


@dataclass
class _State:
    """The newest of everything but images, while a bag is read."""

    motion: Motion | None = None
    motion_ns: int = 0  # when it was recorded
    yaw: float | None = None
    instruction: str | None = None
    sent: np.ndarray | None = None
    stamp_ns: int | None = None
    backwards: int = 0
    repeated: int = 0
    unplaced: int = 0
    images: int = 0
    lost: int = 0
    scratched: int = 0
    damaged: int = 0
    damage: EdgeVlaError | None = None
    complete: bool = False


class Bag:
    """
    A rosbag2 (folder, .mcap or .db3) or ROS 1 .bag, read in a stream; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
    wanted : Wanted, optional
        Topics, where there are several of a kind.
    start_s : float
        Skip this much of the beginning, s.
    duration_s : float
        Read this much, s; infinite reads to the end.

    Attributes
    ----------
    topic, odometry, commands, instructions : str
        The topics in use; empty where there is none.
    sent, measured : Series
        Recorded commands and measured velocities, as far as the bag has been read.

    Raises
    ------
    BagError
        The bag cannot be read, is empty, has no usable image topic, or several of a kind.

    """

    def __init__(self, path: Path, wanted: Wanted | None = None, start_s: float = 0.0,
                 duration_s: float = math.inf) -> None:
        self.path = path
        wanted = wanted or Wanted()
        self.reader = open_reader(path)
        self.ros = ros_of(path)
        self.kind = kind_of(path)
        self.messages = Messages(self.ros)
        self.sent, self.measured = Series(), Series()
        self._state, self._complaints = _State(), Complaints()
        try:
            known = topics.Topics(str(path), self.reader.connections, self.messages)
            self.topic = known.image(wanted.image)
            self.odometry = known.odometry(wanted.odometry)
            self.commands = known.commands(wanted.commands)
            self.instructions = known.instructions(wanted.instructions)
            self._notes = list(known.notes)
            self.begin_ns = self.reader.start_time
            self.start_ns = self.begin_ns + round(start_s * SECOND_NS)
            # metadata may be wrong about the beginning; that must not hide the first messages
            self._from_ns = self.start_ns if start_s > 0 else None
            self.stop_ns = None if math.isinf(duration_s) else \
                self.start_ns + round(duration_s * SECOND_NS)
            if self.start_ns >= self.reader.end_time:
                raise BagError(f'{path} lasts {self.reader.duration / SECOND_NS:.1f} s; '
                               f'--start {start_s:g} is behind its end')
            self._images = sum(c.msgcount for c in self._pictures())
        except BaseException:
            self.reader.close()
            raise

    def __enter__(self) -> 'Bag':
        """Return the open bag."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.reader.close()

    def __len__(self) -> int:
        """Return the number of images, estimated where only a part is read."""
        whole = max(1, self.reader.duration)
        stop = self.reader.end_time if self.stop_ns is None else \
            min(self.stop_ns, self.reader.end_time)
        return max(1, min(self._images,
                          round(self._images * (stop - self.start_ns) / whole)))

    def __iter__(self) -> Iterator[Sample]:
        """Yield the images in the order in which they were recorded."""
        return self.samples()

    @property
    def connections(self) -> list[Any]:
        """All connections of the bag, as ``rosbags`` has them."""
        return list(self.reader.connections)

    @property
    def rate(self) -> float:
        """Mean rate of the images, kept within 1 to 120 Hz."""
        duration = self.reader.duration * 1e-9
        return min(120.0, max(1.0, (self._images - 1) / duration)) if duration > 0 else 30.0

    def samples(self, every: Callable[[Any, int, bytes], None] | None = None) -> Iterator[Sample]:
        """
        Read the bag once from its beginning and yield the images in recorded order.

        A damaged message is left out and noted, unless all images are.

        Parameters
        ----------
        every : callable, optional
            Also called with (connection, recorded ns, bytes) of every message of any topic.

        Raises
        ------
        BagError
            The bag is damaged, or holds no image in the wanted time.
        ImageError
            No image can be used; this is the first's error.

        """
        self.sent, self.measured, self._state = Series(), Series(), _State()
        images = self._pictures()
        others = (self._carrying(self.odometry, (ODOMETRY,))
                  + self._carrying(self.commands, COMMANDS)
                  + self._carrying(self.instructions, (STRING,)))
        chosen = images + others if every is None else self.connections
        if self._from_ns is not None:
            self._recall(others, self._from_ns)
        s = self._state
        for connection, time_ns, raw in self._messages(chosen, self._from_ns, self.stop_ns):
            timed = 0 <= time_ns <= LAST_NS
            if every is not None and timed:
                every(connection, time_ns, raw)
            image = connection in images
            if not image and connection not in others:
                continue
            try:
                if not timed:
                    raise BagError(f'{self.path}: a message was recorded at {time_ns} ns, which '
                                   'is no time')
                with self._reading(message=True):
                    message = self.messages.read(connection, raw)
                sample = self._sample(message, connection.msgtype, time_ns) if image else \
                    self._keep(message, connection, time_ns)
            except EdgeVlaError as error:
                s.damaged, s.damage = s.damaged + 1, s.damage or error
                s.lost += image
                if image and s.lost == HOPELESS and not s.images and not self._good_from(time_ns):
                    break
                continue
            if sample is not None:
                s.images += 1
                yield sample
        s.complete = True
        if not s.images:
            if s.lost and s.damage is not None:
                raise s.damage
            if self._whole:
                raise BagError(f'{self.path}: none of {self._images} images on {self.topic} could '
                               'be found; it is damaged, or its metadata is wrong'
                               + (f': {REINDEX}' if self.path.is_dir() else ''))
            raise BagError(f'{self.path}: no image on {self.topic} in the time asked for; the '
                           f'recording lasts {self.reader.duration / SECOND_NS:.1f} s')

    def _recall(self, connections: list[Any], until_ns: int) -> None:
        """Know what was said before a time: an instruction often comes once, at the beginning."""
        for connection, time_ns, raw in self._messages(connections, None, until_ns):
            with suppress(EdgeVlaError), self._reading(message=True):
                self._keep(self.messages.read(connection, raw), connection, time_ns)
        s = self._state
        self.sent, self.measured = Series(), Series()
        self._state = _State(s.motion, s.motion_ns, s.yaw, s.instruction, s.sent)

    def _good_from(self, time_ns: int) -> bool:
        """Look ahead for an image that can be used, before all until there is copied in vain."""
        with suppress(EdgeVlaError), \
                Bag(self.path, Wanted(self.topic, *(topics.NONE,) * 3)) as rest:
            for connection, t, raw in rest._messages(rest._pictures(), time_ns, self.stop_ns):
                with suppress(EdgeVlaError):
                    with rest._reading(message=True):
                        message = rest.messages.read(connection, raw)
                    rest._sample(message, connection.msgtype, t)
                    return True
        return False

    @property
    def _whole(self) -> bool:
        return self._from_ns is None and self.stop_ns is None

    def _pictures(self) -> list[Any]:
        return self._carrying(self.topic, (IMAGE, COMPRESSED))

    def _carrying(self, topic: str, types: tuple[str, ...]) -> list[Any]:
        return [c for c in self.reader.connections if c.topic == topic and c.msgtype in types]

    def notes(self) -> list[str]:
        """Return what is odd about the bag, one line each, as far as it has been read."""
        s, out = self._state, list(self._notes)
        if s.damaged:
            # without the folder, so that a report does not depend on where the bag lies
            first = str(s.damage).replace(str(self.path), self.path.name)
            out.append(f'{s.damaged} messages are damaged and left out; the first: {first}')
        if s.scratched:
            out.append(f'{self.topic}: {s.scratched} compressed images are damaged in part; they '
                       'are used as far as they could be decoded')
        if s.complete and self._whole and s.images + s.lost < self._images:
            out.append(f'{self.topic}: only {s.images} of {self._images} images could be found; '
                       'the bag is damaged, or its metadata is wrong')
        if s.backwards:
            out.append(f'{self.topic}: the stamps of {s.backwards} images are before the one '
                       'before; the pilot starts afresh there')
        if s.repeated:
            out.append(f'{self.topic}: {s.repeated} images repeat the stamp before; they repeat '
                       'its action')
        if s.unplaced:
            out.append(f'{self.commands}: {s.unplaced} commands are left out: they ask for no '
                       'velocity, or for one along north and east while no odometry says where '
                       'the nose points')
        for topic, series in ((self.commands, self.sent), (self.odometry, self.measured)):
            if series.invalid:
                out.append(f'{topic}: {series.invalid} messages hold numbers that are not '
                           'finite, or beyond 1000 m/s; they are left out')
        return out

    def _sample(self, message: Any, kind: str, time_ns: int) -> Sample:
        """Decode an image; drivers without a clock leave its stamp zero."""
        stamp = self._stamp(message, time_ns)
        s = self._state
        try:
            if kind == COMPRESSED:
                with self._complaints.caught():
                    image = decode_compressed(message.data, message.format)
                s.scratched += self._complaints.heard
            else:
                image = to_rgb(message.data, message.encoding, message.height, message.width,
                               message.step, bool(message.is_bigendian))
            check_size(image)
        except ImageError as error:
            raise ImageError(f'{self.path}, {self.topic}: {error}') from error
        if s.stamp_ns is not None:
            s.backwards += stamp < s.stamp_ns
            s.repeated += stamp == s.stamp_ns
        s.stamp_ns = stamp
        motion = s.motion if time_ns - s.motion_ns < MOTION_LIFE_S * SECOND_NS else None
        return Sample(Frame(stamp, image), time_ns, motion, s.instruction, s.sent)

    def _stamp(self, message: Any, otherwise: int) -> int:
        """Return when a message was made, or another time where it does not say."""
        stamp = message.header.stamp
        own = stamp.sec * SECOND_NS + stamp.nanosec
        if (own or otherwise) >= SECOND_NS << 31:  # ROS 2 could not write it
            what = f'a stamp of {stamp.sec} s and {stamp.nanosec} ns' if own else (
                f'{otherwise} ns, when a message without a stamp was recorded,')
            raise BagError(f'{self.path}: {what} is no time')
        return own or otherwise

    def _keep(self, message: Any, connection: Any, time_ns: int) -> None:
        """Remember anything but an image."""
        s, kind = self._state, connection.msgtype
        if kind == ODOMETRY:
            motion = motion_from_message(message, self._stamp(message, time_ns))
            value = np.array([*motion.velocity, motion.yaw_rate])
            if believable([*value, motion.roll, motion.pitch]):
                s.motion, s.motion_ns, s.yaw = motion, time_ns, yaw_of(message)
                self.measured.add(time_ns, value)
            else:  # as the node does: what was measured before is no longer so
                s.motion = None
                self.measured.invalid += 1
        elif kind == STRING:
            s.instruction = message.data
        else:
            command = command_from_message(message, kind, s.yaw)
            if command is None:
                s.unplaced += 1
            elif believable(command):
                s.sent = command
                self.sent.add(time_ns, command)
            else:
                self.sent.invalid += 1

    def _messages(self, connections: list[Any], start_ns: int | None,
                  stop_ns: int | None) -> Iterator[tuple[Any, int, bytes]]:
        if not connections:  # of which rosbags would make all
            return
        with self._reading():
            messages = self.reader.messages(connections, start_ns, stop_ns)
        while True:
            with self._reading():
                item = next(messages, None)
            if item is None:
                return
            yield item

    @contextmanager
    def _reading(self, message: bool = False) -> Iterator[None]:
        """Turn whatever goes wrong inside ``rosbags`` (it has many ways) into a BagError."""
        try:
            yield
        except Exception as error:
            raise broken(self.path, error, message) from error


def open_recording(path: Path, wanted: Wanted | None = None, rate: float = 0.0,
                   start_s: float = 0.0, duration_s: float = math.inf) -> Bag | Video:
    """
    Open a bag or a video.

    Parameters
    ----------
    path : Path
        rosbag2 folder, .mcap, .db3, ROS 1 .bag, or a video file.
    wanted : Wanted, optional
        Topics, where a bag has several of a kind.
    rate : float
        Frame rate of a video that does not say; 0 takes the file's.
    start_s, duration_s : float
        Which part, s.

    Raises
    ------
    BagError
        There is no such file, or it cannot be used; the message says why.

    """
    try:
        if not path.exists():
            raise BagError(f'{path} does not exist')
        if path.suffix == '.zstd':
            raise BagError(f'{path} is a compressed part of a rosbag2; give its folder: '
                           f'{path.parent}')
        if path.is_dir() or path.suffix in SUFFIXES:
            return Bag(path, wanted, start_s, duration_s)
        if path.suffix.lower() in SUFFIXES:
            raise BagError(f'{path} is taken as a recording if its name ends in '
                           f'{path.suffix.lower()}; rename it')
        if wanted not in (None, Wanted()):
            raise BagError(f'{path} is taken as a video, which has no topics')
        return Video(path, rate, start_s, duration_s)
    except OSError as error:
        raise broken(path, error) from error


def cameras_of(path: Path) -> list[str]:
    """
    Return the image topics of a bag that may show what a camera saw.

    Raises
    ------
    BagError
        It cannot be read, or has no image topic.

    """
    reader = open_reader(path)
    try:
        known = topics.Topics(str(path), reader.connections, Messages(ros_of(path)))
        return known.cameras() or [known.image('')]
    finally:
        reader.close()
