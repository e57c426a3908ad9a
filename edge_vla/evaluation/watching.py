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

"""What the pilot takes for a frame, and how few of its visual tokens are kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

from edge_vla.checkpoints.safetensors import read_safetensors
from edge_vla.compression.temporal import LIVE, TemporalStream
from edge_vla.datatypes import Observation
from edge_vla.evaluation.videos import Video
from edge_vla.pipeline import Pipeline, SHIPPED_MODEL
from edge_vla.safety import SafetyGate
from edge_vla.sim.instructions import sample_instruction
from edge_vla.sim.simulator import Simulator
from edge_vla.vision.encoder import PatchEncoder
import numpy as np

MOST_FRAMES = 2000  # of a video


@dataclass(frozen=True)
class Flight:
    """
    A flight in the simulator.

    Attributes
    ----------
    images : list of numpy.ndarray
        uint8 [H, W, 3], every frame.
    step_s : numpy.ndarray
        float64 [frames], what the pilot took for each: pixels to a limited command.

    """

    images: list[np.ndarray]
    step_s: np.ndarray


def fly(frames: int, seed: int = 7) -> Flight:
    """
    Let the shipped pilot fly one task of the built-in simulator.

    Parameters
    ----------
    frames : int
        How many.
    seed : int
        Of scene, task and words.

    """
    sim, pipeline, gate = Simulator(), Pipeline.load(), SafetyGate()
    sim.reset(seed)
    asked = sample_instruction(np.random.default_rng(seed), sim.plan, 'held_out')
    pipeline.set_context(pipeline.language.read(asked))
    period, images, taken = round(1e9 / sim.camera.rate), [], np.zeros(frames)
    for k in range(frames):
        frame, motion = sim.frame(), sim.motion()
        started = perf_counter()
        command = gate.filter(pipeline.step(Observation(frame, asked, motion)))
        taken[k] = perf_counter() - started
        pipeline.sent(command)
        sim.command(np.array(command.velocity), command.yaw_rate)
        sim.advance(period)
        images.append(frame.image)
    return Flight(images, taken)


def video_images(path: Path, most: int = MOST_FRAMES) -> Iterator[np.ndarray]:
    """
    Yield the images of a video file, uint8 [H, W, 3] RGB.

    Parameters
    ----------
    path : Path
        Any that OpenCV reads.
    most : int
        Stop after so many.

    Raises
    ------
    BagError
        It cannot be read.

    """
    with Video(path) as video:
        for sample in islice(video, most):
            yield sample.frame.image


def visual_tokens(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield what the shipped encoder makes of images, float32 [N, C] each."""
    encoder = PatchEncoder(read_safetensors(SHIPPED_MODEL / 'policy.safetensors')[0])
    for image in images:
        yield encoder.encode(image).copy()


def kept_per_frame(frames: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """
    Thin a stream as a live camera's is.

    Parameters
    ----------
    frames : iterable of numpy.ndarray
        float32 [N, C] each.

    Returns
    -------
    tuple
        Kept tokens of every frame, int64 [F], and N.

    """
    stream, kept, tokens = None, [], 0
    for frame in frames:
        if stream is None:
            tokens = len(frame)
            stream = TemporalStream(*frame.shape, LIVE)
        kept.append(stream.push(frame))
    return np.array(kept, np.int64), tokens
