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
How the matrix unit sees a run of 48 columns of '5bit' rows: twelve *quads* of four columns.

Five words of a row have three codes each, and one more in their topmost bits. Four times four
codes of a row are put next to each other: those of the first three words each with one of the
fourth, those of the fifth with the one of the topmost bits. A quad is the d-th columns of four
such codes, as trits + 1, and a row of a tile of weights.

`ternary_dots` has fifteen quads, of three codes and nothing, but for the last word. That is one
permutation less a word, but everything that is unpacked is stored, and loaded as tiles.
"""

from collections.abc import Iterator

from edge_vla.kernels.ternary_dots import DIGITS, RUN, spread_as, word_codes
from edge_vla.kernels.ternary_tables import gather_bits
from edge_vla.kernels.vectors import every, SHORTS
from llvmlite import ir

FOURS = 4  # times four codes of a run
QUADS = FOURS * DIGITS


def _run_columns() -> list[int]:
    """Return which column of a run each byte of it is, RUN for none."""
    codes = [*([3 * f, 3 * f + 1, 3 * f + 2, 9 + f] for f in range(3)), [12, 13, 14, 15]]
    columns = [3 * code + d for four in codes for d in range(DIGITS) for code in four]
    return columns + [RUN] * (RUN - len(columns))


COLUMNS = _run_columns()
spread = spread_as(COLUMNS)


def run_codes(builder: ir.IRBuilder, words: list[ir.Value]) -> Iterator[list[ir.Value]]:
    """Yield four codes of each of 32 rows, see `word_codes`, four times."""
    extra = every(SHORTS, 0)
    for word in words:
        extra = gather_bits(builder, extra, word)
    for f in range(FOURS - 1):
        yield word_codes(builder, words[f], words[3], 5 * f)
    yield word_codes(builder, words[4], extra)
