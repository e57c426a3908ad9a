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
A scene as a Gazebo world.

Gazebo lights linear colours and encodes the picture as sRGB, the built-in camera shades display
values. Colours and light are written so that both show the same: lit fully and not at all.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from edge_vla.sim.dynamics import GRAVITY, GROUND
from edge_vla.sim.mujoco_scene import CONE_SIDES, FAR_M
from edge_vla.sim.scene import Scene, SceneObject
from edge_vla.sim.sdf import add, add_plugin, document, GAZEBOS, text, VERSION
import numpy as np

QUADROTOR, CONE = 'edge_vla_quadrotor', 'edge_vla_cone'  # models that worlds refer to
STEP_S = 0.004  # of the physics
STAND_M = 0.1  # side of what the vehicle stands on until its first command
# System plugins of a world: the library between gz-sim- and -system, and the class.
SYSTEMS = (('physics', 'Physics'), ('user-commands', 'UserCommands'),
           ('scene-broadcaster', 'SceneBroadcaster'), ('sensors', 'Sensors'), ('imu', 'Imu'))


def linear(shown: np.ndarray | float) -> np.ndarray:
    """Return display values (sRGB, 0 to 1) as linear light, float64 of the same shape."""
    v = np.asarray(shown, float)
    return np.where(v <= .04045, v / 12.92, ((v + .055) / 1.055) ** 2.4)


def display(light: np.ndarray | float) -> np.ndarray:
    """Return linear light as display values, the inverse of ``linear``."""
    v = np.asarray(light, float)
    return np.where(v <= .0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - .055)


def world(scene: Scene, name: str, gazebo: str = GAZEBOS[0]) -> str:
    """
    Return a scene as a world.

    Objects are static models of the same pose, size and colour, named like 'red_sphere'. The
    ground has the mean of its two colours. Haze is left out. The vehicle waits on an invisible
    stand at the start pose: Gazebo's velocity control lets its rotors rest until it hears a
    command.

    Parameters
    ----------
    scene : Scene
        Objects, light and start pose.
    name : str
        Of the world.
    gazebo : str
        See ``document``.

    Returns
    -------
    str
        An SDFormat document that refers to ``QUADROTOR`` and ``CONE``.

    Raises
    ------
    ConfigError
        `gazebo` is unknown.

    """
    root = Element('sdf', version=VERSION)
    top = add(root, 'world', name=name)
    physics = add(top, 'physics', name='physics', type='ignored')
    add(physics, 'max_step_size', STEP_S)
    add(physics, 'real_time_factor', 1.0)
    add(top, 'gravity', (0, 0, -GRAVITY))
    for library, system in SYSTEMS:
        options = {'render_engine': 'ogre2'} if system == 'Sensors' else {}
        add_plugin(top, library, system, **options)
    _add_light(top, scene.light)
    _add_ground(top, scene.light)
    for o in scene.objects:
        _add_object(top, o)
    x, y, z, yaw = scene.start
    stand = _add_static(top, 'start_stand', (x, y, z - GROUND - .01, 0, 0, yaw))
    add(stand, 'collision/geometry/box/size', (STAND_M, STAND_M, .02))
    slippery = add(stand.find('collision'), 'surface/friction/ode')  # it must not hold on
    for direction in ('mu', 'mu2'):
        add(slippery, direction, .05)
    _name(stand)
    vehicle = add(top, 'include')
    add(vehicle, 'uri', f'model://{QUADROTOR}')
    add(vehicle, 'pose', (x, y, z, 0, 0, yaw))
    return document(root, gazebo)


def _name(link: Element) -> None:
    """Name the collisions and visuals of a link that holds at most one of each."""
    for kind in ('collision', 'visual'):
        for element in link.iter(kind):
            element.set('name', kind)


def _add_static(top: Element, name: str, pose: Iterable[float]) -> Element:
    """Append a model that does not move and return its link."""
    model = add(top, 'model', name=name)
    add(model, 'static', True)
    add(model, 'pose', tuple(pose))
    return add(model, 'link', name='link')


