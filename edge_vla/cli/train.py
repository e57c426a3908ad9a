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


"""Train a pilot, or its policy, language head or seeing head alone (needs PyTorch)."""

import argparse
from importlib import import_module

from edge_vla.exceptions import MissingDependencyError

TRAINERS = {'pilot': 'edge_vla.training.pilot', 'policy': 'edge_vla.training.policy',
            'language': 'edge_vla.training.language', 'seeing': 'edge_vla.training.seeing'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('what', choices=TRAINERS,
                        help='what to train; edge-vla train pilot --help lists its options')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return start(args.what, [])


def start(what: str, argv: list[str]) -> int:
    """
    Hand the rest of the command line to a trainer.

    Raises
    ------
    MissingDependencyError
        PyTorch is not installed.

    """
    try:
        import torch  # noqa: F401
        import tqdm  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs {error.name}: pip install 'edge_vla[train]'") from error
    return import_module(TRAINERS[what]).main(argv) or 0
