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


"""Run the pilot over a rosbag2 or a video, deterministically."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('source', type=Path, metavar='BAG|VIDEO',
                        help='rosbag2 folder, .mcap, .db3, or a video file')
    parser.add_argument('--instruction', required=True, help='what to do, in plain words')
    parser.add_argument('--out', type=Path, required=True, help='folder for the results')
    parser.add_argument('--topic', default='', help='image topic, where there are several')
    parser.add_argument('--odometry', default='', help='odometry topic, where there are several')
    parser.add_argument('--rate', type=float, default=0.0,
                        help="frames per second of a video (default: the file's)")
    parser.add_argument('--model', default='', help='folder of a pilot (default: the shipped one)')
    parser.add_argument('--no-overlay', dest='overlay', action='store_false',
                        help='do not write overlay.mp4')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.cli.progress import bar
    from edge_vla.config import PipelineConfig
    from edge_vla.evaluation.bags import open_recording
    from edge_vla.evaluation.metrics import spread
    from edge_vla.evaluation.replay import replay
    from edge_vla.pipeline import Pipeline
    from edge_vla.safety import SafetyGate

    with open_recording(args.source, args.topic, args.odometry, args.rate):
        pass  # a wrong recording is said before the model is loaded
    pipeline = Pipeline.load(PipelineConfig(model=args.model))
    with bar('replay', 'frame') as progress:
        result = replay(args.source, args.out, args.instruction, pipeline, SafetyGate(),
                        args.topic, args.odometry, args.rate, args.overlay, progress)
    latency = spread(result.latency_ms) or {}
    print(f'{args.source.name} {result.topic}: {len(result.steps)} frames, '
          f'understood "{result.understood}", '
          f'step p50 {latency["p50"]:.1f} ms, p99 {latency["p99"]:.1f} ms')
    print(f'wrote {args.out}/actions.json, latency.json, bag/'
          + (', overlay.mp4' if args.overlay else ''))
    return 0
