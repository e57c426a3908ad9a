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


"""Liquid cells against plain NumPy, against ncps (live and as stored), and against their maths."""

from typing import Any, NamedTuple

from edge_vla.exceptions import CheckpointError
from edge_vla.kernels import reference
from edge_vla.kernels.cfc import ACTIVATIONS, cfc_step, lstm_rows, MODES
from edge_vla.kernels.ltc import ltc_rows
from edge_vla.policy.cells import Cell, Stream
from edge_vla.policy.cfc import CfC
from edge_vla.policy.ltc import LTC
from edge_vla.policy.wiring import AutoNCP, FullyConnected, Wiring
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

INPUTS, UNITS, BACKBONE = 3, 4, 5
DT = np.array([.05, 1.3, .4, 2.], np.float32)


class Case(NamedTuple):
    """A cell as ncps would make it."""

    kind: str = 'cfc'
    mode: str = 'default'
    activation: str = 'lecun_tanh'
    layers: int = 1
    dropout: float = 0.
    wired: bool = False
    mixed: bool = False
    implicit: bool = True
    unfolds: int = 6


# the last output after `DT` of weights and inputs from `waves`, computed by ncps 1.0.1
CASES = {
    'default': Case(),
    'no_gate': Case(mode='no_gate', activation='relu', layers=2),
    'pure': Case(mode='pure', activation='silu'),
    'deep': Case(activation='gelu', layers=3, dropout=.1),
    'bare': Case(activation='tanh', layers=0),
    'bare_pure': Case(mode='pure', layers=0),
    'mixed': Case(activation='tanh', mixed=True),
    'wired': Case(wired=True),
    'wired_pure': Case(mode='pure', wired=True),
    'wired_mixed': Case(mode='no_gate', wired=True, mixed=True),
    'ltc': Case('ltc'),
    'ltc_wired': Case('ltc', wired=True, implicit=False, unfolds=4),
    'ltc_mixed': Case('ltc', wired=True, mixed=True)}
GOLDEN = {
    'default': [0.931068, -0.465973, 0.04787, 0.792672],
    'no_gate': [0.981829, -1.348362, 0.198443, 0.992861],
    'pure': [1.454344, 0.887312, 0.592869, 1.228006],
    'deep': [0.727091, -0.853768, 0.98127, 0.9004],
    'bare': [0.60766, -0.091954, -0.859659, -0.389112],
    'bare_pure': [1.59314, 0.886781, 0.583204, 1.278913],
    'mixed': [0.953174, -0.736336, 0.40691, 0.770563],
    'wired': [0.730467, 0.613949],
    'wired_pure': [1.376978, 0.840752],
    'wired_mixed': [1.219951, 0.724258],
    'ltc': [0.856097, 2.071694, 0.709128, -0.62137],
    'ltc_wired': [0.896654, 1.908369],
    'ltc_mixed': [0.855686, 1.915048]}


def wiring() -> Wiring:
    return AutoNCP(9, 2).build(INPUTS)


def waves(*shape: int, phase: float = 0.) -> np.ndarray:
    """Return numbers in ±1 that no generator can change."""
    return np.sin(1.7 * np.arange(np.prod(shape)) + phase).reshape(shape).astype(np.float32)


def x_sequence(batch: int = 1) -> np.ndarray:
    return waves(len(DT), batch, INPUTS, phase=.3)


