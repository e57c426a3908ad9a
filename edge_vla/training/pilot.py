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
Train a whole pilot with one command: policy and encoder, memory, language, then other light.

``edge-vla train pilot --out runs/pilot`` makes a folder that flies:
``edge-vla evaluate --model runs/pilot``.
"""

import argparse
from pathlib import Path
import time

from edge_vla.exceptions import ConfigError
from edge_vla.training import language, policy
from edge_vla.training.export import export_memory


def main(argv: list[str] | None = None) -> int:
    """
    Entry point of ``edge-vla train pilot``.

    Raises
    ------
    ConfigError
        A recipe is missing.

    """
    parser = argparse.ArgumentParser('edge-vla train pilot', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('runs/pilot'), help='folder of the pilot')
    parser.add_argument('--recipes', type=Path, default=Path('config/train'), metavar='FOLDER',
                        help='with pilot.yaml, memory.yaml, language.yaml and wide.yaml')
    args = parser.parse_args(argv)
    recipes = [args.recipes / f'{name}.yaml' for name in ('pilot', 'memory', 'language', 'wide')]
    for recipe in recipes:  # now, not after an hour
        if not recipe.is_file():
            raise ConfigError(f'{recipe} is missing: --recipes wants a folder like config/train')
    started, base = time.monotonic(), args.out / 'base' / 'policy.safetensors'
    policy.main(['--config', str(recipes[0]), '--out', str(base.parent)])
    policy.main(['--config', str(recipes[1]), '--out', str(args.out / 'memory'), '--stage',
                 'imitation', '--grounding', str(base)])
    export_memory(args.out / 'memory', args.out)
    language.main(['--config', str(recipes[2]), '--out', str(args.out / 'language')])
    # what reads the tokens stays as it is: hard pictures are seen as base sees clear ones
    policy.main(['--config', str(recipes[3]), '--out', str(args.out), '--initial', str(base)])
    print(f'{(time.monotonic() - started) / 60:.0f} minutes; now: '
          f'edge-vla evaluate --model {args.out}')
    return 0
