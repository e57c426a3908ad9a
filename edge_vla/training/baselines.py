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
The policies the liquid one is measured against, of about the same size.

Chahine et al. (Science Robotics 2023) compare liquid policies with LSTM, GRU and TCN on the
same axes. Here elapsed time is an input of theirs, so that they know as much as the liquid one.
"""

from collections.abc import Callable
from functools import partial

from edge_vla.policy.liquid import INPUTS, TIME_UNIT, UNITS
from edge_vla.training.pilot_torch import ExactCell, LiquidPolicy, Recurrent
import torch
from torch import nn, Tensor
import torch.nn.functional as F  # noqa: N812

KERNEL, DILATIONS = 3, (1, 2, 4, 8)
FIELD = 1 + (KERNEL - 1) * sum(DILATIONS)  # frames the TCN looks back
TCN_CHANNELS = 48


class GatedPolicy(Recurrent):
    """LSTM or GRU with elapsed time as an input; interface of `LiquidPolicy`."""

    def __init__(self, cell: type[nn.LSTMCell] | type[nn.GRUCell]) -> None:
        super().__init__()
        self.cell, self.head = cell(INPUTS + 1, UNITS), nn.Linear(UNITS, 4)
        self.states = 2 if cell is nn.LSTMCell else 1

    def initial(self, count: int) -> Tensor:
        """Return the state of `count` flights that begin."""
        return torch.zeros(count, self.states * UNITS)

    def unroll(self, x: Tensor, dt: Tensor, reset: Tensor,
               h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Recurrent` says."""
        h = self.initial(x.shape[1]) if h is None else h
        x = torch.cat([x, dt[..., None] / TIME_UNIT], -1)
        keep, out = (1 - reset)[..., None], []
        for k in range(x.shape[0]):
            h = h * keep[k]
            if self.states == 2:
                h = torch.cat(self.cell(x[k], h.chunk(2, -1)), -1)
            else:
                h = self.cell(x[k], h)
            out.append(h[:, :UNITS])
        return torch.stack(out), h


class TcnPolicy(Recurrent):
    """
    Causal dilated convolutions over the last `FIELD` frames (Bai et al. 2018).

    Its state is the frames it has yet to look back on.
    """

    def __init__(self) -> None:
        super().__init__()
        c = TCN_CHANNELS
        self.inlet = nn.Linear(INPUTS + 1, c)
        self.layers = nn.ModuleList(nn.Conv1d(c, c, KERNEL, dilation=d) for d in DILATIONS)
        self.head = nn.Linear(c, 4)

    def initial(self, count: int) -> Tensor:
        """Return the state of `count` flights that begin."""
        return torch.zeros(count, (FIELD - 1) * TCN_CHANNELS)

    def unroll(self, x: Tensor, dt: Tensor, reset: Tensor,
               h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Recurrent` says."""
        steps, count = dt.shape
        h = self.initial(count) if h is None else h
        seen = self.inlet(torch.cat([x, dt[..., None] / TIME_UNIT], -1))
        past = h.view(count, FIELD - 1, TCN_CHANNELS)
        # a flight must not look back beyond its beginning: those frames count as zero
        flight = torch.cumsum(reset, 0)
        out = torch.zeros(steps, count, TCN_CHANNELS)
        for n in range(int(flight.max()) + 1):
            now = flight == n
            y = torch.cat([past * float(n == 0), (seen * now[..., None]).transpose(0, 1)], 1)
            z = y.transpose(1, 2)
            for layer in self.layers:
                look_back = layer.dilation[0] * (KERNEL - 1)
                z = z[:, :, look_back:] + F.relu(layer(z))
            out = torch.where(now[..., None], z.permute(2, 0, 1), out)
        last = torch.cat([past * (flight[-1] == 0)[:, None, None],
                          (seen * (flight == flight[-1])[..., None]).transpose(0, 1)], 1)
        return out, last[:, -(FIELD - 1):].reshape(count, -1)


POLICIES: dict[str, Callable[[], nn.Module]] = {
    'cfc': LiquidPolicy, 'cfc_no_dt': partial(LiquidPolicy, timed=False),
    'exact': partial(LiquidPolicy, cell=ExactCell),
    'exact_no_dt': partial(LiquidPolicy, timed=False, cell=ExactCell),
    'lstm': partial(GatedPolicy, nn.LSTMCell), 'gru': partial(GatedPolicy, nn.GRUCell),
    'tcn': TcnPolicy}
