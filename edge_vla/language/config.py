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

"""Configuration of a BitNet b1.58 decoder, in the words of Hugging Face's config.json."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
import json
from typing import Any

from edge_vla.exceptions import CheckpointError
from edge_vla.language.decoder_config import DecoderConfig, token_ids


@dataclass(frozen=True)
class BitNetConfig(DecoderConfig):
    """
    Shape of a decoder; the defaults are microsoft/bitnet-b1.58-2B-4T.

    Source: "BitNet b1.58 2B4T Technical Report" (arXiv 2504.12285) and its config.json.
    """

    hidden_size: int = 2560
    intermediate_size: int = 6912
    num_hidden_layers: int = 30
    num_attention_heads: int = 20
    num_key_value_heads: int = 5
    vocab_size: int = 128256
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    bos_token_id: int = 128000
    eos_token_id: int | tuple[int, ...] = 128001
    tie_word_embeddings: bool = True
    hidden_act: str = 'relu2'

    def __post_init__(self) -> None:
        self._check_positive()
        if self.hidden_act != 'relu2':
            raise CheckpointError(f'hidden_act {self.hidden_act!r} is not supported, only relu2')
        self._check_heads()

    @property
    def context(self) -> int:
        """Longest sequence by default."""
        return self.max_position_embeddings

    def linears(self) -> dict[str, tuple[int, int]]:
        """Return the ternary matrices of a layer as name -> (out features, in features)."""
        d, f = self.hidden_size, self.intermediate_size
        return {'self_attn.q_proj': (d, d), 'self_attn.k_proj': (self.kv_size, d),
                'self_attn.v_proj': (self.kv_size, d), 'self_attn.o_proj': (d, d),
                'mlp.gate_proj': (f, d), 'mlp.up_proj': (f, d), 'mlp.down_proj': (d, f)}

    def norms(self) -> dict[str, int]:
        """Return the RMSNorm gains of a layer as name -> size."""
        d = self.hidden_size
        return {'input_layernorm': d, 'self_attn.attn_sub_norm': d,
                'post_attention_layernorm': d, 'mlp.ffn_sub_norm': self.intermediate_size}

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name of every tensor in Hugging Face's files, and its shape as floats."""
        table = self.vocab_size, self.hidden_size
        yield 'model.embed_tokens.weight', table
        for i in range(self.num_hidden_layers):
            for name, shape in self.linears().items():
                yield f'model.layers.{i}.{name}.weight', shape
            for name, size in self.norms().items():
                yield f'model.layers.{i}.{name}.weight', (size,)
        yield 'model.norm.weight', (self.hidden_size,)
        if not self.tie_word_embeddings:
            yield 'lm_head.weight', table

    @staticmethod
    def _check_architecture(values: Mapping[str, Any], where: str) -> None:
        if values.get('model_type') != 'bitnet':
            raise CheckpointError(f'{where}: model_type is {values.get("model_type")!r}, '
                                  'expected bitnet')
        if values.get('attention_bias'):
            raise CheckpointError(f'{where}: attention_bias is set, which no BitNet b1.58 has')

    @staticmethod
    def _complete(values: Mapping[str, Any]) -> dict[str, Any]:
        raw = {'tie_word_embeddings': False, 'max_position_embeddings': 2048, **values}
        raw.setdefault('eos_token_id', BitNetConfig.eos_token_id)
        if raw.get('num_key_value_heads', 0) is None:  # no sharing
            raw['num_key_value_heads'] = raw.get('num_attention_heads')
        return raw

    @staticmethod
    def _computed(values: Mapping[str, Any]) -> dict[str, Any]:
        ends = token_ids(values['eos_token_id'])
        return {'eos_token_id': ends[0] if len(ends) == 1 else ends}

    def to_json(self) -> str:
        """Return config.json as Hugging Face writes it for packed weights."""
        return json.dumps(asdict(self) | {
            'architectures': ['BitNetForCausalLM'], 'model_type': 'bitnet',
            'attention_bias': False, 'attention_dropout': 0.0, 'use_cache': True,
            'quantization_config': {'quant_method': 'bitnet', 'linear_class': 'autobitlinear',
                                    'quantization_mode': 'offline'}}, indent=2) + '\n'
