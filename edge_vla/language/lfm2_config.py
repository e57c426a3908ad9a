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

"""Configuration of an LFM2 or LFM2.5 decoder, in the words of Hugging Face's config.json."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
import json
from typing import Any

from edge_vla.exceptions import CheckpointError
from edge_vla.language.decoder_config import DecoderConfig, token_ids

CONVOLUTION, ATTENTION = 'conv', 'full_attention'
_PUBLISHED = tuple(ATTENTION if i in (2, 5, 8, 10, 12, 14) else CONVOLUTION for i in range(16))
# what a file leaves out is as in transformers; older files have other names for some
_DEFAULTS = {'vocab_size': 65536, 'hidden_size': 2560, 'intermediate_size': 12288,
             'num_hidden_layers': 32, 'num_attention_heads': 32, 'num_key_value_heads': 8,
             'eos_token_id': 2, 'block_multiple_of': 256, 'block_ffn_dim_multiplier': 1.0,
             'block_auto_adjust_ff_dim': True}
_OLDER = {'block_ff_dim': 'intermediate_size', 'tie_embedding': 'tie_word_embeddings'}
_CONTEXT = 32768


@dataclass(frozen=True)
class Lfm2Config(DecoderConfig):
    """
    Shape of a decoder; the defaults are LiquidAI/LFM2-1.2B and LFM2.5-1.2B.

    Attributes
    ----------
    intermediate_size : int
        Of the feed-forward layers as they are, after what ``block_auto_adjust_ff_dim`` of a
        config.json does to it.
    layer_types : tuple of str
        CONVOLUTION or ATTENTION, layer by layer.
    eos_token_id : tuple of int
        What ends a text.

    """

    hidden_size: int = 2048
    intermediate_size: int = 8192
    num_hidden_layers: int = 16
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    vocab_size: int = 65536
    max_position_embeddings: int = 128000
    norm_eps: float = 1e-5
    rope_theta: float = 1000000.0
    conv_L_cache: int = 3
    conv_bias: bool = False
    layer_types: tuple[str, ...] = _PUBLISHED
    bos_token_id: int = 1
    eos_token_id: tuple[int, ...] = (7,)
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        self._check_positive()
        if len(self.layer_types) != self.num_hidden_layers or not (
                {CONVOLUTION, ATTENTION} >= set(self.layer_types)):
            raise CheckpointError(
                f'layer_types must name {CONVOLUTION} or {ATTENTION} for each of '
                f'{self.num_hidden_layers} layers, is {list(self.layer_types)}')
        self._check_heads()

    @property
    def context(self) -> int:
        """Longest sequence by default: the 32,768 tokens the models were trained on."""
        return min(self.max_position_embeddings, _CONTEXT)

    @property
    def parameters(self) -> int:
        """Everything that is learned."""
        d = self.hidden_size
        total = (1 if self.tie_word_embeddings else 2) * self.vocab_size * d + d
        for i, kind in enumerate(self.layer_types):
            total += 2 * d + sum(out * width for out, width in self.linears(i).values())
            total += 2 * self.head_dim if kind == ATTENTION else d * self.conv_L_cache + (
                5 * d if self.conv_bias else 0)
        return total

    def linears(self, layer: int) -> dict[str, tuple[int, int]]:
        """Return the matrices of a layer as name -> (out features, in features)."""
        d, f = self.hidden_size, self.intermediate_size
        operator = {'self_attn.q_proj': (d, d), 'self_attn.k_proj': (self.kv_size, d),
                    'self_attn.v_proj': (self.kv_size, d), 'self_attn.out_proj': (d, d)}
        if self.layer_types[layer] == CONVOLUTION:
            operator = {'conv.in_proj': (3 * d, d), 'conv.out_proj': (d, d)}
        return operator | {'feed_forward.w1': (f, d), 'feed_forward.w3': (f, d),
                           'feed_forward.w2': (d, f)}

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name of every tensor in Hugging Face's files, and its shape as floats."""
        d, h, table = self.hidden_size, self.head_dim, (self.vocab_size, self.hidden_size)
        yield 'model.embed_tokens.weight', table
        for i, kind in enumerate(self.layer_types):
            layer, own = f'model.layers.{i}.', {'operator_norm': (d,), 'ffn_norm': (d,)}
            if kind == ATTENTION:
                own |= {'self_attn.q_layernorm': (h,), 'self_attn.k_layernorm': (h,)}
            else:
                own['conv.conv'] = d, 1, self.conv_L_cache
            for name, shape in (self.linears(i) | own).items():
                yield f'{layer}{name}.weight', shape
            if kind == CONVOLUTION and self.conv_bias:
                for name, size in (('in_proj', 3 * d), ('conv', d), ('out_proj', d)):
                    yield f'{layer}conv.{name}.bias', (size,)
        yield 'model.embedding_norm.weight', (d,)
        if not self.tie_word_embeddings:
            yield 'lm_head.weight', table

    @staticmethod
    def _check_architecture(values: Mapping[str, Any], where: str) -> None:
        if values.get('model_type') != 'lfm2':
            raise CheckpointError(f'{where}: model_type is {values.get("model_type")!r}, '
                                  'expected lfm2')

    @staticmethod
    def _complete(values: Mapping[str, Any]) -> dict[str, Any]:
        raw = _DEFAULTS | {k: v for k, v in values.items()
                           if v is not None or k in ('block_ffn_dim_multiplier', 'eos_token_id')}
        return raw | {ours: raw[older] for older, ours in _OLDER.items() if older in raw}

    @staticmethod
    def _computed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {'intermediate_size': _adjusted(values), 'layer_types': _layer_types(values),
                'eos_token_id': token_ids(values['eos_token_id'])}

    def to_json(self) -> str:
        """Return config.json as Hugging Face writes it."""
        return json.dumps(asdict(self) | {
            'architectures': ['Lfm2ForCausalLM'], 'model_type': 'lfm2',
            'block_auto_adjust_ff_dim': False, 'use_cache': True}, indent=2) + '\n'


def _adjusted(raw: Mapping[str, Any]) -> int:
    """Return the true size of the feed-forward layers."""
    size = int(raw['intermediate_size'])
    if not raw['block_auto_adjust_ff_dim']:
        return size
    size, step = int(2 * size / 3), int(raw['block_multiple_of'])
    if raw['block_ffn_dim_multiplier'] is None:
        return size
    if step < 1:
        raise ValueError(f'block_multiple_of is {step}')
    return step * -(-int(raw['block_ffn_dim_multiplier'] * size) // step)


def _layer_types(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kind of every layer, from whichever key says it."""
    if 'layer_types' in raw:
        return tuple(str(kind) for kind in raw['layer_types'])
    count = int(raw['num_hidden_layers'])
    if count > 1 << 16:
        raise ValueError(f'num_hidden_layers is {count}')
    places = {int(i) for i in raw.get('full_attn_idxs', range(count))}
    return tuple(ATTENTION if i in places else CONVOLUTION for i in range(count))
