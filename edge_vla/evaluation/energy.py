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
The published arithmetic-energy model: joules of the operations of a forward pass, nothing else.

Energy of one operation: Horowitz, "Computing's energy problem", ISSCC 2014 (45 nm), and Zhang et
al. 2022 (7 nm), as BitNet (arXiv 2310.11453, table 2) and the report of BitNet b1.58 2B4T (arXiv
2504.12285) use them. Counted are the matrix products: an m x n by n x p product adds m (n - 1) p
times and multiplies m n p times. A ternary layer adds at the price of INT8 and multiplies
(m p + m n) times to scale. Attention is FP16 in both, all T x T scores of it. Left out, as in the
papers: head, embedding, norms, and every access to memory, which is most of what a real machine
spends.
"""

from typing import NamedTuple

from edge_vla.compression.cost import DecoderShape


class Price(NamedTuple):
    """
    What an operation costs.

    Attributes
    ----------
    add, multiply : float
        Picojoules.

    """

    add: float
    multiply: float


PRICES = {
    '45 nm': {'FP32': Price(.9, 3.7), 'FP16': Price(.4, 1.1), 'INT8': Price(.03, .2)},
    '7 nm': {'FP32': Price(.38, 1.31), 'FP16': Price(.16, .34), 'INT8': Price(.007, .07)}}
# what the figures were published for
BITNET_30B = DecoderShape(48, 7168, 4 * 7168, 7168, 2)
BITNET_2B4T = DecoderShape(30, 2560, 6912, 640)
LLAMA_1B = DecoderShape(16, 2048, 8192, 512)
TOKENS = 512


class Joules(NamedTuple):
    """
    Energy of a forward pass.

    Attributes
    ----------
    adding, multiplying : float
        Joules.

    """

    adding: float
    multiplying: float

    @property
    def total(self) -> float:
        """Sum of both, J."""
        return self.adding + self.multiplying


def layer_ratio(node: str = '7 nm') -> float:
    """
    Return how much more an FP16 matrix product costs than a ternary one, scaling left out.

    The 71.4 of "The Era of 1-bit LLMs" (arXiv 2402.17764, figure 3) is that of 7 nm.

    Parameters
    ----------
    node : str
        A key of PRICES.

    """
    prices = PRICES[node]
    return sum(prices['FP16']) / prices['INT8'].add


def matrices(shape: DecoderShape) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of the linear layers of one block."""
    d, ffn = shape.hidden, shape.ffn
    widening = [(d, ffn)] * (shape.matrices - 1)
    return [(d, d), (d, shape.kv), (d, shape.kv), (d, d), *widening, (ffn, d)]


def forward_joules(shape: DecoderShape, tokens: int, ternary: bool,
                   node: str = '7 nm') -> Joules:
    """
    Return the arithmetic energy of a forward pass over a whole text.

    Parameters
    ----------
    shape : DecoderShape
        The decoder.
    tokens : int
        Length of the text, T.
    ternary : bool
        Whether the linear layers are ternary with INT8 activations, or else FP16.
    node : str
        A key of PRICES.

    """
    half, whole = PRICES[node]['FP16'], PRICES[node]['INT8']
    scores = 2 * tokens * tokens * shape.hidden  # Q K^T and its product with V
    added, multiplied = scores * half.add, scores * half.multiply
    for n, p in matrices(shape):
        if ternary:
            added += tokens * (n - 1) * p * whole.add
            multiplied += (tokens * p + tokens * n) * half.multiply
        else:
            added += tokens * (n - 1) * p * half.add
            multiplied += tokens * n * p * half.multiply
    return Joules(shape.layers * added * 1e-12, shape.layers * multiplied * 1e-12)


def forward_ratio(shape: DecoderShape, tokens: int, node: str = '7 nm') -> float:
    """Return how much more an FP16 forward pass costs than a ternary one."""
    return forward_joules(shape, tokens, False, node).total / forward_joules(
        shape, tokens, True, node).total
