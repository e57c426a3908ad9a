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
Every setting, once.

A setting is one field of one frozen dataclass with its default, unit, range and a line of
help. ROS parameters (with descriptors and ranges), YAML files, command line flags and the
reference page are derived from these fields, so they cannot disagree.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge_vla.exceptions import ConfigError
import yaml

T = TypeVar('T')


def setting(default: Any, help: str, unit: str = '', low: float | None = None,  # noqa: A002
            high: float | None = None, choices: tuple[str, ...] = (),
            dynamic: bool = False) -> Any:
    """Declare one setting; `dynamic` ones may change while a node is active."""
    return field(default=default, metadata={
        'help': help, 'unit': unit, 'low': low, 'high': high, 'choices': choices,
        'dynamic': dynamic})


@dataclass(frozen=True)
class SafetyConfig:
    """Limits of the last gate before any command (heading frame, SI units)."""

    max_forward: float = setting(1.5, 'largest forward speed', 'm/s', 0.0, 20.0, dynamic=True)
    max_backward: float = setting(1.0, 'largest backward speed', 'm/s', 0.0, 20.0, dynamic=True)
    max_lateral: float = setting(1.2, 'largest sideways speed', 'm/s', 0.0, 20.0, dynamic=True)
    max_vertical: float = setting(0.8, 'largest climb or sink speed', 'm/s', 0.0, 10.0,
                                  dynamic=True)
    max_speed: float = setting(1.8, 'largest length of the velocity vector', 'm/s', 0.0, 20.0,
                               dynamic=True)
    max_yaw_rate: float = setting(1.2, 'largest yaw rate', 'rad/s', 0.0, 6.0, dynamic=True)
    max_acceleration: float = setting(4.0, 'slew limit of the velocity vector', 'm/s^2', 0.1,
                                      50.0, dynamic=True)
    max_yaw_acceleration: float = setting(6.0, 'slew limit of the yaw rate', 'rad/s^2', 0.1,
                                          50.0, dynamic=True)
    stale_after: float = setting(0.25, 'without a new frame for this long, ramp to zero', 's',
                                 0.02, 5.0, dynamic=True)
    ramp_time: float = setting(0.15, 'a stale command reaches zero within this time', 's', 0.0,
                               2.0, dynamic=True)

    def __post_init__(self) -> None:
        for s in settings_of(self):  # however it is made: no limit may be none
            s.check(s.default)


@dataclass(frozen=True)
class PipelineConfig:
    """What the pipeline runs."""

    model: str = setting('', 'checkpoint to fly (path); empty is the shipped pilot')
    instruction: str = setting('', 'instruction in force until one arrives; empty hovers',
                               dynamic=True)
    max_gap: float = setting(0.5, 'longer gaps between frames restart the recurrent state', 's',
                             0.05, 10.0)
    longest_dark: float = setting(3.0, 'a camera that shows nothing is flown without, by memory, '
                                  'for so long; then the vehicle only turns', 's', 0.0, 60.0,
                                  dynamic=True)
    clean_lens: bool = setting(True, 'find dirt on the lens while the vehicle turns, and put what '
                               'is around it in its place', dynamic=True)
    min_confidence: float = setting(0.3, 'below this the instruction is not understood: hover',
                                    '', 0.0, 1.0, dynamic=True)
    tolerance: float = setting(2.0, 'a patch of the picture that changed by no more than this on '
                               'average, of 255, keeps its features', '', 0.0, 255.0)
    refresh: int = setting(30, 'so many frames after which all features are computed anew', '', 1,
                           10000)
    seeing: bool = setting(True, 'say what is seen, and answer questions about it')
    opinion_period: float = setting(1.0, 'time between looks of the seeing head for the target, '
                                    'which the pilot flies by; 0 is never', 's', 0.0, 60.0)
    frames: int = setting(8, 'most camera frames that questions are about', '', 1, 16)
    tokens: str = setting('live', 'which visual tokens are read: full is all; live what changed; '
                          'dycoke and team by the papers', choices=('full', 'live', 'dycoke',
                                                                    'team'))
    planner: str = setting('', 'large language model that reads instructions too (path); empty is '
                           'none')
    planner_threads: int = setting(0, 'its threads; 0 leaves one core to what flies', '', 0, 256)
    planner_time: float = setting(5.0, 'a plan that took longer is not flown', 's', 0.1, 120.0,
                                  dynamic=True)


