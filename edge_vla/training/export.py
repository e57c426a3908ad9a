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

"""Write a trained pilot in the shipped format."""

from collections.abc import Mapping
from dataclasses import asdict
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vla.checkpoints.packing import pack_channels
from edge_vla.checkpoints.safetensors import read_safetensors, write_safetensors
from edge_vla.pipeline import MEMORY
from edge_vla.training.pilot_torch import PilotNet, TernaryConv2d
import numpy as np

if TYPE_CHECKING:
    from edge_vla.training.policy import Recipe

SHIPPED = ('encoder.', 'grounding.', 'policy.')


def export_pilot(net: PilotNet, recipe: 'Recipe', out: Path) -> Path:
    """Write ``policy.safetensors`` to `out`, print its sha256, return its path."""
    tensors = {k: v.detach().numpy() for k, v in net.state_dict().items()
               if k.startswith(SHIPPED) and k != 'grounding.centres'}
    for name, module in net.named_modules():
        if isinstance(module, TernaryConv2d) and module.quantised:
            weight = f'{name}.weight'
            tensors[weight], tensors[f'{weight}_scale'] = pack_channels(tensors[weight])
    return _write(out / 'policy.safetensors', tensors, {
        'format': 'edge_vla pilot', 'version': '2', 'kind': net.kind,
        'recipe': json.dumps(asdict(recipe), sort_keys=True)})


def export_memory(run: Path, pilot: Path) -> Path:
    """
    Write the policy of a run to a pilot as the one that flies while there is no picture.

    Parameters
    ----------
    run : Path
        Folder with the ``policy.safetensors`` of a policy trained with blackouts.
    pilot : Path
        Folder of the pilot whose encoder it was trained with.

    Returns
    -------
    Path
        ``memory/policy.safetensors`` of the pilot: what else the run has, the pilot has too.

    """
    tensors, metadata = read_safetensors(run / 'policy.safetensors')
    policy = {k: v.copy() for k, v in tensors.items() if k.startswith('policy.')}
    path = pilot / MEMORY  # perhaps the file that was just mapped
    path.parent.mkdir(exist_ok=True)
    return _write(path, policy, metadata)


def _write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Path:
    write_safetensors(path, tensors, metadata)
    print(f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}')
    return path
