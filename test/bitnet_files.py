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

"""A small BitNet in every kind of file there is."""

from collections.abc import Callable
import json
from pathlib import Path
import struct
from typing import Any

from edge_vla.checkpoints.packing import pack, ternarise
from edge_vla.checkpoints.safetensors import widen, write_safetensors
from edge_vla.language.config import BitNetConfig
import numpy as np
from test_gguf import gguf_bytes, i2_s, Tensors, tq2_0

CONFIG = BitNetConfig(
    hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=40, max_position_embeddings=96, rope_theta=500000.0,
    bos_token_id=0, eos_token_id=1)
EMBEDDING, HEAD, Q = 'model.embed_tokens', 'lm_head', 'model.layers.0.self_attn.q_proj'
LINEARS = {f'model.layers.{i}.{n}': s for i in range(2) for n, s in CONFIG.linears().items()}
NORMS = {f'model.layers.{i}.{n}': s for i in range(2) for n, s in CONFIG.norms().items()} | {
    'model.norm': CONFIG.hidden_size}


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Cut float32 to bfloat16, as uint16."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def masters() -> dict[str, np.ndarray]:
    """Weights that bfloat16 holds exactly, so that every kind starts from the same."""
    rng = np.random.default_rng(7)
    shapes = LINEARS | NORMS | {EMBEDDING: (CONFIG.vocab_size, CONFIG.hidden_size)}
    return {name: widen(to_bfloat16(rng.normal(1.0 if name in NORMS else 0.0, 0.05, shape)))
            for name, shape in shapes.items()}


MASTERS = masters()
WANT = {name: ternarise(MASTERS[name]) for name in LINEARS}


