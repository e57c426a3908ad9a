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

"""The headline page: the energy model, the meter, the float network, the rows, the command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
import json
import os
from pathlib import Path
import sys

from bitnet_models import config_of, decoder_of
from edge_vla.cli.main import main
from edge_vla.evaluation import energy, stack_rows as rows
from edge_vla.evaluation.answers import Answer, LADDER, Ladder, Question, question, Recital
from edge_vla.evaluation.float_network import CHUNK, FloatDecoder
from edge_vla.evaluation.power import EnergyMeter
from edge_vla.evaluation.stack import as_text, figure, SHAPES
from edge_vla.evaluation.stack_rows import Row, Scale
from edge_vla.evaluation.velocity_tracking import Fault, Frozen, mean_errors
from edge_vla.exceptions import MissingDependencyError
from edge_vla.kernels import reference
from edge_vla.language.config import BitNetConfig
from edge_vla.language.plan import COLOURS
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.pipeline import SHIPPED_MODEL
from edge_vla.visualization.stack_plot import plot_stack
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

WRAPS = 1000


@pytest.fixture(scope='module')
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED_MODEL / 'language' / 'tokenizer.json')


# --- the energy model ------------------------------------------------------------------------

def test_the_published_figures_come_out() -> None:
    assert energy.layer_ratio() == pytest.approx(71.4, rel=.01)
    assert energy.layer_ratio('45 nm') == pytest.approx(50)
    assert energy.forward_ratio(energy.BITNET_30B, 512) == pytest.approx(38.8, rel=.01)
    assert energy.forward_joules(energy.BITNET_2B4T, 512, True).total == pytest.approx(
        .028, rel=.03)


def test_the_parts_of_the_published_figures_come_out_too() -> None:
    # table 1 of BitNet, 30B at 7 nm, and table 1 of the 2B4T report
    ternary = energy.forward_joules(energy.BITNET_30B, 512, True)
    half = energy.forward_joules(energy.BITNET_30B, 512, False)
    assert (round(half.multiplying, 2), round(half.adding, 2)) == (5.21, 2.45)
    assert (round(ternary.multiplying, 2), round(ternary.adding, 2)) == (.06, .13)
    assert energy.forward_joules(energy.LLAMA_1B, 512, False).total == pytest.approx(.258, rel=.01)


def test_the_shape_of_2b4t_is_that_of_the_engine() -> None:
    c = BitNetConfig()
    s = energy.BITNET_2B4T
    assert (s.layers, s.hidden, s.ffn, s.kv) == (c.num_hidden_layers, c.hidden_size,
                                                 c.intermediate_size, c.kv_size)
    assert sorted(energy.matrices(s)) == sorted((n, p) for p, n in c.linears().values())


@pytest.mark.parametrize('node', energy.PRICES)
def test_without_attention_a_wide_layer_tends_to_the_ratio_of_one(node: str) -> None:
    wide = energy.DecoderShape(1, 10 ** 7, 10 ** 7, 10 ** 7)
    assert energy.forward_ratio(wide, 1, node) == pytest.approx(energy.layer_ratio(node), rel=1e-3)


# --- the meter -------------------------------------------------------------------------------

def zone(root: Path, name: str, label: str, energy_uj: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / 'name').write_text(label + '\n')
    (folder / 'max_energy_range_uj').write_text(f'{WRAPS - 1}\n')
    (folder / 'energy_uj').write_text(f'{energy_uj}\n')
    return folder / 'energy_uj'


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, 'intel-rapl:0', 'package-0', 100)
    second = zone(tmp_path, 'intel-rapl:1', 'package-1', 7)
    part = zone(tmp_path, 'intel-rapl:0:0', 'core', 5)
    whole = zone(tmp_path, 'intel-rapl:2', 'psys', 5)
    again = zone(tmp_path, 'intel-rapl-mmio:0', 'package-0', 100)
    meter = EnergyMeter(tmp_path)
    assert meter.missing == '' and meter.joules() == 0
    for path, value in ((first, 140), (second, 9), (part, 900), (whole, 900), (again, 140)):
        path.write_text(f'{value}\n')
    assert meter.joules() == pytest.approx(42e-6)
    assert meter.joules() == pytest.approx(42e-6)


@given(st.integers(0, WRAPS - 1), st.lists(st.integers(0, WRAPS - 1), max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_counter_may_wrap_around(tmp_path_factory: pytest.TempPathFactory, start: int,
                                   used: list[int]) -> None:
    root, total = tmp_path_factory.mktemp('rapl'), start
    path = zone(root, 'intel-rapl:0', 'package-0', start)
    meter = EnergyMeter(root)
    for more in used:
        total += more
        path.write_text(f'{total % WRAPS}\n')
        meter.joules()
    assert meter.joules() == pytest.approx(sum(used) * 1e-6)


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / 'none'):
        meter = EnergyMeter(root)
        assert 'no processor package' in meter.missing and meter.joules() == 0
    zone(tmp_path, 'intel-rapl:0', 'psys', 5)
    assert 'no processor package' in EnergyMeter(tmp_path).missing


def test_what_may_not_be_read_says_how_to_change_it(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    path = zone(tmp_path, 'intel-rapl:0', 'package-0', 5)
    read = Path.read_text

    def guarded(self: Path, *args: object, **more: object) -> str:
        if self == path:
            raise PermissionError(13, 'Permission denied', str(self))
        return read(self, *args, **more)
    monkeypatch.setattr(Path, 'read_text', guarded)  # root may read everything
    meter = EnergyMeter(tmp_path)
    assert 'chmod a+r' in meter.missing and str(path) in meter.missing and meter.joules() == 0


@pytest.mark.parametrize('damage', [lambda p: p.write_text('?'), lambda p: p.unlink()])
def test_a_damaged_counter_is_missing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = zone(tmp_path, 'intel-rapl:0', 'package-0', 5)
    meter = EnergyMeter(tmp_path)
    damage(path)
    assert 'cannot be read' in EnergyMeter(tmp_path).missing
    assert meter.joules() == 0 and 'stopped' in meter.missing


# --- the network in float32 ------------------------------------------------------------------

def oracle(net: FloatDecoder, ids: list[int]) -> np.ndarray:
    """Return the logits of the last token by the kernels' oracles, in float64."""
    c = net.config
    one = np.ones(1)
    h = net.head[np.array(ids) % len(net.head)].astype(np.float64)
    for number in range(c.num_hidden_layers):
        w = net.layers[number % len(net.layers)]
        q, k, v = np.split(reference.rms_norm(h, one, c.rms_norm_eps) @ w['qkv'].T.astype(float), [
            c.hidden_size, c.hidden_size + c.kv_size], axis=1)
        q = reference.rope(q, c.rope_theta, 0, c.num_attention_heads)
        k = reference.rope(k, c.rope_theta, 0, c.num_key_value_heads)
        x = reference.attend(q, k, v, 0, c.num_attention_heads, c.num_key_value_heads)
        h = h + reference.rms_norm(x, one, c.rms_norm_eps) @ w['o'].T
        gate, up = np.split(reference.rms_norm(h, one, c.rms_norm_eps) @ w['gate_up'].T, 2, axis=1)
        x = reference.gated_relu2(gate, up)
        h = h + reference.rms_norm(x, one, c.rms_norm_eps) @ w['down'].T
    x = reference.rms_norm(h[-1:], one, c.rms_norm_eps)[0]
    return net.head[np.arange(c.vocab_size) % len(net.head)] @ x


