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


"""The package: what is declared, shipped and installed agrees with what is there."""

import ast
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any
import xml.etree.ElementTree as ElementTree
import zipfile

import edge_vla
import pytest
import setuptools
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROSDEP = {'numpy': 'python3-numpy', 'numba': 'python3-numba', 'cv2': 'python3-opencv',
          'yaml': 'python3-yaml', 'builtin_interfaces': None, 'llvmlite': None}
PYPI = {'cv2': 'opencv-python-headless', 'yaml': 'PyYAML', 'numpy': 'numpy', 'numba': 'numba'}
OPTIONAL = {'rosbags', 'matplotlib', 'ray', 'torch', 'tqdm', 'gymnasium', 'tf2_msgs',
            'transformers', 'safetensors', 'tokenizers', 'jinja2', 'gguf', 'mujoco',
            'foxglove', 'rerun'}


@pytest.fixture(scope='module')
def declared() -> dict[str, Any]:
    """Return what setup.py hands to setuptools."""
    caught: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, 'setup', lambda **values: caught.update(values))
        exec(compile((ROOT / 'setup.py').read_text(), 'setup.py', 'exec'), {'__name__': 'setup'})
    return caught


@pytest.fixture(scope='module')
def manifest() -> ElementTree.Element:
    """Return package.xml."""
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def imported() -> set[str]:
    """Return every foreign package that the package and its launch files import."""
    names = set()
    for path in [*(ROOT / 'edge_vla').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {a.name.split('.')[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split('.')[0])
    return names - set(sys.stdlib_module_names) - {'edge_vla'}


def test_setup_and_manifest_agree(declared: dict, manifest: ElementTree.Element) -> None:
    assert manifest.get('format') == '3'
    assert manifest.findtext('export/build_type') == 'ament_python'
    for tag in ('name', 'version', 'description', 'maintainer'):
        assert manifest.findtext(tag) == declared[tag], tag
    assert manifest.findtext('license') == declared['license'] == 'Apache-2.0'
    assert manifest.find('maintainer').get('email') == declared['maintainer_email']
    assert declared['version'] == edge_vla.__version__
    assert f'\n{declared["version"]}' in (ROOT / 'CHANGELOG.rst').read_text() \
        or 'Forthcoming' in (ROOT / 'CHANGELOG.rst').read_text()


def test_every_import_is_declared(declared: dict, manifest: ElementTree.Element) -> None:
    keys = {e.text for e in manifest.findall('exec_depend')}
    wheels = {r.split('>')[0].split('=')[0] for r in declared['install_requires']}
    for name in imported() - OPTIONAL:
        key = ROSDEP.get(name, name)
        assert key is None or key in keys, f'package.xml does not declare {key}'
        if name in PYPI:
            assert PYPI[name] in wheels, f'setup.py does not require {PYPI[name]}'


def test_nothing_is_declared_in_vain(manifest: ElementTree.Element) -> None:
    text = '\n'.join(p.read_text() for d in ('edge_vla', 'launch', 'test')
                     for p in (ROOT / d).rglob('*.py'))
    modules = {v: k for k, v in ROSDEP.items() if v}
    for element in manifest.findall('exec_depend'):
        name = modules.get(element.text, element.text)
        assert f'import {name}' in text or f'from {name}' in text, f'{element.text} is unused'


def test_extras(declared: dict) -> None:
    extras = declared['extras_require']
    assert {'ros', 'sim', 'bag', 'viz', 'language', 'train', 'test', 'all'} <= set(extras)
    assert all("platform_machine == 'x86_64'" in r for r in extras['ros'])
    assert not any('torch' in r for extra in ('all', 'test') for r in extras[extra])
    assert any(r.startswith('torch') for r in extras['train'])


def test_what_is_to_be_installed_is_there(declared: dict) -> None:
    folders = dict(declared['data_files'])
    for folder, files in folders.items():
        assert files, f'nothing for {folder}'
        for name in files:
            assert (ROOT / name).is_file(), name
    for name in folders['lib/edge_vla']:
        path = ROOT / name
        assert path.stat().st_mode & 0o111, f'{name} is not executable'
        assert path.read_text().startswith('#!/usr/bin/env python3\n')
        assert f'edge_vla.ros.{path.name}' in path.read_text()
    for entry in declared['entry_points']['console_scripts']:
        module, function = entry.split(' = ')[1].split(':')
        source = (ROOT / (module.replace('.', '/') + '.py')).read_text()
        assert f'def {function}(' in source, entry
    rooms = {p.parent.relative_to(ROOT).as_posix().replace('/', '.')
             for p in (ROOT / 'edge_vla').rglob('*.py')}
    assert rooms == set(declared['packages']), 'a room lacks its __init__.py'


def test_configuration_files_are_yaml() -> None:
    files = [p for p in (ROOT / 'config').iterdir() if p.suffix == '.yaml']
    assert {'vla.yaml', 'sim.yaml'} <= {p.name for p in files}
    for path in files:
        assert isinstance(yaml.safe_load(path.read_text()), dict | list), path


def test_a_wheel_holds_the_pilot_and_what_ros_needs(tmp_path: Path) -> None:
    tree = tmp_path / 'tree'
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(
        '.*', 'out', 'build', 'install', 'log', 'runs', '*.egg-info', '__pycache__', 'doc'))
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
                           '--no-build-isolation', '--wheel-dir', str(tmp_path), '.'],
                          cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        modes = {i.filename: i.external_attr >> 16 for i in archive.infolist()}
    data = next(n.split('/')[0] for n in modes if '.data/' in n) + '/data/'
    for name in ('share/ament_index/resource_index/packages/edge_vla',
                 'share/edge_vla/package.xml', 'share/edge_vla/config/vla.yaml',
                 'share/edge_vla/config/px4.yaml', *(
                     f'share/edge_vla/launch/{name}_launch.py' for name in (
                         'vla', 'sim', 'fleet', 'px4', 'mavros', 'ardupilot', 'replay'))):
        assert data + name in modes
    for folder in ('worlds', 'models', 'config', 'launch'):
        for path in (ROOT / folder).rglob('*.*'):
            if path.is_file() and '__pycache__' not in path.parts:
                assert f'{data}share/edge_vla/{path.relative_to(ROOT).as_posix()}' in modes, path
    for name in ('vla_node', 'sim_node', 'px4_offboard_node', 'ardupilot_node',
                 'bag_player_node', 'single_process'):
        assert modes[f'{data}lib/edge_vla/{name}'] & 0o111
    pilot = 'edge_vla/checkpoints/pilot/'
    for name in ('policy.safetensors', 'SHA256SUMS', 'language/model.safetensors',
                 'language/tokenizer.json', 'language/config.json'):
        assert pilot + name in modes
    assert not any(n.startswith(('test/', 'benchmarks/')) for n in modes)
    assert wheel.stat().st_size < 6e6


def test_the_shipped_pilot_is_small() -> None:
    folder = ROOT / 'edge_vla' / 'checkpoints' / 'pilot'
    size = sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())
    assert 0 < size <= 4_000_000


@pytest.mark.parametrize('name', ['Makefile', 'setup.py', 'README.md', 'tools/install.sh'])
def test_no_place_of_one_machine_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    for word in ('/home/', '/root/', 'extra-index-url', 'find-links', 'index-url'):
        assert word not in text, f'{name} names {word}'


def test_the_installer_is_sound() -> None:
    done = subprocess.run(['bash', '-n', str(ROOT / 'tools' / 'install.sh')],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(['make', '-n', '-C', str(ROOT), 'help'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