@dataclass(frozen=True)
class AdaptationConfig:
    """Online adaptation of the command to what wind and faults do to the vehicle."""

    enabled: bool = setting(True, 'adapt the command to the measured velocity', dynamic=True)
    rate: float = setting(1.0, 'how fast the parameters may move, relative to the tuned speed',
                          '', 0.0, 4.0, dynamic=True)
    leak: float = setting(0.05, 'rate at which unused parameters fade', '1/s', 0.001, 2.0,
                          dynamic=True)
    max_compensation: float = setting(3.0, 'largest change of the velocity command', 'm/s', 0.0,
                                      10.0, dynamic=True)
    max_compensation_rate: float = setting(6.0, 'slew limit of that change', 'm/s^2', 0.1, 50.0,
                                           dynamic=True)
    off_time: float = setting(5.0, 'after a revert stay off this long, then twice as long', 's',
                              0.5, 60.0, dynamic=True)


@dataclass(frozen=True)
class NodeConfig:
    """How vla_node runs."""

    enabled: bool = setting(True, 'send commands when active (service ~/enable)', dynamic=True)
    command_rate: float = setting(30.0, 'rate of the watchdog that sends ramps', 'Hz', 5.0, 200.0)
    narration_period: float = setting(1.0, 'time between narrations', 's', 0.2, 60.0)
    diagnostics_period: float = setting(1.0, 'time between diagnostics', 's', 0.1, 60.0)
    frame_id: str = setting('base_link', 'frame of the published commands')
    live: str = setting('', 'show what is seen and done in foxglove or rerun, with :PORT for '
                        'another than theirs; empty is off')


@dataclass(frozen=True)
class CameraConfig:
    """The simulated camera (pinhole, square pixels, no distortion)."""

    width: int = setting(320, 'image width', 'px', 16, 1920)
    height: int = setting(240, 'image height', 'px', 12, 1080)
    fov: float = setting(90.0, 'horizontal field of view', 'deg', 30.0, 140.0)
    rate: float = setting(30.0, 'frames per second', 'Hz', 1.0, 120.0)


@dataclass(frozen=True)
class SimConfig:
    """The built-in simulator."""

    seed: int = setting(1, 'seed of scene, start pose, light and wind', '', 0, 2**31 - 1)
    instruction: str = setting('', 'objects named here are put into the scene')
    wind: float = setting(1.0, 'mean wind speed', 'm/s', 0.0, 20.0)
    style: str = setting('meadow', 'ground, sky and light',
                         choices=('meadow', 'random', 'wide', 'winter', 'autumn', 'urban',
                                  'sunset', 'night'))
    real_time_factor: float = setting(1.0, 'simulated seconds per second; 0 is as fast as it goes',
                                      '', 0.0, 100.0)
    command_timeout: float = setting(0.5, 'the autopilot holds position without commands for '
                                     'this long', 's', 0.05, 10.0)


@dataclass(frozen=True)
class AutopilotConfig:
    """How commands reach an autopilot; every subclass says its own `topics`."""

    topics: str = setting('', 'prefix of the topics of the autopilot')
    max_frame_age: float = setting(1.0, 'commands that answer an older image are not passed on',
                                   's', 0.1, 5.0)
    max_speed: float = setting(5.0, 'faster commands are refused, not limited', 'm/s', 0.0, 30.0)
    max_yaw_rate: float = setting(3.0, 'faster turns are refused, not limited', 'rad/s', 0.0,
                                  10.0)
    frame_id: str = setting('base_link', 'frame the commands must be in')
    odom_frame_id: str = setting('odom', 'world frame of the published odometry')
    diagnostics_period: float = setting(1.0, 'time between diagnostics', 's', 0.1, 60.0)


