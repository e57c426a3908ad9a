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

"""Measure this machine: the language engine, speculation, visual tokens, or the whole stack."""

import argparse
import json
import os
from pathlib import Path
import sys
from typing import Any

from edge_vla.cli import bench_tokens
from edge_vla.cli.results import need_writable
from edge_vla.exceptions import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest='what', required=True, metavar='WHAT')
    what = 'how fast the language engine runs, and how near to its limit'
    _add_language(actions.add_parser('language', help=what, description=what.capitalize() + '.'))
    what = 'what fewer visual tokens cost and save, in flight and for a large decoder'
    bench_tokens.add_arguments(actions.add_parser('tokens', help=what,
                                                  description=what.capitalize() + '.'))
    what = 'what speculative decoding brings, for every kind of draft'
    _add_speculation(actions.add_parser('speculation', help=what,
                                        description=what.capitalize() + '.'))
    what = 'every claim the project began with, beside what this machine shows'
    _add_stack(actions.add_parser('stack', help=what, description=what.capitalize() + '.'))


def _add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--shape', default='2b4t', help='2b4t (default), 0.7b, 0.1b or '
                        'shipped, lfm2-1.2b or lfm2-350m: random weights of this shape, nothing '
                        'is downloaded')
    parser.add_argument('--model', type=Path, help='a checkpoint instead of random weights')
    parser.add_argument('--threads', default='', metavar='N[,N]',
                        help='thread counts (default: 1 and all)')
    parser.add_argument('--head', default='auto', help='float32, int8, int6 or int4 (default: '
                        'int6, int8 of LFM2; else what suits the model)')
    parser.add_argument('--kv', default='auto', help='cache: float32, float16 or int8')
    parser.add_argument('--packing', default='auto', help='5bit or 2bit (default: by CPU)')
    parser.add_argument('--weights', default='auto', help='of LFM2: float32, int8, int4 or q4_0')
    parser.add_argument('--context', type=int, default=2048, help='cache size (default 2048)')
    parser.add_argument('--prompt', type=int, default=128, help='tokens to prefill (default 128)')
    parser.add_argument('--rounds', type=int, default=7, help='how often (default 7)')
    parser.add_argument('--busy', type=int, default=0, metavar='N',
                        help='other processes that keep a core busy meanwhile (default 0)')
    parser.add_argument('--json', type=Path, metavar='FILE', default=Path('out/bench/'
                        'language.json'), help='where the report goes (default %(default)s)')


def _add_speculation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--shape', default='0.1b', help='of the model that is to agree: 0.1b '
                        '(default), 0.7b, 2b4t or shipped; random weights')
    parser.add_argument('--threads', type=int, default=1, metavar='N', help='(default 1)')
    parser.add_argument('--rounds', type=int, default=5, help='texts (default 5)')
    parser.add_argument('--json', type=Path, metavar='FILE', default=Path('out/bench/'
                        'speculation.json'), help='where the report goes (default %(default)s)')


def _add_stack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--shape', default='0.1b', help='of the language model: 0.1b (default), '
                        'shipped, 0.7b, or 2b4t for the full page; random weights')
    parser.add_argument('--threads', type=int, default=1, metavar='N',
                        help='of the engine, and of the BLAS beside it (default 1)')
    parser.add_argument('--rounds', type=int, default=3,
                        help='answers in each way, in turn (default 3)')
    parser.add_argument('--frames', type=int, default=8,
                        help='that an answer is about (default 8)')
    parser.add_argument('--flight', type=int, default=300,
                        help='frames of the simulated flight (default 300)')
    parser.add_argument('--seeds', type=int, default=24, help='flights in the wind (default 24)')
    parser.add_argument('--video', type=Path, nargs='+', default=[], metavar='FILE',
                        help='real videos to count tokens on (default: the simulated flight)')
    parser.add_argument('--json', type=Path, metavar='FILE', default=Path('out/bench/stack.json'),
                        help='where the report goes (default %(default)s)')
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='write a picture there (extra viz)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    need_writable(args.json)  # before hours of measuring
    return {'language': _language, 'tokens': bench_tokens.run, 'speculation': _speculation,
            'stack': _stack}[args.what](args)


def _speculation(args: argparse.Namespace) -> int:
    from edge_vla.config import PipelineConfig
    from edge_vla.evaluation import language_speed as speed, plan_speed, speculation
    from edge_vla.evaluation.stack import SHAPES
    from edge_vla.kernels.isa import best_isa
    from edge_vla.language.decoder import Decoder, DecoderSettings
    from edge_vla.language.text_tokenizer import load_text_tokenizer
    from edge_vla.pipeline import load_head, SHIPPED_MODEL

    if args.shape not in SHAPES or min(args.threads, args.rounds) < 1:
        raise ConfigError(f'--shape is one of {", ".join(SHAPES)}; --threads and --rounds are '
                          'positive')
    tokenizers = tuple(load_text_tokenizer(SHIPPED_MODEL / part / 'tokenizer.json')
                       for part in ('language', 'seeing'))
    settings = DecoderSettings(threads=args.threads, kv='int8', capacity=2048)
    print(f'making random weights of shape {args.shape}', file=sys.stderr)
    big, small = (Decoder(speed.random_weights(shape, best_isa(), settings), settings)
                  for shape in (args.shape, 'shipped'))
    rows = list(speculation.measure(big, small, tokenizers, args.rounds,
                                    lambda line: print(line, file=sys.stderr)))
    print(f'{args.shape}, {args.threads} threads, {args.rounds} texts')
    print(f'{"draft":>20} {"agrees":>7} {"kept":>6} {"speed-up":>9} {"range":>14} {"tokens/s":>9}')
    for row in rows:
        agrees = '' if row['agreement'] is None else f'{row["agreement"]:.0%}'
        kept = f'{row["kept"]:6.1%}' if row['proposed'] else f'{"none":>6}'
        print(f'{row["kind"]:>20} {agrees:>7} {kept} {row["speedup"]:8.2f}x '
              f'{row["least"]:5.2f} to {row["most"]:5.2f} {row["tokens_per_second"]:9.1f}')
    print('plans, with a look at the reading of the small head', file=sys.stderr)
    plans = plan_speed.measure_plans(big, load_head(PipelineConfig()), tokenizers[0],
                                     8 * args.rounds)
    print(f'{plans["instructions"]} plans, {plans["right"]:.0%} as the small head reads them: '
          f'written {plans["writing"]:.2f}x as fast, with reading the instruction '
          f'{plans["whole"]:.2f}x (least {plans["least"]:.2f})')
    _write(args.json, {'shape': args.shape, 'threads': args.threads, 'rounds': args.rounds,
                       'machine': speed.machine(), 'results': rows, 'plans': plans})
    return 0


