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


"""Style: what the linters of ROS 2 ask for, and ruff, which asks the same faster."""

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKED = [str(ROOT / name) for name in ('edge_vla', 'test', 'launch', 'setup.py')]


def test_ruff() -> None:
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise',
                           '.'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.linter
@pytest.mark.parametrize('name', ['copyright', 'flake8', 'pep257'])
def test_ament(name: str) -> None:
    module = pytest.importorskip(f'ament_{name}.main', reason=f'ament_{name} comes with ROS 2')
    assert module.main(argv=CHECKED) == 0


@pytest.mark.linter
def test_ament_xmllint() -> None:
    module = pytest.importorskip('ament_xmllint.main', reason='ament_xmllint comes with ROS 2')
    assert module.main(argv=[str(ROOT / 'package.xml')]) == 0


def test_modules_hold_one_thing() -> None:
    long = {str(p): n for p in (ROOT / 'edge_vla').rglob('*.py')
            if (n := len(p.read_text().splitlines())) > 500}
    assert not long, f'longer than 500 lines: {long}'
