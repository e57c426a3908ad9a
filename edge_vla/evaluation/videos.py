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


"""Video files as recordings, through OpenCV."""

from collections.abc import Iterator
import math
from pathlib import Path

import cv2
from edge_vla.datatypes import Frame
from edge_vla.evaluation.quiet import Complaints
from edge_vla.evaluation.samples import Sample, SECOND_NS
from edge_vla.exceptions import BagError

FASTEST_HZ = 1000
TEXT = cv2.VideoWriter.fourcc(*'ansi')


class Video:
    """
    A video file, read image by image; use it in a ``with`` block.

    Parameters
    ----------
    path : Path
        Any file that OpenCV reads.
    rate : float
        Frames per second; 0 takes the file's.
    start_s : float
        Skip this much of the beginning, s.
    duration_s : float
        Read this much, s; infinite reads to the end.

    Raises
    ------
    BagError
        It cannot be read, does not say its frame rate, or `rate` is none.
    OSError
        Nobody may read the file.

    """

    topic = '/image'
    kind = 'video'

    def __init__(self, path: Path, rate: float = 0.0, start_s: float = 0.0,
                 duration_s: float = math.inf) -> None:
        self.path = path
        self._complaints = Complaints()
        if path.is_file():
            path.open('rb').close()  # OpenCV does not say that it may not
        with self._complaints.caught():
            self.capture = cv2.VideoCapture(str(path))
        # FFmpeg makes pictures even of text files
        if not self.capture.isOpened() or self.capture.get(cv2.CAP_PROP_FOURCC) == TEXT:
            raise BagError(f'{path} cannot be read as a video: not a video, truncated, or of a '
                           'codec that OpenCV lacks')
        if rate and not 0 < rate <= FASTEST_HZ:  # NaN too
            raise BagError(f'a rate of {rate:g} images per second is out of range: above 0, at '
                           f'most {FASTEST_HZ}')
        self.rate = rate or self.capture.get(cv2.CAP_PROP_FPS)
        if not 0 < self.rate <= FASTEST_HZ:
            raise BagError(f'{path} does not say its frame rate; give --rate')
        self._first = math.ceil(start_s * self.rate)
        self._stop = (start_s + duration_s) * self.rate

    def __enter__(self) -> 'Video':
        """Return the open video."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.capture.release()

    def __len__(self) -> int:
        """Return the number of images that the file says it has."""
        count = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        return max(0, math.ceil(min(count, self._stop)) - self._first)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the images; their stamps follow from the frame rate."""
        self.capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        k = count = 0
        while k < self._stop:
            with self._complaints.caught():
                ok = self.capture.grab()
                image = self.capture.retrieve()[1] if ok and k >= self._first else None
            if not ok:
                break
            if k >= self._first:
                if image is None:
                    break
                count += 1
                stamp = round(k * SECOND_NS / self.rate)
                yield Sample(Frame(stamp, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), stamp, None)
            k += 1
        if not count:
            raise BagError(f'{self.path} holds no readable images' + (
                ' in the time asked for' if k else ''))