def _stack(args: argparse.Namespace) -> int:
    if min(args.threads, args.rounds, args.seeds) < 1 or not 1 <= args.frames <= args.flight:
        raise ConfigError('--threads, --rounds, --frames and --seeds are positive, and --flight '
                          'is not less than --frames')
    for name in ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS'):
        os.environ[name] = str(args.threads)  # BLAS reads it when NumPy is loaded
    if args.plot is not None:
        from edge_vla.visualization.style import need_matplotlib
        need_matplotlib(args.plot)
    from edge_vla.evaluation import stack
    from edge_vla.evaluation.stack_rows import Scale
    if args.shape not in stack.SHAPES:
        raise ConfigError(f'--shape is one of {", ".join(stack.SHAPES)}')
    scale = Scale(args.shape, args.threads, args.rounds, args.frames, args.flight, args.seeds,
                  tuple(args.video))
    report = stack.measure(scale, lambda line: print(line, file=sys.stderr))
    print(stack.as_text(report))
    _write(args.json, report)
    if args.plot is not None:
        from edge_vla.visualization.stack_plot import plot_stack
        plot_stack(args.plot, report)
        print(f'wrote {args.plot}')
    return 0


def _write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + '\n')
    print(f'wrote {path}')


def _language(args: argparse.Namespace) -> int:
    from edge_vla.evaluation import language_speed as speed
    from edge_vla.kernels.isa import best_isa
    from edge_vla.language.decoder import DecoderSettings, read_model
    from edge_vla.memory import memory_mb, peak_memory_mb

    try:
        counts = [int(n) for n in args.threads.split(',') if n] or sorted(
            {1, len(os.sched_getaffinity(0))})
    except ValueError as error:
        raise ConfigError('--threads is one number, or several with commas between') from error
    try:
        settings = DecoderSettings(kv=args.kv, head=args.head, packing=args.packing,
                                   weights=args.weights, capacity=args.context)
        isa = best_isa(args.packing)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for fits, rule in (
            (args.shape in speed.SHAPES, f'--shape is one of {", ".join(speed.SHAPES)}'),
            (min(counts) > 0 and args.rounds > 0, '--threads and --rounds are positive'),
            (args.busy >= 0, '--busy is not negative'),
            (args.context > speed.CONTEXT + 8, f'--context is above {speed.CONTEXT + 8}'),
            (0 < args.prompt <= args.context, '--prompt is positive and fits into --context')):
        if not fits:
            raise ConfigError(rule)
    before = memory_mb()
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
              'memory_mb': {'before': before, 'resident': memory_mb(),
                            'peak': peak_memory_mb()},
              'machine': speed.machine(), 'results': rows}
    _show(report)
    _write(args.json, report)
    return 0


def _show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    sizes, memory = report['bytes_per_token'], report['memory_mb']
    print(f'{report["shape"]} on {report["machine"]["cpu"]}: {report["isa"]}, {report["packing"]} '
          f'body {sizes["body"] / 1e6:.1f} MB, {report["head"]} head {sizes["head"] / 1e6:.1f} MB')
    print(f'{"threads":>7} {"decode":>12} {"greedy":>12} {"16-token head":>14} '
          f'{"prefill":>12} {"2":>5} {"4":>5} {"8 at once":>10} {"4, all logits":>14} '
          f'{"memory":>10} {"used":>10} {"share":>6}')
    for row in report['results']:
        print(f'{row["threads"]:7d} {row["tokens_per_second"]:8.1f} t/s '
              f'{row["greedy_tokens_per_second"]:8.1f} t/s '
              f'{row["restricted_tokens_per_second"]:10.1f} t/s '
              f'{row["prefill_tokens_per_second"]:8.1f} t/s {row["cost_of_two"]:4.2f}x '
              f'{row["cost_of_four"]:4.2f}x {row["cost_of_eight"]:9.2f}x '
              f'{row["cost_of_four_with_all_logits"]:13.2f}x '
              f'{row["bandwidth_gb_s"]:5.1f} GB/s {row["used_gb_s"]:5.1f} GB/s '
              f'{row["share_of_bandwidth"]:5.0%}')
    print(f'resident {memory["resident"]:.0f} MB, peak {memory["peak"]:.0f} MB, before loading '
          f'{memory["before"]:.0f} MB')
