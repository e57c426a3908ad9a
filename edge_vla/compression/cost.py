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

"""What visual tokens cost a decoder: multiplications of its prefill, bytes of its cache."""

from collections.abc import Sequence
from typing import NamedTuple


class DecoderShape(NamedTuple):
    """
    Sizes of a decoder.

    Attributes
    ----------
    layers, hidden, ffn : int
        As in its configuration.
    kv : int
        Key-value heads times their size.
    matrices : int
        Of the feed-forward block: 3 if it is gated.

    """

    layers: int
    hidden: int
    ffn: int
    kv: int
    matrices: int = 3


def prefill_macs(shape: DecoderShape, tokens: int | Sequence[int]) -> int:
    """
    Count the multiply-accumulates of a prefill, head and embedding left out.

    A layer of n tokens costs 2 n d (d + d_kv) + 2 n^2 d + g n d m. With d_kv = d and g = 2 this
    is the formula behind the tables of FastV and DyCoke, which call it FLOPs.

    Parameters
    ----------
    shape : DecoderShape
        The decoder.
    tokens : int or sequence of int
        Tokens of every layer, or of each.

    Raises
    ------
    ValueError
        There is not one number for each layer.

    """
    each = [tokens] * shape.layers if isinstance(tokens, int) else list(tokens)
    if len(each) != shape.layers:
        raise ValueError(f'{len(each)} numbers of tokens for {shape.layers} layers')
    d = shape.hidden
    return sum(2 * n * d * (d + shape.kv) + 2 * n * n * d + shape.matrices * n * d * shape.ffn
               for n in each)


def cache_bytes(shape: DecoderShape, tokens: int | Sequence[int], element: int = 1) -> int:
    """
    Count the bytes of keys and values, scales of int8 left out.

    Parameters
    ----------
    shape : DecoderShape
        The decoder.
    tokens : int or sequence of int
        Tokens kept in every layer, or in each.
    element : int
        Bytes of a number.

    """
    each = [tokens] * shape.layers if isinstance(tokens, int) else tokens
    return sum(2 * n * shape.kv * element for n in each)


def retained(pruning_rate: float, key_pruning_rate: float) -> float:
    """Return DyCoke's retained ratio, (1 - 0.75 K)(1 - P), of windows of four."""
    return (1 - .75 * pruning_rate) * (1 - key_pruning_rate)