def write_bfloat16(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file, every float32 as bfloat16."""
    header, data = {}, b''
    for name, x in tensors.items():
        wide = x.dtype == np.float32
        stored = (to_bfloat16(x) if wide else x).tobytes()
        header[name] = {'dtype': 'BF16' if wide else 'U8', 'shape': list(x.shape),
                        'data_offsets': [len(data), len(data) + len(stored)]}
        data += stored
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def quantisation(linear_class: str = 'autobitlinear', mode: str = 'offline') -> dict[str, str]:
    return {'quant_method': 'bitnet', 'linear_class': linear_class, 'quantization_mode': mode}


def write_config(folder: Path, **changes: Any) -> None:
    """Write config.json, without the keys that are changed to None."""
    values = json.loads(CONFIG.to_json()) | changes
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(
        json.dumps({k: v for k, v in values.items() if v is not None}))


def packed(divide: bool = False) -> dict[str, np.ndarray]:
    tensors = {}
    for name, x in MASTERS.items():
        tensors[f'{name}.weight'] = pack(WANT[name][0]) if name in LINEARS else x
        if name in LINEARS:
            scale = WANT[name][1]
            tensors[f'{name}.weight_scale'] = np.array([1 / scale if divide else scale],
                                                       np.float32)
    return tensors


def multiply(folder: Path) -> Path:
    write_config(folder)
    write_safetensors(folder / 'model.safetensors', packed())
    return folder


def multiply_bfloat16(folder: Path) -> Path:
    write_config(folder)
    write_bfloat16(folder / 'model.safetensors', packed())
    return folder


def divide(folder: Path) -> Path:
    write_config(folder, quantization_config={'quant_method': 'bitnet'})
    write_safetensors(folder / 'model.safetensors', packed(divide=True))
    return folder


def online(folder: Path) -> Path:
    write_config(folder, quantization_config=quantisation(mode='online'))
    write_bfloat16(folder / 'model.safetensors', {f'{k}.weight': v for k, v in MASTERS.items()})
    return folder


def sharded(folder: Path) -> Path:
    write_config(folder)
    parts: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for k, (name, x) in enumerate(packed().items()):
        parts[k % 3][name] = x
    places = {}
    for k, part in enumerate(parts):
        write_bfloat16(folder / f'model-{k}.safetensors', part)
        places |= dict.fromkeys(part, f'model-{k}.safetensors')
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': places}))
    return folder


def gguf_name(name: str) -> str:
    """Return llama.cpp's name, by a table of its own."""
    words = [('model.layers.', 'blk.'), ('self_attn.attn_sub_norm', 'attn_sub_norm'),
             ('self_attn.o_proj', 'attn_output'), ('self_attn.', 'attn_'),
             ('mlp.ffn_sub_norm', 'ffn_sub_norm'), ('mlp.', 'ffn_'), ('_proj', ''),
             ('post_attention_layernorm', 'ffn_norm'), ('input_layernorm', 'attn_norm'),
             ('model.embed_tokens', 'token_embd'), ('model.norm', 'output_norm'),
             ('lm_head', 'output')]
    for old, new in words:
        name = name.replace(old, new)
    return f'{name}.weight'


def metadata(arch: str = 'bitnet-b1.58') -> dict[str, Any]:
    return {'general.architecture': arch, f'{arch}.embedding_length': 256,
            f'{arch}.block_count': 2, f'{arch}.feed_forward_length': 512,
            f'{arch}.attention.head_count': 4, f'{arch}.attention.head_count_kv': 2,
            f'{arch}.attention.layer_norm_rms_epsilon': 1e-5, f'{arch}.rope.freq_base': 500000.0,
            f'{arch}.rope.dimension_count': 64, f'{arch}.context_length': 96,
            f'{arch}.vocab_size': 40, 'tokenizer.ggml.model': 'gpt2',
            'tokenizer.ggml.tokens': [f't{i}' for i in range(40)],
            'tokenizer.ggml.bos_token_id': 0, 'tokenizer.ggml.eos_token_id': 1}


Encoder = Callable[[np.ndarray, float], tuple[int, bytes]]
ENCODERS: dict[str, Encoder] = {
    'I2_S': lambda t, s: (36, i2_s(t, s)),
    'TQ2_0': lambda t, s: (35, tq2_0(t, [s] * (t.size // 256)).tobytes()),
    'F32': lambda t, s: (0, (t * np.float32(s)).astype('<f4').tobytes()),
    'F16': lambda t, s: (1, (t * np.float32(s)).astype('<f2').tobytes()),
    'BF16': lambda t, s: (30, to_bfloat16(t * np.float32(s)).tobytes())}


def gguf_tensors(kind: str = 'I2_S') -> Tensors:
    tensors: Tensors = {}
    for name, x in MASTERS.items():
        code, stored = ENCODERS[kind](*WANT[name]) if name in LINEARS else (
            (0, x.tobytes()) if name in NORMS else (30, to_bfloat16(x).tobytes()))
        tensors[gguf_name(name)] = x.shape, code, stored
    return tensors


def gguf(kind: str, arch: str = 'bitnet-b1.58') -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / 'some.gguf').write_bytes(gguf_bytes(metadata(arch), gguf_tensors(kind)))
        return folder / 'some.gguf'
    return write


def gguf_masters(folder: Path) -> Path:
    """Write weights that nobody has ternarised."""
    folder.mkdir(exist_ok=True)
    tensors: Tensors = {gguf_name(k): (x.shape, 0, x.tobytes()) for k, x in MASTERS.items()}
    (folder / 'some.gguf').write_bytes(gguf_bytes(metadata('bitnet'), tensors))
    return folder


def gguf_scaled(folder: Path) -> Path:
    """Write bare trits, each with its scale in a tensor of its own, as older converters did."""
    folder.mkdir(exist_ok=True)
    tensors = gguf_tensors()
    for name, (trits, scale) in WANT.items():
        key = gguf_name(name)
        tensors[key] = trits.shape, 0, trits.astype('<f4').tobytes()
        tensors[key.replace('weight', 'scale')] = (1,), 0, struct.pack('<f', scale)
    (folder / 'some.gguf').write_bytes(gguf_bytes(metadata('bitnet'), tensors))
    return folder


KINDS = {  # how to write it, and how precisely it holds a scale
    'packed, multiply': (multiply, 0), 'packed, multiply, bfloat16': (multiply_bfloat16, 2**-7),
    'packed, divide': (divide, 1e-6), 'masters': (online, 0), 'in shards': (sharded, 2**-7),
    'I2_S': (gguf('I2_S'), 0), 'I2_S of 2025': (gguf('I2_S', 'bitnet-25'), 0),
    'TQ2_0': (gguf('TQ2_0', 'bitnet'), 2**-11), 'F32': (gguf('F32', 'bitnet'), 0),
    'F16': (gguf('F16', 'bitnet'), 2**-11), 'BF16': (gguf('BF16', 'bitnet'), 2**-7),
    'F32 masters': (gguf_masters, 0), 'bare trits and scales': (gguf_scaled, 0)}
