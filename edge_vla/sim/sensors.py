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

"""What a shift does to the sensors: the camera's mount, lens, picture and delay; odometry."""

from collections import deque
from dataclasses import replace
import math

import cv2
from edge_vla.config import CameraConfig
from edge_vla.datatypes import Motion
from edge_vla.sim.dynamics import rotation_matrix
from edge_vla.sim.shifts import Effect
import numpy as np

DIRT = (34, 30, 26)  # RGB
SPOTS = 5  # of dirt
LIT_NS = 1_000_000_000  # there is a picture between two blackouts for this long
OUTAGE_NS = 500_000_000  # odometry is there or not for this long


class Lens:
    """
    Mount, field of view and picture of one episode's camera.

    Parameters
    ----------
    effect : Effect
        What is wrong with it.
    camera : CameraConfig
        The camera as it should be.
    rng : numpy.random.Generator
        Source of sides, spots and noise.

    Attributes
    ----------
    mount : numpy.ndarray or None
        float64 [3, 3], camera to body, or None for straight ahead.
    tan_half : float
        Tangent of half the horizontal field of view.

    """

    def __init__(self, effect: Effect, camera: CameraConfig, rng: np.random.Generator) -> None:
        self._effect, self._rng = effect, rng
        pitch, roll, wider, warmer = rng.choice((-1.0, 1.0), 4)
        self.tan_half = math.tan(math.radians(camera.fov + wider * effect.fov) / 2)
        self.mount: np.ndarray | None = None
        if effect.camera_pitch or effect.camera_roll:
            self.mount = _mount(math.radians(pitch * effect.camera_pitch),
                                math.radians(roll * effect.camera_roll))
        self._dirty = _spots(rng, camera, effect.occlusion)
        self._tones = _tones(effect.gain, effect.gamma, warmer * effect.cast)
        self._blur = effect.blur * camera.width
        self._dark_ns = round(effect.blackout * 1e9)
        self._began_ns = int(rng.integers(LIT_NS))  # with a picture

    def spoil(self, image: np.ndarray, stamp_ns: int) -> None:
        """Turn a perfect picture, uint8 [H, W, 3], into the one that this camera takes then."""
        if (stamp_ns + self._began_ns) % (LIT_NS + self._dark_ns) >= LIT_NS:
            image[:] = 0
            return
        if self._dirty is not None:
            image[self._dirty] = DIRT
        if self._blur > 0:
            cv2.GaussianBlur(image, (0, 0), self._blur, dst=image)
        if self._tones is not None:
            cv2.LUT(image, self._tones, dst=image)
        if self._effect.noise > 0:
            noise = self._rng.standard_normal(image.shape, np.float32) * self._effect.noise
            np.clip(np.rint(image + noise), 0, 255, out=noise)
            image[:] = noise


def _mount(pitch: float, roll: float) -> np.ndarray:
    """Return camera to body of a camera turned down by `pitch` and clockwise by `roll`, rad."""
    cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
    return (np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
            @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]]))


def _spots(rng: np.random.Generator, camera: CameraConfig, share: float) -> np.ndarray | None:
    """Return which pixels are dirty, bool [H, W]: the given share, more where more is asked."""
    centres = rng.random((SPOTS, 2)) * (camera.height, camera.width)
    if share <= 0:
        return None
    return nearest(centres, camera.height, camera.width, share)


def nearest(centres: np.ndarray, height: int, width: int, share: float) -> np.ndarray:
    """
    Return the given share of a picture that is nearest to some points in it.

    Parameters
    ----------
    centres : numpy.ndarray
        float64 [N, 2], rows and columns, px.
    height, width : int
        Of the picture, px.
    share : float
        0 to 1.

    Returns
    -------
    numpy.ndarray
        bool [height, width].

    """
    v, u = np.mgrid[:height, :width] + .5
    distance = np.min([np.hypot(v - y, u - x) for y, x in centres], 0)
    return distance <= np.quantile(distance, share)


def _tones(gain: float, gamma: float, cast: float) -> np.ndarray | None:
    """Return the table from perfect to taken values, uint8 [1, 256, 3], or None."""
    if (gain, gamma, cast) == (1.0, 1.0, 0.0):
        return None
    curve = gain * (np.arange(256) / 255) ** gamma
    table = curve[:, None] * (1 + cast, 1.0, 1 - cast)
    return np.rint(255 * np.clip(table, 0, 1)).astype(np.uint8)[None]


class Delay:
    """
    Poses of the recent past: where a picture was taken that arrives only now.

    Parameters
    ----------
    latency : float
        Age of the picture when it arrives, s.

    """

    def __init__(self, latency: float) -> None:
        self._latency_ns = round(latency * 1e9)
        self._poses: deque[tuple[int, np.ndarray]] = deque()

    def note(self, time_ns: int, state: np.ndarray) -> None:
        """Remember the pose of a state row (see ``dynamics``)."""
        self._poses.append((time_ns, state[:10].copy()))
        while len(self._poses) > 2 and self._poses[1][0] <= time_ns - self._latency_ns:
            self._poses.popleft()

    def pose(self, time_ns: int) -> tuple[int, np.ndarray, np.ndarray]:
        """
        Return time of exposure, position and rotation of the picture that arrives at `time_ns`.

        Between two poses it is interpolated. Before the first one the vehicle hovered there.
        """
        taken = time_ns - self._latency_ns
        # `note` keeps but one pose from before the exposure
        (t0, a), (t1, b) = self._poses[0], self._poses[min(1, len(self._poses) - 1)]
        share = max(0.0, (taken - t0) / (t1 - t0)) if t1 > t0 else 0.0
        pose = a + share * (b - a)
        quaternion = pose[6:10] / np.linalg.norm(pose[6:10])
        rotation = np.empty((3, 3))
        rotation_matrix(quaternion, rotation)
        return taken, pose[0:3].copy(), rotation


class Odometry:
    """
    Measured motion with noise, an offset and outages.

    Parameters
    ----------
    effect : Effect
        How wrong it is.
    rng : numpy.random.Generator
        Source of direction, noise and outages.

    """

    def __init__(self, effect: Effect, rng: np.random.Generator) -> None:
        self._effect, self._rng = effect, rng
        angle = rng.uniform(0, 2 * np.pi)
        self._bias = effect.odometry_bias * np.array([math.cos(angle), math.sin(angle), 0.0])
        self._window, self._out = -1, False

    def measure(self, motion: Motion) -> Motion | None:
        """Return what is measured of a true motion, or None during an outage."""
        e = self._effect
        if e.odometry_dropout > 0 and motion.stamp_ns // OUTAGE_NS != self._window:
            self._window = motion.stamp_ns // OUTAGE_NS
            self._out = bool(self._rng.random() < e.odometry_dropout)
        if self._out:
            return None
        if e.odometry_bias > 0:
            motion = replace(motion, velocity=motion.velocity + self._bias)
        if e.odometry_noise > 0:
            noise = self._rng.normal(0, e.odometry_noise, 4)
            motion = replace(motion, velocity=motion.velocity + noise[:3],
                             yaw_rate=motion.yaw_rate + noise[3] / 3)
        return motion
