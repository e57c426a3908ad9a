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


"""Package edge_vla for pip and for colcon (ament_python)."""

from glob import glob

from setuptools import find_packages, setup

NAME = 'edge_vla'
# ROS 2 from PyPI, for machines without an installation; these exist for Linux on x86_64 only.
# The versions belong to one distribution (Kilted): mixing them breaks at run time.
ON_X86_LINUX = "platform_machine == 'x86_64' and sys_platform == 'linux'"
ROS_WHEELS = [
    'ros-kilted-rclpy', 'ros-kilted-sensor-msgs', 'ros-rmw-fastrtps-cpp==9.3.*',
    'ros-diagnostic-msgs==5.5.*', 'ros-geometry-msgs==5.5.*', 'ros-nav-msgs==5.5.*',
    'ros-std-msgs==5.5.*', 'ros-std-srvs==5.5.*', 'ros-lifecycle-msgs==2.3.*',
    'ros-rosgraph-msgs==2.3.*']
EXTRAS = {
    'ros': [f'{wheel}; {ON_X86_LINUX}' for wheel in ROS_WHEELS],
    'sim': ['gymnasium>=0.29', 'mujoco>=3.3'],
    'bag': ['rosbags>=0.11', 'tqdm', 'matplotlib>=3.5'],
    'ray': ['ray>=2.9'],
    'viz': ['matplotlib>=3.5'],
    'foxglove': ['foxglove-sdk>=0.30'],
    'rerun': ['rerun-sdk>=0.41'],
    'language': ['tokenizers>=0.20', 'jinja2>=3.1.6'],
    'docs': ['sphinx>=7', 'myst-parser>=2', 'furo'],
    'train': ['torch>=2.2', 'tokenizers', 'tqdm'],
    # wheel: an older setuptools needs it to build one, which a test does
    'test': ['pytest>=7,<9', 'pytest-timeout', 'pytest-xdist', 'hypothesis', 'ruff>=0.6', 'wheel',
             'gguf>=0.17', 'safetensors'],
    # Compared against in tests, which skip without them.
    'oracle': ['torch>=2.2', 'transformers>=4.54', 'accelerate', 'safetensors', 'tokenizers',
               'ncps'],
}
# Everything but what brings torch.
EXTRAS['all'] = [r for extra in ('ros', 'sim', 'bag', 'viz', 'foxglove', 'language', 'docs',
                                                    'test')
                 for r in EXTRAS[extra]]

setup(
    name=NAME,
    version='0.1.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['checkpoints/pilot/*', 'checkpoints/pilot/language/*',
                         'checkpoints/pilot/memory/*',
                         'checkpoints/pilot/seeing/*',
                         'visualization/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(glob('launch/*.py'))),
        (f'share/{NAME}/config', sorted(glob('config/*.*'))),
        (f'share/{NAME}/config/train', sorted(glob('config/train/*'))),
        (f'share/{NAME}/worlds', sorted(glob('worlds/*'))),
        *((f'share/{NAME}/{folder}', sorted(glob(f'{folder}/*.*')))
          for folder in sorted(glob('models/*') + glob('models/*/meshes'))),
        # pip knows nothing of ROS's folder for executables, so they are data
        (f'lib/{NAME}', sorted(glob('scripts/*'))),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools', 'numpy>=1.22', 'numba>=0.57', 'opencv-python-headless>=4.5.4',
                      'PyYAML'],
    extras_require=EXTRAS,
    entry_points={'console_scripts': [
        f'edge-vla = {NAME}.cli.main:main',
        f'vla_node = {NAME}.ros.vla_node:main',
        f'sim_node = {NAME}.ros.sim_node:main',
        f'px4_offboard_node = {NAME}.ros.px4_offboard_node:main',
        f'ardupilot_node = {NAME}.ros.ardupilot_node:main',
        f'bag_player_node = {NAME}.ros.bag_player_node:main',
    ]},
    zip_safe=False,
    maintainer='The edge_vla authors',
    maintainer_email='edge_vla@users.noreply.github.com',
    description='Camera frames and an instruction become safe velocity commands for a drone, '
                'on a CPU.',
    license='Apache-2.0',
)