def cfc_tensors(prefix: str, inputs: int, units: int, case: Case,
                mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    width, shapes = inputs + units, {}
    for i in range(0 if case.wired else case.layers):
        number = 2 * i + max(i - 1, 0) * (case.dropout > 0)
        shapes[f'backbone.{number}'] = BACKBONE, width
        width = BACKBONE
    for name in ('ff1',) if case.mode == 'pure' else ('ff1', 'ff2', 'time_a', 'time_b'):
        shapes[name] = units, width
    out = {}
    for k, (name, shape) in reversed(list(enumerate(shapes.items()))):  # order means nothing
        out[f'{prefix}{name}.weight'] = waves(*shape, phase=k) / 2
        out[f'{prefix}{name}.bias'] = waves(shape[0], phase=k + .5)
    if case.mode == 'pure':
        out[f'{prefix}w_tau'] = waves(1, units, phase=9)
        out[f'{prefix}A'] = 1 + waves(1, units, phase=8) / 2
    if mask is not None:
        out[f'{prefix}sparsity_mask'] = mask.T.copy()
    return out


def ltc_tensors(wires: Wiring) -> dict[str, np.ndarray]:
    units, out = wires.units, {}
    for k, name in enumerate(('gleak', 'cm', 'vleak')):
        out[name] = .6 + waves(units, phase=k) / 2
    for kind, shape, mask in (('sensory_', (INPUTS, units), wires.sensory_adjacency),
                              ('', (units, units), wires.adjacency)):
        out[f'{kind}mu'] = .5 + waves(*shape, phase=1) / 4
        out[f'{kind}sigma'] = 5 + 2 * waves(*shape, phase=2)
        out[f'{kind}w'] = .6 + waves(*shape, phase=3) / 2
        out[f'{kind}erev'] = mask * (1 + waves(*shape, phase=4) / 4)
        out[f'{kind}sparsity_mask'] = abs(mask)
    out |= {'input_w': 1 + waves(INPUTS) / 3, 'input_b': waves(INPUTS, phase=2)}
    out |= {'output_w': 1 + waves(wires.output_dim) / 3, 'output_b': waves(wires.output_dim)}
    return {f'rnn_cell.{k}': v.astype(np.float32) for k, v in out.items()}


def tensors_of(case: Case) -> dict[str, np.ndarray]:
    """Return a state_dict with the names of ncps."""
    wires = wiring() if case.wired else FullyConnected(UNITS).build(INPUTS)
    units, out = wires.units, {}
    if case.kind == 'ltc':
        out = ltc_tensors(wires)
    elif case.wired:
        for i, mask in enumerate(wires.masks()):
            out |= cfc_tensors(f'rnn_cell.layer_{i}.', mask.shape[0] - mask.shape[1],
                               mask.shape[1], case, mask)
    else:
        out = cfc_tensors('rnn_cell.', INPUTS, UNITS, case)
    if case.mixed:
        out['lstm.input_map.weight'] = waves(4 * units, INPUTS, phase=.2)
        out['lstm.input_map.bias'] = waves(4 * units, phase=.4)
        out['lstm.recurrent_map.weight'] = waves(4 * units, units, phase=.6)
    return out


def cell_of(case: Case, **more: Any) -> Cell:
    if case.kind == 'ltc':
        return LTC.from_tensors(tensors_of(case), '', case.unfolds, case.implicit, **more)
    return CfC.from_tensors(tensors_of(case), '', case.mode, case.activation, **more)


every_case = pytest.mark.parametrize('name', CASES)


@every_case
def test_cells_equal_what_ncps_computed(name: str) -> None:
    out, _ = cell_of(CASES[name]).run(x_sequence(), DT[:, None])
    np.testing.assert_allclose(out[-1, 0], GOLDEN[name], atol=3e-6)


@every_case
def test_cells_equal_ncps(name: str) -> None:
    pytest.importorskip('ncps')
    torch = pytest.importorskip('torch')
    from ncps import wirings
    from ncps.torch import CfC as TheirCfC, LTC as TheirLTC
    case = CASES[name]
    units = wirings.AutoNCP(9, 2) if case.wired else UNITS
    if case.kind == 'ltc':
        model = TheirLTC(INPUTS, units, mixed_memory=case.mixed, ode_unfolds=case.unfolds,
                         implicit_param_constraints=case.implicit)
    else:
        backbone = {} if case.wired else {
            'backbone_units': BACKBONE, 'backbone_layers': case.layers,
            'backbone_dropout': case.dropout}
        model = TheirCfC(INPUTS, units, mixed_memory=case.mixed, mode=case.mode,
                         activation=case.activation, **backbone)
    model.load_state_dict({k: torch.as_tensor(v) for k, v in tensors_of(case).items()})
    model.eval()
    with torch.no_grad():
        want, last = model(torch.as_tensor(x_sequence().transpose(1, 0, 2)),
                           timespans=torch.as_tensor(DT[None]))
    last = torch.cat(last, 1) if case.mixed else last
    out, state = cell_of(case).run(x_sequence(), DT[:, None])
    np.testing.assert_allclose(out[:, 0], want[0], atol=3e-6)
    np.testing.assert_allclose(state, last, atol=3e-6)


@every_case
@pytest.mark.parametrize('batch', [UNITS, 9])
def test_a_batch_is_its_samples_each_with_its_own_dt(name: str, batch: int) -> None:
    # as many samples as units is where ncps 1.0.1 mixes up elapsed times without a word; with any
    # other number but one it stops with a shape error
    cell = cell_of(CASES[name])
    x, dt = x_sequence(batch), 1.1 + waves(len(DT), batch)
    reset = waves(len(DT), batch, phase=5) > .3
    start = waves(batch, cell.state_size, phase=6)
    out, state = cell.run(x, dt, start, reset)
    for i in range(batch):
        one = slice(i, i + 1)
        alone, last = cell.run(x[:, one], dt[:, one], start[one], reset[:, one])
        np.testing.assert_array_equal(out[:, one], alone)
        np.testing.assert_array_equal(state[one], last)
    assert not np.array_equal(cell.run(x, dt[:, ::-1], start, reset)[0], out)
    same, _ = cell.run(x, .7, start)
    np.testing.assert_array_equal(same, cell.run(x, np.full(dt.shape, .7), start)[0])


@every_case
def test_reset_begins_anew(name: str) -> None:
    cell, x = cell_of(CASES[name]), x_sequence(2)
    reset = np.zeros((len(DT), 2), bool)
    reset[2, 1] = True
    out, _ = cell.run(x, 1., reset=reset)
    np.testing.assert_array_equal(out[:, 0], cell.run(x, 1.)[0][:, 0])
    np.testing.assert_array_equal(out[2:, 1], cell.run(x[2:], 1.)[0][:, 1])
    assert not np.array_equal(out[2:, 1], cell.run(x, 1.)[0][2:, 1])


@every_case
def test_a_stream_is_the_sequence_and_can_be_restored(name: str) -> None:
    cell, x = cell_of(CASES[name]), x_sequence(2)
    want, last = cell.run(x, np.stack([DT, DT[::-1]], 1))
    stream = Stream(cell, 2)
    for t in range(2):
        np.testing.assert_array_equal(stream.step(x[t], [DT[t], DT[3 - t]]), want[t])
    saved = stream.state()
    stream.step(x[0], 3.)
    stream.restore(saved)
    for t in range(2, 4):
        np.testing.assert_array_equal(stream.step(x[t], [DT[t], DT[3 - t]]), want[t])
    np.testing.assert_array_equal(stream.state(), last)
    stream.reset(np.array([True, False]))
    np.testing.assert_array_equal(stream.state(), last * [[0], [1]])
    stream.reset()
    assert not stream.state().any() and saved.any()


def test_a_step_leaves_its_arguments_alone() -> None:
    cell, x = cell_of(CASES['ltc_mixed']), x_sequence(2)[0]
    h = waves(2, cell.state_size)
    new = cell(x, h, [.1, .2])
    np.testing.assert_array_equal(h, waves(2, cell.state_size))
    np.testing.assert_array_equal(new[1:], cell(x[1:], h[1:], np.float32(.2)))


# Kernels against their oracles -------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(MODES)), st.sampled_from(sorted(ACTIVATIONS)), st.integers(0, 3),
       st.floats(0, 50), st.integers(0, 99))