@pytest.mark.parametrize('size', ['as shipped', 'one head', 'much sharing'])
@pytest.mark.parametrize('memory', [1, 1 << 29])
def test_the_float_network_is_that_of_the_engine(size: str, memory: int) -> None:
    net = FloatDecoder(config_of(size), 40, memory)
    ids = np.random.default_rng(1).integers(0, net.config.vocab_size, 30).tolist()
    whole = net.forward(ids)
    np.testing.assert_allclose(whole, oracle(net, ids), rtol=2e-3, atol=2e-3)
    net.cache.truncate(0)  # the same in pieces
    net.forward(ids[:11])
    net.forward(ids[11:29])
    np.testing.assert_allclose(net.forward(ids[29:]), whole, rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match='do not fit'):
        net.forward([0] * 11)
    with pytest.raises(ValueError, match='cannot truncate'):
        net.cache.truncate(31)
    c = net.config
    linear = c.num_hidden_layers * sum(r * k for r, k in c.linears().values())
    assert net.weight_bytes == 4 * (linear + c.vocab_size * c.hidden_size)
    assert len(net.layers) == (1 if memory == 1 else c.num_hidden_layers)


def test_a_long_prompt_is_read_in_parts() -> None:
    net = FloatDecoder(config_of('one head'), CHUNK + 20)
    ids = np.random.default_rng(2).integers(0, net.config.vocab_size, CHUNK + 9).tolist()
    np.testing.assert_allclose(net.forward(ids), oracle(net, ids), rtol=2e-3, atol=2e-3)


