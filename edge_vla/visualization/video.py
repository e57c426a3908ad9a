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


"""Writing video files."""

from pathlib import Path

import cv2
from edge_vla.exceptions import EdgeVlaError
import numpy as np

LARGEST = 8190  # px of either side; MPEG-4 takes 13 bits


class VideoWriter:
    """
    An MPEG-4 file, opened at the first picture; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
        File to write; its folder is made.
    rate : float
        Pictures per second.

    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> 'VideoWriter':
        """Return the writer."""
        return self

    def __exit__(self, exception: object, *rest: object) -> None:
        """Finish the file, or remove it after an error."""
        if self._writer is not None:
            self._writer.release()
            if exception is not None:
                self.path.unlink(missing_ok=True)

    def write(self, image: np.ndarray) -> None:
        """
        Append a picture, uint8 [H, W, 3] RGB.

        The first one's size, at most ``LARGEST``, is the video's; others are brought to it.

        Raises
        ------
        EdgeVlaError
            The file cannot be written.

        """
        if self._writer is None:
            height, width = image.shape[:2]
            scale = LARGEST / max(height, width)
            self._size = (width, height) if scale >= 1 else (
                max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*'mp4v'),
                                           self.rate, self._size)
            if not self._writer.isOpened():
                raise EdgeVlaError(
                    f'{self.path} cannot be written as MPEG-4 video of {self._size[0]}x'
                    f'{self._size[1]}; is the folder writable, and was OpenCV built with FFmpeg? '
                    'A replay does without with --no-overlay')
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
