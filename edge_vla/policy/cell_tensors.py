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


"""Where the weights of liquid cells are in a checkpoint, and their layout there."""

from collections.abc import Mapping

from edge_vla.checkpoints.safetensors import take
from edge_vla.exceptions import CheckpointError
import numpy as np


def locate(tensors: Mapping[str, np.ndarray], prefix: str) -> tuple[str, str]:
    """
    Tell where a cell's tensors are: ``rnn_cell`` beside ``lstm`` as in ncps, or at `prefix`.

    Returns
    -------
    tuple
        Prefixes of the cell and of its mixed memory; the latter is '' without one.

    Raises
    ------
    CheckpointError
        A read-out follows the cell.

    """
    if f'{prefix}fc.weight' in tensors:
        raise CheckpointError(f'{prefix}fc.weight: a read-out (proj_size) is not part of a cell')
    inner = f'{prefix}rnn_cell.'
    cell = inner if any(name.startswith(inner) for name in tensors) else prefix
    memory = f'{prefix}lstm.'
    return cell, memory if f'{memory}input_map.weight' in tensors else ''


def matrix_shape(tensors: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """
    Return the shape of a matrix.

    Raises
    ------
    CheckpointError
        It is missing or no matrix.

    """
    if name not in tensors:
        raise CheckpointError(f'the checkpoint has no tensor {name!r}')
    shape = tensors[name].shape
    if len(shape) != 2:
        raise CheckpointError(f'tensor {name!r} has shape {list(shape)}, expected a matrix')
    return shape


def take_linear(tensors: Mapping[str, np.ndarray], name: str, n_in: int,
                n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weight [n_in, n_out] and bias [n_out] of a linear layer (torch has [out, in])."""
    weight = take(tensors, f'{name}.weight', (n_out, n_in))
    return np.ascontiguousarray(weight.T), take(tensors, f'{name}.bias', (n_out,))


def take_memory(tensors: Mapping[str, np.ndarray], prefix: str, inputs: int,
                units: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the LSTM of mixed memory as `Cell` takes it, None if `prefix` is ''."""
    if not prefix:
        return None
    weight, bias = take_linear(tensors, f'{prefix}input_map', inputs, 4 * units)
    recurrent = take(tensors, f'{prefix}recurrent_map.weight', (4 * units, units))
    return np.concatenate([weight, recurrent.T]), bias