# --- answers ---------------------------------------------------------------------------------

def test_a_question_is_an_instruction_and_its_narration(tokenizer: Tokenizer) -> None:
    asked = question(tokenizer, 3)
    prompt, said = tokenizer.decode(asked.prompt), tokenizer.decode(asked.answer).split('\n')
    assert [line.partition(': ')[0] for line in said] == [f'step {k} of 4' for k in range(1, 5)]
    assert all(line.partition(': ')[2] in prompt for line in said)
    assert any(colour in prompt for colour in COLOURS)
    assert asked.place not in asked.prompt + asked.answer
    assert asked == question(tokenizer, 3) != question(tokenizer, 4)


def test_a_recital_says_its_text_whatever_the_model_thinks() -> None:
    decoder = decoder_of(config_of('as shipped'))
    text = [5, 9, 2, 7, 7, 3]
    recital = Recital(decoder, text)
    assert recital.forward(text[:2]).argmax() == 2
    assert recital.logits([2, 7]).argmax(-1).tolist() == [7, 7]
    decoder.cache.truncate(0)
    plain = decoder.logits(text[:4])
    decoder.cache.truncate(0)
    told = recital.logits(text[:4])
    told[range(4), text[1:5]] = plain[range(4), text[1:5]]  # all else is computed
    np.testing.assert_array_equal(told, plain)


def test_every_way_of_the_ladder_says_the_text_and_reads_what_it_should(tmp_path: Path) -> None:
    config = config_of('as shipped', max_position_embeddings=256)
    frames = np.random.default_rng(0).normal(0, 1, (5, 20, 4)).astype(np.float32)
    path = zone(tmp_path, 'intel-rapl:0', 'package-0', 5)
    ladder = Ladder(decoder_of(config), FloatDecoder(config, 256), frames, EnergyMeter(tmp_path))
    ladder.warm_up()
    asked = Question([9, 8, 7, 6, 5], [9, 8, 7, 6, 5] * 8, 2)
    answers = ladder.answer(asked, 1)
    assert [a.way for a in answers] == list(LADDER) and ladder.kept == 20 + 3 * 6 + 20
    assert [a.visual for a in answers] == [100, 100, ladder.kept, ladder.kept]
    assert {a.tokens for a in answers} == {40}
    assert [a.drafted > 0 for a in answers] == [False, False, False, True]
    for a in answers:
        assert a.seconds == a.compress_s + a.prefill_s + a.decode_s
        assert a.token_s == a.decode_s / 39 and min(a.prefill_s, a.decode_s, a.cpu_s) > 0
        assert a.joules == 0.0 and a.kept <= a.drafted
    path.unlink()
    assert {a.joules for a in ladder.answer(asked, 2)} == {None}


