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

"""What every recipe of a small decoder says."""

from dataclasses import dataclass
from typing import Any

from edge_vla.config import setting
from edge_vla.language.config import BitNetConfig


@dataclass(frozen=True)
class DecoderRecipe:
    """Sizes and rates of a small decoder; subclasses say what it learns from, and for how long."""

    seed: int = setting(0, 'seed of everything', '', 0, 2**31 - 1)
    threads: int = setting(1, 'torch threads; results depend on it', '', 1, 64)
    steps: int = setting(1, 'optimiser steps', '', 1, 10**7)
    rate: float = setting(3e-3, 'peak learning rate', '', 1e-6, 1.0)
    vocabulary: int = setting(1024, 'tokens, special ones included', '', 300, 10**5)
    hidden: int = setting(128, 'width of the decoder', '', 8, 10**5)
    feed_forward: int = setting(320, 'width of its MLP', '', 8, 10**5)
    layers: int = setting(4, 'layers', '', 1, 100)
    heads: int = setting(4, 'attention heads', '', 1, 1000)
    kv_heads: int = setting(2, 'key and value heads', '', 1, 1000)
    half: bool = setting(True, 'products in bfloat16: a third faster')
    save_every: int = setting(500, 'steps between checkpoints', '', 1, 10**6)

    def config(self, **other: Any) -> BitNetConfig:
        """Return the shape of the decoder; `other` is what a recipe does not say."""
        return BitNetConfig(
            hidden_size=self.hidden, intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers, num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads, vocab_size=self.vocabulary, **other)
