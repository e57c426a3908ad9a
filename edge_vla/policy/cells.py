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
What liquid cells share: stepping by true elapsed time, sequences, and keeping a state.

A cell holds weights and scratch, no state: it is a function (x, state, dt) -> state on float32
arrays, in which every sample has its own dt. It works on one call at a time.
"""

from edge_vla.kernels.cfc import lstm_rows
import numpy as np
from numpy.typing import ArrayLike


class Cell:
    """
    Base of the liquid cells.

    The state of a sample is its units, followed by the memory's where there is one.

    Parameters
    ----------
    inputs, units, outputs : int
        Sizes; the outputs are units, possibly mapped.
    memory : tuple of numpy.ndarray or None
        Mixed memory: weight and bias of an LSTM that steps before the cell, float32
        [inputs + units, 4 * units] and [4 * units].

    """

    positive_dt = False  # whether elapsed time must be above 0
    negative_dt = True  # whether it may be below

    def __init__(self, inputs: int, units: int, outputs: int,
                 memory: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        self.inputs, self.units, self.outputs = inputs, units, outputs
        self.state_size = units if memory is None else 2 * units
        self._memory = memory
        if memory is not None:
            self._lstm_scratch = (np.zeros(inputs + units, np.float32),
                                  np.zeros(4 * units, np.float32))

    def initial(self, batch: int = 1) -> np.ndarray:
        """Return the state of samples that begin, float32 [batch, state_size]."""
        return np.zeros((batch, self.state_size), np.float32)

    def advance(self, x: np.ndarray, dt: np.ndarray, state: np.ndarray) -> None:
        """
        Step in place, unchecked and without allocating.

        Parameters
        ----------
        x : numpy.ndarray
            float32 [B, inputs], contiguous.
        dt : numpy.ndarray
            float32 [B], elapsed time in the unit of training.
        state : numpy.ndarray
            float32 [B, state_size], contiguous, changed.

        """
        if self._memory is not None:
            lstm_rows(x, *self._memory, *self._lstm_scratch, state)
        self._advance(x, dt, state)

    def _advance(self, x: np.ndarray, dt: np.ndarray, state: np.ndarray) -> None:
        raise NotImplementedError

    def output(self, state: np.ndarray) -> np.ndarray:
        """Return what is read from states [..., state_size], float32 [..., outputs]."""
        raise NotImplementedError

    def check_dt(self, dt: np.ndarray) -> None:
        """
        Refuse elapsed times, float32, that the cell cannot step by.

        Raises
        ------
        ValueError
            One is not finite, below 0 where the solution would grow for ever, or not above 0 for
            a cell that takes steps of it.

        """
        if not np.isfinite(dt).all():
            raise ValueError('dt must be finite')
        if self.positive_dt and not (dt > 0).all():
            raise ValueError(f'dt must be above 0, not {dt.min()}: drop frames that are not newer '
                             'than the last one')
        if not self.negative_dt and (dt < 0).any():
            raise ValueError(f'dt must not be below 0, not {dt.min()}: drop frames that are older '
                             'than the last one')

    def __call__(self, x: ArrayLike, state: np.ndarray, dt: ArrayLike) -> np.ndarray:
        """
        Return the state after a step; `state` is left as it is.

        Parameters
        ----------
        x : array-like
            [B, inputs].
        state : numpy.ndarray
            [B, state_size].
        dt : array-like
            Elapsed time of each sample [B], or of all of them (a scalar), in the unit of training.

        Returns
        -------
        numpy.ndarray
            float32 [B, state_size].

        Raises
        ------
        ValueError
            A shape does not fit, or dt is refused by `check_dt`.

        """
        batch = len(np.atleast_1d(x))
        x = _shaped('x', x, (batch, self.inputs))
        state = _shaped('state', state, (batch, self.state_size)).copy()
        dt = _timespans(dt, (batch,))
        self.check_dt(dt)
        self.advance(x, dt, state)
        return state

    def run(self, x: ArrayLike, dt: ArrayLike, state: np.ndarray | None = None,
            reset: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """
        Step through sequences.

        Parameters
        ----------
        x : array-like
            [T, B, inputs].
        dt : array-like
            Elapsed time before each step [T, B], or of all of them (a scalar).
        state : numpy.ndarray or None
            [B, state_size]; None begins from zero.
        reset : numpy.ndarray or None
            bool [T, B]: where a sample begins anew, its state is zeroed before the step.

        Returns
        -------
        tuple
            Outputs float32 [T, B, outputs] and the last state float32 [B, state_size].

        Raises
        ------
        ValueError
            A shape does not fit, or dt is refused by `check_dt`.

        """
        shape = np.shape(x)
        if len(shape) != 3:
            raise ValueError(f'x has shape {shape}, expected (steps, batch, {self.inputs})')
        steps, batch, _ = shape
        x = _shaped('x', x, (steps, batch, self.inputs))
        dt = _timespans(dt, (steps, batch))
        self.check_dt(dt)
        h = self.initial(batch)
        if state is not None:
            h[:] = _shaped('state', state, h.shape)
        if reset is not None and np.shape(reset) != (steps, batch):
            raise ValueError(f'reset has shape {np.shape(reset)}, expected {(steps, batch)}')
        out = np.empty((steps, batch, self.outputs), np.float32)
        for t in range(steps):
            if reset is not None:
                h[np.asarray(reset[t], bool)] = 0
            self.advance(x[t], dt[t], h)
            out[t] = self.output(h)
        return out, h


class Stream:
    """
    A cell with the state of samples that step side by side.

    Parameters
    ----------
    cell : Cell
        What to step.
    batch : int
        How many samples.

    """

    def __init__(self, cell: Cell, batch: int = 1) -> None:
        self.cell = cell
        self.h = cell.initial(batch)
        self._x = np.zeros((batch, cell.inputs), np.float32)
        self._dt = np.zeros(batch, np.float32)

    def step(self, x: np.ndarray, dt: ArrayLike) -> np.ndarray:
        """
        Advance by dt, as `Cell.__call__`; return outputs float32 [B, outputs].

        They may be a view of the state, valid until the next call.
        """
        if np.shape(x) != self._x.shape or np.shape(dt) not in ((), self._dt.shape):
            raise ValueError(f'x and dt have shapes {np.shape(x)} and {np.shape(dt)}, expected '
                             f'{self._x.shape} and {self._dt.shape} or a scalar')
        self._x[:] = x
        self._dt[:] = dt
        self.cell.check_dt(self._dt)
        self.cell.advance(self._x, self._dt, self.h)
        return self.cell.output(self.h)

    def reset(self, samples: np.ndarray | None = None) -> None:
        """Forget everything, or all of the samples marked in bool [B]."""
        self.h[... if samples is None else np.asarray(samples, bool)] = 0

    def state(self) -> np.ndarray:
        """Return a copy of the state, float32 [B, state_size], for `restore`."""
        return self.h.copy()

    def restore(self, state: np.ndarray) -> None:
        """
        Go on from a state that `state` returned.

        Raises
        ------
        ValueError
            It is of another shape.

        """
        self.h[:] = _shaped('state', state, self.h.shape)


def _shaped(name: str, array: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array as contiguous float32; nothing is broadcast."""
    if np.shape(array) != shape:
        raise ValueError(f'{name} has shape {np.shape(array)}, expected {shape}')
    return np.ascontiguousarray(array, np.float32)


def _timespans(dt: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    # ncps 1.0.1 squeezes [B, 1] to [B], which then meets [B, units]: it fails unless B is 1 or the
    # number of units, and in that case gives unit i the elapsed time of sample i
    return np.full(shape, dt, np.float32) if np.ndim(dt) == 0 else _shaped('dt', dt, shape)