# --- rows ------------------------------------------------------------------------------------

def made_up(joules: float | None = None) -> list[Answer]:
    """Return two rounds in which each way is twice as fast as the one before."""
    return [Answer(way, number, 8, 11, 0, 0, 0.0, 4 * number / 2 ** k, 10 * number / 2 ** k, 1.0,
                   None if joules is None else joules / 2 ** k)
            for number in (1, 2) for k, way in enumerate(LADDER)]


def test_gains_compare_within_a_round() -> None:
    assert rows.gain(made_up(), 0, 1, 'token_s') == pytest.approx(2)
    assert rows.gain(made_up(), 0, 3, 'seconds') == pytest.approx(8)


def test_joules_are_stated_apart_or_not_at_all(tmp_path: Path) -> None:
    nothing = rows.energy_rows(made_up(), EnergyMeter(tmp_path))
    assert [r.kind for r in nothing] == ['model'] * 3 + ['missing']
    assert nothing[-1].ours is None and 'not available here' in nothing[-1].method
    zone(tmp_path, 'intel-rapl:0', 'package-0', 5)
    meter = EnergyMeter(tmp_path)
    assert rows.energy_rows(made_up(8.0), meter)[-1].ours == pytest.approx(8)
    still = rows.energy_rows(made_up(0.0), meter)[-1]
    assert still.kind == 'missing' and 'did not move' in still.method


def test_adaptation_is_measured() -> None:
    row, = rows.adaptation_rows(Scale(seeds=1))
    without = mean_errors(Frozen, Fault(wind=rows.WIND), range(1), rows.WINDOW)[0]
    assert row.ours > 2 and f'{without:.2f}' in row.method and row.ratio is None


def test_ratios_and_figures() -> None:
    row = Row('speed', 'a', 2.0, 3.0, 'x', 'b', 'c')
    assert row.ratio == 1.5 and Row('speed', 'a', None, 3.0, 'x', 'b', 'c').ratio is None
    assert [figure(v, 'x') for v in (None, .0278, 9.6, 71.43)] == ['-', '0.0278x', '9.60x',
                                                                  '71.4x']
    assert figure(33.333, 'ms') == '33.3 ms'


# --- the command -----------------------------------------------------------------------------

@pytest.fixture
def blas() -> Iterator[None]:
    """Put back afterwards what the command sets for BLAS."""
    with restored():
        yield


@contextmanager
def restored() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS'):
            patch.setenv(name, '1')
        yield


@pytest.fixture(scope='module')
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, Path]:
    """Run the command on the smallest shape; return its report, its text and its folder."""
    folder, out = tmp_path_factory.mktemp('stack'), StringIO()
    with restored(), redirect_stdout(out):
        assert main(['bench', 'stack', '--shape', 'shipped', '--rounds', '1', '--frames', '2',
                     '--flight', '12', '--seeds', '1', '--json', str(folder / 's.json')]) == 0
    return json.loads((folder / 's.json').read_text()), out.getvalue(), folder


def test_the_report_has_every_row_once(page: tuple[dict, str, Path]) -> None:
    report, text, _ = page
    keys = {'group', 'name', 'claimed', 'ours', 'unit', 'source', 'method', 'better', 'kind',
            'ratio'}
    assert all(set(row) == keys for row in report['rows'])
    assert {row['group'] for row in report['rows']} == {'memory', 'speed', 'energy', 'tokens',
                                                        'adaptation'}
    names = [row['name'] for row in report['rows']]
    assert len(set(names)) == len(names) and all(name in text for name in names)
    for row in report['rows']:
        assert row['better'] in ('more', 'less', 'equal') and row['source'] and row['method']
        assert (row['ours'] is None) == (row['kind'] == 'missing')
        assert (row['kind'] == 'model') == row['name'].startswith('model: ')
        if row['ratio'] is not None:
            assert row['ratio'] * row['claimed'] == pytest.approx(row['ours'])
        assert row['ours'] is None or 0 < row['ours'] < np.inf
        assert (row['ratio'] is None) == (row['claimed'] is None or row['ours'] is None)
    assert report['scale']['shape'] == 'shipped' and report['seconds'] > 0
    assert 0 < report['cpu_share'] and report['memory_mb']['peak'] > 0
    assert text.splitlines()[:len(as_text(report).splitlines())] == as_text(report).splitlines()


