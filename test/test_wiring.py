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


"""Wirings against ncps, live and as stored, and what they promise."""

import hashlib
from typing import Any

from edge_vla.policy.wiring import AutoNCP, FullyConnected, NCP
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

# units, outputs, sparsity, seed, inputs: start of the SHA-256 of the polarities as int8, by ncps
AUTO = {
    (28, 4, 0.5, 22222, 20): '956ac182fd8d3286',
    (64, 4, 0.9, 1, 72): '52c370230dede592',
    (10, 2, 0.1, 3, 2): '05906693b4a6c578',
    (5, 1, 1.0, 0, 7): '06fd02586197ded8',
    (40, 8, 0.75, 9, 3): 'e4bb478da9895d2a'}


def digest(adjacency: np.ndarray, sensory: np.ndarray) -> str:
    data = adjacency.astype(np.int8).tobytes() + sensory.astype(np.int8).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def test_command_neurons_left_out_get_as_many_synapses_as_in_ncps() -> None:
    wires = NCP(30, 5, 2, 3, 1, 0, 2, 34).build(3)
    assert digest(wires.adjacency, wires.sensory_adjacency) == '746fad491f0f8ed9'


@pytest.mark.parametrize('key', AUTO)
def test_a_seed_gives_the_synapses_of_ncps(key: tuple) -> None:
    *arguments, inputs = key
    wires = AutoNCP(*arguments).build(inputs)
    assert digest(wires.adjacency, wires.sensory_adjacency) == AUTO[key]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_wiring_equals_ncps(data: st.DataObject) -> None:
    pytest.importorskip('ncps')
    from ncps import wirings
    inter, command, motor, inputs = (data.draw(st.integers(1, 12)) for _ in range(4))
    arguments = (inter, command, motor, data.draw(st.integers(1, inter)),
                 data.draw(st.integers(1, command)), data.draw(st.integers(0, 9)),
                 data.draw(st.integers(1, command)), data.draw(st.integers(0, 99)))
    for theirs, ours in ((wirings.NCP(*arguments), NCP(*arguments)),
                         (wirings.FullyConnected(inter, 1, inputs), FullyConnected(
                             inter, 1, inputs))):
        theirs.build(inputs)
        ours.build(inputs)
        np.testing.assert_array_equal(theirs.adjacency_matrix, ours.adjacency)
        np.testing.assert_array_equal(theirs.sensory_adjacency_matrix, ours.sensory_adjacency)
        assert theirs.synapse_count == ours.synapse_count
        assert theirs.sensory_synapse_count == ours.sensory_synapse_count


def test_layers_feed_forward_with_the_fans_asked_for() -> None:
    wires = NCP(8, 6, 3, 4, 2, 5, 3).build(10)
    inter, command, motor = (list(ids) for _, ids in wires.layers)
    assert [wires.kind(i) for i in (0, 2, 3, 8, 9, 16)] == [
        'motor', 'motor', 'command', 'command', 'inter', 'inter']
    a, s = wires.adjacency, wires.sensory_adjacency
    assert ((s[:, inter] != 0).sum(1) >= 4).all() and not s[:, command + motor].any()
    assert ((a[np.ix_(inter, command)] != 0).sum(1) >= 2).all()
    assert ((a[np.ix_(command, motor)] != 0).sum(0) >= 3).all()
    assert (a[np.ix_(command, motor)] != 0).any(1).all()  # no command neuron speaks to nobody
    assert (a != 0)[np.ix_(command, command)].sum() <= 5
    assert not a[motor].any() and not a[inter][:, inter + motor].any()
    assert [m.shape for m in wires.masks()] == [(18, 8), (14, 6), (9, 3)]
    before = a.copy()
    wires.build(10)  # a second time adds nothing
    np.testing.assert_array_equal(before, wires.adjacency)


def test_full_connection_counts() -> None:
    assert FullyConnected(5).build(3).synapse_count == 25
    wires = FullyConnected(5, 2, self_connections=False).build(3)
    assert (wires.synapse_count, wires.sensory_synapse_count, wires.output_dim) == (20, 15, 2)
    assert [wires.kind(i) for i in range(5)] == ['motor'] * 2 + ['inter'] * 3


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: NCP(5, 4, 2, 6, 2, 2, 2), 'sensory_fanout is 6, but there are 5 inter'),
    (lambda: NCP(5, 4, 2, 2, 5, 2, 2), 'inter_fanout is 5, but there are 4 command'),
    (lambda: NCP(5, 4, 2, 2, 2, 2, 5), 'motor_fanin is 5, but there are 4 command'),
    (lambda: NCP(0, 4, 2, 0, 2, 2, 2), '0 inter neurons'),
    (lambda: AutoNCP(6, 4), '4 outputs need more than 6 units, not 6'),
    (lambda: AutoNCP(9, 2, .05), r'sparsity_level must be from 0\.1 to 1'),
    (lambda: FullyConnected(3, 4), '4 motor neurons among 3'),
    (lambda: AutoNCP(9, 2).masks(), 'build'),
    (lambda: AutoNCP(9, 2).build(0), 'at least one input'),
    (lambda: AutoNCP(9, 2).build(3).build(4), 'built for 3 inputs, not 4'),
    (lambda: AutoNCP(9, 2).kind(9), 'no unit 9'),
    (lambda: FullyConnected(9).kind(9), 'no unit 9')])
def test_impossible_wirings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
