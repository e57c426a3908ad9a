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

"""The documentation builds without a warning, and says every setting and command."""

from pathlib import Path
import re
import runpy
import subprocess
import sys

from edge_vla.cli.main import COMMANDS
from edge_vla.config import settings_of
import pytest

pytest.importorskip('sphinx', reason='pip install -e .[docs]')
pytest.importorskip('myst_parser', reason='pip install -e .[docs]')
pytest.importorskip('furo', reason='pip install -e .[docs]')
DOC = Path(__file__).resolve().parent.parent / 'doc'


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('site')
    for builder in ('html', 'text'):  # the site, as `make docs` builds it, and what tests read
        done = subprocess.run(
            [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-b', builder, '-d',
             str(out / 'trees'), str(DOC), str(out / builder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return out / 'text'


def test_every_setting_is_documented(site: Path) -> None:
    page = (DOC / 'reference' / 'settings.md').read_text()  # written by the build
    assert (site / 'reference' / 'settings.txt').is_file()
    for config in runpy.run_path(str(DOC / 'conf.py'))['NODES'].values():
        for s in settings_of(config):
            assert f'| `{s.name}` |' in page


def test_every_command_is_documented(site: Path) -> None:
    page = (site / 'reference' / 'commands.txt').read_text()
    for name in COMMANDS:
        assert f'usage: edge-vla {name}' in page


def test_every_page_is_in_the_contents(site: Path) -> None:
    for page in DOC.rglob('*.md'):
        assert (site / page.relative_to(DOC)).with_suffix('.txt').is_file(), page
        html = (site.with_name('html') / page.relative_to(DOC)).with_suffix('.html')
        assert '<h1>' in html.read_text(), page


def test_links_between_pages_and_to_pictures_lead_somewhere() -> None:
    for page in DOC.rglob('*.md'):
        for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
            assert (page.parent / target).exists(), f'{page.name}: {target}'


def test_who_takes_simulated_time_from_gazebo_is_told_to_bridge_the_clock() -> None:
    page = (DOC / 'tutorials' / 'px4.md').read_text()
    assert 'use_sim_time:=true' in page and '/clock@rosgraph_msgs/msg/Clock[' in page


def test_the_equations_are_set_and_their_files_exist(site: Path) -> None:
    html = (site.with_name('html') / 'equations.html').read_text()
    assert html.count('class="math notranslate nohighlight"') > 10 and 'mathjax' in html.lower()
    for file in re.findall(r'`(edge_vla/[^`]+)`', (DOC / 'equations.md').read_text()):
        assert (DOC.parent / file).is_file(), file
