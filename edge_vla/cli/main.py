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
The command ``edge-vla``.

Command modules import what they need when they run, so that help and ``doctor`` work on a machine
where something is missing.
"""

import argparse
from collections.abc import Sequence
import os
import sys

from edge_vla import __version__
from edge_vla.cli import (
    bag,
    bench,
    convert,
    demo,
    doctor,
    evaluate,
    generate,
    plan,
    replay,
    train,
    world,
)
from edge_vla.exceptions import EdgeVlaError

COMMANDS = {'demo': demo, 'evaluate': evaluate, 'replay': replay, 'bag': bag, 'bench': bench,
            'convert': convert, 'generate': generate, 'plan': plan, 'train': train,
            'world': world, 'doctor': doctor}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        'edge-vla', description='Camera frames and an instruction become safe velocity commands '
        'for a drone, on a CPU.')
    parser.add_argument('--version', action='version', version=f'edge_vla {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, module in COMMANDS.items():
        text = (module.__doc__ or '').strip().splitlines()[0]
        sub = commands.add_parser(name, help=text, description=text)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run ``edge-vla`` and return its exit status.

    0 is success, 1 a flight or check that failed, 2 wrong input (one line on standard error),
    3 a flight that nobody could judge, 130 an interruption.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    try:
        if argv[:1] == ['train'] and len(argv) > 1 and argv[1] in train.TRAINERS:
            return train.start(argv[1], argv[2:])  # its own parser knows the rest
        args = make_parser().parse_args(argv)
        return args.run(args)
    except EdgeVlaError as error:
        print(f'edge-vla: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('edge-vla: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (head, less) has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a file that cannot be read or written
        print(f'edge-vla: {error}', file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f'edge-vla: there is not enough memory ({error})', file=sys.stderr)
        return 2


def _open_streams() -> None:
    """Let what is printed go nowhere if a stream is closed, and not fail for a letter."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115
        elif getattr(stream, 'errors', '') == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='replace')


if __name__ == '__main__':
    raise SystemExit(main())