def test_cfc_kernel(mode: str, activation: str, layers: int, dt: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, units, width = 5, 7, 6

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, .4, shape).astype(np.float32)

    sizes = [inputs + units] + [width] * layers
    backbone = [normal(*s) for a, b in zip(sizes, sizes[1:], strict=False) for s in ((a, b), (b,))]
    pure, count = mode == 'pure', {'pure': 1, 'exact': 2}.get(mode, 4) * units
    heads = [normal(sizes[-1], count), normal(count)]
    heads += [normal(units), 1 + normal(units)] if pure else []
    x, h = normal(inputs), np.tanh(normal(units))
    want, one, other = reference.cfc_step(x, h, dt, backbone, heads, mode, activation)
    weight = np.concatenate([np.zeros((0, sizes[-1]), np.float32), *backbone[::2]])
    bias = np.concatenate([np.zeros(0, np.float32), *backbone[1::2]])
    heads_b = np.concatenate([heads[1], *map(abs, heads[2:3]), *heads[3:]])
    cfc_step(np.concatenate([x, h]), dt, weight, bias, heads[0], heads_b, np.zeros_like(bias),
             np.zeros_like(heads_b), h, MODES[mode], ACTIVATIONS[activation])
    np.testing.assert_allclose(h, want, atol=2e-5 * (1 + dt))
    if mode != 'no_gate':  # between the values at the two ends of time
        assert (h >= np.minimum(one, other) - 1e-5).all()
        assert (h <= np.maximum(one, other) + 1e-5).all()
    assert mode != 'default' or (np.abs(h) <= 1).all()


