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

"""Measure what fewer visual tokens cost and save, in flight and for a large decoder."""

import argparse
import json
import os
from pathlib import Path
import sys
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--episodes', type=int, default=40, help='flights with every '
                        'scheme (default 40)')
    parser.add_argument('--seed', type=int, default=11, help='of the flights (default 11)')
    parser.add_argument('--shift', default='none', metavar='NAME[:STRENGTH]',
                        help='fly under a shift')
    parser.add_argument('--suite', choices=('', 'shift'), default='', help='shift: so many '
                        'flights under every shift at medium strength, read in full and live')
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)),
                        help='processes that fly (default: all cores)')
    parser.add_argument('--camera', default='160x120', metavar='WxH', help='picture size')
    parser.add_argument('--model', type=Path, help='folder of a pilot (default: the shipped one)')
    parser.add_argument('--shape', default='', help='also a decoder of this shape, such as 2b4t, '
                        'with random weights: for cost only')
    parser.add_argument('--frames', type=int, default=8, help='of 14 x 14 tokens, for --shape')
    parser.add_argument('--json', type=Path, metavar='FILE', default=Path('out/bench/'
                        'tokens.json'), help='where the report goes (default %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.cli.evaluate import camera_of
    from edge_vla.cli.progress import bar
    from edge_vla.evaluation import token_bench as bench
    from edge_vla.evaluation.closed_loop import Setting
    from edge_vla.evaluation.language_speed import machine
    from edge_vla.evaluation.metrics import wilson
    from edge_vla.exceptions import ConfigError
    from edge_vla.language.seeing import SCHEMES, SeeingHead
    from edge_vla.pipeline import SHIPPED_MODEL
    from edge_vla.sim.shifts import find

    if min(args.episodes, args.seed) < 0 or args.jobs < 1 or not 1 <= args.frames <= 64:
        raise ConfigError('--episodes and --seed are not negative, --jobs at least 1, --frames in '
                          '1 to 64')
    if args.suite and not args.episodes:
        raise ConfigError('a suite wants flights: --episodes is at least 1')
    if args.shape:
        _check_shape(args.shape)  # now, not after the flights
    if args.suite and args.shift != 'none':
        raise ConfigError('--shift is not for a suite, which flies all of them')
    report: dict[str, Any] = {'machine': machine(), 'episodes': args.episodes, 'seed': args.seed,
                              'shift': args.shift}
    model = str(args.model or SHIPPED_MODEL)
    setting = Setting(camera=camera_of(args.camera), shift=find(args.shift))
    if args.suite:
        report['suite'] = _suite(model, args)
    elif args.episodes:
        kept: dict[int, list[bench.Moment]] = {}
        won, flown = dict.fromkeys(SCHEMES, 0), dict.fromkeys(SCHEMES, 0)
        with bar('flights', 'flight') as show:
            for name, episode, some in bench.fly_schemes(model, setting, args.episodes,
                                                         args.seed, args.jobs):
                won[name] += episode.status == 'success'
                flown[name] += 1
                kept.setdefault(episode.index, []).extend(some)
                show(sum(flown.values()), len(SCHEMES) * args.episodes)
        report['flights'] = {name: {
            'success': round(k / args.episodes, 4),
            'interval': [round(x, 4) for x in wilson(k, args.episodes)]}
            for name, k in won.items()}
        moments = [moment for index in sorted(kept) for moment in kept[index]]
        heads = {name: SeeingHead.load(Path(model) / 'seeing', name) for name in SCHEMES}
        report['moments'] = len(moments)
        report['schemes'] = {name: tally.report() for name, tally in
                             bench.compare(heads, moments, args.seed).items()}
        _show(report)
    if args.shape:
        report['at_scale'] = _at_scale(args.shape, args.frames)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report, indent=1) + '\n')
    print(f'wrote {args.json}')
    return 0


