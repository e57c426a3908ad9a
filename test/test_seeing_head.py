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

"""What is said of what is seen: words, questions, and the head that answers them."""

from collections.abc import Sequence
import json
from pathlib import Path
from types import SimpleNamespace

from bitnet_models import config_of, decoder_of
from edge_vla.cli.main import main
from edge_vla.compression.temporal import compress_clip
from edge_vla.compression.visual_tokens import VisualTokens
from edge_vla.config import CameraConfig, PipelineConfig, SimConfig
from edge_vla.datatypes import Observation
from edge_vla.evaluation import token_bench
from edge_vla.evaluation.closed_loop import Setting
from edge_vla.exceptions import CheckpointError, ConfigError, InstructionError
from edge_vla.kernels.dense import dense
from edge_vla.language.plan import COLOURS, SHAPES, UNSEEN_PAIRS
from edge_vla.language.seeing import Answer, SCHEMES, SeeingHead, special_tokens
from edge_vla.language.sight import (
    describe,
    distance_of,
    DISTANCES,
    missing,
    parse_seen,
    Seen,
    side_of,
    SIDES,
)
from edge_vla.language.tokenizer import BYTE_OF, Tokenizer
from edge_vla.pipeline import Pipeline, SHIPPED_MODEL
from edge_vla.sim.questions import Asked, KINDS, sample_question, true_answer, VISIBLE, Visible
from edge_vla.sim.simulator import Simulator
from edge_vla.training.golden import fly as golden_flights
from edge_vla.vision import layout
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

COLOUR, SHAPE = st.sampled_from(COLOURS), st.sampled_from(SHAPES)
OBJECT = st.builds(Visible, COLOUR, SHAPE, st.floats(-.8, .8), st.floats(.3, 20),
                   st.sampled_from((0, 3, 20, 400)))


@given(COLOUR, SHAPE, st.sampled_from(SIDES), st.sampled_from(DISTANCES))
def test_what_is_described_is_parsed(colour: str, shape: str, side: str, distance: str) -> None:
    seen = Seen(colour, shape, side, distance)
    assert parse_seen(describe(seen)) == seen
    assert parse_seen(missing(f'{colour} {shape}')) is None


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 30), st.floats(0, 30))
def test_sides_go_from_left_to_right_and_distances_grow(a: float, b: float, m: float,
                                                        n: float) -> None:
    assert SIDES.index(side_of(max(a, b))) <= SIDES.index(side_of(min(a, b)))
    assert DISTANCES.index(distance_of(min(m, n))) <= DISTANCES.index(distance_of(max(m, n)))


@settings(max_examples=200)
@given(st.lists(OBJECT, min_size=1, max_size=7, unique_by=lambda o: (o.colour, o.shape)),
       st.integers(0, 10**6))
