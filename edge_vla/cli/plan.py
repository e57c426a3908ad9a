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

"""Show what an instruction is taken for: the steps, how sure they are, and how long it took."""

import argparse
from collections.abc import Callable
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_vla.datatypes import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('instruction', help='what the drone is told')
    parser.add_argument('--model', default='', metavar='PILOT', help='the pilot whose small head '
                        'reads it (default: the shipped one)')
    parser.add_argument('--planner', type=Path, metavar='MODEL', help='large language model that '
                        'reads it too: a folder or file as for generate')
    parser.add_argument('--threads', type=int, default=0, help='of the planner; 0 leaves one core '
                        'free (default)')
    parser.add_argument('--min-confidence', type=float, default=None, metavar='P',
                        help='below this it is not understood (default 0.3)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.config import build, PipelineConfig
    from edge_vla.language.planner import objection, Planner
    from edge_vla.pipeline import load_head

    given = {} if args.min_confidence is None else {'min_confidence': args.min_confidence}
    config = build(PipelineConfig, {'model': args.model, 'planner_threads': args.threads, **given})
    first, _ = _show('small head', load_head(config).read, args.instruction)
    if args.planner is not None:
        planner = Planner.load(args.planner, config.planner_threads,
                               lambda line: print(line, file=sys.stderr))
        planned, took = _show('planner', lambda text: planner.read(text, first=first),
                              args.instruction)
        why = objection(first, planned, config.min_confidence)
        if not why and took > config.planner_time:
            why = f'the plan took longer than pipeline.planner_time, {config.planner_time:g} s'
        print('flown:', f'the reading of the small head ({why})' if why else 'the plan')
    return 0


def _show(name: str, read: 'Callable[[str], Context]',
          instruction: str) -> 'tuple[Context, float]':
    """Print what is read from an instruction; return it, and the seconds it took."""
    from time import perf_counter

    began = perf_counter()
    context = read(instruction)
    took = perf_counter() - began
    print(f'{name}: confidence {context.confidence:.3f}, {took * 1e3:.0f} ms')
    for k, step in enumerate(context.steps):
        print(f'  {k + 1}. {" ".join(step.plan.words()):40} {step.confidence:.3f}')
    return context, took
