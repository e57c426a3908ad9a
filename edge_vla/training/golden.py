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

"""
Golden outputs of the shipped pilot.

``python -m edge_vla.training.golden test/data/golden_pilot.json test/data/golden_seeing.json``
writes what torch says in float32 to recorded flights, and what the seeing head answers where it is
sure; the tests hold the numba pilot to it where torch is not installed, on whatever CPU.
"""

import argparse
from collections.abc import Iterator
import json
from pathlib import Path

from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Action, Context, Observation
from edge_vla.language.plan import Plan
from edge_vla.language.seeing import question_about
from edge_vla.pipeline import Pipeline
from edge_vla.sim.simulator import Simulator
import numpy as np

FLIGHTS = (Plan('go', 'red', 'sphere'), Plan('orbit_left', 'blue', 'box'),
           Plan('search', 'yellow', 'cone'), Plan('orbit_right', 'white', 'pillar'))
FRAMES = 40
QUESTIONS = ('what is ahead?', 'what is on the left?', 'where is the white cone?',
             'is there a red sphere?', 'count the objects')
SURE = .7  # of an answer that no rounding changes


def observations(plan: Plan, seed: int) -> list[Observation]:
    """Return the frames of a flight that does not depend on the pilot, uneven in time."""
    sim = Simulator(SimConfig(seed=seed, instruction=f'{plan.colour} {plan.shape}'),
                    CameraConfig(width=160, height=120))
    out = []
    for k in range(FRAMES):
        out.append(Observation(sim.frame(), plan.text(), sim.motion() if k % 7 else None))
        sim.command(np.array([.7, .2 * np.sin(k / 5), .05]), .3 * np.cos(k / 9))
        sim.advance(25_000_000 + 5_000_000 * (k % 5))
    return out


def fly(pipeline: Pipeline) -> Iterator[tuple[Plan, list[Action]]]:
    """Fly every flight and yield its plan and actions; the pipeline is then at its end."""
    for seed, plan in enumerate(FLIGHTS):
        pipeline.reset()
        pipeline.set_context(Context(plan.vector(), plan.text(), plan.text(), 1.0))
        yield plan, [pipeline.step(o) for o in observations(plan, seed)]


def answers(pipeline: Pipeline) -> dict[str, list[list[float]]]:
    """Return the actions to every flight: plan in words -> rows of velocity and yaw rate."""
    return {plan.text(): [[*map(float, a.velocity), float(a.yaw_rate)] for a in actions]
            for plan, actions in fly(pipeline)}


def seen(pipeline: Pipeline) -> dict[str, dict[str, str]]:
    """Return what is said of every flight's last frames: plan in words -> question -> answer."""
    out = {}
    for plan, _ in fly(pipeline):
        said = {q: pipeline.ask(q) for q in (*QUESTIONS, question_about(plan.colour, plan.shape))}
        out[plan.text()] = {q: a.text for q, a in said.items() if a.confidence >= SURE}
    return out


def main(argv: list[str] | None = None) -> int:
    """Write the golden file."""
    from edge_vla.training.torch_pipeline import TorchPipeline
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('seeing', type=Path)
    args = parser.parse_args(argv)
    pipeline = TorchPipeline.load(PipelineConfig(), synchronous=False)
    rounded = {k: np.round(v, 6).tolist() for k, v in answers(pipeline).items()}
    args.out.write_text(json.dumps(rounded, indent=1) + '\n', encoding='utf-8')
    said = seen(Pipeline.load(PipelineConfig(), synchronous=False))
    args.seeing.write_text(json.dumps(said, indent=1) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
