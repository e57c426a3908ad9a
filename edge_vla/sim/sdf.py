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

"""What writes SDFormat 1.9, which Gazebo Fortress and everything newer reads."""

from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from edge_vla.exceptions import ConfigError
import numpy as np

VERSION = '1.9'
GAZEBOS = ('harmonic', 'fortress')
_FORTRESS = (('gz-sim-', 'ignition-gazebo-'), ('gz::sim::', 'ignition::gazebo::'))


def text(*values: float) -> str:
    """Return numbers as SDFormat writes them, to six digits and without negative zeros."""
    return ' '.join(f'{float(v) + 0.0:.6g}' for v in values)


def add(parent: Element, path: str, value: Any = None, **attributes: str) -> Element:
    """
    Append nested elements.

    Parameters
    ----------
    parent : Element
        Where to.
    path : str
        Names of the elements, outermost first, joined by '/'.
    value : Any, optional
        Text of the innermost one; booleans and sequences of numbers as SDFormat writes them.
    **attributes : str
        Of the innermost one.

    Returns
    -------
    Element
        The innermost one.

    """
    *outer, last = path.split('/')
    for name in outer:
        parent = SubElement(parent, name)
    element = SubElement(parent, last, attributes)
    if isinstance(value, bool):
        element.text = str(value).lower()
    elif isinstance(value, np.ndarray | tuple):
        element.text = text(*value)
    elif isinstance(value, float):
        element.text = text(value)
    elif value is not None:
        element.text = str(value)
    return element


def add_plugin(parent: Element, library: str, system: str, **settings: Any) -> Element:
    """Append one of Gazebo's systems with its settings, named as since Garden."""
    plugin = add(parent, 'plugin', filename=f'gz-sim-{library}-system',
                 name=f'gz::sim::systems::{system}')
    for name, value in settings.items():
        add(plugin, name, value)
    return plugin


def document(root: Element, gazebo: str = GAZEBOS[0]) -> str:
    """
    Return a finished document.

    Parameters
    ----------
    root : Element
        Its outermost element.
    gazebo : str
        One of ``GAZEBOS``. 'harmonic' stands for everything newer too and for Fortress from
        6.16 on; 'fortress' uses the names that an older Fortress knows.

    Raises
    ------
    ConfigError
        `gazebo` is unknown.

    """
    if gazebo not in GAZEBOS:
        raise ConfigError(f'unknown Gazebo {gazebo!r}; known: {", ".join(GAZEBOS)}')
    ElementTree.indent(root)
    out = '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding='unicode') + '\n'
    for new, old in _FORTRESS if gazebo == 'fortress' else ():
        out = out.replace(new, old)
    return out


def manifest(name: str, description: str) -> str:
    """Return the model.config of a model."""
    root = Element('model')
    add(root, 'name', name)
    add(root, 'version', '1.0')
    add(root, 'sdf', 'model.sdf', version=VERSION)
    author = add(root, 'author')
    add(author, 'name', 'The edge_vla authors')
    add(root, 'description', description)
    return document(root)
