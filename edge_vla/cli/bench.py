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

"""Measure how fast the language engine runs on this machine, and how near to its limit."""

import argparse
import json
from pathlib import Path
import sys
from typing import Any

from edge_vla.exceptions import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('what', choices=('language',), help='what to measure')
    parser.add_argument('--shape', default='2b4t', help='2b4t (default), 0.7b or 0.1b, '
                        'lfm2-1.2b or lfm2-350m: random weights of this shape, nothing is '
                        'downloaded')
    parser.add_argument('--model', type=Path, help='a checkpoint instead of random weights')
    parser.add_argument('--threads', default='', metavar='N[,N]',
                        help='thread counts (default: 1 and all)')
    parser.add_argument('--head', default='auto', help='float32, int8, int6 or int4 (default: '
                        'int6, int8 of LFM2; else what suits the model)')
    parser.add_argument('--kv', default='auto', help='cache: float32, float16 or int8')
    parser.add_argument('--packing', default='auto', help='5bit or 2bit (default: by CPU)')
    parser.add_argument('--weights', default='auto', help='of LFM2: float32, int8 or int4')
    parser.add_argument('--context', type=int, default=2048, help='cache size (default 2048)')
    parser.add_argument('--prompt', type=int, default=128, help='tokens to prefill (default 128)')
    parser.add_argument('--rounds', type=int, default=7, help='how often (default 7)')
    parser.add_argument('--busy', type=int, default=0, metavar='N',
                        help='other processes that keep a core busy meanwhile (default 0)')
    parser.add_argument('--json', type=Path, metavar='FILE', default=Path('out/bench/'
                        'language.json'), help='where the report goes (default %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import os

    from edge_vla.evaluation import language_speed as speed
    from edge_vla.kernels.isa import best_isa
    from edge_vla.language.decoder import DecoderSettings, read_model

    try:
        counts = [int(n) for n in args.threads.split(',') if n] or sorted(
            {1, len(os.sched_getaffinity(0))})
        settings = DecoderSettings(kv=args.kv, head=args.head, packing=args.packing,
                                   weights=args.weights, capacity=args.context)
        isa = best_isa(args.packing)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if args.shape not in speed.SHAPES or min(counts) < 1 or args.rounds < 1 or (
            args.busy < 0) or not (
            0 < args.prompt <= args.context and args.context > speed.CONTEXT + 8):
        raise ConfigError(f'--shape is one of {", ".join(speed.SHAPES)}; --threads, --rounds and '
                          '--prompt are positive; the prompt fits into --context')
    before = speed.memory_mb()
    if args.model is None:
        print(f'making random weights of shape {args.shape}', file=sys.stderr)
        model = speed.random_weights(args.shape, isa, settings)
    else:
        model = read_model(args.model, settings, lambda line: print(line, file=sys.stderr))
    print('compiling kernels where they are not cached, then measuring', file=sys.stderr)
    with speed.others(args.busy):
        rows = list(speed.measure(model, settings, counts, args.rounds, args.prompt))
    sizes = speed.bytes_per_token(model)
    report = {'shape': args.shape if args.model is None else str(args.model), 'isa': isa.name,
              'packing': model.packing, 'head': model.head, 'context': args.context,
              'prompt': args.prompt, 'rounds': args.rounds, 'busy': args.busy,
              'bytes_per_token': sizes,
              'memory_mb': {'before': before, 'resident': speed.memory_mb(),
                            'peak': speed.peak_memory_mb()},
              'machine': speed.machine(), 'results': rows}
    _show(report)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=1) + '\n')
    print(f'wrote {args.json}')
    return 0


def _show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    sizes, memory = report['bytes_per_token'], report['memory_mb']
    print(f'{report["shape"]} on {report["machine"]["cpu"]}: {report["isa"]}, {report["packing"]} '
          f'body {sizes["body"] / 1e6:.1f} MB, {report["head"]} head {sizes["head"] / 1e6:.1f} MB')
    print(f'{"threads":>7} {"decode":>12} {"16-token head":>14} {"prefill":>12} '
          f'{"2":>5} {"4":>5} {"8 at once":>10} {"memory":>10} {"used":>10} {"share":>6}')
    for row in report['results']:
        print(f'{row["threads"]:7d} {row["tokens_per_second"]:8.1f} t/s '
              f'{row["restricted_tokens_per_second"]:10.1f} t/s '
              f'{row["prefill_tokens_per_second"]:8.1f} t/s {row["cost_of_two"]:4.2f}x '
              f'{row["cost_of_four"]:4.2f}x {row["cost_of_eight"]:9.2f}x '
              f'{row["bandwidth_gb_s"]:5.1f} GB/s {row["used_gb_s"]:5.1f} GB/s '
              f'{row["share_of_bandwidth"]:5.0%}')
    print(f'resident {memory["resident"]:.0f} MB, peak {memory["peak"]:.0f} MB, before loading '
          f'{memory["before"]:.0f} MB')
