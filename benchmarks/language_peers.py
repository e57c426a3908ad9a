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
The language engine beside llama.cpp's kin, process after process, round after round.

Needs a converted 2B4T model (or any other) and, for each peer, its ``llama-bench`` and a GGUF file
of the same shape: ``python benchmarks/language_peers.py --ours int6=FOLDER
--peer bitnet.cpp=BIN,GGUF --peer "ik_llama.cpp=BIN,GGUF,-rtr 1"``. Prints medians.
"""

import argparse
from collections import defaultdict
import json
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile

from edge_vla.evaluation.language_speed import machine

PROMPT, GENERATED = 128, 32


def ours(arguments: list[str], threads: int) -> tuple[float, float, float, float]:
    """Return tokens/s of decoding, greedily and with all logits, of prefill, and peak MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'report.json'
        subprocess.run([sys.executable, '-m', 'edge_vla', 'bench', 'language', '--model',
                        *arguments, '--threads', str(threads), '--rounds', '3', '--prompt',
                        str(PROMPT), '--json', str(path)], check=True, capture_output=True)
        report = json.loads(path.read_text())
    row = report['results'][0]
    return (row['greedy_tokens_per_second'], row['tokens_per_second'],
            row['prefill_tokens_per_second'], report['memory_mb']['peak'])


def theirs(arguments: list[str], threads: int) -> tuple[float, float, float, float]:
    """Return tokens/s of decoding, twice, of prefill, and peak memory in MB."""
    binary, model, *more = arguments
    done = subprocess.run(
        ['/usr/bin/time', '-f', '%M', binary, '-m', model, '-t', str(threads), '-p', str(PROMPT),
         '-n', str(GENERATED), '-r', '2', '-o', 'json', *' '.join(more).split()],
        check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    decode, = (r['avg_ts'] for r in rows if r['n_gen'])
    prefill, = (r['avg_ts'] for r in rows if not r['n_gen'])
    return decode, decode, prefill, float(done.stderr.strip().splitlines()[-1]) * 1024 / 1e6


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--ours', action='append', default=[], metavar='NAME=FOLDER')
    parser.add_argument('--peer', action='append', default=[], metavar='NAME=BIN,GGUF[,OPTIONS]')
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path, required=True)
    args = parser.parse_args()
    engines = [(name, ours, rest.split(',')) for name, _, rest in (
        o.partition('=') for o in args.ours)]
    engines += [(name, theirs, rest.split(',')) for name, _, rest in (
        p.partition('=') for p in args.peer)]
    found = defaultdict(list)
    for turn in range(args.rounds):
        for threads in map(int, args.threads.split(',')):
            for name, measure, arguments in engines:
                found[name, threads].append(measure(arguments, threads))
                print(turn, name, threads, *(f'{v:.1f}' for v in found[name, threads][-1]),
                      flush=True)
    rows = [{'engine': name, 'threads': threads, 'rounds': len(values),
             'decode_tokens_per_second': median(v[0] for v in values),
             'with_all_logits_tokens_per_second': median(v[1] for v in values),
             'prefill_tokens_per_second': median(v[2] for v in values),
             'peak_memory_mb': max(v[3] for v in values),
             'decode_all': [round(v[0], 2) for v in values],
             'prefill_all': [round(v[2], 2) for v in values]}
            for (name, threads), values in found.items()]
    for row in rows:
        print(f'{row["engine"]:24} {row["threads"]} threads: decode '
              f'{row["decode_tokens_per_second"]:6.1f} (with all logits '
              f'{row["with_all_logits_tokens_per_second"]:.1f}), prefill({PROMPT}) '
              f'{row["prefill_tokens_per_second"]:6.1f} tokens/s, peak '
              f'{row["peak_memory_mb"]:.0f} MB')
    args.json.write_text(json.dumps({'machine': machine(), 'results': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
