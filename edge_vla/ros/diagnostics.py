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
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from edge_vla.exceptions import EdgeVlaError
import numpy as np

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
WINDOW = 300  # frames


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


def said(error: Exception) -> str:
    """Return what an error says; unexpected ones with their type."""
    return str(error) if isinstance(error, EdgeVlaError) else f'{type(error).__name__}: {error}'
