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

"""
The sketch of a model's head (see `kernels.screen`): made once, kept beside the head.

With it the likeliest tokens are found without reading the whole head, and exactly: what is not
ruled out is computed from the head itself.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
import os

from edge_vla.checkpoints.safetensors import aligned
from edge_vla.kernels.screen import block_of, padded_width, ROUNDS, SCALES, sketch_rows
from edge_vla.language.engine import AnyConfig, head_rows
from edge_vla.language.programs import AnyModel
import numpy as np

MANY = 4096  # tokens of a vocabulary that is worth it
_ROWS_AT_ONCE = 2048
_SEED = 0


def worth_sketching(config: AnyConfig) -> bool:
    """Tell whether a model's head is large, and of a width that can be rotated."""
    return config.vocab_size >= MANY and block_of(config.hidden_size) > 0


def sketch_arrays(config: AnyConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of the tensors of a sketch."""
    v, d = config.vocab_size, config.hidden_size
    return {'head_sketch': ((v, padded_width(d) // 4), 'u1'),
            'head_sketch_scales': ((SCALES, v), 'f4'),
            'head_sketch_signs': ((ROUNDS, d), 'f4'), 'head_sketch_order': ((ROUNDS, d), 'i4'),
            'head_sketch_dither': ((d,), 'f4')}


def sketched(model: AnyModel) -> AnyModel:
    """
    Return a model with a sketch of its head, or itself where that is not worth it.

    Parameters
    ----------
    model : EngineModel or Lfm2Model
        Its head is read; a second or so for each 50,000 tokens of width 2560.

    """
    c = model.config
    if not worth_sketching(c) or 'head_sketch' in model.tensors:
        return model
    rng, d = np.random.default_rng(_SEED), c.hidden_size
    signs = rng.choice(np.float32([-1, 1]), (ROUNDS, d))
    order = np.stack([rng.permutation(d) for _ in range(ROUNDS)]).astype(np.int32)
    codes = aligned(c.vocab_size * padded_width(d) // 4).reshape(c.vocab_size, -1)
    scales = np.zeros((SCALES, c.vocab_size), np.float32)

    def sketch(start: int) -> None:
        part = slice(start, start + _ROWS_AT_ONCE)
        rows = np.array(head_rows(model.tensors, model.head, part, d))
        found = np.zeros((len(rows), SCALES), np.float32)
        sketch_rows(rows, signs, order, block_of(d), codes[part], found)
        scales[:, part] = found.T
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(sketch, range(0, c.vocab_size, _ROWS_AT_ONCE)))
    return replace(model, tensors=model.tensors | {
        'head_sketch': codes, 'head_sketch_scales': scales, 'head_sketch_signs': signs,
        'head_sketch_order': order, 'head_sketch_dither': rng.random(d, np.float32)})


def unsketched(model: AnyModel) -> AnyModel:
    """Return a model without the sketch of its head."""
    return replace(model, tensors={name: array for name, array in model.tensors.items()
                                   if not name.startswith('head_sketch')})
