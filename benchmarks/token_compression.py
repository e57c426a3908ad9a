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
What compressing visual tokens costs, and what it saves.

``python benchmarks/token_compression.py [--rounds N] [--shape NAME] [--json FILE]``. One thread.
Costs are the fastest of the rounds (the code does the same work every time; what is above that is
the machine). Prefill and decoding are of a decoder with random weights of the shape, with as many
tokens as stage 1 leaves: `shipped` (the language head of the package), 0.1b, 0.7b or 2b4t. The
last table is synthetic: how far attention over chosen keys is from attention over all, while the
query wanders.
"""

import argparse
from collections.abc import Callable, Iterator
import json
from pathlib import Path
from time import perf_counter
from typing import Any

from edge_vla.compression.cost import cache_bytes, DecoderShape, prefill_macs, retained
from edge_vla.compression.expand_merge import TokenExpander, TokenMerger
from edge_vla.compression.kv_pruning import CompactCache, KeyPruningSettings, KeySelector
from edge_vla.compression.temporal import LIVE, TemporalSettings, TemporalStream
from edge_vla.evaluation.language_speed import machine, SHAPES
from edge_vla.kernels.attention import attend
from edge_vla.kernels.isa import best_isa
from edge_vla.language.decoder import Decoder, DecoderSettings
from edge_vla.language.engine import random_model
import numpy as np

Row = dict[str, Any]


def fastest_ms(action: Callable[[], Any], rounds: int) -> float:
    """Return the fastest of some calls, milliseconds, after one to warm up."""
    action()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        action()
        times.append(perf_counter() - start)
    return min(times) * 1e3


def video(rng: np.random.Generator, frames: int, tokens: int, channels: int) -> np.ndarray:
    """Return frames of one scene in which a third of the positions change."""
    x = np.repeat(rng.normal(0, 1, (1, tokens, channels)), frames, 0).astype(np.float32)
    moving = rng.random((frames, tokens)) < .3
    x[moving] += rng.normal(0, .5, (moving.sum(), channels)).astype(np.float32)
    return x


def temporal_costs(rounds: int) -> Iterator[Row]:
    """Time one new frame of 196 tokens of 896 channels in a memory of 32."""
    frames = video(np.random.default_rng(0), 32, 196, 896)
    for name, s in (('K = 0.7', TemporalSettings()), ('K = 0.3', TemporalSettings(.3)),
                    ('K = 0.7, merge', TemporalSettings(mode='merge')), ('live', LIVE)):
        stream = TemporalStream(196, 896, s, frames=32)
        best, kept = np.full(32, np.inf), 0
        for _ in range(rounds):
            stream.reset()
            kept = 0
            for i, frame in enumerate(frames):
                start = perf_counter()
                kept += stream.push(frame)
                best[i] = min(best[i], perf_counter() - start)
        gather = fastest_ms(stream.gather, rounds)
        yield {'what': f'temporal, {name}', 'mean_ms': best.mean() * 1e3,
               'worst_ms': best.max() * 1e3, 'kept': kept / 6272, 'gather_ms': gather}


def other_costs(rounds: int) -> Iterator[Row]:
    """Time TEAM-VLA on one frame, and one new choice of keys and attention at 2B4T's size."""
    rng = np.random.default_rng(0)
    x, words = rng.normal(0, 1, (196, 896)).astype('f'), rng.normal(0, 1, (15, 896)).astype('f')
    expander, merger = TokenExpander(14, 14), TokenMerger(196, 896)
    yield {'what': 'TEAM-VLA expanding, 196 x 896, 15 words',
           'mean_ms': fastest_ms(lambda: expander.choose(x, words), rounds)}
    yield {'what': 'TEAM-VLA merging 196 into 80',
           'mean_ms': fastest_ms(lambda: merger.merge(x, words), rounds)}
    config, keys = SHAPES['2b4t'], 2960
    selector = KeySelector(keys + 64)
    selector.begin(np.arange(keys))
    looked = rng.random((2, keys)).astype('f') ** 8
    turn = iter(range(10 ** 9))
    yield {'what': f'choosing among {keys} keys',
           'mean_ms': fastest_ms(lambda: selector.update(looked[next(turn) % 2]), rounds)}
    size, heads = config.head_dim, config.num_key_value_heads
    full = CompactCache(1, heads, size, keys + 64, np.int8)
    full.arrays[0][:] = rng.integers(-127, 128, full.arrays[0].shape)
    for scales in full.arrays[2:]:
        scales[:] = .01
    slots = selector.slots(keys + 64)
    few = CompactCache(1, heads, size, len(slots) + 64, np.int8)
    yield {'what': f'copying {len(slots)} of {keys + 64} keys and values, one layer of 2B4T',
           'mean_ms': fastest_ms(
               lambda: few.copy_from(full.arrays, full.capacity, 0, slots), rounds)}
    group = config.num_attention_heads // heads
    query, out = rng.normal(0, 1, group * size).astype('f'), np.zeros(group * size, 'f')
    at = tuple(range(0, group * size, size))

    def attention(cache: CompactCache, length: int) -> Callable[[], None]:
        scores, c = np.zeros(group * cache.capacity, 'f'), cache.capacity
        no_bias = np.zeros(0, 'f')
        places = tuple(k * c for k in range(group))

        def run() -> None:
            for head in range(heads):
                attend(*cache.arrays, head, c, length, size, size ** -.5, query, at, scores,
                       places, out, no_bias)
        return run
    for cache, length in ((full, keys + 64), (few, len(slots))):
        yield {'what': f'attention over {length} keys, one layer of 2B4T',
               'mean_ms': fastest_ms(attention(cache, length), rounds)}


