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


"""The liquid time-constant cell over any wiring."""

from collections.abc import Mapping

from edge_vla.checkpoints.safetensors import take
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.ltc import ltc_rows
from edge_vla.policy.cell_tensors import locate, matrix_shape, take_memory
from edge_vla.policy.cells import Cell
from edge_vla.policy.wiring import Wiring
import numpy as np


class LTC(Cell):
    """
    Units with a membrane, joined by synapses that exist; dt must be above 0.

    Parameters
    ----------
    sensory, synapses : tuple of numpy.ndarray
        Synapses from inputs and between units: ends (source, destination) int32 [S, 2] and
        mu, sigma, w and erev float32 [S, 4], w >= 0.
    membrane : numpy.ndarray
        cm, gleak and vleak, float32 [3, U]; cm and gleak >= 0.
    mapping : numpy.ndarray
        Factor and offset of every input, float32 [2, inputs].
    readout : numpy.ndarray
        Factor and offset of every output, float32 [2, outputs]; the outputs are the first units.
    ode_unfolds : int
        Substeps of the solver.
    memory : tuple of numpy.ndarray or None
        As for `Cell`.

    Raises
    ------
    ValueError
        `ode_unfolds` is below 1.

    """

    positive_dt = True

    def __init__(self, sensory: tuple[np.ndarray, np.ndarray],
                 synapses: tuple[np.ndarray, np.ndarray], membrane: np.ndarray,
                 mapping: np.ndarray, readout: np.ndarray, ode_unfolds: int = 6,
                 memory: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        if ode_unfolds < 1:
            raise ValueError(f'ode_unfolds must be at least 1, not {ode_unfolds}')
        super().__init__(mapping.shape[1], membrane.shape[1], readout.shape[1], memory)
        self.ode_unfolds = ode_unfolds
        scratch = np.zeros(self.inputs, np.float32), np.zeros((4, self.units), np.float32)
        self._arguments = mapping, *sensory, *synapses, membrane, *scratch
        self._readout = readout

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], prefix: str = '',
                     ode_unfolds: int = 6, implicit: bool = True,
                     wiring: Wiring | None = None) -> 'LTC':
        """
        Load weights named as in ``ncps.torch.LTC`` or ``LTCCell``.

        Parameters
        ----------
        tensors : mapping of str to numpy.ndarray
            A state_dict as arrays.
        prefix : str
            What the names begin with, with the dot.
        ode_unfolds : int
            As for the class.
        implicit : bool
            Whether w, cm and gleak go through a softplus (``implicit_param_constraints``, which
            is the default of ``LTC`` but not of ``LTCCell``) or are used as stored.
        wiring : Wiring or None
            Masks the synapses of a checkpoint that stores no masks, and says how many motor
            neurons there are when no output mapping does.

        Raises
        ------
        CheckpointError
            A tensor is missing, of a wrong shape or sign, or contradicts the wiring.

        """
        cell, lstm = locate(tensors, prefix)
        inputs, units = matrix_shape(tensors, f'{cell}sensory_w')

        def positive(name: str, shape: tuple[int, ...]) -> np.ndarray:
            value = take(tensors, cell + name, shape)
            if implicit:
                return np.logaddexp(np.float32(0), value)
            if not (value >= 0).all():
                raise CheckpointError(f'{cell}{name} has entries below 0: clip them, or load with '
                                      'implicit constraints')
            return value

        def synapses(kind: str, shape: tuple[int, int],
                     wired: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
            name = f'{cell}{kind}sparsity_mask'
            mask = np.ones(shape) if wired is None else abs(wired)
            if mask.shape != shape:
                raise CheckpointError(f'{name}: the wiring gives shape {mask.shape}, expected '
                                      f'{shape}')
            if name in tensors:
                stored = take(tensors, name, shape)
                if wired is not None and not np.array_equal(stored, mask):
                    raise CheckpointError(f'{name} is not that of the wiring')
                mask = stored
            values = [take(tensors, f'{cell}{kind}mu', shape),
                      take(tensors, f'{cell}{kind}sigma', shape),
                      positive(f'{kind}w', shape), take(tensors, f'{cell}{kind}erev', shape)]
            ends = np.argwhere(mask)
            return ends.astype(np.int32), np.stack([v[tuple(ends.T)] for v in values], 1)

        def mapping(kind: str, size: int) -> np.ndarray:
            names = f'{cell}{kind}_w', f'{cell}{kind}_b'
            return np.stack([take(tensors, name, (size,)) if name in tensors
                             else np.full(size, default, np.float32)
                             for name, default in zip(names, (1, 0), strict=True)])

        outputs = units if wiring is None else wiring.output_dim
        if f'{cell}output_w' in tensors:
            outputs = tensors[f'{cell}output_w'].size
        if outputs > units:
            raise CheckpointError(f'{cell}output_w has {outputs} entries for {units} units')
        membrane = np.stack([positive('cm', (units,)), positive('gleak', (units,)),
                             take(tensors, f'{cell}vleak', (units,))])
        return cls(synapses('sensory_', (inputs, units),
                            None if wiring is None else wiring.sensory_adjacency),
                   synapses('', (units, units), None if wiring is None else wiring.adjacency),
                   membrane, mapping('input', inputs), mapping('output', outputs), ode_unfolds,
                   take_memory(tensors, lstm, inputs, units))

    def _advance(self, x: np.ndarray, dt: np.ndarray, state: np.ndarray) -> None:
        ltc_rows(x, dt, self.ode_unfolds, *self._arguments, state)

    def output(self, state: np.ndarray) -> np.ndarray:
        """Return the motor neurons, mapped; a new array [..., outputs]."""
        return state[..., :self.outputs] * self._readout[0] + self._readout[1]