def _add_light(top: Element, light: np.ndarray) -> None:
    ambient = linear(light[3])
    sun = linear(light[3] + light[4]) - ambient
    scene = add(top, 'scene')
    add(scene, 'ambient', (*[ambient] * 3, 1))
    add(scene, 'background', (*linear((light[15:18] + light[18:21]) / 2), 1))
    add(scene, 'shadows', bool(light[21] > 0))
    add(scene, 'grid', False)
    lamp = add(top, 'light', name='sun', type='directional')
    add(lamp, 'cast_shadows', bool(light[21] > 0))
    add(lamp, 'pose', (*20 * light[0:3], 0, 0, 0))
    add(lamp, 'intensity', float(sun))  # a colour beyond 1 would be read as one of 255
    add(lamp, 'diffuse', (1, 1, 1, 1))
    add(lamp, 'specular', (0, 0, 0, 1))
    add(lamp, 'direction', -light[0:3])


def _add_material(visual: Element, rgb: np.ndarray) -> None:
    material = add(visual, 'material')
    colour = (*linear(np.clip(rgb, 0, 1)), 1)
    add(material, 'ambient', colour)
    add(material, 'diffuse', colour)
    add(material, 'specular', (0, 0, 0, 1))


def _add_ground(top: Element, light: np.ndarray) -> None:
    link = _add_static(top, 'ground', (0, 0, 0, 0, 0, 0))
    for kind in ('collision', 'visual'):
        plane = add(link, f'{kind}/geometry/plane')
        add(plane, 'normal', (0, 0, 1))
        add(plane, 'size', (4 * FAR_M, 4 * FAR_M))
    _name(link)
    _add_material(link.find('visual'), (light[9:12] + light[12:15]) / 2)


def _add_object(top: Element, o: SceneObject) -> None:
    link = _add_static(top, f'{o.colour}_{o.shape}', (*o.position, 0, 0, o.yaw))
    a, b, c = o.size
    for kind in ('collision', 'visual'):
        shape = add(link, f'{kind}/geometry')
        if o.shape == 'sphere':
            add(shape, 'sphere/radius', float(a))
        elif o.shape == 'box':
            add(shape, 'box/size', (2 * a, 2 * b, 2 * c))
        elif o.shape == 'pillar':
            cylinder = add(shape, 'cylinder')
            add(cylinder, 'radius', float(a))
            add(cylinder, 'length', float(2 * c))
        else:  # SDFormat has cones since 1.11, which neither Fortress nor Harmonic draws
            mesh = add(shape, 'mesh')
            add(mesh, 'uri', f'model://{CONE}/meshes/cone.obj')
            add(mesh, 'scale', (a, b, c))
    _name(link)
    _add_material(link.find('visual'), o.rgb)


def cone() -> str:
    """Return a static cone as a model; worlds use its mesh alone."""
    root = Element('sdf', version=VERSION)
    model = add(root, 'model', name=CONE)
    add(model, 'static', True)
    link = add(model, 'link', name='link')
    for kind in ('collision', 'visual'):
        add(link, f'{kind}/geometry/mesh/uri', f'model://{CONE}/meshes/cone.obj')
    _name(link)
    return document(root)


def cone_mesh() -> str:
    """Return a cone of radius 1 from z = -1 to its apex at z = 1, in Wavefront OBJ."""
    turn = 2 * np.pi / CONE_SIDES
    lines = ['# a cone of radius 1 and height 2', 'v 0 0 1', 'v 0 0 -1']
    lines += [f'v {text(np.cos(i * turn), np.sin(i * turn), -1)}' for i in range(CONE_SIDES)]
    lines += ['vn 0 0 -1']
    for i in range(CONE_SIDES):  # of the slope: at each foot, then between two feet
        for angle in (i * turn, (i + .5) * turn):
            side = 2 / np.sqrt(5)
            lines += [f'vn {text(side * np.cos(angle), side * np.sin(angle), side / 2)}']
    for i in range(CONE_SIDES):
        j = (i + 1) % CONE_SIDES
        lines += [f'f {3 + i}//{2 + 2 * i} {3 + j}//{2 + 2 * j} 1//{3 + 2 * i}',
                  f'f {3 + j}//1 {3 + i}//1 2//1']
    return '\n'.join(lines) + '\n'
