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

"""BitNet b1.58 and LFM2 in GGUF files, as a ``sources.Source``."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
import re
from typing import Any

from edge_vla.checkpoints import ggml_blocks
from edge_vla.checkpoints.gguf import GgufFile, GgufTensor
from edge_vla.checkpoints.gguf_lfm2 import check_shared, Get, lfm2_config, token_count
from edge_vla.checkpoints.packing import check_finite, check_shape, check_ternary, ternarise
from edge_vla.exceptions import CheckpointError
import numpy as np

_BITNET = ('bitnet', 'bitnet-b1.58', 'bitnet-25')
_TOP = {'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', 'lm_head': 'output'}
_LINEARS = {'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k',
            'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output',
            'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down'}
_NORMS = {'input_layernorm': 'attn_norm', 'self_attn.attn_sub_norm': 'attn_sub_norm',
          'post_attention_layernorm': 'ffn_norm', 'mlp.ffn_sub_norm': 'ffn_sub_norm'}
_LFM2_TOP = {'model.embed_tokens': 'token_embd', 'model.embedding_norm': 'token_embd_norm',
             'lm_head': 'output'}
_LFM2 = {'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v',
         'self_attn.out_proj': 'attn_output', 'self_attn.q_layernorm': 'attn_q_norm',
         'self_attn.k_layernorm': 'attn_k_norm', 'conv.in_proj': 'shortconv.in_proj',
         'conv.out_proj': 'shortconv.out_proj', 'conv.conv': 'shortconv.conv',
         'feed_forward.w1': 'ffn_gate', 'feed_forward.w3': 'ffn_up', 'feed_forward.w2': 'ffn_down',
         'operator_norm': 'attn_norm', 'ffn_norm': 'ffn_norm'}
_BLOCKS = {ggml_blocks.Q4_0: 4, ggml_blocks.Q8_0: 8}


class GgufSource:
    """
    A GGUF file of bitnet.cpp or llama.cpp.

    The rows of q and k are taken as they are. LLaMA's converters permute them for llama.cpp's
    RoPE of neighbouring pairs; those for LFM2 and BitNet (microsoft/BitNet and llama.cpp, class
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
        architecture = self.metadata.get('general.architecture')
        self._lfm2 = architecture == 'lfm2'
        if not self._lfm2 and architecture not in _BITNET:
            raise CheckpointError(f'{path}: the architecture is {architecture!r}, expected one of '
                                  f'{", ".join((*_BITNET, "lfm2"))}')
        if self.metadata.get('split.count', 1) not in (0, 1):
            raise CheckpointError(f'{path}: is one of {self.metadata["split.count"]} parts of a '
                                  'model: put them together with llama-gguf-split --merge')
        self.config = (lfm2_config if self._lfm2 else _bitnet_config)(self._file, self._get)
        known = set(self._names(self.config['num_hidden_layers']))
        for name in self._file.tensors:  # one left out would change every answer
            if name not in known:
                raise CheckpointError(f'{path}: tensor {name!r} is not part of '
                                      f'{"LFM2" if self._lfm2 else "BitNet b1.58"}')

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def check(self, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Refuse what lacks one of these tensors (see Source); others were refused before."""
        for key, shape in shapes:
            if key.endswith('.bias'):
                self.bias(key.removesuffix('.bias'), *shape)
            flat = shape[:1] + shape[2:] if len(shape) == 3 else shape  # taps
            self._tensor(key.removesuffix('.weight'), flat)

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

    def block_kind(self, name: str, shape: tuple[int, int]) -> int:
        """Return 4 for Q4_0, 8 for Q8_0, else 0 (see Source)."""
        return _BLOCKS.get(self._tensor(name, shape)[1].kind, 0)

    def blocks(self, name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return a matrix of blocks as it is stored (see Source)."""
        key, tensor = self._tensor(name, shape)
        codes, scales = ggml_blocks.codes(tensor.kind, tensor.data, key)
        check_finite(scales, key)
        return codes.reshape(shape), scales.reshape(shape[0], -1)

    def taps(self, name: str, channels: int, taps: int) -> np.ndarray:
        """Return the weights of a depthwise convolution (see Source)."""
        return self._floats(*self._tensor(name, (channels, taps))).reshape(channels, taps)

    def bias(self, name: str, size: int) -> np.ndarray:
        """Refuse: no GGUF file has one (see Source)."""
        raise CheckpointError(f'{self._file.path}: GGUF has no bias of {name!r}')

    def _tensor(self, name: str, shape: tuple[int, ...]) -> tuple[str, GgufTensor]:
        key = self._name(name)
        if key not in self._file.tensors:
            raise CheckpointError(f'{self._file.path}: has no tensor {key!r}')
        check_shape(self._file.tensors[key].shape, shape, key)
        return key, self._file.tensors[key]

    def _floats(self, key: str, tensor: GgufTensor) -> np.ndarray:
        values = ggml_blocks.floats(tensor.kind, tensor.data, key)
        check_finite(values, key)
        return values

    def _tables(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the file's words for modules: at the top, in a layer."""
        if not self._lfm2:
            return _TOP, _LINEARS | _NORMS
        newer = 'output_norm.weight' in self._file.tensors  # llama.cpp writes either
        return _LFM2_TOP | ({'model.embedding_norm': 'output_norm'} if newer else {}), _LFM2

    def _name(self, name: str) -> str:
        top, inner = self._tables()
        layer = re.fullmatch(r'model\.layers\.(\d+)\.(.+)', name)
        part = inner.get(layer[2]) if layer else top.get(name)
        if part is None:
            raise CheckpointError(f'GGUF has no name for {name!r}')
        return f'blk.{layer[1]}.{part}.weight' if layer else f'{part}.weight'

    def _names(self, layers: int) -> Iterator[str]:
        """Yield what the file may hold, but no more layers than it has tensors."""
        top, inner = self._tables()
        yield from (f'{part}.weight' for part in top.values())
        for i in range(min(layers, len(self._file.tensors))):
            yield from (f'blk.{i}.{part}.weight' for part in inner.values())
            if not self._lfm2:
                yield from (f'blk.{i}.{part}.scale' for part in _LINEARS.values())

    def _get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a value of the metadata, of the architecture unless it is the tokenizer's."""
        full = key if key.startswith('tokenizer.') else (
            f'{self.metadata["general.architecture"]}.{key}')
        value = self.metadata.get(full, default)
        if value is None:
            raise CheckpointError(f'{self._file.path}: the metadata {full!r} is missing')
        if type(value) is not kind or kind is float and not abs(value) < 1e30:
            raise CheckpointError(f'{self._file.path}: the metadata {full!r} is {value!r}')
        # stored as float32: the shortest number that is it, as config.json has it
        return float(str(np.float32(value))) if kind is float else value


def _exact_or_absmean(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the trits of s * {-1, 0, 1} as they are, those of any other weights by absmean."""
    size = np.abs(values)
    scale = size.max()
    if scale > 0 and ((size == scale) | (size == 0)).all():
        return np.sign(values).astype(np.int8), float(scale)
    return ternarise(values)


def _bitnet_config(file: GgufFile, get: Get) -> dict[str, Any]:
    """Return the metadata in the words of config.json."""
    count = token_count(file)
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
    check_shared(file, config, get)
    return config


def _activation(metadata: Mapping[str, Any]) -> str:
    """Return the activation of a file that does not say."""
    # What came before 2B4T (1bitLLM/bitnet_b1_58) has SiLU and LLaMA's SentencePiece tokenizer.
    older = metadata['general.architecture'] == 'bitnet' and (
        metadata.get('tokenizer.ggml.model') == 'llama')
    return 'silu' if older else 'relu2'
