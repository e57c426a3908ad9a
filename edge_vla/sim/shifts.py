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
Distribution shifts: what a flight may meet that is unlike the training, in three strengths.

A medium shift is one that a careful field engineer would call serious but realistic; a weak one
is about half of it, a strong one about twice. All of them were set from what cameras, vehicles
and weather do, before any policy had flown through them.
"""

from dataclasses import dataclass, fields
from typing import Any

from edge_vla.exceptions import ConfigError

STRENGTHS = ('weak', 'medium', 'strong')
NONE = 'none'


@dataclass(frozen=True)
class Effect:
    """
    What is unlike the plain simulator; every default changes nothing.

    Attributes
    ----------
    style : str
        Style whose colours and light the scene takes on.
    blend : float
        How far: 0.5 is half-way, 1 the style with its ground texture, more goes past it.
    sun_elevation : float
        The sun stands no higher, deg.
    ambient, diffuse : float
        Factors of sky light and sunlight.
    fog : float
        Added extinction, 1/m.
    distractors : int
        Objects added to the scene, as far as it holds them (eight in all).
    distractor_kind : str
        'any', 'lookalike' (the target's colour or shape) or 'new' (colours without a word).
    camera_pitch, camera_roll : float
        The camera is mounted askew, deg, the side drawn per episode.
    fov : float
        The field of view is this much wider or narrower, drawn per episode, deg.
    latency : float
        Age of the picture when it arrives, s; its stamp is the time of exposure, and the measured
        motion is not late.
    drop : float
        Probability that a picture never arrives.
    rate : float
        The camera is no faster, Hz.
    noise : float
        Standard deviation of Gaussian noise per pixel and channel, of 255.
    blur : float
        Standard deviation of Gaussian blur, as a share of the picture's width.
    gain, gamma : float
        Exposure: output is gain * input ** gamma.
    cast : float
        White balance: red is multiplied by 1 + cast, blue by 1 - cast, or the other way round,
        drawn per episode.
    occlusion : float
        Share of the picture under dirt on the lens, which stays where it is for the episode.
    blackout : float
        The picture is black for so long, s, after every second in which it is not.
    thrust, mass : float
        Factors of what the motors deliver and of the vehicle's mass, unknown to its autopilot.
    velocity_gain, drag, motor_lag : float
        Factors of the gain of the autopilot's velocity loop, of the drag and of the motors' lag.
    command_gain : float
        Factor of every commanded velocity.
    wind_steady, wind_gust, wind_dryden : float
        Wind instead of the usual breeze, m/s: steady; gusts of that size (two standard
        deviations) about 2 m/s; Dryden turbulence for that wind at a height of 6 m.
    odometry_noise : float
        Standard deviation of the measured velocity, m/s, and a third of it of the measured yaw
        rate, rad/s.
    odometry_bias : float
        Error of the measured horizontal velocity, m/s, constant, its direction drawn per episode.
    odometry_dropout : float
        Share of half seconds without any measured motion.

    """

    style: str = ''
    blend: float = 0.0
    sun_elevation: float = 90.0
    ambient: float = 1.0
    diffuse: float = 1.0
    fog: float = 0.0
    distractors: int = 0
    distractor_kind: str = 'any'
    camera_pitch: float = 0.0
    camera_roll: float = 0.0
    fov: float = 0.0
    latency: float = 0.0
    drop: float = 0.0
    rate: float = 120.0
    noise: float = 0.0
    blur: float = 0.0
    gain: float = 1.0
    gamma: float = 1.0
    cast: float = 0.0
    occlusion: float = 0.0
    blackout: float = 0.0
    thrust: float = 1.0
    mass: float = 1.0
    velocity_gain: float = 1.0
    drag: float = 1.0
    motor_lag: float = 1.0
    command_gain: float = 1.0
    wind_steady: float = 0.0
    wind_gust: float = 0.0
    wind_dryden: float = 0.0
    odometry_noise: float = 0.0
    odometry_bias: float = 0.0
    odometry_dropout: float = 0.0

    def changes(self) -> dict[str, Any]:
        """Return the fields that are not at their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self)
                if getattr(self, f.name) != f.default}


@dataclass(frozen=True)
class Shift:
    """
    One distribution shift.

    Attributes
    ----------
    name, group : str
        What it is called, and with what it is shown.
    doc : str
        What it is, in one line.
    effects : tuple of Effect
        One per strength of ``STRENGTHS``.

    """

    name: str
    group: str
    doc: str
    effects: tuple[Effect, ...]


def _shift(name: str, group: str, doc: str, **values: Any) -> Shift:
    """Make a shift; a tuple holds one value per strength, anything else is for all of them."""
    return Shift(name, group, doc, tuple(
        Effect(**{k: v[i] if isinstance(v, tuple) else v for k, v in values.items()})
        for i in range(len(STRENGTHS))))