def test_pure_mode_has_two_limits() -> None:
    tensors = tensors_of(CASES['bare_pure'])
    cell = cell_of(CASES['bare_pure'])
    x, h, a = x_sequence()[0], waves(1, UNITS), tensors['rnn_cell.A']
    ff1 = np.concatenate([x, h], 1) @ tensors['rnn_cell.ff1.weight'].T + tensors[
        'rnn_cell.ff1.bias']
    np.testing.assert_allclose(cell(x, h, 0), a * (1 - ff1), atol=1e-6)
    np.testing.assert_allclose(cell(x, h, 1e6), a, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 9), min_size=1, max_size=9), st.integers(0, 99))
def test_exact_mode_cares_for_time_and_not_for_steps(steps: list[float], seed: int) -> None:
    """Where f and A stay, many small steps are one large step, and no time changes nothing."""
    rng = np.random.default_rng(seed)
    tensors = {f'{name}.{kind}': rng.normal(0, 1, shape).astype(np.float32) * (kind == 'bias')
               for name in ('A', 'f')
               for kind, shape in (('weight', (UNITS, INPUTS + UNITS)), ('bias', UNITS))}
    cell = CfC.from_tensors(tensors, mode='exact')
    x, h = x_sequence()[0], waves(1, UNITS)
    np.testing.assert_array_equal(cell(x, h, 0), h)
    got = h
    for dt in steps:
        got = cell(x, got, dt)
    np.testing.assert_allclose(got, cell(x, h, sum(steps)), atol=2e-6)


@pytest.mark.parametrize(('mode', 'other'), [('exact', 'default'), ('default', 'exact')])
def test_exact_mode_is_told_by_its_tensors(mode: str, other: str) -> None:
    names = ('A', 'f') if other == 'exact' else ('ff1', 'ff2', 'time_a', 'time_b')
    tensors = {f'{n}.weight': waves(UNITS, INPUTS + UNITS) for n in names} | {
        f'{n}.bias': waves(UNITS) for n in names}
    with pytest.raises(CheckpointError, match="if and only if the mode is 'exact'"):
        CfC.from_tensors(tensors, mode=mode)


def test_default_mode_chooses_by_time() -> None:
    tensors = tensors_of(CASES['bare'])
    cell = cell_of(CASES['bare'])
    x, h = x_sequence()[0], waves(1, UNITS)
    pre = {n: np.concatenate([x, h], 1) @ tensors[f'rnn_cell.{n}.weight'].T
           + tensors[f'rnn_cell.{n}.bias'] for n in ('ff1', 'ff2', 'time_a')}
    for dt, early in ((-1e6, True), (1e6, False)):
        want = np.where((pre['time_a'] > 0) == early, np.tanh(pre['ff1']), np.tanh(pre['ff2']))
        np.testing.assert_allclose(cell(x, h, dt), want, atol=1e-6)


