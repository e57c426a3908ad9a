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

"""Small BitNet models with random weights, for the tests."""

from dataclasses import replace

from edge_vla.checkpoints.packing import ternarise
from edge_vla.kernels.isa import available, Isa, ISAS
from edge_vla.language.config import BitNetConfig
from edge_vla.language.decoder import Decoder, DecoderSettings
from edge_vla.language.engine import build, EngineModel
import numpy as np

SIZES = {  # hidden, feed-forward, layers, heads, key-value heads, vocabulary
    'as shipped': (128, 320, 3, 4, 2, 300),
    'one head': (16, 24, 1, 1, 1, 11),
    'no sharing': (48, 64, 2, 3, 3, 50),
    'much sharing': (80, 52, 2, 10, 2, 37),
    'odd rows': (130, 214, 2, 5, 1, 41),
    'wide': (320, 1100, 1, 5, 5, 129),
}


def runnable_isas() -> list[Isa]:
    """
    Return what this CPU can run, as it and as another maker's would.

    AVX-VNNI's instructions are in AVX-512's too.
    """
    found = {isa.name: isa for isa in available()}
    if 'avx512vnni' in found:
        found['avxvnni'] = ISAS['avxvnni']
    best, *rest = found.values()
    plain = [replace(isa, amx=False) for isa in (best, *rest)]
    others = [replace(isa, reading=reading, tables=reading != 'apart')
              for isa in plain if isa.packing == '5bit' for reading in ('apart', 'plain', 'run')]
    return list(dict.fromkeys([best, *plain, *others]))


def config_of(size: str, **more: object) -> BitNetConfig:
    """Return the configuration of one of SIZES."""
    d, f, layers, heads, kv, vocab = SIZES[size]
    return BitNetConfig(**{
        'hidden_size': d, 'intermediate_size': f, 'num_hidden_layers': layers,
        'num_attention_heads': heads, 'num_key_value_heads': kv, 'vocab_size': vocab,
        'max_position_embeddings': 96, 'rope_theta': 10000.0, 'bos_token_id': 0,
        'eos_token_id': 1} | more)


def masters(config: BitNetConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Full-precision weights, named as in Hugging Face checkpoints."""
    rng = np.random.default_rng(seed)
    d = config.hidden_size

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(shape[-1])).astype(np.float32)

    out = {'model.embed_tokens.weight': normal(config.vocab_size, d) * 8,
           'model.norm.weight': 1 + normal(d)}
    if not config.tie_word_embeddings:
        out['lm_head.weight'] = normal(config.vocab_size, d)
    for i in range(config.num_hidden_layers):
        out |= {f'model.layers.{i}.{n}.weight': normal(*s) for n, s in config.linears().items()}
        out |= {f'model.layers.{i}.{n}.weight': 1 + normal(s) for n, s in config.norms().items()}
    return out


class MemorySource:
    """Master weights as an open checkpoint."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = weights

    def trits(self, name: str, out: int, columns: int) -> tuple[np.ndarray, float]:
        """Ternarise a matrix."""
        assert self._weights[f'{name}.weight'].shape == (out, columns)
        return ternarise(self._weights[f'{name}.weight'])

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return the gains of a norm."""
        assert self._weights[f'{name}.weight'].shape == (size,)
        return self._weights[f'{name}.weight']

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """Return some rows of an embedding."""
        assert self._weights[f'{name}.weight'].shape == shape
        return self._weights[f'{name}.weight'][start:stop]


def model_of(config: BitNetConfig, weights: dict[str, np.ndarray], packing: str = '2bit',
             head: str = 'float32') -> EngineModel:
    """Pack master weights for the engine."""
    return build(MemorySource(weights), config, packing, head)


def decoder_of(config: BitNetConfig, weights: dict[str, np.ndarray] | None = None,
               isa: Isa | None = None, head: str = 'float32', **settings: object) -> Decoder:
    """Return a decoder of master weights."""
    model = model_of(config, masters(config) if weights is None else weights, head=head)
    return Decoder(model, DecoderSettings(**settings), isa)


def some_ids(config: BitNetConfig, count: int, seed: int = 3) -> list[int]:
    """Return random token ids."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, count).tolist()
