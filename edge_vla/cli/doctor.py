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


"""Tell what is installed, what is missing and how to get it."""

import argparse
from collections.abc import Iterator
import hashlib
from importlib import import_module, metadata
import os
from pathlib import Path
import platform
import sys
from typing import NamedTuple

REQUIRED = {'numpy': 'numpy', 'numba': 'numba', 'cv2': 'opencv-python-headless', 'yaml': 'PyYAML'}
OPTIONAL = {'rosbags': ('bag', 'replay and bag'), 'matplotlib': ('viz', "the demo's picture"),
            'tqdm': ('bag', 'progress bars'), 'gymnasium': ('sim', 'the Gymnasium interface'),
            'mujoco': ('sim', 'evaluate --world mujoco'),
            'foxglove': ('foxglove', 'node.live'), 'rerun': ('rerun', 'node.live'),
            'torch': ('train', 'training'), 'pytest': ('test', 'tests')}
SIMD = ('avx2', 'avx512f', 'avx512vnni', 'avxvnni', 'fma', 'neon', 'dotprod', 'i8mm')
MESSAGES = ('sensor_msgs', 'nav_msgs', 'geometry_msgs', 'std_msgs', 'std_srvs', 'diagnostic_msgs',
            'lifecycle_msgs', 'rosgraph_msgs')


class Finding(NamedTuple):
    """One line of the report; `level` is 'ok', 'note' or 'missing'."""

    level: str
    subject: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments (there are none)."""


def run(args: argparse.Namespace) -> int:
    """Run the command: 0 if flying is possible, else 1."""
    del args
    findings = list(examine())
    width = max(len(f.subject) for f in findings)
    for level, subject, text in findings:
        mark = {'ok': '  ok', 'note': '   -', 'missing': 'MISS'}[level]
        print(f'{mark}  {subject:{width}}  {text}')
    missing = [f.subject for f in findings if f.level == 'missing']
    print(f'cannot fly: {", ".join(missing)}' if missing else 'ready to fly')
    return 1 if missing else 0


def examine() -> Iterator[Finding]:
    """Yield what there is, most basic first."""
    good = sys.version_info >= (3, 10)
    yield Finding('ok' if good else 'missing', 'python',
                  f'{platform.python_version()} at {sys.prefix}'
                  + ('' if good else '; needs 3.10 or newer'))
    yield _version('edge_vla', 'edge_vla')
    for module, package in REQUIRED.items():
        yield _import(module, package)
    yield from _ros()
    yield from _cpu()
    yield _cache()
    yield from _model()
    for module, (extra, use) in OPTIONAL.items():
        yield _import(module, module, extra, use)


def _version(module: str, package: str) -> Finding:
    try:
        return Finding('ok', module, metadata.version(package))
    except metadata.PackageNotFoundError:
        return Finding('note', module, 'runs from its folder, not installed (make install)')


def _import(module: str, package: str, extra: str = '', use: str = '') -> Finding:
    try:
        found = import_module(module)
    except Exception as error:  # a broken installation can raise anything
        how = f"pip install 'edge_vla[{extra}]' (for {use})" if extra else f'pip install {package}'
        reason = 'not installed' if isinstance(error, ModuleNotFoundError) else f'broken: {error}'
        return Finding('note' if extra else 'missing', module, f'{reason}: {how}')
    return Finding('ok', module, str(getattr(found, '__version__', 'installed')))


def _ros() -> Iterator[Finding]:
    how = ('source an installed ROS 2 (Jazzy or newer), or on Linux x86_64: '
           "pip install 'edge_vla[ros]'")
    try:
        rclpy = import_module('rclpy')
    except Exception as error:
        yield Finding('missing', 'ROS 2', f'rclpy cannot be imported ({error}): {how}')
        return
    home = Path(str(rclpy.__file__)).resolve().parent
    kind = 'wheels from PyPI' if home.is_relative_to(sys.prefix) else 'an installed distribution'
    yield Finding('ok', 'ROS 2', f'{os.environ.get("ROS_DISTRO", "")} {kind}, {home}'.strip())
    lacking = []
    for package in MESSAGES:
        try:
            import_module(f'{package}.{"srv" if package == "std_srvs" else "msg"}')
        except Exception:
            lacking.append(package)
    yield (Finding('missing', 'messages', f'no {", ".join(lacking)}: {how}') if lacking else
           Finding('ok', 'messages', f'all {len(MESSAGES)} packages'))
    yield _px4()
    try:
        name = import_module('rclpy.utilities').get_rmw_implementation_identifier()
        yield Finding('ok', 'middleware', f'{name}, domain {os.environ.get("ROS_DOMAIN_ID", 0)}')
    except Exception as error:
        yield Finding('missing', 'middleware', f'{error}: {how}')


def _px4() -> Finding:
    try:
        found = import_module('px4_msgs.msg')
    except Exception as error:  # built for another Python or ROS it can raise anything
        return Finding('note', 'px4_msgs', f'cannot be imported ({error}): for PX4 build '
                       'https://github.com/PX4/px4_msgs in your workspace and source it')
    return Finding('ok', 'px4_msgs', str(Path(str(found.__file__)).parent))


def _cpu() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    try:
        binding = import_module('llvmlite.binding')
        name, on = binding.get_host_cpu_name(), binding.get_host_cpu_features()
        simd = ' '.join(f for f in SIMD if on.get(f)) or 'no known vector extension'
    except Exception as error:
        name, simd = platform.machine(), f'features unknown ({error})'
    yield Finding('ok', 'CPU', f'{name}, {cores} cores, {simd}')
    try:
        threads = import_module('numba').get_num_threads()
        yield Finding('ok', 'threads', f'numba {threads}, OMP_NUM_THREADS '
                      + os.environ.get('OMP_NUM_THREADS', 'unset'))
    except Exception:
        return  # numba's absence has been said


def _cache() -> Finding:
    """Tell whether numba can keep compiled kernels, and whether it has any."""
    configured = os.environ.get('NUMBA_CACHE_DIR')
    folder = Path(configured) if configured else Path(__file__).resolve().parents[1]
    kept = len(list(folder.rglob('*.nbc')))
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        return Finding('note', 'kernel cache', f'{folder} is read-only: numba falls back to a '
                       'folder in ~/.cache, or set NUMBA_CACHE_DIR')
    return Finding('ok', 'kernel cache', f'{kept} compiled kernels in {folder}' if kept else
                   f'{folder} is empty: the first start compiles for about a minute')


def _model() -> Iterator[Finding]:
    """Check the shipped weights against their checksums."""
    folder = Path(__file__).resolve().parents[1] / 'checkpoints' / 'pilot'
    listing = folder / 'SHA256SUMS'
    if not listing.is_file():
        yield Finding('missing', 'model', f'{folder} has no SHA256SUMS: the package is '
                      'incomplete; install it again')
        return
    wrong, size = [], 0
    for line in listing.read_text().splitlines():
        digest, _, name = line.strip().partition(' ')
        name = name.strip().lstrip('*')
        if not name:
            continue
        path = folder / name
        data = path.read_bytes() if path.is_file() else b''
        size += len(data)
        if hashlib.sha256(data).hexdigest() != digest:
            wrong.append(name)
    if wrong:
        yield Finding('missing', 'model', f'{", ".join(wrong)} in {folder} is absent or not what '
                      'was shipped: install the package again')
    else:
        yield Finding('ok', 'model', f'the shipped pilot, checksums good, {size / 1e6:.2f} MB')