_STYLE = (.5, 1.0, 1.3)
SHIFTS = {s.name: s for s in (
    _shift('winter', 'background', 'snow under a pale sky', style='winter', blend=_STYLE),
    _shift('autumn', 'background', 'brown and orange ground', style='autumn', blend=_STYLE),
    _shift('urban', 'background', 'chequered grey ground, grey sky', style='urban', blend=_STYLE),
    _shift('sunset', 'background', 'orange horizon, the sun behind long shadows', style='sunset',
           blend=_STYLE, sun_elevation=(30.0, 14.0, 8.0)),
    _shift('night', 'background', 'dark sky and little light', style='night', blend=_STYLE),
    _shift('low_sun', 'light', 'long shadows, deg', sun_elevation=(25.0, 15.0, 8.0)),
    _shift('dim', 'light', 'less light of either kind', ambient=(.7, .5, .3),
           diffuse=(.7, .5, .3)),
    _shift('harsh', 'light', 'bright sun, dark shadows', ambient=(.8, .55, .3),
           diffuse=(1.15, 1.35, 1.6)),
    _shift('fog', 'light', 'fog, extinction per m', fog=(.04, .08, .16)),
    _shift('noise', 'picture', 'sensor noise, of 255', noise=(6.0, 12.0, 24.0)),
    _shift('blur', 'picture', 'out of focus, share of the width', blur=(.005, .01, .02)),
    _shift('under_exposed', 'picture', 'a dark picture', gain=(.7, .5, .3)),
    _shift('over_exposed', 'picture', 'a burnt-out picture', gain=(1.25, 1.6, 2.2)),
    _shift('gamma', 'picture', 'crushed mid-tones', gamma=(1.3, 1.7, 2.4)),
    _shift('colour_cast', 'picture', 'wrong white balance', cast=(.1, .2, .35)),
    _shift('occlusion', 'occlusion', 'dirt on the lens, share of the picture',
           occlusion=(.05, .10, .20)),
    _shift('blackout', 'occlusion', 'a black picture after every second that it is none, s',
           blackout=(.5, 1.0, 2.0)),
    _shift('distractors', 'distractors', 'more objects', distractors=(1, 3, 6)),
    _shift('lookalikes', 'distractors', "more objects of the target's colour or shape",
           distractors=(1, 2, 3), distractor_kind='lookalike'),
    _shift('new_colours', 'distractors', 'more objects in colours never seen',
           distractors=(1, 3, 5), distractor_kind='new'),
    _shift('camera_pitch', 'camera', 'mounted looking up or down, deg',
           camera_pitch=(3.0, 6.0, 12.0)),
    _shift('camera_roll', 'camera', 'mounted askew, deg', camera_roll=(3.0, 6.0, 12.0)),
    _shift('camera_fov', 'camera', 'another lens, deg wider or narrower', fov=(5.0, 10.0, 20.0)),
    _shift('latency', 'timing', 'pictures arrive late, s', latency=(.05, .1, .2)),
    _shift('frame_drops', 'timing', 'pictures go missing', drop=(.15, .3, .6)),
    _shift('frame_rate', 'timing', 'a slower camera, Hz', rate=(20.0, 10.0, 5.0)),
    _shift('wind_steady', 'wind', 'steady wind, m/s', wind_steady=(3.0, 6.0, 9.0)),
    _shift('wind_gust', 'wind', 'gusts, m/s', wind_gust=(2.5, 5.0, 8.0)),
    _shift('wind_dryden', 'wind', 'Dryden turbulence, m/s', wind_dryden=(3.0, 6.0, 9.0)),
    _shift('thrust', 'vehicle', 'weak motors or battery', thrust=(.92, .85, .75)),
    _shift('mass', 'vehicle', 'an unknown load', mass=(1.12, 1.25, 1.4)),
    _shift('command_gain', 'vehicle', 'flies slower than it is told', command_gain=(.87, .75, .5)),
    _shift('soft_autopilot', 'vehicle', 'slow velocity loop', velocity_gain=(.75, .5, .35)),
    _shift('drag', 'vehicle', 'more drag', drag=(2.0, 3.0, 5.0)),
    _shift('motor_lag', 'vehicle', 'slow motors', motor_lag=(1.3, 1.6, 2.0)),
    _shift('odometry_noise', 'odometry', 'noisy velocity, m/s', odometry_noise=(.07, .15, .3)),
    _shift('odometry_bias', 'odometry', 'wrong velocity, m/s', odometry_bias=(.1, .2, .4)),
    _shift('odometry_dropout', 'odometry', 'velocity comes and goes',
           odometry_dropout=(.15, .3, .6)))}


def find(name: str, strength: str = 'medium') -> Effect:
    """
    Return the effect of a shift, 'none' or one of ``SHIFTS``.

    Parameters
    ----------
    name : str
        The shift, or 'shift:strength'.
    strength : str
        One of ``STRENGTHS``, where `name` holds none.

    Raises
    ------
    ConfigError
        There is no such shift or strength; the message lists those there are.

    """
    name, _, given = name.partition(':')
    strength = given or strength
    if name != NONE and name not in SHIFTS:
        raise ConfigError(f'unknown shift {name!r}; known: {NONE}, {", ".join(SHIFTS)}')
    if strength not in STRENGTHS:
        raise ConfigError(f'unknown strength {strength!r}; known: {", ".join(STRENGTHS)}')
    return Effect() if name == NONE else SHIFTS[name].effects[STRENGTHS.index(strength)]
