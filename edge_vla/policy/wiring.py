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
Which unit feeds which: full connection and neural circuit policies (NCP).

Lechner et al., Neural circuit policies enabling auditable autonomy, Nature Machine Intelligence
2020. The random numbers are drawn in the order of ncps 1.0.1, so a seed gives the same synapses.
"""

from collections.abc import Callable

import numpy as np


class Wiring:
    """
    Polarities of synapses, source by destination: 0 where there is none, else -1 or +1.

    Motor neurons come first, then command, then inter.

    Parameters
    ----------
    layers : list of tuple
        (kind, units) of every layer, from the input to the output.

    Attributes
    ----------
    adjacency, sensory_adjacency : numpy.ndarray
        int32 [units, units] and [inputs, units]; the latter has no rows until `build`.
    layers : list of tuple
        (kind, ids of its units) of every layer, from the input to the output.
    output_dim : int
        Motor neurons.

    """

    def __init__(self, layers: list[tuple[str, int]]) -> None:
        self.layers: list[tuple[str, range]] = []
        stop = self.units = sum(size for _, size in layers)
        for kind, size in layers:
            self.layers.append((kind, range(stop - size, stop)))
            stop -= size
        self.output_dim = layers[-1][1]
        self.input_dim: int | None = None
        self.adjacency = np.zeros((self.units, self.units), np.int32)
        self.sensory_adjacency = np.zeros((0, self.units), np.int32)

    def build(self, input_dim: int) -> 'Wiring':
        """
        Wire the inputs, once; return the wiring.

        Raises
        ------
        ValueError
            It was built for another number of inputs.

        """
        if self.input_dim is not None:
            if self.input_dim != input_dim:
                raise ValueError(f'the wiring was built for {self.input_dim} inputs, not '
                                 f'{input_dim}')
            return self
        if input_dim < 1:
            raise ValueError(f'a wiring needs at least one input, not {input_dim}')
        self.input_dim = input_dim
        self.sensory_adjacency = np.zeros((input_dim, self.units), np.int32)
        self._wire()
        return self

    def _wire(self) -> None:
        raise NotImplementedError

    def kind(self, unit: int) -> str:
        """Return the layer a unit is in: inter, command or motor."""
        for kind, ids in self.layers:
            if unit in ids:
                return kind
        raise ValueError(f'there is no unit {unit} among {self.units}')

    @property
    def synapse_count(self) -> int:
        """Synapses between units."""
        return int(np.count_nonzero(self.adjacency))

    @property
    def sensory_synapse_count(self) -> int:
        """Synapses from inputs."""
        return int(np.count_nonzero(self.sensory_adjacency))

    def masks(self) -> list[np.ndarray]:
        """
        Return what the layers of a wired CfC see.

        Returns
        -------
        list of numpy.ndarray
            float32 [inputs + units, units] of every layer: 1 for a synapse from the layer before,
            and everywhere within the layer.

        Raises
        ------
        ValueError
            The wiring is not built.

        """
        if self.input_dim is None:
            raise ValueError('call build(input_dim) first')
        masks, feed = [], self.sensory_adjacency
        for _, ids in self.layers:
            masks.append(np.concatenate([abs(feed[:, ids]), np.ones((len(ids),) * 2)]).astype(
                np.float32))
            feed = self.adjacency[ids]
        return masks


class FullyConnected(Wiring):
    """
    Every unit feeds every unit; a third of the synapses inhibit.

    Parameters
    ----------
    units : int
        Neurons.
    output_dim : int or None
        How many of them, the first ones, are motor neurons; None is all.
    seed : int
        Of the polarities.
    self_connections : bool
        Whether a unit feeds itself.

    """

    def __init__(self, units: int, output_dim: int | None = None, seed: int = 1111,
                 self_connections: bool = True) -> None:
        # one layer: a wired CfC has no order among fully connected units
        super().__init__([('motor', units)])
        self.output_dim = units if output_dim is None else output_dim
        if not 1 <= self.output_dim <= units:
            raise ValueError(f'{output_dim} motor neurons among {units} units')
        self._rng = np.random.default_rng(seed)
        for source in range(units):
            for unit in range(units):
                if source != unit or self_connections:
                    self.adjacency[source, unit] = self._rng.choice([-1, 1, 1])

    def kind(self, unit: int) -> str:
        """Return motor or inter."""
        return super().kind(unit) if unit < self.output_dim or unit >= self.units else 'inter'

    def _wire(self) -> None:
        for source in range(len(self.sensory_adjacency)):
            for unit in range(self.units):
                self.sensory_adjacency[source, unit] = self._rng.choice([-1, 1, 1])


class NCP(Wiring):
    """
    Four layers, sensory to inter to command to motor, with recurrence among command neurons.

    Parameters
    ----------
    inter_neurons, command_neurons, motor_neurons : int
        Sizes of the layers.
    sensory_fanout : int
        Inter neurons fed by each input.
    inter_fanout : int
        Command neurons fed by each inter neuron.
    recurrent_command_synapses : int
        Draws of a synapse between command neurons; the same one may be drawn twice.
    motor_fanin : int
        Command neurons feeding each motor neuron.
    seed : int
        Of synapses and polarities.

    Raises
    ------
    ValueError
        A layer is empty or smaller than the number of its members to be chosen.

    """

    def __init__(self, inter_neurons: int, command_neurons: int, motor_neurons: int,
                 sensory_fanout: int, inter_fanout: int, recurrent_command_synapses: int,
                 motor_fanin: int, seed: int = 22222) -> None:
        sizes = {'inter': inter_neurons, 'command': command_neurons, 'motor': motor_neurons}
        for kind, size in sizes.items():
            if size < 1:
                raise ValueError(f'{size} {kind} neurons, at least one is needed')
        for name, value, kind in (('motor_fanin', motor_fanin, 'command'),
                                  ('sensory_fanout', sensory_fanout, 'inter'),
                                  ('inter_fanout', inter_fanout, 'command')):
            if not 0 <= value <= sizes[kind]:
                raise ValueError(f'{name} is {value}, but there are {sizes[kind]} {kind} neurons')
        super().__init__(list(sizes.items()))
        self._fan = sensory_fanout, inter_fanout, recurrent_command_synapses, motor_fanin
        self._rng = np.random.RandomState(seed)

    def _choose(self, ids: range, count: int) -> np.ndarray:
        return self._rng.choice(ids, size=count, replace=False)

    def _polarity(self) -> int:
        return self._rng.choice([-1, 1])

    def _fan_out(self, sources: range, targets: range, fan: int, most: int,
                 connect: Callable[[int, int], None]) -> None:
        """Connect each source to `fan` targets, then targets left out to a mean share."""
        left = dict.fromkeys(targets)
        for source in sources:
            for target in self._choose(targets, fan):
                left.pop(int(target), None)
                connect(source, target)
        mean = min(max(int(len(sources) * fan / len(targets)), 1), most)
        for target in left:
            for source in self._choose(sources, mean):
                connect(source, target)

    def _wire(self) -> None:
        (_, inter), (_, command), (_, motor) = self.layers
        sensory = range(len(self.sensory_adjacency))
        sensory_fanout, inter_fanout, recurrent, motor_fanin = self._fan

        def sense(source: int, unit: int) -> None:
            self.sensory_adjacency[source, unit] = self._polarity()

        def feed(source: int, unit: int) -> None:
            self.adjacency[source, unit] = self._polarity()

        self._fan_out(sensory, inter, sensory_fanout, len(sensory), sense)
        # ncps bounds the share by the command neurons where the inter neurons are meant
        self._fan_out(inter, command, inter_fanout, len(command), feed)
        for _ in range(recurrent):
            source, unit = self._rng.choice(command), self._rng.choice(command)
            feed(source, unit)
        self._fan_out(motor, command, motor_fanin, len(motor),
                      lambda unit, source: feed(source, unit))


class AutoNCP(NCP):
    """
    An NCP from its size and sparsity.

    Parameters
    ----------
    units : int
        Neurons but the sensory ones.
    output_size : int
        Motor neurons, fewer than units - 2.
    sparsity_level : float
        0.1 (dense) to 1.0 (as few synapses as possible).
    seed : int
        Of synapses and polarities.

    Raises
    ------
    ValueError
        A size or the sparsity is out of range.

    """

    def __init__(self, units: int, output_size: int, sparsity_level: float = .5,
                 seed: int = 22222) -> None:
        if output_size >= units - 2:
            raise ValueError(f'{output_size} outputs need more than {output_size + 2} units, not '
                             f'{units}')
        if not .1 <= sparsity_level <= 1:
            raise ValueError(f'sparsity_level must be from 0.1 to 1, not {sparsity_level}')
        density = 1 - sparsity_level
        command = max(int(.4 * (units - output_size)), 1)
        inter = units - output_size - command
        super().__init__(inter, command, output_size, max(int(inter * density), 1),
                         max(int(command * density), 1), max(int(command * density * 2), 1),
                         max(int(command * density), 1), seed)
