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
The vehicle as a Gazebo model, flown by Gazebo's own systems.

Mass, rotors, drag and gains are those of the built-in simulator and of the MuJoCo world. Gazebo's
velocity control is the geometric one of Lee et al. 2010, without integrals; it takes velocities in
the body frame, which differs from the heading frame by the tilt.
"""

import math
from xml.etree.ElementTree import Element

from edge_vla.config import CameraConfig
from edge_vla.sim.dynamics import GRAVITY, GROUND, VEHICLE
from edge_vla.sim.gazebo_scene import QUADROTOR
from edge_vla.sim.mujoco_scene import (
    ARM,
    BODY,
    DRAG_TORQUE,
    FAR_M,
    INERTIA,
    MASS,
    ROTOR_LIMIT,
    ROTORS,
)
from edge_vla.sim.sdf import add, add_plugin, document, GAZEBOS, VERSION
import numpy as np

TOPICS = 'edge_vla'  # what Gazebo's topics begin with: /edge_vla/cmd_vel and so on
ODOMETRY_FRAME, BODY_FRAME, CAMERA_FRAME = 'odom', 'base_link', 'camera_optical_frame'
ODOMETRY_HZ, IMU_HZ = 100.0, 250.0
ROTOR_MASS, ROTOR_RADIUS = .01, .1  # kg, m
FASTEST = 1000.0  # rad/s, a rotor at its limit
SLOWDOWN = 10.0  # the rotors are seen, and integrated, so many times slower than they turn
# The cascade of `dynamics`: velocity to acceleration, tilt and body rates to torque.
VELOCITY_GAIN = MASS * np.array([1.8, 1.8, 4.0])
RATE_GAIN = INERTIA * np.array([20.0, 20.0, 8.0])
ATTITUDE_GAIN = RATE_GAIN * np.array([6.5, 6.5, 2.8])
STRONGEST = (5.0, 5.0, 6.0)  # m/s^2, along each axis: no more than 36 degrees of tilt
# What has this flag is not in the picture of the vehicle's own camera, as in the other worlds.
OWN = 2
SHADE = (.03, .03, .035, 1)


def quadrotor(camera: CameraConfig, gazebo: str = GAZEBOS[0]) -> str:
    """
    Return the vehicle as a model.

    Parameters
    ----------
    camera : CameraConfig
        Its camera, in the middle of the body, looking along x.
    gazebo : str
        See ``sdf.document``.

    Returns
    -------
    str
        An SDFormat document.

    Raises
    ------
    ConfigError
        `gazebo` is unknown.

    """
    root = Element('sdf', version=VERSION)
    model = add(root, 'model', name=QUADROTOR)
    _add_body(model, camera)
    for i, (x, y, _) in enumerate(ROTORS):
        _add_rotor(model, i, (x * ARM, y * ARM, 0.0))
    force = ROTOR_LIMIT / FASTEST ** 2  # N per (rad/s)^2
    control = add_plugin(
        model, 'multicopter-control', 'MulticopterVelocityControl', robotNamespace=TOPICS,
        commandSubTopic='cmd_vel', enableSubTopic='enable', comLinkName=BODY_FRAME,
        velocityGain=VELOCITY_GAIN, attitudeGain=ATTITUDE_GAIN, angularRateGain=RATE_GAIN,
        maximumLinearAcceleration=STRONGEST)
    rotors = add(control, 'rotorConfiguration')
    hover = math.sqrt(MASS * GRAVITY / len(ROTORS) / force)  # rad/s
    for i, (_, _, sense) in enumerate(ROTORS):
        rotor = add(rotors, 'rotor')
        for name, value in (('jointName', f'rotor_{i}_joint'), ('forceConstant', force),
                            ('momentConstant', DRAG_TORQUE), ('direction', -sense)):
            add(rotor, name, value)
        add_plugin(
            model, 'multicopter-motor-model', 'MulticopterMotorModel', robotNamespace=TOPICS,
            jointName=f'rotor_{i}_joint', linkName=f'rotor_{i}',
            turningDirection='cw' if sense > 0 else 'ccw', motorType='velocity',
            actuator_number=i, motorNumber=i,  # the second is what Fortress calls it
            maxRotVelocity=FASTEST, motorConstant=force, momentConstant=DRAG_TORQUE,
            # a rotor's drag grows with its speed: at hover that of `dynamics` near rest
            rotorDragCoefficient=MASS * VEHICLE[1] / (len(ROTORS) * hover),
            rollingMomentCoefficient=0.0, timeConstantUp=VEHICLE[3], timeConstantDown=VEHICLE[3],
            rotorVelocitySlowdownSim=SLOWDOWN)
    add_plugin(
        model, 'odometry-publisher', 'OdometryPublisher', odom_frame=ODOMETRY_FRAME,
        robot_base_frame=BODY_FRAME, odom_publish_frequency=ODOMETRY_HZ, dimensions=3,
        odom_topic=f'/{TOPICS}/odometry', tf_topic=f'/{TOPICS}/tf')
    return document(root, gazebo)


def _add_inertia(link: Element, mass: float, diagonal: np.ndarray) -> None:
    inertial = add(link, 'inertial')
    add(inertial, 'mass', mass)
    inertia = add(inertial, 'inertia')
    for i, row in enumerate('xyz'):
        for j, column in enumerate('xyz'[i:], i):
            add(inertia, f'i{row}{column}', float(diagonal[i]) if i == j else 0.0)


def _rotor_inertia() -> np.ndarray:
    """Return the moments of a thin disc, kg m^2."""
    return ROTOR_MASS * ROTOR_RADIUS ** 2 * np.array([.25, .25, .5])


def _add_body(model: Element, camera: CameraConfig) -> None:
    link = add(model, 'link', name=BODY_FRAME)
    count = len(ROTORS)
    rotors = count * (_rotor_inertia() + ROTOR_MASS * ARM ** 2 * np.array([1, 1, 2]))
    _add_inertia(link, MASS - count * ROTOR_MASS, INERTIA - rotors)
    side = math.sqrt(2) * BODY  # corners at the radius that counts as the vehicle's
    collision = add(link, 'collision', name='collision')
    add(collision, 'geometry/box/size', (side, side, 2 * GROUND))
    for name, size, yaw in (('body', (.16, .12, .06), 0.0),
                            ('arm_left', (2.9 * ARM, .02, .015), math.pi / 4),
                            ('arm_right', (2.9 * ARM, .02, .015), -math.pi / 4)):
        visual = _add_visual(link, name, (0, 0, 0, 0, 0, yaw))
        add(visual, 'geometry/box/size', size)
    _add_camera(link, camera)
    imu = add(link, 'sensor', name='imu', type='imu')
    add(imu, 'topic', f'/{TOPICS}/imu')
    add(imu, 'update_rate', IMU_HZ)
    add(imu, 'always_on', True)


def _add_visual(link: Element, name: str, pose: tuple[float, ...]) -> Element:
    visual = add(link, 'visual', name=name)
    add(visual, 'pose', pose)
    add(visual, 'cast_shadows', False)
    add(visual, 'visibility_flags', OWN)
    material = add(visual, 'material')
    add(material, 'ambient', SHADE)
    add(material, 'diffuse', SHADE)
    return visual


def _add_camera(link: Element, camera: CameraConfig) -> None:
    sensor = add(link, 'sensor', name='camera', type='camera')
    add(sensor, 'topic', f'/{TOPICS}/image')
    add(sensor, 'update_rate', camera.rate)
    add(sensor, 'always_on', True)
    lens = add(sensor, 'camera')
    add(lens, 'camera_info_topic', f'/{TOPICS}/camera_info')
    add(lens, 'optical_frame_id', CAMERA_FRAME)
    add(lens, 'horizontal_fov', math.radians(camera.fov))
    image = add(lens, 'image')
    add(image, 'width', camera.width)
    add(image, 'height', camera.height)
    add(image, 'format', 'R8G8B8')
    clip = add(lens, 'clip')
    add(clip, 'near', .02)
    add(clip, 'far', FAR_M)
    add(lens, 'visibility_mask', 0xffffffff & ~OWN)


def _add_rotor(model: Element, i: int, position: tuple[float, float, float]) -> None:
    link = add(model, 'link', name=f'rotor_{i}')
    add(link, 'pose', (*position, 0, 0, 0))
    _add_inertia(link, ROTOR_MASS, _rotor_inertia())
    visual = _add_visual(link, 'disc', (0, 0, .03, 0, 0, 0))
    disc = add(visual, 'geometry/cylinder')
    add(disc, 'radius', ROTOR_RADIUS)
    add(disc, 'length', .004)
    joint = add(model, 'joint', name=f'rotor_{i}_joint', type='revolute')
    add(joint, 'parent', BODY_FRAME)
    add(joint, 'child', f'rotor_{i}')
    axis = add(joint, 'axis')
    add(axis, 'xyz', (0, 0, 1))
    add(axis, 'limit/lower', -1e16)
    add(axis.find('limit'), 'upper', 1e16)
