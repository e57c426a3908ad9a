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


"""Image encodings (the names of ``sensor_msgs/image_encodings``) to RGB, without ROS."""

from typing import Any, NamedTuple

import cv2
from edge_vla.exceptions import ImageError
import numpy as np


class _Layout(NamedTuple):
    """Channels and bytes per channel of an encoding, and cv2's conversion to RGB if any."""

    channels: int
    depth: int
    convert: int | None


# The numeric types (8UC3 and so on) name no colours; like cv_bridge, they are taken as BGR.
_LAYOUTS = {
    'rgb8': _Layout(3, 1, None),
    'bgr8': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': _Layout(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': _Layout(4, 1, cv2.COLOR_BGRA2RGB),
    'mono8': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    'mono16': _Layout(1, 2, cv2.COLOR_GRAY2RGB),
    '8UC1': _Layout(1, 1, cv2.COLOR_GRAY2RGB),
    '8UC3': _Layout(3, 1, cv2.COLOR_BGR2RGB),
    '8UC4': _Layout(4, 1, cv2.COLOR_BGRA2RGB),
    'rgb16': _Layout(3, 2, None),
    'bgr16': _Layout(3, 2, cv2.COLOR_BGR2RGB),
    'bayer_rggb8': _Layout(1, 1, cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr8': _Layout(1, 1, cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg8': _Layout(1, 1, cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg8': _Layout(1, 1, cv2.COLOR_BayerGRBG2RGB),
    'uyvy': _Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422': _Layout(2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': _Layout(2, 1, cv2.COLOR_YUV2RGB_YUY2),
    'yuv422_yuy2': _Layout(2, 1, cv2.COLOR_YUV2RGB_YUY2),
    'rgba16': _Layout(4, 2, cv2.COLOR_RGBA2RGB),
    'bgra16': _Layout(4, 2, cv2.COLOR_BGRA2RGB),
    'bayer_rggb16': _Layout(1, 2, cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr16': _Layout(1, 2, cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg16': _Layout(1, 2, cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg16': _Layout(1, 2, cv2.COLOR_BayerGRBG2RGB),
}
# A plane of brightness, then pairs of colours at half its resolution in half as many rows.
_PLANES = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}
ENCODINGS = (*_LAYOUTS, *_PLANES, 'nv24')


def to_rgb(data: Any, encoding: str, height: int, width: int, step: int = 0,
           big_endian: bool = False) -> np.ndarray:
    """
    Turn the fields of a ``sensor_msgs/Image`` into an RGB image.

    Parameters
    ----------
    data : buffer
        Anything with the buffer protocol (bytes, array.array, uint8 array).
    encoding : str
        One of ``ENCODINGS``.
    height, width : int
        px.
    step : int
        Bytes from one row to the next, padding included; 0 means no padding.
    big_endian : bool
        Byte order of 16-bit channels; their upper 8 bits are kept.

    Returns
    -------
    numpy.ndarray
        uint8 [height, width, 3], RGB, C-contiguous. It shares memory with `data` where
        nothing has to be converted.

    Raises
    ------
    ImageError
        The encoding is unknown, a size is not positive, or `data` is too short.

    """
    if encoding not in ENCODINGS:
        raise ImageError(f'image encoding {encoding!r} is not supported; '
                         f'known: {", ".join(ENCODINGS)}')
    if height <= 0 or width <= 0:
        raise ImageError(f'image size {width}x{height} is not positive')
    if encoding in _PLANES:
        if height % 2 or width % 2:
            raise ImageError(f'{encoding} image of {width}x{height} needs even sides')
        planes = _rows(data, encoding, (width, height), height * 3 // 2, width, step)
        return cv2.cvtColor(np.ascontiguousarray(planes), _PLANES[encoding])
    if encoding == 'nv24':
        return _nv24(data, height, width, step)
    layout = _LAYOUTS[encoding]
    if layout.channels == 2 and width % 2:  # two pixels share a colour
        raise ImageError(f'{encoding} image of {width}x{height} needs an even width')
    row = width * layout.channels * layout.depth
    pixels = _rows(data, encoding, (width, height), height, row, step)
    if layout.depth == 2:
        pixels = pixels[:, 0 if big_endian else 1::2]
    pixels = np.ascontiguousarray(pixels).reshape(height, width, layout.channels)
    if layout.convert is None:
        return pixels
    return cv2.cvtColor(pixels, layout.convert)


def _nv24(data: Any, height: int, width: int, step: int) -> np.ndarray:
    """Convert brightness and pairs of colours at full resolution, as NV12 of twice the size."""
    step = step or width
    y = _rows(data, 'nv24', (width, height), height, width, step)
    colours = np.frombuffer(data, np.uint8)[height * step:]
    pairs = _rows(colours, 'nv24', (width, height), height, 2 * width, 2 * step)
    planes = np.vstack([y.repeat(2, 0).repeat(2, 1), pairs])
    return np.ascontiguousarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV12)[::2, ::2])


def _rows(data: Any, encoding: str, size: tuple[int, int], rows: int, row: int,
          step: int) -> np.ndarray:
    """Return the bytes of an image as uint8 [rows, row], without padding."""
    step = step or row
    pixels = np.frombuffer(data, np.uint8)
    if step < row or pixels.size < step * (rows - 1) + row:
        raise ImageError(f'{encoding} image of {size[0]}x{size[1]} needs rows of at least {row} '
                         f'bytes, got {pixels.size} bytes with step {step}')
    if step == row:
        return pixels[:rows * row].reshape(rows, row)
    return np.lib.stride_tricks.as_strided(pixels, (rows, row), (step, 1), writeable=False)


def decode_compressed(data: Any, kind: str = '') -> np.ndarray:
    """
    Decode the bytes of a ``sensor_msgs/CompressedImage`` (JPEG, PNG and what cv2 reads).

    Parameters
    ----------
    data : buffer
        The encoded file.
    kind : str
        The message's ``format``. Only what image_transport puts before its semicolon matters: a
        Bayer mosaic is compressed as it is, without colours.

    Returns
    -------
    numpy.ndarray
        uint8 [height, width, 3], RGB, C-contiguous.

    Raises
    ------
    ImageError
        The bytes are no image, hold distances, or a mosaic of other than 8 or 16 bits.

    """
    source = kind.partition(';')[0].strip()
    if 'compressedDepth' in kind or source in ('16UC1', '32FC1'):
        raise ImageError(f'compressed image of format {kind!r} holds distances, not colours')
    mosaic = source in _LAYOUTS and source.startswith('bayer_')
    encoded = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED if mosaic else cv2.IMREAD_COLOR) \
            if encoded.size else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f'compressed image of {encoded.size} bytes cannot be decoded')
    if mosaic and image.ndim == 2:
        if image.dtype == np.uint16:
            image = (image >> 8).astype(np.uint8)
        if image.dtype != np.uint8:
            raise ImageError(f'compressed image of format {kind!r} holds {image.dtype} numbers; a '
                             'mosaic has 8 or 16 bits')
        return cv2.cvtColor(image, _LAYOUTS[source].convert)
    if mosaic:  # the driver made colours of it before it was compressed
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f'compressed image of format {kind!r} holds no colours of 8 bits')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
