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

"""Small LFM2 models with random weights, for the tests."""

from pathlib import Path
from typing import Any

from edge_vla.checkpoints.safetensors import write_safetensors
from edge_vla.kernels.block_layout import Blocks, quantise_blocks
from edge_vla.kernels.isa import Isa
from edge_vla.language.decoder import Decoder, DecoderSettings
from edge_vla.language.lfm2_config import ATTENTION, CONVOLUTION, Lfm2Config
from edge_vla.language.lfm2_engine import build_lfm2
import numpy as np
import pytest

SIZES: dict[str, dict[str, Any]] = {
    'both kinds': {},
    'attention last': {'layers': 'cca', 'hidden': 96, 'heads': 6, 'kv': 2, 'ffn': 130},
    'convolutions only': {'layers': 'cc', 'taps': 4},
    'attention only': {'layers': 'aa', 'kv': 4},
    'one tap': {'layers': 'ca', 'taps': 1},
    'many taps': {'layers': 'cac', 'taps': 9},
    'odd sizes': {'hidden': 90, 'heads': 9, 'kv': 3, 'ffn': 77, 'vocab': 41, 'layers': 'acac'},
    'tiny': {'hidden': 2, 'heads': 1, 'kv': 1, 'ffn': 3, 'vocab': 5, 'layers': 'ca'},
    'biased': {'bias': True, 'layers': 'cac'},
    'untied': {'tied': False, 'layers': 'ac'},
}


def config_of(size: str, **more: Any) -> Lfm2Config:
    """Return the configuration of one of SIZES."""
    s = {'hidden': 64, 'heads': 4, 'kv': 2, 'ffn': 104, 'vocab': 97, 'layers': 'cacca', 'taps': 3,
         'bias': False, 'tied': True} | SIZES[size]
    kinds = tuple({'c': CONVOLUTION, 'a': ATTENTION}[k] for k in s['layers'])
    return Lfm2Config(**{
        'hidden_size': s['hidden'], 'intermediate_size': s['ffn'], 'num_hidden_layers': len(kinds),
        'num_attention_heads': s['heads'], 'num_key_value_heads': s['kv'],
        'vocab_size': s['vocab'], 'max_position_embeddings': 128, 'rope_theta': 10000.0,
        'conv_L_cache': s['taps'], 'conv_bias': s['bias'], 'layer_types': kinds,
        'bos_token_id': 1, 'eos_token_id': (2,), 'tie_word_embeddings': s['tied']} | more)


def weights_of(config: Lfm2Config, seed: int = 0) -> dict[str, np.ndarray]:
    """Return weights named as in Hugging Face checkpoints."""
    rng, d = np.random.default_rng(seed), config.hidden_size

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(shape[-1])).astype(np.float32)
    out = {'model.embed_tokens.weight': 4 * normal(config.vocab_size, d),
           'model.embedding_norm.weight': 1 + normal(d)}
    if not config.tie_word_embeddings:
        out['lm_head.weight'] = normal(config.vocab_size, d)
    for i, kind in enumerate(config.layer_types):
        at = f'model.layers.{i}.'
        out |= {f'{at}{n}.weight': normal(*s) for n, s in config.linears(i).items()}
        out |= {f'{at}{n}.weight': 1 + normal(d) for n in ('operator_norm', 'ffn_norm')}
        if kind == ATTENTION:
            out |= {f'{at}self_attn.{n}_layernorm.weight': 1 + normal(config.head_dim)
                    for n in 'qk'}
            continue
        out[f'{at}conv.conv.weight'] = normal(d, 1, config.conv_L_cache)
        if config.conv_bias:
            out |= {f'{at}conv.{n}.bias': normal(s) for n, s in (
                ('in_proj', 3 * d), ('conv', d), ('out_proj', d))}
    return out


class MemorySource:
    """Weights as an open checkpoint."""

    def __init__(self, weights: dict[str, np.ndarray], kind: int = 0) -> None:
        self._weights, self._kind = weights, kind

    def block_kind(self, name: str, shape: tuple[int, int]) -> int:
        """Return the kind of all matrices."""
        assert self._weights[f'{name}.weight'].shape == shape
        return self._kind

    def blocks(self, name: str, shape: tuple[int, int]) -> Blocks:
        """Quantise a matrix."""
        return quantise_blocks(self._weights[f'{name}.weight'], self._kind)

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """Return some rows of a matrix."""
        assert self._weights[f'{name}.weight'].shape == shape
        return self._weights[f'{name}.weight'][start:stop]

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return the gains of a norm."""
        assert self._weights[f'{name}.weight'].shape == (size,)
        return self._weights[f'{name}.weight']

    def bias(self, name: str, size: int) -> np.ndarray:
        """Return a bias."""
        assert self._weights[f'{name}.bias'].shape == (size,)
        return self._weights[f'{name}.bias']

    def taps(self, name: str, channels: int, taps: int) -> np.ndarray:
        """Return the weights of a convolution."""
        assert self._weights[f'{name}.weight'].shape == (channels, 1, taps)
        return self._weights[f'{name}.weight'][:, 0]


def decoder_of(config: Lfm2Config, weights: dict[str, np.ndarray] | None = None,
               isa: Isa | None = None, kept: str = 'float32', head: str = 'float32',
               **settings: Any) -> Decoder:
    """Return a decoder of these weights."""
    source = MemorySource(weights_of(config) if weights is None else weights)
    return Decoder(build_lfm2(source, config, kept, head), DecoderSettings(**settings), isa)


def some_ids(config: Lfm2Config, count: int, seed: int = 3) -> list[int]:
    """Return random token ids."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, count).tolist()


def transformers_model(config: Lfm2Config, weights: dict[str, np.ndarray]) -> Any:
    """Return transformers' own LFM2, float32, with these weights."""
    torch = pytest.importorskip('torch', reason='needs torch (make oracles)')
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    if not hasattr(transformers, 'Lfm2ForCausalLM'):
        pytest.skip('this transformers has no LFM2')
    theirs = transformers.Lfm2ForCausalLM(transformers.Lfm2Config(
        **{k: getattr(config, k) for k in (
            'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
            'num_key_value_heads', 'vocab_size', 'max_position_embeddings', 'norm_eps',
            'conv_L_cache', 'conv_bias', 'tie_word_embeddings')},
        layer_types=list(config.layer_types), block_auto_adjust_ff_dim=False,
        rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta},
        attn_implementation='eager')).eval()
    missing, unexpected = theirs.load_state_dict(
        {k: torch.from_numpy(v) for k, v in weights.items()}, strict=False)
    assert set(missing) <= {'lm_head.weight'} and not unexpected

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return theirs(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    logits.model = theirs  # type: ignore[attr-defined]
    return logits


def write_folder(folder: Path, config: Lfm2Config, tensors: dict[str, np.ndarray]) -> Path:
    """Write a checkpoint in Hugging Face's layout."""
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(config.to_json())
    write_safetensors(folder / 'model.safetensors', tensors)
    return folder
