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


"""How far two commands agree, and what recorded messages of every kind ask for."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_vla.evaluation.agreement import agreement, AXES, hold, interpolate, jerk, lag
from edge_vla.evaluation.commands import (
    command_from_message,
    POSITION_TARGET,
    TRAJECTORY_SETPOINT,
    TWIST,
    TWIST_STAMPED,
)
from edge_vla.evaluation.live_agreement import LiveAgreement, sentence
from edge_vla.exceptions import BagError
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

STEP_NS = 50_000_000


@given(st.integers(-25, 25), st.floats(.3, 2.0), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_shifted_command_has_that_lag(shift: int, gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.normal(size=700), np.hanning(12), 'same')
    times = np.arange(600) * STEP_NS
    value = np.zeros((600, 4))
    value[:, 0] = smooth[50:650]
    late = np.zeros((600, 4))
    late[:, 0] = gain * smooth[50 - shift:650 - shift]
    found = lag(times, late, value)['best']
    assert found['seconds'] == pytest.approx(shift * .05, abs=.012)
    assert found['correlation'] > .98 and not found['at_limit']


def test_agreement_by_hand() -> None:
    times = np.arange(40) * STEP_NS
    theirs = np.zeros((40, 4))
    theirs[:, 0] = np.sin(np.arange(40) / 3)
    ours = theirs + (.3, -.4, 0.0, .1)
    said = agreement(times, ours, theirs)
    assert said['compared'] == 40 and tuple(said['axes']) == AXES
    for name, error in zip(AXES, (.3, -.4, 0, .1), strict=True):
        assert said['axes'][name]['bias'] == pytest.approx(error, abs=1e-4)
        assert said['axes'][name]['rmse'] == pytest.approx(abs(error), abs=1e-4)
    assert said['velocity_rmse'] == pytest.approx(.5, abs=1e-4)
    assert said['axes']['forward']['correlation'] == 1
    assert said['axes']['left']['correlation'] is None  # nothing varies
    opposite = agreement(times, -theirs, theirs)['direction']
    assert opposite['mean_cosine'] == -1 and opposite['within_30_deg'] == 0
    assert agreement(times, ours, np.full((40, 4), np.nan)) is None


def test_values_hold_and_interpolate_over_short_gaps_only() -> None:
    times = np.array([0, 100, 600, 1200, 3000]) * 10**6
    at = np.array([100, 1000]) * 10**6
    values = np.array([[1.0] * 4, [2.0] * 4])
    held = hold(times, at, values)[:, 0]
    np.testing.assert_array_equal(held, [np.nan, 1, 1, 2, np.nan])
    near = interpolate(np.array([100, 300, 500]) * 10**6, np.array([100, 500]) * 10**6, values)
    np.testing.assert_allclose(near[:, 0], [1, 1.5, 2])
    assert np.isnan(interpolate(times, at, values)[2:]).all()  # 0.9 s between the two


def test_jerk_of_a_parabola_and_across_a_gap() -> None:
    s = np.arange(30) * .05
    value = np.zeros((30, 4))
    value[:, 0] = 1.5 * s * s
    assert jerk((s * 1e9).astype(np.int64), value) == {'rms': pytest.approx(3, abs=1e-3),
                                                       'p95': pytest.approx(3, abs=1e-3)}
    assert jerk(np.array([0, 10**10, 2 * 10**10]), value[:3]) is None
    assert jerk(np.zeros(0, np.int64), np.zeros((0, 4))) is None


def message(**fields: Any) -> Any:
    """Return a message with vectors for tuples."""
    return SimpleNamespace(**{
        k: SimpleNamespace(x=v[0], y=v[1], z=v[2]) if isinstance(v, tuple) else v
        for k, v in fields.items()})


@given(st.tuples(*[st.floats(-3, 3)] * 3), st.floats(-1, 1), st.floats(-4, 4))
def test_commands_of_every_kind_ask_for_the_same(v: tuple, rate: float, yaw: float) -> None:
    """North is 2 m/s ahead of a nose that points north, and so on."""
    c, s = np.cos(yaw), np.sin(yaw)
    east, north = c * v[0] - s * v[1], s * v[0] + c * v[1]
    twist = message(linear=v, angular=(0, 0, rate))
    world = message(linear=(east, north, v[2]), angular=(0, 0, rate))
    header = {n: SimpleNamespace(frame_id=n) for n in ('map', 'base_link')}
    target = {'type_mask': 0, 'yaw_rate': rate}
    for kind, m in (
            (TWIST, twist),
            (TWIST_STAMPED, SimpleNamespace(header=header['base_link'], twist=twist)),
            (TWIST_STAMPED, SimpleNamespace(header=header['map'], twist=world)),
            (POSITION_TARGET, message(velocity=v, coordinate_frame=8, **target)),
            (POSITION_TARGET, message(velocity=(east, north, v[2]), coordinate_frame=1, **target)),
            (TRAJECTORY_SETPOINT, SimpleNamespace(velocity=np.array([north, east, -v[2]]),
                                                  yawspeed=-rate))):
        np.testing.assert_allclose(command_from_message(m, kind, yaw), [*v, rate], atol=1e-12)
    assert command_from_message(
        SimpleNamespace(header=header['map'], twist=world), TWIST_STAMPED, None) is None
    position = message(velocity=v, coordinate_frame=8, type_mask=0xfff, yaw_rate=0.0)
    assert command_from_message(position, POSITION_TARGET, yaw) is None


def actions(path: Path, commands: dict[int, list[float]]) -> Path:
    path.write_text(json.dumps({'actions': [
        {'stamp_ns': s, 'command': c[:3], 'command_yaw_rate': c[3]}
        for s, c in commands.items()]}))
    return path


def test_live_commands_are_counted_by_hand(tmp_path: Path) -> None:
    still = [0.1, 0.2, 0.3, 0.4]
    live = LiveAgreement(actions(tmp_path / 'a.json', dict.fromkeys((1, 2, 3, 4), still)))
    live.heard(1, still)
    live.heard(1, [0.0] * 4)  # the ramp that follows when no image comes
    live.heard(3, [0.1, 0.2 + 9e-7, 0.3, 0.4])
    live.heard(4, [0.1, 0.2, 0.3, 0.4 - 2e-6])
    live.heard(9, still)  # no image of the replay
    result = live.result([1, 2, 3, 4, 4, 9])
    assert (result['images'], result['answered'], result['agreeing']) == (4, 3, 2)
    assert result['share'] == 0.5 and result['unanswered'] == [2]
    assert [d['stamp_ns'] for d in result['different']] == [4] and result['explained']
    assert result['largest'] == pytest.approx(2e-6)
    said = sentence(result)
    assert said.startswith('2 of 4 commands are those of the replay to 1e-06 (50.00 %)')
    assert '1 images got no command: 2;' in said and 'after an image that got none: 4' in said
    assert not live.result([1, 4])['explained']  # nothing was lost before it
    assert live.result([1, 3])['share'] == 1.0
    assert 'of another recording' in sentence(live.result([77]))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_live_command_that_is_no_number_differs(tmp_path: Path, value: float) -> None:
    live = LiveAgreement(actions(tmp_path / 'a.json', {1: [0.0] * 4}))
    live.heard(1, [0.0, value, 0.0, 0.0])
    assert live.result([1])['share'] == 0.0


@pytest.mark.parametrize('text', ['', '[]', '{"actions": 3}', '{"actions": [{"stamp_ns": "x"}]}'])
def test_a_file_without_actions_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / 'actions.json').write_text(text)
    with pytest.raises(BagError, match='is no actions.json of edge-vla replay'):
        LiveAgreement(tmp_path)