def test_answers_are_true(objects: list[Visible], seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = sample_question(rng, objects, ('train', 'held_out')[seed % 2])
    if drawn is None:
        return
    kind, question, answer = drawn[:3]
    assert kind in KINDS and question
    seen = parse_seen(answer)
    in_view = {(o.colour, o.shape): o for o in objects if o.pixels >= VISIBLE}
    if seen is not None:
        o = in_view[seen.colour, seen.shape]
        assert seen.side == side_of(o.bearing) and seen.distance == distance_of(o.gap)
    if kind == 'absent':
        assert answer.startswith('i cannot see')
    if kind == 'count':
        assert answer.split()[0] == ('no', 'one', 'two', 'three', 'four', 'five', 'six',
                                     'seven')[len(in_view)]
    if kind == 'sector' and answer != 'nothing':
        assert all(tuple(name.split()) in in_view for name in answer.split(', '))


def test_what_is_unclear_is_not_asked() -> None:
    few = Visible('red', 'sphere', .1, 9.0, VISIBLE - 1)
    near, beside = (Visible('blue', 'box', b, g, 99) for b, g in ((.1, 3.0), (-.2, 3.3)))
    assert true_answer('where', ('red', 'sphere'), [few]) is None
    assert true_answer('count', ('', ''), [few, near]) is None
    assert true_answer('where', ('', 'box'), [near, beside._replace(colour='red')]) is None
    assert true_answer('where', ('red', 'sphere'), [near]) == 'i cannot see a red sphere'
    assert true_answer('where', ('orange', 'box'), [near]) == 'i cannot see an orange box'


def test_pairs_kept_out_of_training_are_not_called_absent() -> None:
    objects = [Visible('red', 'sphere', .1, 2.0, 50), Visible('yellow', 'box', -.5, 5.0, 50)]
    without = {('yellow', 'sphere'), ('orange', 'box')}
    asked = [{(q.colour, q.shape) for k in range(3000) if (q := sample_question(
        np.random.default_rng(k), objects, 'train', kept_out))} for kept_out in ((), without)]
    assert asked[0] - asked[1] == without


def test_held_out_wording_is_not_trained_on() -> None:
    objects = [Visible('red', 'sphere', .1, 2.0, 50), Visible('blue', 'box', -.5, 5.0, 50)]
    asked = [{q for k in range(600) if (q := sample_question(
        np.random.default_rng([k, n]), objects, split))} for n, split in enumerate(
            ('train', 'held_out'))]
    train, held_out = ({one.question for one in drawn} for drawn in asked)
    assert len(train) > 60 and len(held_out) > 30 and not train & held_out


# --- the head ---

def tokenizer_of(size: int) -> Tokenizer:
    vocab = {c: k + len(special_tokens()) for k, c in enumerate(list(BYTE_OF)[:size - 4])}
    return Tokenizer(vocab, [], {t: k for k, t in enumerate(special_tokens())}, r'.')


@pytest.fixture(scope='module')
def decoder():  # noqa: ANN201
    config = config_of('as shipped', max_position_embeddings=1024, num_hidden_layers=4)
    return decoder_of(config)


@pytest.fixture(scope='module')
def weights() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return (rng.normal(0, .3, (128, layout.CHANNELS)).astype(np.float32),
            rng.normal(0, .1, (layout.TOKENS, 128)).astype(np.float32))


def clip(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    still = rng.normal(0, 1, (layout.TOKENS, layout.CHANNELS))
    return np.stack([still + rng.normal(0, .02, still.shape) for _ in range(frames)]).astype(
        np.float32)


def view_of(frames: np.ndarray, scheme: str) -> VisualTokens:
    return compress_clip(frames, SCHEMES[scheme].temporal)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_scheme_reads_fewer_tokens_and_answers_alike_twice(decoder, weights: tuple,
                                                             scheme: str) -> None:
    head = SeeingHead(decoder, tokenizer_of(260), *weights, scheme)
    frames = clip(6)
    first = head.answer('where is it?', view_of(frames, scheme))
    cost = head.cost
    assert 0 <= first.confidence <= 1 and len(cost.attended) == 4
    whole = 6 * layout.TOKENS
    assert (cost.attended[-1] == whole) == (scheme == 'full')
    head.answer('another?', view_of(clip(3, 1), scheme))
    assert head.answer('where is it?', view_of(frames, scheme)) == first


def test_full_tokens_are_what_the_decoder_says(decoder, weights: tuple) -> None:
    """The sequence, token by token, as it was trained."""
    tokenizer, frames = tokenizer_of(260), clip(2)
    head = SeeingHead(decoder, tokenizer, *weights)
    head.answer('what?', view_of(frames, 'full'))
    rows = np.empty((2 * layout.TOKENS, 128), np.float32)
    dense(frames.reshape(len(rows), -1), np.ascontiguousarray(weights[0].T),
          np.zeros(128, np.float32), False, rows)
    rows += np.tile(weights[1], (2, 1))
    plain = head.decoder
    plain.look(rows, np.arange(len(rows)), before=[0])
    ids = [1, *tokenizer.encode(' what?'), 2]
    want = plain.logits(ids)
    head.answer('where?', view_of(clip(2, 5), 'full'))
    head.answer('what?', view_of(frames, 'full'))
    head.decoder.rewind(head._mark)
    np.testing.assert_array_equal(head.decoder.logits(ids), want)


def test_a_view_is_read_once(decoder, weights: tuple, monkeypatch) -> None:  # noqa: ANN001
    head = SeeingHead(decoder, tokenizer_of(260), *weights, 'live')
    looked: list[int] = []
    look = head.decoder.look
    monkeypatch.setattr(head.decoder, 'look', lambda *a, **k: looked.append(1) or look(*a, **k))
    view = view_of(clip(2), 'live')
    answers = [head.answer(q, view) for q in ('one?', 'two?', 'one?')]
    assert len(looked) == 1 and answers[0] == answers[2]


def test_bad_questions_and_parts(decoder, weights: tuple) -> None:
    head = SeeingHead(decoder, tokenizer_of(260), *weights)
    view = view_of(clip(1), 'full')
    for question in ('', '  ', 'x' * 401):
        with pytest.raises(InstructionError, match='1 to 400 characters'):
            head.answer(question, view)
    with pytest.raises(InstructionError, match='no camera frame'):
        head.answer('what?', VisualTokens(*(a[:0] for a in view)))
    with pytest.raises(CheckpointError, match='do not belong together'):
        SeeingHead(decoder, Tokenizer({}, [], {'<bos>': 0}, '.'), *weights)


# --- in the pipeline ---

@pytest.fixture(scope='module')
def pilot(decoder, weights: tuple) -> Pipeline:  # noqa: ANN001
    pipeline = Pipeline.load(PipelineConfig(frames=4))
    pipeline.seeing = SeeingHead(decoder, tokenizer_of(260), *weights, pipeline.config.tokens)
    return pipeline


def fly(pipeline: Pipeline, frames: int, instruction: str = 'fly to the red sphere',
        ) -> Sequence[object]:
    sim = Simulator(SimConfig(seed=4, instruction='red sphere'), CameraConfig(width=160,
                                                                              height=120))
    pipeline.reset()
    out = []
    for _ in range(frames):
        out.append(pipeline.step(Observation(sim.frame(), instruction, sim.motion())))
        sim.advance(33_333_333)
    return out


def test_the_pipeline_remembers_what_its_scheme_keeps(pilot: Pipeline) -> None:
    actions = fly(pilot, 5)
    kept = [a.info['tokens'] for a in actions]
    assert kept[0] == layout.TOKENS and min(kept) < layout.TOKENS
    assert [int(a.info['kept'].sum()) for a in actions] == kept
    assert len(pilot.view().tokens) <= sum(kept)
    assert pilot.view() is pilot.view()  # nothing new was seen
    context = pilot.context
    assert pilot.narration(context).endswith('; ' + pilot.doing(context))
    fly(pilot, 3, 'land')
    assert pilot.narration(pilot.context) == pilot.doing(pilot.context)


def test_without_a_seeing_head_questions_are_refused() -> None:
    blind = Pipeline.load(PipelineConfig(seeing=False))
    fly(blind, 2)
    with pytest.raises(InstructionError, match='no seeing head'):
        blind.ask('what is ahead?')
    assert blind.narration(blind.context) == blind.doing(blind.context)


def test_the_bench_counts_what_was_asked(pilot: Pipeline, decoder, weights: tuple) -> None:
    whole = Pipeline.load(PipelineConfig(tokens='full', frames=2, seeing=False))
    setting = Setting(camera=CameraConfig(width=96, height=72))
    (episode, moments), = token_bench.record(whole, setting, 1, 3, most=2)
    assert episode.index == 0 and 1 <= len(moments) <= 2
    heads = {name: SeeingHead(decoder, tokenizer_of(260), *weights, name)
             for name in ('full', 'live')}
    tallies = token_bench.compare(heads, moments)
    full, live = (tallies[name].report() for name in heads)
    assert full['asked'] == live['asked'] and full['absent'] == live['absent'] > 0
    assert full['retained'] == 1 > live['retained']
    assert full['prefill_macs'] > live['prefill_macs']
    asked = token_bench.questions(np.random.default_rng(0), moments[0].objects)
    perfect = token_bench.Tally()
    for one in asked:
        perfect.add(one, token_bench.Answer(one.answer, parse_seen(one.answer), 1.0))
    assert (perfect.right, perfect.denied, perfect.other) == (
        perfect.asked, perfect.absent, perfect.others)


def test_the_bench_flies_every_scheme_and_keeps_whole_views() -> None:
    setting = Setting(camera=CameraConfig(width=96, height=72))
    flights = list(token_bench.fly_schemes(str(SHIPPED_MODEL), setting, 1, 11))
    assert [name for name, *_ in flights] == list(SCHEMES)
    assert {(e.index, e.status) for _, e, _ in flights} == {(0, 'success')}
    kept = {name: moments for name, _, moments in flights}
    assert [m.frames.shape for m in kept.pop('full')] == [
        (8, layout.TOKENS, layout.CHANNELS)] * 2 and not any(kept.values())
    with pytest.raises(ConfigError, match='no seeing head'):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(token_bench.Pipeline, 'load', lambda *a, **k: SimpleNamespace(
                seeing=None))
            token_bench.load_pilot('x')


@pytest.mark.parametrize('wrong', [
    ['--suite', 'shift', '--episodes', '0'], ['--suite', 'shift', '--shift', 'fog'],
    ['--shape', 'lfm2-1.2b'], ['--jobs', '0'], ['--frames', '65'], ['--seed', '-1']])
def test_wrong_arguments_of_the_bench_end_before_a_flight(
        wrong: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    for name in ('load_pilot', 'fly_schemes'):
        monkeypatch.setattr(token_bench, name, lambda *a, **k: pytest.fail('it flies'))
    assert main(['bench', 'tokens', *wrong]) == 2
    said = capsys.readouterr().err
    assert wrong[-2] in said and said.count('\n') == 1


def test_the_shipped_head_gives_the_golden_answers(root: Path) -> None:
    pipeline = Pipeline.load(PipelineConfig(), synchronous=False)
    golden = json.loads((root / 'test' / 'data' / 'golden_seeing.json').read_text())
    assert sum(map(len, golden.values())) > 8
    for plan, _ in golden_flights(pipeline):
        for asked, answer in golden[plan.text()].items():
            assert pipeline.ask(asked).text == answer


def test_pairs_that_were_never_trained_on_are_counted_apart() -> None:
    tally = token_bench.Tally()
    for pair in (('red', 'box'), UNSEEN_PAIRS[0]):
        seen = Seen(*pair, 'left', DISTANCES[1])
        for said in (seen, None):
            text = describe(seen) if said else missing(' '.join(pair))
            tally.add(Asked('where', 'where?', describe(seen), *pair), Answer(text, said, 1.0))
    assert (tally.right, tally.asked, tally.unseen_right, tally.unseen) == (1, 2, 1, 2)
    assert tally.falsely_denied == 2 and tally.absent == 0


@pytest.mark.parametrize(('odds', 'denies'), [(.6, False), (.8, False), (.9, True), (.99, True)])
def test_a_denial_must_be_sure(odds: float, denies: bool) -> None:
    head = SeeingHead.load(SHIPPED_MODEL / 'seeing')
    denial = Tokenizer.load(SHIPPED_MODEL / 'seeing' / 'tokenizer.json').encode(' i cannot')[0]
    logits = np.full(384, -50, np.float32)
    logits[[denial, 7]] = np.log([odds, 1 - odds])
    assert (head._next(logits, False) == denial) == denies
    assert head._next(logits, True) == denial  # within an answer it is a word like any other
