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


"""Frames of autopilots: round trips, handedness, yaw, against rotation matrices."""

import math

from edge_vla.autopilot import frames
from edge_vla.motion import motion_from_odometry, rotate
from hypothesis import assume, given, strategies as st
import numpy as np
import pytest

NUMBER = st.floats(-1e3, 1e3)
VECTOR = st.lists(NUMBER, min_size=3, max_size=3)
ANGLE = st.floats(-50.0, 50.0)
NED_TO_ENU = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1.0]])
FRD_TO_FLU = np.diag([1, -1, -1.0])


@st.composite
def attitudes(draw: st.DrawFn) -> np.ndarray:
    """Draw a unit quaternion, w x y z."""
    q = np.array(draw(st.lists(st.floats(-1, 1), min_size=4, max_size=4)))
    length = np.linalg.norm(q)
    return q / length if length > 0.01 else np.array([1.0, 0, 0, 0])


def matrix(q: np.ndarray) -> np.ndarray:
    """Return the rotation of a quaternion w x y z, from what it does to the axes."""
    return np.stack([rotate((*q[1:], q[0]), axis) for axis in np.eye(3)], axis=1)


def turned(yaw: float) -> np.ndarray:
    return np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])


@given(VECTOR)
def test_swaps_undo_themselves_and_keep_lengths(vector: list) -> None:
    for swap, known in ((frames.swap_world, NED_TO_ENU), (frames.swap_body, FRD_TO_FLU)):
        assert np.array_equal(swap(swap(vector)), np.array(vector))
        assert np.allclose(swap(vector), known @ vector, atol=0)
        assert np.linalg.norm(swap(vector)) == pytest.approx(np.linalg.norm(vector))


def test_swaps_keep_handedness() -> None:
    for swap in (frames.swap_world, frames.swap_body):
        x, y, z = (swap(axis) for axis in np.eye(3))
        assert np.allclose(np.cross(x, y), z)


@given(attitudes())
def test_an_attitude_goes_there_and_back(q: np.ndarray) -> None:
    there = frames.swap_attitude(q)
    assert np.linalg.norm(there) == pytest.approx(1.0)
    back = frames.swap_attitude(there)
    assert min(np.abs(back - q).max(), np.abs(back + q).max()) < 1e-12


@given(attitudes(), VECTOR)
def test_an_attitude_turns_vectors_as_matrices_do(q: np.ndarray, vector: list) -> None:
    ours = matrix(frames.swap_attitude(q))
    assert np.allclose(ours, NED_TO_ENU @ matrix(q) @ FRD_TO_FLU, atol=1e-9)
    assert np.linalg.det(ours) == pytest.approx(1.0)
    # a body vector reaches the same place on either way
    assert np.allclose(ours @ frames.swap_body(vector),
                       frames.swap_world(matrix(q) @ vector), atol=1e-8)


@pytest.mark.parametrize(('q', 'nose', 'left'), [
    ((1, 0, 0, 0), (0, 1, 0), (-1, 0, 0)),  # level, north: forward is y, left is west
    (turned(math.pi / 2), (1, 0, 0), (0, 1, 0)),  # level, east: forward is x, left is north
    ((math.sqrt(.5), 0, math.sqrt(.5), 0), (0, 0, 1), (-1, 0, 0)),  # nose up
    ((math.sqrt(.5), math.sqrt(.5), 0, 0), (0, 1, 0), (0, 0, 1)),  # right side down
])
def test_known_attitudes(q: tuple, nose: tuple, left: tuple) -> None:
    ours = matrix(frames.swap_attitude(q))
    assert np.allclose(ours[:, 0], nose, atol=1e-12)
    assert np.allclose(ours[:, 1], left, atol=1e-12)


@pytest.mark.parametrize('q', [(0, 0, 0, 0), (math.nan, 0, 0, 0), (math.inf, 0, 0, 1)])
def test_what_is_no_attitude_stays_none(q: tuple) -> None:
    assert np.isnan(frames.swap_attitude(q)).all()
    assert math.isnan(frames.yaw_of(frames.swap_attitude(q)))


@given(ANGLE)
def test_wrapped_angles_are_the_same_directions(angle: float) -> None:
    wrapped = frames.wrap_angle(angle)
    assert -math.pi <= wrapped < math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-9)
    again = frames.swap_yaw(frames.swap_yaw(angle))
    assert abs(frames.wrap_angle(again - wrapped)) < 1e-9


@pytest.mark.parametrize('angle', [math.pi, -math.pi, 3 * math.pi, -math.pi - 1e-17,
                                   math.nextafter(math.pi, 0), math.nextafter(-math.pi, -4)])
def test_the_seam_of_the_circle(angle: float) -> None:
    assert -math.pi <= frames.wrap_angle(angle) < math.pi
    assert math.cos(frames.wrap_angle(angle)) == pytest.approx(-1.0)


@given(ANGLE)
def test_the_yaw_of_a_level_attitude_agrees_in_both_worlds(yaw: float) -> None:
    q = turned(yaw)
    there = frames.yaw_of(frames.swap_attitude(q))
    assert abs(frames.wrap_angle(there - frames.swap_yaw(yaw))) < 1e-9


@given(VECTOR, ANGLE)
def test_heading_velocities_agree_in_both_worlds(velocity: list, yaw: float) -> None:
    ned = frames.heading_to_ned(velocity, yaw)
    assert np.allclose(frames.swap_world(ned),
                       frames.heading_to_enu(velocity, frames.swap_yaw(yaw)), atol=1e-9)
    # by hand: forward is (cos, sin), right is (-sin, cos), in north and east
    x, y, z = velocity
    assert np.allclose(ned, (x * math.cos(yaw) + y * math.sin(yaw),
                             x * math.sin(yaw) - y * math.cos(yaw), -z), atol=1e-8)


@given(attitudes(), VECTOR)
def test_a_command_and_its_measurement_agree(q: np.ndarray, velocity: list) -> None:
    """What is sent to PX4, flown exactly and read back as odometry is what was commanded."""
    there = frames.swap_attitude(q)
    assume(abs(matrix(there)[2, 0]) < 0.99)  # nose straight up or down has no heading
    yaw = frames.swap_yaw(frames.yaw_of(there))
    world = frames.swap_world(frames.heading_to_ned(velocity, yaw))
    body = matrix(there).T @ world
    motion = motion_from_odometry(0, (*there[1:], there[0]), body, (0, 0, 0))
    assert np.allclose(motion.velocity, velocity, atol=1e-5)