@dataclass(frozen=True)
class Px4Config(AutopilotConfig):
    """How commands become offboard setpoints of PX4."""

    topics: str = setting('fmu', 'prefix of the topics of PX4')
    system_id: int = setting(1, 'MAV_SYS_ID of the vehicle that requests are meant for', '', 1,
                             255)
    allow_commands: bool = setting(False, 'let the services ~/arm and ~/offboard command PX4',
                                   dynamic=True)
    max_gap: float = setting(0.5, 'after a longer gap in offboard flight nothing is passed on '
                             'until another mode was chosen; keep it below COM_OF_LOSS_T', 's',
                             0.1, 5.0)
    max_odometry_age: float = setting(0.3, 'without odometry for this long nothing is passed on',
                                      's', 0.02, 5.0)
    max_status_age: float = setting(1.5, 'without vehicle_status for this long PX4 counts as gone',
                                    's', 0.2, 10.0)
    request_timeout: float = setting(3.0, 'so long PX4 may take to do what was asked', 's', 0.5,
                                     30.0)


@dataclass(frozen=True)
class ArduPilotConfig(AutopilotConfig):
    """How commands reach ArduPilot's DDS interface."""

    topics: str = setting('ap', 'prefix of the topics of ArduPilot')
    max_pose_age: float = setting(0.5, 'without a pose for this long nothing is passed on', 's',
                                  0.02, 5.0)
    map_frame_id: str = setting('map', 'frame they are sent in: east, north, up')


@dataclass(frozen=True)
class PlayerConfig:
    """How a recording is played to running nodes."""

    bag: str = setting('', 'recording to play (folder, .mcap or .db3)')
    image: str = setting('', 'image topic of the recording; needed where it has several')
    odometry: str = setting('', 'odometry topic of the recording; needed where it has several')
    topics: str = setting('', 'other topics to play, comma separated, under their own names')
    rate: float = setting(1.0, 'recorded seconds per second', '', 0.01, 100.0)
    start: float = setting(0.0, 'where to begin, after the start of the recording', 's', 0.0,
                           86400.0)
    duration: float = setting(0.0, 'how much to play; 0 is to the end', 's', 0.0, 86400.0)
    loop: bool = setting(False, 'begin again at the end; stamps jump back')
    lockstep: bool = setting(False, 'hold after every image until its command has come')
    lockstep_timeout: float = setting(2.0, 'longest hold', 's', 0.05, 60.0)
    clock_rate: float = setting(100.0, 'rate of /clock, of the recorded time', 'Hz', 1.0, 1000.0)
    actions: str = setting('', 'actions.json of a replay, to compare the commands with; the '
                           'result goes to live.json beside it')
    settle: float = setting(1.0, 'wait this long after a subscriber to the images was found', 's',
                            0.0, 60.0)


@dataclass(frozen=True)
class VlaNodeConfig:
    """All parameters of vla_node."""

    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    node: NodeConfig = field(default_factory=NodeConfig)


@dataclass(frozen=True)
class SimNodeConfig:
    """All parameters of sim_node."""

    sim: SimConfig = field(default_factory=SimConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)


@dataclass(frozen=True)
class Px4NodeConfig:
    """All parameters of px4_offboard_node."""

    px4: Px4Config = field(default_factory=Px4Config)


@dataclass(frozen=True)
class ArduPilotNodeConfig:
    """All parameters of ardupilot_node."""

    ardupilot: ArduPilotConfig = field(default_factory=ArduPilotConfig)


@dataclass(frozen=True)
class PlayerNodeConfig:
    """All parameters of bag_player_node."""

    player: PlayerConfig = field(default_factory=PlayerConfig)


NODES = {'vla_node': VlaNodeConfig, 'sim_node': SimNodeConfig, 'bag_player_node': PlayerNodeConfig,
         'px4_offboard_node': Px4NodeConfig, 'ardupilot_node': ArduPilotNodeConfig}


