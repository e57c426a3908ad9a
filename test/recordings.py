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


"""Recordings that tests of the replay write, and how they replay them."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
from edge_vla.cli.main import main
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import ODOMETRY, SECOND_NS
from edge_vla.evaluation.commands import TWIST, TWIST_STAMPED
import numpy as np

STEP_NS = 50_000_000


def picture(k: int) -> np.ndarray:
    """Return a grey meadow with a red ball that comes nearer."""
    image = np.full((60, 80, 3), (90, 120, 80), np.uint8)
    cv2.circle(image, (44, 30), 6 + k // 2, (220, 30, 30), -1)
    return image


def make(path: Path, count: int = 16, storage: str = 'mcap', commands: tuple[str, ...] = (),
         odometry: tuple[str, ...] = (), cameras: tuple[str, ...] = ('/image',),
         instruction: str = '', stamps: Callable[[int], int] = lambda k: k,
         speed: Callable[[int], float] = lambda k: .1 * (k % 7), frame: str = 'base_link') -> Path:
    """Write a bag with whatever topics are named."""
    from edge_vla.datatypes import Frame
    with BagWriter(path, storage) as bag:
        t = bag.types.types
        vector = t['geometry_msgs/msg/Vector3']
        for k in range(count):
            now = SECOND_NS + k * STEP_NS
            twist = t['geometry_msgs/msg/Twist'](vector(speed(k), .2, 0.0), vector(0.0, 0.0, .3))
            for topic in odometry:
                pose = t['geometry_msgs/msg/PoseWithCovariance'](t['geometry_msgs/msg/Pose'](
                    t['geometry_msgs/msg/Point'](0.0, 0.0, 0.0),
                    t['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)), np.zeros(36))
                bag.write(topic, ODOMETRY, now - 2, child_frame_id='base_link', pose=pose,
                          header=bag.header(now - 2, 'odom'),
                          twist=t['geometry_msgs/msg/TwistWithCovariance'](twist, np.zeros(36)))
            for topic in commands:
                if topic.endswith('stamped'):
                    bag.write(topic, TWIST_STAMPED, now - 1, header=bag.header(now - 1, frame),
                              twist=twist)
                else:
                    bag.write(topic, TWIST, now - 1, linear=twist.linear, angular=twist.angular)
            if instruction and k == 0:
                bag.write('/instruction', 'std_msgs/msg/String', now - 1, data=instruction)
            for topic in cameras:
                stamp = SECOND_NS + stamps(k) * STEP_NS
                bag.image(topic, now, Frame(stamp, picture(k)), 'compressed' in topic)
    return path


def replay(out: Path, *arguments: Any, quick: bool = True) -> int:
    more = ('--no-overlay', '--no-report', '--bag', 'none') if quick else ()
    return main(['replay', '--out', str(out), '--jobs', '1', *more, *map(str, arguments)])


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / 'report.json').read_text())


GO = ('--instruction', 'fly to the red ball')
