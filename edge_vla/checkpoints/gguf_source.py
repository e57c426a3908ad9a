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

"""BitNet b1.58 in GGUF files, as a ``sources.Source``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
import re
from typing import Any

from edge_vla.checkpoints import ggml_blocks
from edge_vla.checkpoints.gguf import GgufFile, GgufTensor
from edge_vla.checkpoints.packing import check_finite, check_shape, check_ternary, ternarise
from edge_vla.exceptions import CheckpointError
import numpy as np

_ARCHITECTURES = ('bitnet', 'bitnet-b1.58', 'bitnet-25')
_TOP = {'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', 'lm_head': 'output'}
_LINEARS = {'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k',
            'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output',
            'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down'}
_NORMS = {'input_layernorm': 'attn_norm', 'self_attn.attn_sub_norm': 'attn_sub_norm',
          'post_attention_layernorm': 'ffn_norm', 'mlp.ffn_sub_norm': 'ffn_sub_norm'}


class GgufSource:
    """
    A GGUF file of bitnet.cpp or llama.cpp.

    The rows of q and k are taken as they are. LLaMA's converters permute them for llama.cpp's
    RoPE of neighbouring pairs; those for BitNet (microsoft/BitNet and llama.cpp, class
    BitnetModel) do not, and the graphs of all its architectures rotate halves
    (LLAMA_ROPE_TYPE_NEOX), as transformers does.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    metadata : dict
        Of the file; the tokenizer is under 'tokenizer.ggml.'.

    Raises
    ------
    CheckpointError
        The file is malformed or of another architecture.

    """

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        self.metadata = self._file.metadata
        self.config = _gguf_config(self._file)
        known = set(_gguf_names(self.config['num_hidden_layers'], len(self._file.tensors)))
        for name in self._file.tensors:  # one left out would change every answer
            if name not in known:
                raise CheckpointError(f'{path}: tensor {name!r} is not part of BitNet b1.58')

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def trits(self, name: str, out: int, columns: int) -> tuple[np.ndarray, float]:
        """Return a ternary matrix and its scale (see Source)."""
        key, tensor = self._tensor(name, (out, columns))
        if tensor.kind in ggml_blocks.TERNARY:
            values, scale = ggml_blocks.trits(tensor.kind, tensor.data, key)
        elif tensor.kind in ggml_blocks.PLAIN:
            values, scale = _exact_or_absmean(self._floats(key, tensor))
        else:
            kinds = (ggml_blocks.BLOCKS[k].name for k in (
                *ggml_blocks.TERNARY, *ggml_blocks.PLAIN))
            raise CheckpointError(
                f'tensor {key!r} is of type {ggml_blocks.type_name(tensor.kind)}, which does not '
                f'hold trits: convert the model to one of {", ".join(kinds)}')
        scale_key = key.removesuffix('weight') + 'scale'
        if scale_key in self._file.tensors:
            factor = self._floats(scale_key, self._file.tensors[scale_key])
            if factor.size != 1:
                raise CheckpointError(f'tensor {scale_key!r} holds {factor.size} values, '
                                      'expected one')
            scale *= float(factor[0])
        values = values.reshape(out, columns)
        check_ternary(values, scale, key)
        return values, scale

    def vector(self, name: str, size: int) -> np.ndarray:
        """Return the gains of a norm (see Source)."""
        return self._floats(*self._tensor(name, (size,)))

    def rows(self, name: str, shape: tuple[int, int], start: int = 0,
             stop: int | None = None) -> np.ndarray:
        """Return some rows of a float matrix (see Source)."""
        key, tensor = self._tensor(name, shape)
        if tensor.kind not in ggml_blocks.TERNARY:  # those are refused as a whole
            lines = tensor.data.reshape(shape[0], -1)[start:stop]
            tensor = tensor._replace(data=lines.reshape(-1))
        return self._floats(key, tensor).reshape(-1, shape[1])

    def _tensor(self, name: str, shape: tuple[int, ...]) -> tuple[str, GgufTensor]:
        key = _gguf_name(name)
        if key not in self._file.tensors:
            raise CheckpointError(f'{self._file.path}: has no tensor {key!r}')
        check_shape(self._file.tensors[key].shape, shape, key)
        return key, self._file.tensors[key]

    def _floats(self, key: str, tensor: GgufTensor) -> np.ndarray:
        values = ggml_blocks.floats(tensor.kind, tensor.data, key)
        check_finite(values, key)
        return values


def _exact_or_absmean(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the trits of s * {-1, 0, 1} as they are, those of any other weights by absmean."""
    size = np.abs(values)
    scale = size.max()
    if scale > 0 and ((size == scale) | (size == 0)).all():
        return np.sign(values).astype(np.int8), float(scale)
    return ternarise(values)


