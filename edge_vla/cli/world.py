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


"""Write the tasks as worlds and models for Gazebo."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('out', type=Path, help='folder to write worlds/ and models/ into')
    parser.add_argument('--task', help='go, orbit_left, orbit_right, search, two_step, relation '
                        'or unseen (default: all of them, with --instruction go)')
    parser.add_argument('--seed', type=int, default=55,
                        help='which scenes (default 55, those of worlds/)')
    parser.add_argument('--instruction', default='',
                        help='put the objects that it names into the scene')
    parser.add_argument('--style', default='meadow', help='ground, sky and light: meadow, random, '
                        'wide, winter, autumn, urban, sunset or night (default meadow)')
    parser.add_argument('--gazebo', default='harmonic', choices=('harmonic', 'fortress'),
                        help='names of plugins: harmonic is read by everything newer and by '
                        'Fortress from 6.16 on, fortress by an older one (default harmonic)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.config import build, SimConfig
    from edge_vla.sim.gazebo import files, write
    from edge_vla.sim.tasks import MISSIONS, TASKS

    sim = build(SimConfig, {'seed': args.seed, 'instruction': args.instruction.strip(),
                            'style': args.style})
    tasks = (args.task,) if args.task else ('go',) if sim.instruction else (*TASKS, *MISSIONS)
    made = files(sim, tasks, gazebo=args.gazebo)
    write(args.out, made)
    print(f'{args.out}: {len(made)} files, {len(tasks)} worlds')
    return 0
