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


"""Writing rosbag2 without ROS."""

from dataclasses import replace
from pathlib import Path
import re
import shutil
from typing import Any

import cv2
from edge_vla.datatypes import Frame
from edge_vla.evaluation.bag_messages import rosbags, typestore
from edge_vla.evaluation.samples import SECOND_NS
from edge_vla.evaluation.topics import COMPRESSED, IMAGE
from edge_vla.evaluation.videos import Video
from edge_vla.exceptions import BagError
import numpy as np


class BagWriter:
    """
    Writes ROS messages without ROS; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
        Folder to make.
    storage : str
        'mcap' or 'sqlite3'.

    Raises
    ------
    BagError
        The folder exists.

    """

    def __init__(self, path: Path, storage: str = 'mcap') -> None:
        r = rosbags()
        if path.exists():
            raise BagError(f'{path} exists; choose another name or remove it')
        path.parent.mkdir(parents=True, exist_ok=True)
        self.types = typestore()
        self.raw = r.rosbag2.Writer(path, version=9,
                                    storage_plugin=r.rosbag2.StoragePlugin[storage.upper()])
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> 'BagWriter':
        """Open the bag."""
        self.raw.open()
        return self

    def __exit__(self, exception: object, *rest: object) -> None:
        """Finish the bag, or remove it after an error."""
        if exception is None:
            self.raw.close()
            return
        self.raw.abort()
        shutil.rmtree(self.raw.path, ignore_errors=True)  # it did not exist before

    def write(self, topic: str, kind: str, time_ns: int, **values: Any) -> None:
        """Append a message of type `kind`, made from its fields."""
        if topic not in self._connections:
            self._connections[topic] = self.raw.add_connection(topic, kind, typestore=self.types)
        message = self.types.types[kind](**values)
        self.raw.write(self._connections[topic], time_ns,
                       self.types.serialize_cdr(message, kind))

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """Make a ``std_msgs/Header``."""
        t = self.types.types
        stamp = t['builtin_interfaces/msg/Time'](stamp_ns // SECOND_NS, stamp_ns % SECOND_NS)
        return t['std_msgs/msg/Header'](stamp, frame_id)

    def image(self, topic: str, time_ns: int, frame: Frame, compressed: bool = False) -> None:
        """Append a picture, as ``Image`` rgb8 or as JPEG ``CompressedImage``."""
        header = self.header(frame.stamp_ns, 'camera')
        if compressed:
            _, data = cv2.imencode('.jpg', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
                                   [cv2.IMWRITE_JPEG_QUALITY, 95])
            self.write(topic, COMPRESSED, time_ns, header=header, format='jpeg',
                       data=data.reshape(-1))
            return
        h, w = frame.image.shape[:2]
        self.write(topic, IMAGE, time_ns, header=header, height=h, width=w, encoding='rgb8',
                   is_bigendian=0, step=3 * w, data=np.ascontiguousarray(frame.image).reshape(-1))


def bag_from_video(video: Path, out: Path, topic: str = '', compressed: bool = False,
                   storage: str = 'mcap', rate: float = 0.0) -> int:
    """
    Turn a video into a rosbag2 and return the number of images.

    Raises
    ------
    BagError
        The video cannot be read, `topic` is no name, or `out` exists.

    """
    if not video.is_file():
        raise BagError(f'{video} does not exist')
    topic = '/' + (topic.removeprefix('/') or ('image/compressed' if compressed else 'image'))
    if not re.fullmatch(r'(/[A-Za-z_]\w*)+', topic, re.ASCII):
        raise BagError(f'{topic} is no name of a topic: letters, digits and _ between slashes')
    count = 0
    with Video(video, rate) as source, BagWriter(out, storage) as writer:
        for sample in source:
            # a bag's clock starts after zero: a zero stamp means "not set"
            stamp = sample.frame.stamp_ns + SECOND_NS
            writer.image(topic, stamp, replace(sample.frame, stamp_ns=stamp), compressed)
            count += 1
    return count
