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
Gazebo's multicopter systems and a rigid body, after a model file alone: an oracle for its numbers.

MulticopterVelocityControl is the geometric control of Lee, Leok and McClamroch 2010 with a
velocity loop on top and the pseudo-inverse of the rotors' allocation below;
MulticopterMotorModel is a lag, thrust and torque by the square of the speed, and rotor drag.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

GRAVITY = np.array([0, 0, -9.81])


def vector(element: ElementTree.Element | None) -> np.ndarray:
    """Return the numbers of an element."""
    return np.array([float(v) for v in element.text.split()])


def skew(v: np.ndarray) -> np.ndarray:
    """Return the matrix of the cross product with `v`."""
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


class Multicopter:
    """
    A vehicle at rest at the origin, in the air.

    Parameters
    ----------
    file : Path
        model.sdf.

    """

    def __init__(self, file: Path) -> None:
        model = ElementTree.parse(file).getroot().find('model')
        plugins = model.findall('plugin')
        control, = (p for p in plugins if p.get('name').endswith('MulticopterVelocityControl'))
        motors = sorted((p for p in plugins if p.get('name').endswith('MotorModel')),
                        key=lambda p: int(p.findtext('actuator_number')))
        links = {e.get('name'): e for e in model.findall('link')}
        masses = {n: float(e.findtext('inertial/mass')) for n, e in links.items()}
        self.mass = sum(masses.values())
        moments = {n: np.array([float(e.findtext(f'inertial/inertia/i{a}{a}')) for a in 'xyz'])
                   for n, e in links.items()}
        at = {n: vector(e.find('pose'))[:3] if e.find('pose') is not None else np.zeros(3)
              for n, e in links.items()}
        # what the body really has, and what the control adds up without moving it
        self.inertia = sum(np.diag(moments[n]) - masses[n] * skew(at[n]) @ skew(at[n])
                           for n in links)
        assumed = np.diag(sum(moments.values()))
        joints = {e.get('name'): e.findtext('child') for e in model.findall('joint')}
        rotors = control.findall('rotorConfiguration/rotor')
        self.places = np.array([at[joints[r.findtext('jointName')]] for r in rotors])
        for rotor, motor in zip(rotors, motors, strict=True):
            assert rotor.findtext('jointName') == motor.findtext('jointName')
        force, moment, way = (np.array([float(r.findtext(k)) for r in rotors])
                              for k in ('forceConstant', 'momentConstant', 'direction'))
        allocation = np.array([self.places[:, 1] * force, -self.places[:, 0] * force,
                               -way * force * moment, force])
        assert np.linalg.matrix_rank(allocation, 1e-12) == 4
        wide = np.eye(4)
        wide[:3, :3] = assumed
        self.allocate = np.linalg.pinv(allocation) @ wide
        self.attitude, self.rate = (vector(control.find(k)) @ np.linalg.inv(assumed)
                                    for k in ('attitudeGain', 'angularRateGain'))
        self.gain = vector(control.find('velocityGain'))
        self.strongest = vector(control.find('maximumLinearAcceleration'))
        number = {k: np.array([float(m.findtext(k)) for m in motors]) for k in (
            'motorConstant', 'momentConstant', 'rotorDragCoefficient', 'maxRotVelocity',
            'timeConstantUp', 'timeConstantDown')}
        self.thrust, self.torque = number['motorConstant'], number['momentConstant']
        self.drag, self.fastest = number['rotorDragCoefficient'], number['maxRotVelocity']
        self.up, self.down = number['timeConstantUp'], number['timeConstantDown']
        self.turns = np.array([1 if m.findtext('turningDirection') == 'ccw' else -1
                               for m in motors])
        self.speeds = np.full(len(motors), math.sqrt(
            self.mass * 9.81 / len(motors) / self.thrust[0]))
        self.position, self.velocity, self.rates = np.zeros(3), np.zeros(3), np.zeros(3)
        self.rotation = np.eye(3)

    def control(self, linear: np.ndarray, yaw_rate: float) -> np.ndarray:
        """Return wanted rotor speeds, rad/s, for a velocity in the body frame."""
        r = self.rotation
        wanted = (self.velocity - r @ linear) * self.gain / self.mass
        wanted = np.clip(wanted, -self.strongest, self.strongest) + GRAVITY
        b3 = -wanted / np.linalg.norm(wanted)
        b2 = np.cross(b3, r[:, 0])
        b2 /= np.linalg.norm(b2)
        target = np.stack([np.cross(b2, b3), b2, b3], 1)
        twist = .5 * (target.T @ r - r.T @ target)
        error = np.array([twist[2, 1], twist[0, 2], twist[1, 0]])
        rate_error = self.rates - r.T @ target @ np.array([0, 0, yaw_rate])
        angular = -error * self.attitude - rate_error * self.rate
        squares = self.allocate @ np.array([*angular, -self.mass * wanted @ r[:, 2]])
        return np.sqrt(np.maximum(squares, 0))

    def fly(self, linear: np.ndarray, yaw_rate: float, dt: float) -> None:
        """Advance by one step of the physics under a velocity command in the body frame."""
        speeds = np.minimum(self.control(linear, yaw_rate), self.fastest)
        r, w = self.rotation, self.speeds
        lift = self.thrust * w ** 2
        force, torque = np.array([0, 0, lift.sum()]), np.zeros(3)
        for i, place in enumerate(self.places):
            air = r.T @ self.velocity + np.cross(self.rates, place)
            drag = -w[i] * self.drag[i] * np.array([air[0], air[1], 0])
            force += drag
            torque += np.cross(place, drag + np.array([0, 0, lift[i]]))
            torque[2] -= self.turns[i] * lift[i] * self.torque[i]
        turn = np.linalg.solve(self.inertia, torque - np.cross(self.rates,
                                                               self.inertia @ self.rates))
        self.velocity = self.velocity + (r @ force / self.mass + GRAVITY) * dt
        self.rates = self.rates + turn * dt
        self.position = self.position + self.velocity * dt
        angle = np.linalg.norm(self.rates) * dt
        axis = skew(self.rates * dt / angle) if angle > 1e-12 else np.zeros((3, 3))
        self.rotation = r @ (np.eye(3) + math.sin(angle) * axis
                             + (1 - math.cos(angle)) * axis @ axis)
        lag = np.exp(-dt / np.where(speeds > w, self.up, self.down))
        self.speeds = lag * w + (1 - lag) * speeds

    @property
    def yaw(self) -> float:
        """Heading, rad."""
        return math.atan2(self.rotation[1, 0], self.rotation[0, 0])

    @property
    def tilt(self) -> float:
        """Angle between the body's z axis and the vertical, rad."""
        return math.acos(max(-1.0, min(1.0, self.rotation[2, 2])))

    def heading_velocity(self) -> np.ndarray:
        """Return the velocity ahead, to the left and up, m/s."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        x, y, z = self.velocity
        return np.array([c * x + s * y, c * y - s * x, z])