def settings_of(frames: int, tokens: int, layers: int) -> Iterator[tuple[str, float, list[int]]]:
    """Yield name, retained share and visual tokens in each layer while decoding."""
    yield 'full', 1., [frames * tokens] * layers
    for k, p in ((.3, .7), (.5, .7), (.7, .7), (.7, .9), (.9, .9)):
        whole, rest = divmod(frames, 4)
        kept = whole * (tokens + 3 * int((1 - k) * tokens)) + (
            tokens + (rest - 1) * int((1 - k) * tokens) if rest else 0)
        first = min(KeyPruningSettings().layer, layers)
        few = KeyPruningSettings(p).budget(kept)
        yield f'DyCoke K={k} P={p}', retained(k, p), [kept] * first + [few] * (layers - first)


def savings(shape: str, frames: int, tokens: int, measured: bool) -> Iterator[Row]:
    """Count, and measure if wanted, prefill and cache of a decoder that is shown frames."""
    config = SHAPES[shape]
    d = DecoderShape(config.num_hidden_layers, config.hidden_size, config.intermediate_size,
                     config.kv_size)
    text = 32
    if measured:
        isa = best_isa('auto')
        settings = DecoderSettings(threads=1, capacity=frames * tokens + text, kv='int8')
        decoder = Decoder(random_model(config, isa.packing, 'float32'), settings)
        decoder.warm_up()
    whole = prefill_macs(d, frames * tokens + text)
    for name, share, each in settings_of(frames, tokens, d.layers):
        row = {'setting': name, 'retained': share, 'tokens': each[0],
               'prefill_macs': prefill_macs(d, each[0] + text),
               'evicted_cache_mb': cache_bytes(d, each) / 1e6,
               'cache_mb': cache_bytes(d, each[0]) / 1e6}
        row['share_of_macs'] = row['prefill_macs'] / whole
        if measured:
            ids = (np.arange(each[0] + text) % config.vocab_size).tolist()

            def prefill(ids: list[int] = ids) -> None:
                decoder.cache.truncate(0)
                decoder.forward(ids, [0])
            row['prefill_ms'] = fastest_ms(prefill, 3)
            decoder.cache.truncate(len(ids) - 1)

            def decode(ids: list[int] = ids) -> None:
                decoder.forward(ids[:1], [0])
                decoder.cache.truncate(len(ids) - 1)
            row['decode_ms'] = fastest_ms(decode, 20)
        yield row


def attention_errors(steps: int = 64, keys: int = 1024, size: int = 64) -> Iterator[Row]:
    """Compare attention over chosen keys with that over all, while the query wanders."""
    for rate in (.3, .5, .7, .9):
        for way in ('come back', 'evicted'):
            rng = np.random.default_rng(0)
            k, v = rng.normal(0, 1, (2, keys, size))
            q = rng.normal(0, 2, size)
            selector = KeySelector(keys, KeyPruningSettings(rate))
            selector.begin(np.arange(keys))
            error, mass = [], []
            for step in range(steps):
                weight = np.exp(k @ q / np.sqrt(size))
                weight /= weight.sum()
                if way == 'come back' or step == 0:
                    selector.update(weight.astype(np.float32))
                s = selector.slots(keys)
                dense, few = weight @ v, weight[s] @ v[s] / weight[s].sum()
                error.append(np.linalg.norm(few - dense) / np.linalg.norm(dense))
                mass.append(weight[s].sum())
                q = .97 * q + .243 * rng.normal(0, 2, size)
            yield {'P': rate, 'keys': way, 'error': float(np.mean(error)),
                   'mass': float(np.mean(mass)), 'choices': selector.choices}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=50)
    parser.add_argument('--shape', choices=tuple(SHAPES), default='shipped')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--tokens', type=int, default=108, help='of a frame')
    parser.add_argument('--count-only', action='store_true', help='run no decoder')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    report: Row = {'machine': machine(), 'shape': args.shape, 'frames': args.frames,
                   'tokens': args.tokens}
    report['costs'] = [*temporal_costs(args.rounds), *other_costs(args.rounds)]
    for row in report['costs']:
        more = f', worst {row["worst_ms"]:.3f} ms, kept {row["kept"]:.1%}, gather ' \
            f'{row["gather_ms"]:.2f} ms' if 'kept' in row else ''
        print(f'{row["what"]:55} {row["mean_ms"]:7.3f} ms{more}')
    report['savings'] = list(savings(args.shape, args.frames, args.tokens, not args.count_only))
    print(f'\n{args.shape}, {args.frames} frames of {args.tokens}, 32 tokens of text')
    for row in report['savings']:
        times = f', prefill {row["prefill_ms"]:.1f} ms, decode {row["decode_ms"]:.2f} ms' \
            if 'prefill_ms' in row else ''
        print(f'{row["setting"]:20} retained {row["retained"]:6.2%}, {row["tokens"]:5} tokens, '
              f'{row["prefill_macs"] / 1e9:.2f} GMAC = {row["share_of_macs"]:4.0%}, cache '
              f'{row["cache_mb"]:.1f} MB, evicted {row["evicted_cache_mb"]:.1f} MB{times}')
    report['attention'] = list(attention_errors())
    print('\nsynthetic: 1024 keys, 64 steps')
    for row in report['attention']:
        print(f'P = {row["P"]}, keys {row["keys"]:9}: error {row["error"]:.3f}, attention kept '
              f'{row["mass"]:.3f}, choices {row["choices"]}')
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
