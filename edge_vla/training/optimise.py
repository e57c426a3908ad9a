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

"""What every training here does alike: learning rate, optimiser step, checkpoint and log."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def schedule(step: int, total: int, peak: float) -> float:
    """Linear warm-up over 3 %, then cosine to 2 % of the peak."""
    warm = max(1, int(.03 * total))
    return peak * min(1, (step + 1) / warm) * (.51 + .49 * math.cos(math.pi * step / total))


def optimiser_of(net: torch.nn.Module, rate: float) -> torch.optim.AdamW:
    """
    Return the optimiser of a decoder: only matrices decay.

    Parameters
    ----------
    net : torch.nn.Module
        What learns.
    rate : float
        Learning rate, until `descend` sets another.

    """
    matrices = [p for p in net.parameters() if p.dim() == 2]
    others = [p for p in net.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{'params': matrices, 'weight_decay': .05},
                              {'params': others, 'weight_decay': 0.}], rate, betas=(.9, .98))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> float:
    """
    Take one step down a loss, its gradient clipped to norm 1.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Of the parameters that learn.
    loss : Tensor
        A scalar.
    rate : float
        Learning rate of this step.

    Returns
    -------
    float
        The loss.

    """
    for group in optimiser.param_groups:
        group['lr'] = rate
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups
                                    for p in group['params']], 1.0)
    optimiser.step()
    return float(loss.detach())


def save(path: Path, **state: Any) -> None:
    """Write a checkpoint so that an interruption never leaves half of one."""
    temporary = path.with_suffix('.tmp')
    torch.save(state, temporary)
    temporary.replace(path)


def record(path: Path, readings: dict[str, Any]) -> None:
    """Append readings to a log, a line of JSON each."""
    with path.open('a', encoding='utf-8') as log:
        log.write(json.dumps(readings) + '\n')