def _suite(model: str, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Ask about flights under every shift and print a row of each."""
    from edge_vla.cli.evaluate import camera_of
    from edge_vla.evaluation import token_bench as bench
    from edge_vla.evaluation.closed_loop import Setting
    from edge_vla.language.seeing import SeeingHead
    from edge_vla.sim.shifts import find, SHIFTS

    pipeline = bench.load_pilot(model)
    heads = {name: SeeingHead.load(Path(model) / 'seeing', name) for name in ('full', 'live')}
    rows: dict[str, dict[str, Any]] = {}
    print(f'{"shift":>18} {"asked":>6} {"full":>6} {"live":>6} {"absent P, R (live)":>19}')
    for seed, shift in enumerate(SHIFTS, args.seed):  # other scenes under every shift
        setting = Setting(camera=camera_of(args.camera), shift=find(shift))
        moments = [moment for _, kept in bench.record(pipeline, setting, args.episodes, seed)
                   for moment in kept]
        row = rows[shift] = {name: tally.report() for name, tally in bench.compare(
            heads, moments, seed).items()}
        live = row['live']
        print(f'{shift:>18} {live["asked"]:6d} {_share(row["full"]["grounded"]):>6} '
              f'{_share(live["grounded"]):>6} {_share(live["absent_precision"]):>12} '
              f'{_share(live["absent_recall"]):>6}', flush=True)
    for name in heads:
        asked = sum(row[name]['asked'] for row in rows.values())
        right = sum(round(row[name]['asked'] * (row[name]['grounded'] or 0))
                    for row in rows.values())
        print(f'{name}: {right / max(1, asked):.3f} of {asked} objects')
    return rows


def _check_shape(shape: str) -> None:
    from edge_vla.evaluation.language_speed import SHAPES
    from edge_vla.exceptions import ConfigError
    from edge_vla.language.config import BitNetConfig

    if not isinstance(SHAPES.get(shape), BitNetConfig):
        raise ConfigError(f'--shape {shape}: expected a BitNet, one of ' + ', '.join(
            name for name, c in SHAPES.items() if isinstance(c, BitNetConfig)))


def _at_scale(shape: str, frames: int) -> list[dict[str, Any]]:
    """Measure a decoder of a shape and print the table."""
    from edge_vla.evaluation import token_bench as bench
    from edge_vla.evaluation.language_speed import random_weights
    from edge_vla.kernels.isa import best_isa
    from edge_vla.language.decoder import Decoder, DecoderSettings

    settings = DecoderSettings(capacity=frames * 196 + 128)
    print(f'making random weights of shape {shape}', file=sys.stderr)
    decoder = Decoder(random_weights(shape, best_isa(), settings), settings)
    decoder.warm_up()
    rows = list(bench.costs_at_scale(decoder, frames))
    full = rows[0]
    print(f'{shape}, {frames} frames of 196 tokens, {decoder.threads} threads')
    print(f'{"scheme":>8} {"retained":>9} {"FLOPs":>6} {"prefill":>17} {"decode":>16} '
          f'{"cache":>14}')
    for row in rows:
        print(f'{row["scheme"]:>8} {row["retained"]:9.1%} '
              f'{row["prefill_macs"] / full["prefill_macs"]:6.0%} {row["prefill_ms"]:8.0f} ms '
              f'{full["prefill_ms"] / row["prefill_ms"]:4.2f}x '
              f'{row["decode_ms_per_token"]:8.1f} ms/t {row["cache_bytes"] / 1e6:7.1f} MB '
              f'{full["cache_bytes"] / row["cache_bytes"]:4.2f}x')
    return rows


def _show(report: dict[str, Any]) -> None:
    """Print the shipped head's table."""
    full = report['schemes']['full']
    print(f'{full["asked"]} objects in view, {full["unseen_asked"]} of pairs never trained on, '
          f'{full["absent"]} not in view, {report["moments"]} views')
    print(f'{"scheme":>8} {"retained":>9} {"FLOPs":>6} {"prefill":>15} {"decode":>10} '
          f'{"answer":>15} {"cache":>15} {"grounded":>9} {"unseen":>6} {"side":>6} {"dist.":>6} '
          f'{"absent P, R":>12} {"others":>6} {"flights":>21}')
    for name, row in report['schemes'].items():
        flown = report['flights'][name]
        print(f'{name:>8} {row["retained"]:9.1%} '
              f'{row["prefill_macs"] / full["prefill_macs"]:6.0%} {row["prefill_ms"]:6.2f} ms '
              f'{full["prefill_ms"] / max(row["prefill_ms"], 1e-3):4.2f}x '
              f'{row["decode_ms_per_token"]:5.2f} ms/t '
              f'{row["answer_ms"]:6.2f} ms {full["answer_ms"] / row["answer_ms"]:4.2f}x '
              f'{row["cache_bytes"] / 1e3:6.0f} kB '
              f'{full["cache_bytes"] / row["cache_bytes"]:4.2f}x '
              f'{_share(row["grounded"]):>9} {_share(row["unseen"]):>6} {_share(row["side"]):>6} '
              f'{_share(row["distance"]):>6} '
              f'{_share(row["absent_precision"]):>6} {_share(row["absent_recall"]):>5} '
              f'{_share(row["other"]):>6} {flown["success"]:.3f} '
              f'[{flown["interval"][0]:.3f}, {flown["interval"][1]:.3f}]')


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
