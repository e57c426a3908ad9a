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


"""Settings: ranges, types, flags and files agree because there is one definition."""

import argparse
from dataclasses import fields, FrozenInstanceError, is_dataclass
from pathlib import Path

from edge_vla import config
from edge_vla.config import (
    add_arguments,
    ArduPilotNodeConfig,
    build,
    flatten,
    from_arguments,
    NODES,
    PlayerNodeConfig,
    Px4NodeConfig,
    read_yaml,
    SafetyConfig,
    settings_of,
    SimConfig,
    SimNodeConfig,
    VlaNodeConfig,
)
from edge_vla.exceptions import ConfigError
from hypothesis import given, strategies as st
import pytest
import yaml

TREES = tuple(NODES.values())


@pytest.mark.parametrize('tree', TREES)
def test_every_setting_is_documented_and_its_default_is_legal(tree: type) -> None:
    settings = list(settings_of(tree))
    assert len({s.name for s in settings}) == len(settings)
    for s in settings:
        assert s.help and s.help[0].islower() or s.help[0].isupper(), s.name
        assert s.check(s.default) == s.default
        if s.type in (int, float):
            assert s.low is not None and s.high is not None, f'{s.name} has no range'


def test_defaults_build() -> None:
    assert build(VlaNodeConfig, {}) == VlaNodeConfig()
    assert build(SimConfig, {'seed': 3}).seed == 3


def test_nested_names_reach_their_room() -> None:
    made = build(VlaNodeConfig, {'safety.max_forward': 0.5, 'pipeline.instruction': 'hover'})
    assert made.safety.max_forward == 0.5
    assert made.pipeline.instruction == 'hover'
    assert made.safety.max_yaw_rate == SafetyConfig().max_yaw_rate


@pytest.mark.parametrize(('values', 'said'), [
    ({'max_forwards': 1.0}, "unknown setting 'max_forwards'"),
    ({'max_forward': 'fast'}, "max_forward: expected float, got 'fast'"),
    ({'max_forward': True}, 'max_forward: expected float, got True'),
    ({'max_forward': -1.0}, 'max_forward: -1.0 is outside [0.0, 20.0] m/s'),
    ({'max_forward': float('nan')}, 'max_forward: nan is outside'),
    ({'max_forward': float('inf')}, 'max_forward: inf is outside'),
])
def test_wrong_values_are_named(values: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(SafetyConfig, values)
    assert said in str(caught.value)


def test_choices_are_checked() -> None:
    with pytest.raises(ConfigError, match="style: 'moon' is none of"):
        build(SimConfig, {'style': 'moon'})


def test_integers_are_floats_where_floats_are_asked() -> None:
    made = build(SafetyConfig, {'max_forward': 1})
    assert isinstance(made.max_forward, float)


def test_configurations_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SafetyConfig().max_forward = 9.0


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_range_lets_through_what_lies_inside(value: float) -> None:
    s = next(s for s in settings_of(SafetyConfig) if s.name == 'max_forward')
    if 0.0 <= value <= 20.0:
        assert s.check(value) == value
    else:
        with pytest.raises(ConfigError):
            s.check(value)


def test_files_and_flags_give_the_same() -> None:
    from_file = build(VlaNodeConfig, flatten({'safety': {'max_forward': 0.7},
                                              'node': {'enabled': False}}))
    parser = argparse.ArgumentParser()
    add_arguments(parser, VlaNodeConfig)
    args = parser.parse_args(['--safety.max_forward', '0.7', '--node.enabled', 'no'])
    assert from_arguments(VlaNodeConfig, args) == from_file
    with pytest.raises(SystemExit):
        parser.parse_args(['--node.enabled', 'perhaps'])


def test_every_dataclass_of_the_module_is_reachable() -> None:
    def reached(tree: type) -> set[type]:
        below = [f.type for f in fields(tree) if is_dataclass(f.type)]
        return {c for c in tree.__mro__ if is_dataclass(c)}.union(*(reached(b) for b in below))

    made = {c for c in vars(config).values() if isinstance(c, type) and is_dataclass(c)
            and c.__name__.endswith('Config')}
    assert made == set().union(*(reached(t) for t in TREES))


@pytest.mark.parametrize(('name', 'tree'), [
    ('vla.yaml', VlaNodeConfig), ('sim.yaml', SimNodeConfig), ('px4.yaml', Px4NodeConfig),
    ('ardupilot.yaml', ArduPilotNodeConfig), ('player.yaml', PlayerNodeConfig)])
def test_parameter_files_hold_every_setting_with_its_default(root: Path, name: str,
                                                             tree: type) -> None:
    text = (root / 'config' / name).read_text()
    content = yaml.safe_load(text)
    assert list(content) == ['/**']  # a bare node name would not reach a node in a namespace
    values = flatten(content['/**']['ros__parameters'])
    assert values.pop('autostart', None) is (True if name == 'vla.yaml' else None)  # the node's
    assert values == {s.name: s.default for s in settings_of(tree)}
    for s in settings_of(tree):  # ROS takes no integer for a double
        assert type(values[s.name]) is s.type, s.name
        if s.choices:
            line = next(t for t in text.splitlines() if f' {s.name.split(".")[-1]}: ' in t)
            assert all(c in line for c in s.choices), f'choices of {s.name}'


@pytest.mark.parametrize(('text', 'said'), [
    ('a: &a {b: *a}', 'contains itself'), ('a: 2020-13-45', 'month must be in'),
    ('\ta: 1', 'cannot start any token'), ('- 1', 'holds no settings')])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / 'file.yaml').write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_yaml(tmp_path / 'file.yaml')
    assert '\n' not in str(caught.value)