def _gguf_name(name: str) -> str:
    layer = re.fullmatch(r'model\.layers\.(\d+)\.(.+)', name)
    part = (_LINEARS | _NORMS).get(layer[2]) if layer else _TOP.get(name)
    if part is None:
        raise CheckpointError(f'GGUF has no name for {name!r}')
    return f'blk.{layer[1]}.{part}.weight' if layer else f'{part}.weight'


def _gguf_names(layers: int, most: int) -> Iterator[str]:
    """Yield what a file may hold; `most` bounds a number of layers that nobody has checked."""
    yield from (f'{part}.weight' for part in _TOP.values())
    for i in range(min(layers, most)):
        yield from (f'blk.{i}.{part}.weight' for part in (*_LINEARS.values(), *_NORMS.values()))
        yield from (f'blk.{i}.{part}.scale' for part in _LINEARS.values())


def _gguf_config(file: GgufFile) -> dict[str, Any]:
    """Return the metadata in the words of config.json."""
    architecture = file.metadata.get('general.architecture')
    if architecture not in _ARCHITECTURES:
        raise CheckpointError(f'{file.path}: the architecture is {architecture!r}, expected one '
                              f'of {", ".join(_ARCHITECTURES)}')

    def get(key: str, kind: type, default: Any = None) -> Any:
        full = key if key.startswith('tokenizer.') else f'{architecture}.{key}'
        value = file.metadata.get(full, default)
        if value is None:
            raise CheckpointError(f'{file.path}: the metadata {full!r} is missing')
        if type(value) is not kind or kind is float and not abs(value) < 1e30:
            raise CheckpointError(f'{file.path}: the metadata {full!r} is {value!r}')
        # stored as float32: the shortest number that is it, as config.json has it
        return float(str(np.float32(value))) if kind is float else value

    tokens = file.metadata.get('tokenizer.ggml.tokens')
    count = len(tokens) if isinstance(tokens, list) else None
    config = {
        'model_type': 'bitnet', 'attention_bias': False,
        'hidden_size': get('embedding_length', int), 'num_hidden_layers': get('block_count', int),
        'intermediate_size': get('feed_forward_length', int),
        'num_attention_heads': get('attention.head_count', int),
        'vocab_size': get('vocab_size', int, count),
        'rms_norm_eps': get('attention.layer_norm_rms_epsilon', float),
        'rope_theta': get('rope.freq_base', float, 10000.0),
        'max_position_embeddings': get('context_length', int, 2048),
        'hidden_act': get('hidden_activation', str, _activation(file.metadata)),
        'tie_word_embeddings': 'output.weight' not in file.tensors}
    config['num_key_value_heads'] = get('attention.head_count_kv', int,
                                        config['num_attention_heads'])
    for name in ('bos_token_id', 'eos_token_id'):
        if f'tokenizer.ggml.{name}' in file.metadata:
            config[name] = get(f'tokenizer.ggml.{name}', int)
    if count not in (None, config['vocab_size']):
        raise CheckpointError(f'{file.path}: the vocabulary has {count} tokens, but vocab_size is '
                              f'{config["vocab_size"]}')
    if get('rope.scaling.type', str, 'none') != 'none' and (
            get('rope.scaling.factor', float, 1.0) != 1):
        raise CheckpointError(f'{file.path}: scaled RoPE is not supported')
    head = config['hidden_size'] // max(config['num_attention_heads'], 1)
    for key in ('rope.dimension_count', 'attention.key_length', 'attention.value_length'):
        if get(key, int, head) != head:
            raise CheckpointError(f'{file.path}: {architecture}.{key} is not hidden size / heads '
                                  f'= {head}')
    return config


def _activation(metadata: Mapping[str, Any]) -> str:
    """Return the activation of a file that does not say."""
    # What came before 2B4T (1bitLLM/bitnet_b1_58) has SiLU and LLaMA's SentencePiece tokenizer.
    older = metadata['general.architecture'] == 'bitnet' and (
        metadata.get('tokenizer.ggml.model') == 'llama')
    return 'silu' if older else 'relu2'