def test_lstm_kernel() -> None:
    inputs, units = 3, 5
    x, state = waves(2, inputs), waves(2, 2 * units, phase=1)
    weight, bias = waves(inputs + units, 4 * units, phase=2), waves(4 * units, phase=3)
    want = [np.concatenate(reference.lstm_step(a, s[:units], s[units:], weight, bias))
            for a, s in zip(x, state, strict=True)]
    lstm_rows(x, weight, bias, np.zeros(inputs + units, np.float32),
              np.zeros(4 * units, np.float32), state)
    np.testing.assert_allclose(state, want, atol=1e-6)


def random_ltc(seed: int) -> tuple[LTC, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    wires = AutoNCP(int(rng.integers(5, 12)), 1, .5, seed).build(INPUTS)
    tensors = ltc_tensors(wires)
    for name, value in tensors.items():
        if 'mask' not in name:
            tensors[name] = (value * rng.uniform(.1, 1, value.shape)).astype(np.float32)
    return LTC.from_tensors(tensors, '', 6, False), tensors


@settings(max_examples=40, deadline=None)
@given(st.floats(-36, 36), st.integers(0, 99))
def test_ltc_stays_in_the_hull_of_its_potentials(exponent: float, seed: int) -> None:
    cell, tensors = random_ltc(seed)
    rng = np.random.default_rng(seed)
    x, v = rng.normal(0, 2, (1, INPUTS)), rng.normal(0, 3, (1, cell.units)).astype(np.float32)
    new = cell(x, v, 10 ** exponent)[0]
    pulls = [v[0], tensors['rnn_cell.vleak']]
    for kind in ('', 'sensory_'):
        erev = tensors[f'rnn_cell.{kind}erev']
        exists = tensors[f'rnn_cell.{kind}sparsity_mask'] > 0
        pulls += list(np.where(exists, erev, v[0]))
    assert (new >= np.min(pulls, 0) - 1e-5).all() and (new <= np.max(pulls, 0) + 1e-5).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(.001, 50), st.integers(0, 99))
def test_ltc_solver(dt: float, seed: int) -> None:
    cell, tensors = random_ltc(seed)
    names = ('mu', 'sigma', 'w', 'erev')
    packed = {}
    for kind in ('', 'sensory_'):
        packed[kind] = np.stack([tensors[f'rnn_cell.{kind}{n}'] for n in names])
        packed[kind][2] *= tensors[f'rnn_cell.{kind}sparsity_mask']
    membrane = np.stack([tensors[f'rnn_cell.{n}'] for n in ('cm', 'gleak', 'vleak')])
    x, v = x_sequence()[0], waves(1, cell.units)
    u = x[0] * tensors['rnn_cell.input_w'] + tensors['rnn_cell.input_b']
    want = reference.ltc_step(u, v[0], dt, 6, packed['sensory_'], packed[''], membrane)
    np.testing.assert_allclose(cell(x, v, dt)[0], want, atol=1e-5)
    # the same substeps, grouped otherwise
    half = LTC.from_tensors(tensors, '', 3, False)
    np.testing.assert_allclose(half(x, half(x, v, dt / 2), dt / 2), cell(x, v, dt), atol=1e-5)


def test_no_time_changes_nothing_and_all_time_forgets() -> None:
    cell, tensors = random_ltc(1)
    x, v = x_sequence()[0], waves(1, cell.units)
    for dt in (1e-30, np.finfo(np.float32).smallest_subnormal):
        np.testing.assert_allclose(cell(x, v, dt), v, rtol=0, atol=1e-28)
    cut = {k: np.zeros_like(t) if k.endswith('erev') or k.endswith('w') else t
           for k, t in tensors.items()}
    leaky = LTC.from_tensors(cut, '', 6, False)
    np.testing.assert_allclose(leaky(x, v, 1e30)[0], tensors['rnn_cell.vleak'], atol=1e-6)


