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


"""ROS parameters from the settings: declared once, described, bounded, validated."""

from difflib import get_close_matches
from typing import Any, TypeVar

from edge_vla.config import build, Setting, settings_of
from edge_vla.exceptions import ConfigError
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

T = TypeVar('T')


def descriptor(setting: Setting) -> ParameterDescriptor:
    """Describe a setting as ROS tools show it."""
    unit = f' [{setting.unit}]' if setting.unit else ''
    out = ParameterDescriptor(description=setting.help + unit, read_only=not setting.dynamic)
    if setting.choices:
        out.additional_constraints = 'one of: ' + ', '.join(setting.choices)
    if setting.low is None or setting.high is None:
        return out
    if setting.type is float:
        out.floating_point_range = [FloatingPointRange(from_value=float(setting.low),
                                                       to_value=float(setting.high), step=0.0)]
    elif setting.type is int:
        out.integer_range = [IntegerRange(from_value=int(setting.low),
                                          to_value=int(setting.high), step=0)]
    return out


def declare(node: Node, cls: type[T]) -> T:
    """
    Declare every setting of a configuration class and return the configuration in force.

    Raises
    ------
    ConfigError
        A value from the command line or a file is refused, or a name in a group of ours is
        unknown; the message names the parameter.

    """
    # ROS keeps to itself what nobody declares: a misspelt limit would be none. Other groups may be
    # another node's, which a file for all of them (/**) sets too.
    known = [s.name for s in settings_of(cls)]
    groups = {name.partition('.')[0] for name in known}
    for name in node._parameter_overrides:  # rclpy shows them nowhere else before declaring
        group = name.partition('.')[0]
        if group in groups and name not in known:
            raise ConfigError(f'unknown parameter {name}; known: ' + ', '.join(
                k for k in known if k.startswith(group + '.')))
        if group not in groups and (near := get_close_matches(group, groups, 1, .8)):
            node.get_logger().warning(f'the parameter {name} is not of this node; if {near[0]} is '
                                      'meant, it is not set')
    values: dict[str, Any] = {}
    for setting in settings_of(cls):
        try:
            values[setting.name] = node.declare_parameter(
                setting.name, setting.default, descriptor(setting)).value
        except Exception as error:  # noqa: B902  rclpy raises a different one for every reason
            point = ' (with a decimal point: 2.0, not 2)' if setting.type is float and (
                'INTEGER' in str(error)) else ''
            raise ConfigError(f'parameter {setting.name}: {error}{point}') from error
    return build(cls, values)


def on_change(node: Node, cls: type[T], changed: list[Parameter]) -> tuple[
        T | None, SetParametersResult]:
    """Check a change against the settings; return the new configuration, or why not."""
    values = {s.name: node.get_parameter(s.name).value for s in settings_of(cls)}
    values |= {p.name: p.value for p in changed if p.name in values}
    try:
        return build(cls, values), SetParametersResult(successful=True)
    except ConfigError as error:
        return None, SetParametersResult(successful=False, reason=str(error))
