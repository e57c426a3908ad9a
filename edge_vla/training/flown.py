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

"""Where the camera was while the pilot flew: poses for clips as the seeing head will meet them."""

from collections import deque
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

from edge_vla.config import AdaptationConfig, CameraConfig, PipelineConfig
from edge_vla.datatypes import Action
from edge_vla.evaluation.closed_loop import Flyer, Setting
from edge_vla.exceptions import CheckpointError
from edge_vla.pipeline import Pipeline
from edge_vla.sim.simulator import Simulator
import numpy as np
from tqdm import tqdm

RATES_HZ = (10, 20, 30, 60)  # of the camera
EVERY_S = 0.4  # from one piece of a flight to the next


class Flown(NamedTuple):
    """
    Pieces of flights.

    Attributes
    ----------
    rows : numpy.ndarray
        float64 [P, MAX_OBJECTS, OBJECT_COLUMNS], the ray-caster's rows of each scene.
    counts : numpy.ndarray
        int64 [P], how many objects there are.
    positions, rotations : numpy.ndarray
        float64 [P, F, 3], m, and [P, F, 3, 3] to the world, of the camera at each frame.

    """

    rows: np.ndarray
    counts: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray


def fly(model: Path, flights: int, frames: int, seed: int) -> Flown:
    """
    Fly tasks with a pilot and return pieces of the way.

    Parameters
    ----------
    model : Path
        Folder of the pilot.
    flights : int
        How many, spread over the rates of the camera.
    frames : int
        Of a piece.
    seed : int
        Of the scenes.

    """
    pipeline = Pipeline.load(PipelineConfig(model=str(model), seeing=False),
                             adaptation=AdaptationConfig())
    watches = []
    for k, rate in enumerate(RATES_HZ):
        flyer = Flyer(pipeline, Setting(camera=CameraConfig(width=96, height=72, rate=rate)))
        watch = Watch(flyer.simulator, frames, round(EVERY_S * rate))
        for index in tqdm(range(k, flights, len(RATES_HZ)), f'flights at {rate} Hz',
                          mininterval=5):
            watch.poses.clear()
            flyer.fly(seed, index, watch=watch)
        watches.append(watch)
    pieces = [piece for watch in watches for piece in watch.pieces]
    return Flown(*(np.array(column) for column in zip(*pieces, strict=True)))


class Watch:
    """
    Keeps pieces of a flight.

    Parameters
    ----------
    simulator : Simulator
        Where it is.
    frames, every : int
        Of a piece, and from one to the next.

    """

    def __init__(self, simulator: Simulator, frames: int, every: int) -> None:
        self._simulator, self._every, self._passed = simulator, every, 0
        self.poses: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=frames)
        self.pieces: list[tuple[np.ndarray, int, np.ndarray, np.ndarray]] = []

    def __call__(self, action: Action) -> None:
        """Take an action of the flight as a sign that there is a new frame."""
        sim = self._simulator
        self.poses.append((sim.position, sim.rotation))
        self._passed += 1
        if len(self.poses) == self.poses.maxlen and self._passed % self._every == 0:
            positions, rotations = map(np.stack, zip(*self.poses, strict=True))
            self.pieces.append((sim.rows.copy(), len(sim.scene.objects), positions, rotations))


def flown(path: Path, model: Path, flights: int, frames: int, seed: int) -> Flown:
    """
    Return what `fly` did, from a file if it is there, and write it if not.

    Raises
    ------
    CheckpointError
        The file is corrupt.

    """
    if not path.exists():
        whole = path.with_suffix('.tmp')
        with whole.open('wb') as file:
            np.savez_compressed(file, **fly(model, flights, frames, seed)._asdict())
        whole.replace(path)
    try:
        with np.load(path) as stored:
            return Flown(**stored)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise CheckpointError(f'{path} is corrupt: delete it, and it is flown again') from error