def test_ltc_kernel_without_synapses_only_leaks() -> None:
    none, empty = np.zeros((0, 2), np.int32), np.zeros((0, 4), np.float32)
    v = np.array([[1., -1.]], np.float32)
    membrane = np.array([[1, 2], [1, 1], [0, .5]], np.float32)
    ltc_rows(np.zeros((1, 1), np.float32), np.ones(1, np.float32), 1, np.ones((2, 1), np.float32),
             none, empty, none, empty, membrane, np.zeros(1, np.float32),
             np.zeros((4, 2), np.float32), v)
    np.testing.assert_allclose(v, [[.5, -.5]], atol=1e-6)


# What is refused ---------------------------------------------------------------------------------

@pytest.mark.parametrize('dt', [0, -.1, np.nan, np.inf, 1e-60, [.1, 0]])
def test_ltc_needs_time_to_pass(dt: Any) -> None:
    cell, x = cell_of(CASES['ltc']), x_sequence(2)
    for call in (lambda: cell(x[0], cell.initial(2), dt), lambda: Stream(cell, 2).step(x[0], dt),
                 lambda: cell.run(x, dt if np.ndim(dt) == 0 else [dt] * len(x))):
        with pytest.raises(ValueError, match='dt must be'):
            call()


def test_gated_cfc_takes_any_finite_time() -> None:
    cell, x = cell_of(CASES['default']), x_sequence()[0]
    for dt in (-3, 0, 1e-60, 1e30):
        assert np.isfinite(cell(x, cell.initial(), dt)).all()
    for dt in (np.nan, np.inf):
        with pytest.raises(ValueError, match='finite'):
            cell(x, cell.initial(), dt)


@pytest.mark.parametrize('dt', [-1e-6, -100, [.1, -.1]])
@pytest.mark.parametrize('mode', ['pure', 'exact'])
def test_solutions_take_no_time_that_runs_back(mode: str, dt: Any) -> None:
    names = ('A', 'f') if mode == 'exact' else ('ff1',)
    tensors = {f'{n}.weight': waves(UNITS, INPUTS + UNITS) for n in names} | {
        f'{n}.bias': waves(UNITS) for n in names}
    if mode == 'pure':
        tensors |= {'w_tau': waves(1, UNITS), 'A': waves(1, UNITS)}
    cell, x = CfC.from_tensors(tensors, mode=mode), x_sequence(2)[0]
    assert np.isfinite(cell(x, cell.initial(2), 0)).all()
    for call in (lambda: cell(x, cell.initial(2), dt), lambda: Stream(cell, 2).step(x, dt)):
        with pytest.raises(ValueError, match='dt must not be below 0'):
            call()


@pytest.mark.parametrize(('x', 'state', 'dt'), [
    ((2, 3), (2, 4), (2, 1)), ((2, 3), (2, 4), (1,)), ((2, 3), (1, 4), ()), ((2, 2), (2, 4), ()),
    ((3,), (1, 4), ())])
def test_nothing_is_broadcast_but_a_scalar(x: tuple, state: tuple, dt: tuple) -> None:
    cell = cell_of(CASES['default'])
    with pytest.raises(ValueError, match=r'has shape .*, expected'):
        cell(np.zeros(x), np.zeros(state), np.ones(dt))


def test_sequences_and_streams_check_shapes() -> None:
    cell = cell_of(CASES['default'])
    x = np.zeros((5, 2, INPUTS))
    for wrong in ({'x': x[0], 'dt': 1.}, {'x': x, 'dt': np.ones(5)}, {'x': x, 'dt': np.ones(2)},
                  {'x': x, 'dt': 1., 'reset': np.zeros(5)}, {'x': x, 'dt': 1., 'state': x[0]}):
        with pytest.raises(ValueError, match='expected'):
            cell.run(**wrong)
    stream = Stream(cell, 2)
    for call in (lambda: stream.step(x[0, 0], 1.), lambda: stream.step(x[0], np.ones((2, 1))),
                 lambda: stream.restore(np.zeros(UNITS))):
        with pytest.raises(ValueError, match='expected'):
            call()


