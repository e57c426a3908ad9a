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

"""What the metadata of an LFM2 in a GGUF file say, and what those of all models do."""

from collections.abc import Callable
from typing import Any

from edge_vla.checkpoints.gguf import GgufFile
from edge_vla.exceptions import CheckpointError
import numpy as np

Get = Callable[..., Any]  # key, type, default: a value of the metadata
_OPTIONAL = ('bos_token_id', 'eos_token_id')


def token_count(file: GgufFile) -> int | None:
    """Return how many tokens the file names, None if it does not."""
    tokens = file.metadata.get('tokenizer.ggml.tokens')
    return len(tokens) if isinstance(tokens, list) else None


def check_shared(file: GgufFile, config: dict[str, Any], get: Get) -> None:
    """
    Add the ids of the first and last token, and refuse what no model here has.

    Parameters
    ----------
    file : GgufFile
        The file.
    config : dict
        In the words of config.json; written.
    get : callable
        Returns a value of the metadata.

    Raises
    ------
    CheckpointError
        The file contradicts itself, or has scaled RoPE or heads of another size.

    """
    architecture, count = file.metadata['general.architecture'], token_count(file)
    for name in _OPTIONAL:
        if f'tokenizer.ggml.{name}' in file.metadata:
            config[name] = get(f'tokenizer.ggml.{name}', int)
            if not 0 <= config[name] < config['vocab_size']:
                raise CheckpointError(f"{file.path}: the metadata 'tokenizer.ggml.{name}' is "
                                      f'{config[name]}, beyond a vocabulary of '
                                      f'{config["vocab_size"]} tokens')
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


def lfm2_config(file: GgufFile, get: Get) -> dict[str, Any]:
    """
    Return the metadata of an LFM2 in the words of config.json.

    Parameters
    ----------
    file : GgufFile
        The file.
    get : callable
        Returns a value of the metadata.

    Raises
    ------
    CheckpointError
        A value is missing or malformed.

    """
    layers = get('block_count', int)
    heads = _kv_heads(file, layers)
    config = {
        'model_type': 'lfm2', 'block_auto_adjust_ff_dim': False,
        'hidden_size': get('embedding_length', int), 'num_hidden_layers': layers,
        'intermediate_size': get('feed_forward_length', int),
        'num_attention_heads': get('attention.head_count', int),
        'num_key_value_heads': max([1, *heads]),
        'layer_types': ['full_attention' if n else 'conv' for n in heads],
        'vocab_size': get('vocab_size', int, token_count(file)),
        'norm_eps': get('attention.layer_norm_rms_epsilon', float),
        'rope_theta': get('rope.freq_base', float, 1000000.0),
        'max_position_embeddings': get('context_length', int, 32768),
        'conv_L_cache': get('shortconv.l_cache', int),
        'tie_word_embeddings': 'output.weight' not in file.tensors}
    check_shared(file, config, get)
    return config


def _kv_heads(file: GgufFile, layers: int) -> list[int]:
    """Return the key-value heads of each layer, 0 for a convolution."""
    key = 'lfm2.attention.head_count_kv'
    found = file.metadata.get(key)
    values = found.tolist() if isinstance(found, np.ndarray) else found
    if type(values) is int and 0 < layers <= len(file.tensors):  # no file of the family has it so
        values = [values] * layers
    if not isinstance(values, list) or len(values) != layers or not all(
            type(n) is int and n >= 0 for n in values) or len({n for n in values if n}) > 1:
        raise CheckpointError(f'{file.path}: the metadata {key!r} must give a number for each of '
                              f'{layers} layers, 0 for a convolution and else the same')
    return values
