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


"""Figures and errors of a running node, for /diagnostics."""

from collections import deque
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from edge_vla.exceptions import EdgeVlaError
import numpy as np
from rclpy.node import Node

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WINDOW = 300  # frames
PATIENCE_S, WAITING_EVERY_S = 3.0, 30.0  # before it is said that there are no images, and again
IMAGES = {'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'}


class Window:
    """The last figures of one kind."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=WINDOW)

    def add(self, value: float) -> None:
        """Take one figure."""
        self._values.append(value)

    def percentiles(self) -> str:
        """Return 'p50 / p95 / p99', or 'none'."""
        if not self._values:
            return 'none'
        return ' / '.join(f'{v:.1f}' for v in np.percentile(list(self._values), (50, 95, 99)))

    def rate(self) -> float:
        """Return 1 / mean, for windows of intervals in seconds; 0 when empty."""
        return len(self._values) / sum(self._values) if sum(self._values) > 0 else 0.0


def array(stamp: object, name: str, hardware_id: str, level: bytes, message: str,
          values: Mapping[str, object]) -> DiagnosticArray:
    """Make a DiagnosticArray of one status."""
    out = DiagnosticArray()
    out.header.stamp = stamp
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id)
    status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
    out.status = [status]
    return out


def no_images(node: Node, topics: Sequence[str], waited: float) -> str:
    """Say where images are waited for and where others are; warn after seconds without one."""
    waiting = [node.resolve_topic_name(topic) for topic in topics]
    text = f'no images on {" or ".join(waiting)}'
    if any(map(node.count_publishers, waiting)):
        text += ', though somebody publishes there: none came lately, or none with a new stamp'
    else:
        others = [name for name, kinds in node.get_topic_names_and_types()
                  if IMAGES.intersection(kinds) and node.count_publishers(name)
                  and not name.startswith(node.get_fully_qualified_name() + '/')]
        text += ', where nobody publishes' + (
            f'; there are some on {", ".join(others)}' if others else '')
    if waited > PATIENCE_S:
        node.get_logger().warning(text, throttle_duration_sec=WAITING_EVERY_S)
    return text


def spelled(kind: str, values: Mapping[str, object]) -> dict[str, str]:
    """Return figures of a kind as they are shown."""
    return {f'{kind} {k}': f'{v:.3f}' if isinstance(v, float) else str(v)
            for k, v in values.items()}


def said(error: Exception) -> str:
    """Return what an error says; unexpected ones with their type."""
    return str(error) if isinstance(error, EdgeVlaError) else f'{type(error).__name__}: {error}'