def test_damaged_checkpoints_are_named() -> None:
    good = tensors_of(CASES['wired'])
    for name in good:
        if 'mask' not in name:
            with pytest.raises(CheckpointError, match='layer_'):
                CfC.from_tensors({k: v for k, v in good.items() if k != name})
    with pytest.raises(CheckpointError, match='pure'):
        CfC.from_tensors(good, mode='pure')
    with pytest.raises(CheckpointError, match='read-out'):
        CfC.from_tensors(good | {'fc.weight': np.zeros((1, 2))})
    with pytest.raises(CheckpointError, match='not that of the wiring'):
        CfC.from_tensors(good, wiring=AutoNCP(9, 2, seed=3).build(INPUTS))
    with pytest.raises(CheckpointError, match=r'3 layers.* has 1'):
        CfC.from_tensors(good, wiring=FullyConnected(9).build(INPUTS))
    with pytest.raises(CheckpointError, match="no tensor 'a.ff1.weight'"):
        CfC.from_tensors(good, 'a.')
    ltc = tensors_of(CASES['ltc'])
    for name in ltc:
        if not name.removeprefix('rnn_cell.').startswith(('input', 'output', 'sparsity',
                                                          'sensory_sparsity')):
            with pytest.raises(CheckpointError, match='no tensor'):
                LTC.from_tensors({k: v for k, v in ltc.items() if k != name})
    with pytest.raises(CheckpointError, match=r'gleak has entries below 0'):
        LTC.from_tensors(ltc | {'rnn_cell.gleak': -np.ones(UNITS)}, implicit=False)
    with pytest.raises(CheckpointError, match='not that of the wiring'):
        LTC.from_tensors(ltc, wiring=FullyConnected(UNITS, self_connections=False).build(INPUTS))


def test_unknown_settings_are_refused() -> None:
    tensors = tensors_of(CASES['default'])
    with pytest.raises(ValueError, match="'fast' is none of default, no_gate, pure, exact"):
        CfC.from_tensors(tensors, mode='fast')
    with pytest.raises(ValueError, match="'selu' is none of lecun_tanh"):
        CfC.from_tensors(tensors, activation='selu')
    with pytest.raises(ValueError, match='at least 1'):
        LTC.from_tensors(tensors_of(CASES['ltc']), ode_unfolds=0)


@pytest.mark.parametrize('name', ['wired', 'ltc_wired'])
def test_a_wiring_masks_a_checkpoint_without_masks(name: str) -> None:
    case, x = CASES[name], x_sequence()
    bare = {k: v for k, v in tensors_of(case).items() if 'mask' not in k}
    if case.kind == 'ltc':
        cells = [LTC.from_tensors(bare, '', case.unfolds, False, w) for w in (wiring(), None)]
    else:
        cells = [CfC.from_tensors(bare, wiring=w) for w in (wiring(), None)]
    want, _ = cell_of(case, wiring=wiring()).run(x, 1.)
    np.testing.assert_array_equal(cells[0].run(x, 1.)[0], want)
    assert case.kind == 'ltc' or not np.array_equal(cells[1].run(x, 1.)[0], want)


def test_names_of_the_pilot_and_of_ncps_mean_the_same() -> None:
    case = CASES['default']
    ours = {f'policy.cell.{k.removeprefix("rnn_cell.").replace("backbone.0", "backbone")}': v
            for k, v in tensors_of(case).items()}
    a, _ = CfC.from_tensors(ours, 'policy.cell.').run(x_sequence(), 1.)
    np.testing.assert_array_equal(a, cell_of(case).run(x_sequence(), 1.)[0])