@dataclass(frozen=True)
class Setting:
    """One leaf of a configuration tree, as ``settings_of`` yields it."""

    name: str
    type: type  # noqa: A003
    default: Any
    help: str  # noqa: A003
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool

    def check(self, value: Any) -> Any:
        """Return `value` as this setting's type, or raise ConfigError naming the setting."""
        kind = self.type
        ok = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value, ok = float(value), True
        if not ok:
            raise ConfigError(f'{self.name}: expected {kind.__name__}, got {value!r}')
        if kind in (int, float):
            low = float('-inf') if self.low is None else self.low
            high = float('inf') if self.high is None else self.high
            if not low <= value <= high:  # also refuses NaN
                unit = f' {self.unit}' if self.unit else ''
                raise ConfigError(
                    f'{self.name}: {value} is outside [{self.low}, {self.high}]{unit}')
        if self.choices and value not in self.choices:
            raise ConfigError(f'{self.name}: {value!r} is none of {", ".join(self.choices)}')
        return value


def settings_of(config: Any, prefix: str = '') -> Iterator[Setting]:
    """Yield every setting below a configuration class or instance, dotted names."""
    for f in fields(config):
        sub = f.type if isinstance(f.type, type) and is_dataclass(f.type) else None
        if sub is not None:
            yield from settings_of(sub if isinstance(config, type) else getattr(config, f.name),
                                   f'{prefix}{f.name}.')
        else:
            m = f.metadata
            value = f.default if isinstance(config, type) else getattr(config, f.name)
            yield Setting(prefix + f.name, f.type, value, m['help'], m['unit'], m['low'],
                          m['high'], m['choices'], m['dynamic'])


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """
    Make a configuration from dotted names; unset ones keep their defaults.

    Raises
    ------
    ConfigError
        A name is unknown, or a value has the wrong type or lies outside its range.

    """
    known = {s.name: s for s in settings_of(cls)}
    for name in values:
        if name not in known:
            raise ConfigError(f'unknown setting {name!r}; known: {", ".join(known)}')
    return _build(cls, '', {n: known[n].check(v) for n, v in values.items()})


def _build(cls: type[T], prefix: str, values: Mapping[str, Any]) -> T:
    made = {}
    for f in fields(cls):
        if is_dataclass(f.type):
            made[f.name] = _build(f.type, f'{prefix}{f.name}.', values)
        elif prefix + f.name in values:
            made[f.name] = values[prefix + f.name]
    return cls(**made)


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Turn nested mappings (a YAML file) into dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f'{prefix}{key}.'))
        else:
            flat[prefix + str(key)] = value
    return flat


def add_arguments(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add one ``--dotted.name`` flag per setting of `cls`; unset flags stay absent."""
    for s in settings_of(cls):
        unit = f' [{s.unit}]' if s.unit else ''
        parser.add_argument(
            f'--{s.name}', dest=s.name, default=argparse.SUPPRESS, metavar=s.type.__name__.upper(),
            type=_parse_bool if s.type is bool else s.type, choices=s.choices or None,
            help=f'{s.help}{unit} (default {s.default!r})'.replace('%', '%%'))


def _parse_bool(text: str) -> bool:
    if text.lower() in ('true', '1', 'yes', 'on'):
        return True
    if text.lower() in ('false', '0', 'no', 'off'):
        return False
    raise argparse.ArgumentTypeError(f'{text!r} is not a truth value (true or false)')


def from_arguments(cls: type[T], args: argparse.Namespace, file: Path | None = None) -> T:
    """
    Collect what ``add_arguments`` parsed, over the values of a YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is not a mapping, or holds an unknown or wrong setting.

    """
    values = read_yaml(file) if file is not None else {}
    given = vars(args)
    return build(cls, values | {s.name: given[s.name] for s in settings_of(cls)
                                if s.name in given})


def read_yaml(file: Path) -> dict[str, Any]:
    """
    Read a YAML mapping as dotted names.

    Raises
    ------
    ConfigError
        The file cannot be read or is not a mapping.

    """
    try:
        tree = yaml.safe_load(file.read_text(encoding='utf-8'))
        if isinstance(tree, Mapping):
            return flatten(tree)
    except (OSError, ValueError, yaml.YAMLError) as error:  # a date in the 13th month
        detail = ' '.join(str(error).split())  # YAML says it on several lines
        raise ConfigError(f'{file} cannot be read: {detail}') from error
    except RecursionError as error:
        raise ConfigError(f'{file} cannot be read: something in it contains itself, or is nested '
                          'too deeply') from error
    raise ConfigError(f'{file} holds no settings: expected lines of "name: value"')