def test_the_rows_follow_from_what_was_measured(page: tuple[dict, str, Path]) -> None:
    report, _, _ = page
    ours = {row['name']: row['ours'] for row in report['rows']}
    assert ours['both multiplied, as the claim is made'] == pytest.approx(
        ours['ternary weights: FP16 linear layers over packed']
        * ours['visual keys and values: all tokens over kept'])
    every, kept = (report['ladder'][k]['visual'] for k in (1, 2))
    assert (every, kept) == (2 * 108, 108 + 32)
    assert ours['visual keys and values: all tokens over kept'] == every / kept
    a = {answer['way']: answer for answer in report['answers']}
    assert len(a) == len(report['answers']) == 4

    def seconds(way: str) -> float:
        return a[way]['compress_s'] + a[way]['prefill_s'] + a[way]['decode_s']
    assert ours['all together: a whole answer over float32'] == pytest.approx(
        seconds(LADDER[0]) / seconds(LADDER[3]))
    assert ours['token compression, prefill'] == pytest.approx(
        a[LADDER[1]]['prefill_s'] / a[LADDER[2]]['prefill_s'])
    assert 1.0 < ours['both in bytes, nothing left out'] < ours[
        'both multiplied, as the claim is made']


def test_the_plot_is_written(page: tuple[dict, str, Path]) -> None:
    pytest.importorskip('matplotlib')
    report, _, folder = page
    file = folder / 'deep' / 'stack.png'
    plot_stack(file, report)
    assert file.read_bytes()[:4] == b'\x89PNG' and 20_000 < file.stat().st_size < 150_000


def test_a_busy_machine_is_named(page: tuple[dict, str, Path]) -> None:
    report, _, _ = page
    assert 'busy: this process ran for 25%' in as_text(report | {'cpu_share': .25})
    assert 'busy' not in as_text(report | {'cpu_share': 1.0})


def test_without_matplotlib_it_says_so_before_it_measures(
        page: tuple[dict, str, Path], blas: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(MissingDependencyError, match=r'edge_vla\[viz\]'):
        plot_stack(tmp_path / 'x.png', page[0])
    assert main(['bench', 'stack', '--plot', str(tmp_path / 'x.png')]) == 2
    assert 'edge_vla[viz]' in capsys.readouterr().err


def test_blas_is_held_to_the_threads_before_anything_loads_it(
        blas: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def loads_numpy(file: Path | None = None) -> None:
        assert file == Path('x.png')
        raise MissingDependencyError(f'with {os.environ["OPENBLAS_NUM_THREADS"]} threads')
    monkeypatch.setattr('edge_vla.visualization.style.need_matplotlib', loads_numpy)
    assert main(['bench', 'stack', '--threads', '3', '--plot', 'x.png']) == 2
    assert 'with 3 threads' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [['--shape', 'lfm2-1.2b'], ['--threads', '0'],
                                   ['--frames', '9', '--flight', '8'], ['--rounds', '0']])
def test_wrong_arguments(wrong: list[str], blas: None, capsys: pytest.CaptureFixture) -> None:
    assert main(['bench', 'stack', *wrong]) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert '2b4t' in SHAPES and 'lfm2-1.2b' not in SHAPES
