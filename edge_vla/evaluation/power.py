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

"""Joules that the processor itself says it has used: RAPL, through Linux's powercap."""

from pathlib import Path

POWERCAP = Path('/sys/class/powercap')


class EnergyMeter:
    """
    Adds up the energy of all processor packages.

    The counters wrap around after some minutes of full load (``max_energy_range_uj``): `joules`
    must be asked at least that often.

    Parameters
    ----------
    root : Path
        Where powercap is; AMD's processors are named intel-rapl there too.

    Attributes
    ----------
    missing : str
        Why nothing can be measured; empty if it can.

    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.missing = ''
        self._total = 0
        self._zones: list[tuple[Path, int]] = []
        self._last: list[int] = []
        try:
            # intel-rapl:0:1 is a part of intel-rapl:0, intel-rapl-mmio:0 the same once more
            found = [z for z in sorted(root.glob('intel-rapl:*')) if z.name.count(':') == 1]
            zones = [z for z in found if _text(z / 'name').startswith('package')]
            if not zones:
                self.missing = (f'{root} shows no processor package: a virtual machine, a kernel '
                                'without powercap, or another kind of processor')
                return
            self._zones = [(zone / 'energy_uj', int(_text(zone / 'max_energy_range_uj')))
                           for zone in zones]
            self._last = [int(_text(path)) for path, _ in self._zones]
        except PermissionError as error:
            self._fail(f'{error.filename} may not be read: as root, chmod a+r it')
        except (OSError, ValueError) as error:
            self._fail(f'{root} cannot be read: {error}')

    def joules(self) -> float:
        """
        Return the energy used since the meter was made, J; 0 where it is missing.

        If the counters disappear meanwhile, `missing` says so from then on.
        """
        try:
            for k, (path, wraps) in enumerate(self._zones):
                now = int(_text(path))
                used = now - self._last[k]
                self._total += used if used >= 0 else used + wraps + 1
                self._last[k] = now
        except (OSError, ValueError) as error:
            self._fail(f'the counters stopped: {error}')
        return self._total * 1e-6

    def _fail(self, why: str) -> None:
        self.missing, self._zones, self._last, self._total = why, [], [], 0


def _text(path: Path) -> str:
    return path.read_text(encoding='ascii').strip()
