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


"""The closed-form continuous-time cell: a single layer, or the layers of a wiring."""

from collections.abc import Mapping
import re
from typing import NamedTuple

from edge_vla.checkpoints.safetensors import take
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.cfc import ACTIVATIONS, cfc_rows, MODES
from edge_vla.policy.cell_tensors import locate, matrix_shape, take_linear, take_memory
from edge_vla.policy.cells import Cell
from edge_vla.policy.wiring import Wiring
import numpy as np


class Layer(NamedTuple):
    """Weights of a CfC laid out for ``kernels.cfc.cfc_step``."""

    inputs: int
    units: int
    backbone_w: np.ndarray
    backbone_b: np.ndarray
    heads_w: np.ndarray
    heads_b: np.ndarray


class CfC(Cell):
    """
    A CfC, or a stack in which every layer takes the new output of the one before.

    The units are in the order of the layers (inter, command, motor); the last layer is the output.

    Parameters
    ----------
    layers : list of Layer
        From the input to the output.
    mode : str
        A key of ``kernels.cfc.MODES``.
    activation : str
        The backbones', a key of ``kernels.cfc.ACTIVATIONS``.
    memory : tuple of numpy.ndarray or None
        As for `Cell`.

    Raises
    ------
    ValueError
        A mode or activation is unknown.

    """

    def __init__(self, layers: list[Layer], mode: str = 'default', activation: str = 'lecun_tanh',
                 memory: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        for name, known in ((mode, MODES), (activation, ACTIVATIONS)):
            if name not in known:
                raise ValueError(f'{name!r} is none of {", ".join(known)}')
        units = sum(layer.units for layer in layers)
        super().__init__(layers[0].inputs, units, layers[-1].units, memory)
        self.negative_dt = mode not in ('pure', 'exact')  # there exp(-dt) would grow for ever
        self._first, start, feed = units - layers[-1].units, 0, 0
        self._calls = []
        for layer in layers:
            scratch = (np.zeros(n, np.float32) for n in (
                layer.inputs + layer.units, len(layer.backbone_b), len(layer.heads_b)))
            self._calls.append((feed, (*layer[2:], MODES[mode], ACTIVATIONS[activation], *scratch),
                                start))
            start, feed = start + layer.units, start

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], prefix: str = '',
                     mode: str = 'default', activation: str = 'lecun_tanh',
                     wiring: Wiring | None = None) -> 'CfC':
        """
        Load weights named as in ``ncps.torch.CfC`` (wired or not), ``CfCCell`` or the pilot.

        In exact mode the heads are ``A`` and ``f``.

        Parameters
        ----------
        tensors : mapping of str to numpy.ndarray
            A state_dict as arrays.
        prefix : str
            What the names begin with, with the dot.
        mode, activation : str
            As for the class.
        wiring : Wiring or None
            Masks the weights of a wired checkpoint that stores no masks.

        Raises
        ------
        CheckpointError
            A tensor is missing, of a wrong shape, or contradicts the mode or wiring.

        """
        cell, lstm = locate(tensors, prefix)
        found = (re.match(re.escape(cell) + r'layer_(\d+)\.', name) for name in tensors)
        count = 1 + max((int(m[1]) for m in found if m), default=-1)
        names = [f'{cell}layer_{i}.' for i in range(count)] or [cell]
        masks = [None] * len(names) if wiring is None else wiring.masks()
        if len(masks) != len(names):
            raise CheckpointError(f'{cell}: {len(names)} layers, but the wiring has {len(masks)}')
        layers = [_layer(tensors, name, mode, mask)
                  for name, mask in zip(names, masks, strict=True)]
        for name, below, layer in zip(names[1:], layers, layers[1:], strict=False):
            if layer.inputs != below.units:
                raise CheckpointError(f'{name} takes {layer.inputs} inputs, but the layer before '
                                      f'has {below.units} units')
        memory = take_memory(tensors, lstm, layers[0].inputs, sum(x.units for x in layers))
        return cls(layers, mode, activation, memory)

    def _advance(self, x: np.ndarray, dt: np.ndarray, state: np.ndarray) -> None:
        for feed, arguments, start in self._calls:
            cfc_rows(x, feed, dt, *arguments, state, start)
            x = state

    def output(self, state: np.ndarray) -> np.ndarray:
        """Return the units of the last layer, a view [..., outputs] of the state."""
        return state[..., self._first:self.units]


def _layer(tensors: Mapping[str, np.ndarray], prefix: str, mode: str,
           mask: np.ndarray | None) -> Layer:
    pure = mode == 'pure'
    for name, of in (('w_tau', 'pure'), ('f.weight', 'exact')):
        if (f'{prefix}{name}' in tensors) != (mode == of):
            raise CheckpointError(f"{prefix}{name} exists if and only if the mode is '{of}'")
    heads = {'pure': ('ff1',), 'exact': ('A', 'f')}.get(mode, ('ff1', 'ff2', 'time_a', 'time_b'))
    units, below = matrix_shape(tensors, f'{prefix}{heads[0]}.weight')
    backbone = _backbone(tensors, prefix)
    joined = matrix_shape(tensors, f'{backbone[0]}.weight')[1] if backbone else below
    if joined <= units:
        raise CheckpointError(f'{prefix}: {joined} columns leave no input beside {units} units')
    weights, biases, width = [np.zeros((0, below), np.float32)], [np.zeros(0, np.float32)], joined
    for name in backbone:
        weight, bias = take_linear(tensors, name, width, below)
        weights.append(weight)
        biases.append(bias)
        width = below
    mask = _mask(tensors, f'{prefix}sparsity_mask', (units, below), mask)
    heads_w, heads_b = [], []
    for name in heads:
        weight, bias = take_linear(tensors, prefix + name, below, units)
        heads_w.append(weight * mask if name in ('ff1', 'ff2', 'A') else weight)
        heads_b.append(bias)
    if pure:
        heads_b += [abs(take(tensors, f'{prefix}w_tau', (1, units))[0]),
                    take(tensors, f'{prefix}A', (1, units))[0]]
    return Layer(joined - units, units, np.concatenate(weights), np.concatenate(biases),
                 np.ascontiguousarray(np.concatenate(heads_w, 1)), np.concatenate(heads_b))


def _backbone(tensors: Mapping[str, np.ndarray], prefix: str) -> list[str]:
    """Return the names of the backbone's linear layers, the first one first."""
    if f'{prefix}backbone.weight' in tensors:
        return [f'{prefix}backbone']
    pattern = re.compile(re.escape(prefix) + r'backbone\.(\d+)\.weight')
    # activations and dropout take numbers too, so the numbers have gaps
    numbers = sorted(int(m[1]) for m in map(pattern.fullmatch, tensors) if m)
    return [f'{prefix}backbone.{n}' for n in numbers]


def _mask(tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, int],
          wired: np.ndarray | None) -> np.ndarray:
    """Return what ff1 and ff2 are multiplied with, [inputs + units, units] or a one."""
    if name not in tensors:
        mask = np.ones((1, 1), np.float32) if wired is None else wired
        if wired is not None and wired.shape != shape[::-1]:
            raise CheckpointError(f'{name}: the wiring gives shape {wired.shape[::-1]}, expected '
                                  f'{shape}')
        return mask
    mask = take(tensors, name, shape).T
    if wired is not None and not np.array_equal(mask, wired):
        raise CheckpointError(f'{name} is not that of the wiring')
    return mask
