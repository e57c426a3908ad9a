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

from collections.abc import Collection
from dataclasses import asdict
from hashlib import sha256
import json
import math
from pathlib import Path
from typing import Any

from edge_vla.exceptions import CheckpointError, ConfigError, EdgeVlaError
import torch
from torch import Tensor

# settings by which no weight changes, or that who goes on may want to change
FREE = 'threads', 'workers', 'save_every', 'evaluated', 'evaluate_every'


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

    Raises
    ------
    EdgeVlaError
        The loss or its gradient is not finite; nothing was changed.

    """
    for group in optimiser.param_groups:
        group['lr'] = rate
    optimiser.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups
                                           for p in group['params']], 1.0)
    value = float(loss.detach())
    if not math.isfinite(value + float(norm)):
        raise EdgeVlaError(f'the loss is {value:g}, its gradient {float(norm):g}: training has '
                           'failed; begin again in another --out, with a lower learning rate')
    optimiser.step()
    return value


def save(path: Path, **state: Any) -> None:
    """Write a checkpoint so that an interruption never leaves half of one."""
    temporary = path.with_suffix('.tmp')
    torch.save(state, temporary)
    temporary.replace(path)


def load(path: Path) -> dict[str, Any]:
    """
    Read a checkpoint.

    Raises
    ------
    CheckpointError
        It is missing, corrupt or none.

    """
    if not path.is_file():
        raise CheckpointError(f'{path} is missing: train it first, or give another')
    try:
        state = torch.load(path, weights_only=False)
    except Exception:  # noqa: B902  what a damaged pickle raises may be anything
        state = None
    if not isinstance(state, dict) or 'net' not in state:
        raise CheckpointError(f'{path} is corrupt or no checkpoint: give another, or delete it to '
                              'begin anew')
    return state


def digest(path: Path | None) -> bytes | None:
    """Return what tells a file from others, for ``sources``; None of none."""
    return None if path is None else sha256(path.read_bytes()).digest()


def resumable(path: Path, recipe: Any, length: str, names: Collection[str] = (),
              sources: Any = ...) -> dict[str, Any]:
    """
    Return a checkpoint, empty if there is none, after a look whether it may be gone on from.

    Parameters
    ----------
    path : Path
        What `save` wrote.
    recipe : dataclass
        What is trained now; it must be what was, but for what is `FREE` and `length`.
    length : str
        The setting that says how much to train; it may not be less than what was done.
    names : collection of str
        The settings that matter, by default all.
    sources : Any
        What tells the files apart that it is made from, None of none, ``sources`` of the
        checkpoint; not compared by default.

    Raises
    ------
    ConfigError
        The recipe is another, or the files that it is made from are.
    CheckpointError
        The file is corrupt.

    """
    if not path.exists():
        return {}
    state, now = load(path), asdict(recipe)
    anew = _anew(path)
    # old checkpoints do not say how they were made; what they did not know was as by default
    made = asdict(type(recipe)()) | state['recipe'] if 'recipe' in state else now
    other = [f'{name} {made[name]} (now {now[name]})' for name in names or now
             if made[name] != now[name] and name not in (*FREE, length)]
    if other:
        raise ConfigError(f'{path} was made with {", ".join(other)}: {anew}')
    if sources is not ... and state.get('sources', sources) != sources:
        raise ConfigError(f'{path} was made from other files: {anew}')
    done = state.get('iteration', state.get('step', 0))
    if done > now[length]:
        raise ConfigError(f'{path} has come further ({done}) than {length} {now[length]}: {anew}')
    return state


def resume(path: Path, recipe: Any, length: str, names: Collection[str] = (),
           sources: Any = ..., **parts: Any) -> dict[str, Any]:
    """
    Go on from a checkpoint if there is one.

    Parameters
    ----------
    path, recipe, length, names, sources
        As for `resumable`, which raises the same errors.
    parts : Any
        What has a ``load_state_dict``, by its name in the checkpoint; None is left out.

    Returns
    -------
    dict
        The checkpoint, empty if there is none.

    Raises
    ------
    CheckpointError
        It is of another network.

    """
    state = resumable(path, recipe, length, names, sources)
    if not state:
        return state
    try:
        for name, part in parts.items():
            if part is not None:
                part.load_state_dict(state[name])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise CheckpointError(f'{path} does not fit what is trained now: {_anew(path)}') from None
    return state


def _anew(path: Path) -> str:
    return f'choose another --out, or delete {path.name} to begin anew'


def record(path: Path, readings: dict[str, Any]) -> None:
    """Append readings to a log, a line of JSON each."""
    with path.open('a', encoding='utf-8') as log:
        log.write(json.dumps(readings) + '\n')
