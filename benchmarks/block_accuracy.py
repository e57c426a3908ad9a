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
What blocks of 4 bits cost: rms error of weights, of random matrices of several laws.

``python benchmarks/block_accuracy.py`` compares ggml's own Q4_0 (needs ``gguf``), the same blocks
as they are quantised here, and INT4, whose scales are bytes; and INT4 made of ggml's Q4_0.
"""

import argparse
import json
from pathlib import Path

from edge_vla.kernels.block_layout import dequantise_blocks, INT4, Q4_0, quantise_blocks
import numpy as np

ROWS, COLUMNS = 1024, 2048


def laws() -> dict[str, np.ndarray]:
    """Return float32 matrices."""
    rng = np.random.default_rng(0)
    normal = rng.normal(0, 1, (ROWS, COLUMNS))
    outliers = np.where(rng.random(normal.shape) < 5e-4, 30, 1) * normal
    one = normal.copy()
    one[:, 700] = 100
    sizes = normal * np.exp(rng.normal(0, .7, (ROWS, COLUMNS // 32))).repeat(32, 1)
    return {name: x.astype(np.float32) for name, x in {
        'normal': normal, 'Student t, 4': rng.standard_t(4, normal.shape),
        'one in 2000 is 30 times as large': outliers, 'one of a row is 100': one,
        'blocks of many sizes': sizes}.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, help='where the figures go')
    args = parser.parse_args()
    import gguf  # only here: the others need nothing
    ggml, found = gguf.GGMLQuantizationType.Q4_0, {}
    for law, x in laws().items():
        theirs = gguf.quants.dequantize(gguf.quants.quantize(x, ggml), ggml)
        seen = {'ggml Q4_0': theirs, 'q4_0': dequantise_blocks(quantise_blocks(x, Q4_0), Q4_0),
                'int4': dequantise_blocks(quantise_blocks(x, INT4), INT4),
                'int4 of ggml Q4_0': dequantise_blocks(quantise_blocks(theirs, INT4), INT4)}
        usual = np.abs(x) < 100  # what sticks out that far would hide the others
        found[law] = {name: float(np.linalg.norm((y - x)[usual]) / np.linalg.norm(x[usual]))
                      for name, y in seen.items()}
        print(f'{law:34}', *(f'{name} {error:.2%} ' for name, error in found[law].items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main()
