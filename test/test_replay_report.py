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


"""What a replay reports: agreement with the recording, comparisons, many recordings."""

from collections.abc import Callable
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import cv2
from edge_vla.cli.main import main
from edge_vla.evaluation.bag_writer import BagWriter
from edge_vla.evaluation.bags import Bag, IMAGE, SECOND_NS, Wanted
from edge_vla.evaluation.commands import TWIST
from edge_vla.evaluation.replay import ADAPTATION_TOPIC
from edge_vla.evaluation.replay_jobs import read_settings
from edge_vla.exceptions import BagError, ConfigError
from edge_vla.vision import layout
from edge_vla.visualization import replay_page
import numpy as np
import pytest
from recordings import GO, make, picture, replay, report, STEP_NS
import yaml

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
DIAGNOSTICS = 'diagnostic_msgs/msg/DiagnosticArray'


@pytest.mark.parametrize(('options', 'reference'), [
    ({'commands': ('/cmd_vel',), 'odometry': ('/odom',)}, 'commands'),
    ({'commands': ('/a/setpoint/stamped',)}, 'commands'),
    ({'odometry': ('/odom',)}, 'odometry'), ({}, None)])
def test_the_report_compares_with_what_there_is(tmp_path: Path, options: dict[str, Any],
                                                reference: str | None) -> None:
    assert replay(tmp_path / 'out', make(tmp_path / 'bag', **options), *GO) == 0
    said = report(tmp_path / 'out')
    assert said['reference'] == reference
    run = said['runs'][0]
    assert run['frames'] == 16 and run['understood'] == 'go to the red sphere'
    if reference is None:
        assert run['agreement'] is None and 'nothing to compare' in said['notes'][0]
        return
    actions = json.loads((tmp_path / 'out' / 'actions.json').read_text())['actions']
    # odometry and commands are a moment before their image
    error = [a['command'][0] - .1 * (k % 7) for k, a in enumerate(actions)]
    if reference == 'commands':
        assert run['agreement']['compared'] == 16
        bias = run['agreement']['axes']['forward']['bias']
        assert bias == pytest.approx(np.mean(error), abs=1e-4)


def test_a_world_frame_command_is_turned_by_the_odometry(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd/stamped',), frame='map')
    assert replay(tmp_path / 'a', bag, *GO) == 0
    assert any('no odometry says where' in n for n in report(tmp_path / 'a')['notes'])


def test_what_is_odd_is_said_and_left_out(tmp_path: Path,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',), odometry=('/odom',),
               stamps=lambda k: k if k < 9 else k - 5 if k < 15 else 9,
               speed=lambda k: float('nan') if k in (3, 4) else .5)
    assert replay(tmp_path / 'out', bag, *GO) == 0
    said = report(tmp_path / 'out')
    assert [n.split(':')[0] for n in said['notes']] == ['/image', '/image', '/cmd_vel', '/odom']
    assert 'stamps of 1 images are before' in said['notes'][0]
    assert '2 messages hold numbers that are not finite' in said['notes'][2]
    # an odd command is left out; the one before holds
    assert said['recorded'] == {'commands': 14, 'odometry': 14,
                                'jerk': {'rms': 0.0, 'p95': 0.0}}
    assert np.isfinite(said['runs'][0]['agreement']['velocity_rmse'])
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith('note: ')]
    assert len(notes) == 4


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_compressed_bags_give_the_same_pictures(tmp_path: Path, storage: str, mode: str) -> None:
    from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
    if (storage, mode) == ('sqlite3', 'STORAGE'):
        pytest.skip('sqlite3 compresses no storage')
    plain = make(tmp_path / 'plain', storage=storage)
    with Bag(plain) as bag:
        writer = BagWriter(tmp_path / 'small', storage)
        writer.raw.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        with writer:
            c = bag.connections[0]
            made = writer.raw.add_connection(c.topic, c.msgtype, typestore=writer.types)
            for _, t, raw in bag.reader.messages():
                writer.raw.write(made, t, raw)
    with Bag(plain) as bag, Bag(tmp_path / 'small') as small:
        for a, b in zip(bag, small, strict=True):
            assert a.recorded_ns == b.recorded_ns
            np.testing.assert_array_equal(a.frame.image, b.frame.image)


def ros1_bag(path: Path) -> Path:
    """Write a ROS 1 bag with two publishers of one topic and a type of somebody else."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import get_types_from_msg, get_typestore, Stores
    store = get_typestore(Stores.ROS1_NOETIC)
    t = store.types
    text = 'Header header\nfloat64 charge\n' + '=' * 80 + '\nMSG: std_msgs/Header\nuint32 seq\n' \
           'time stamp\nstring frame_id\n'
    store.register(get_types_from_msg(text, 'their_msgs/msg/Battery'))
    t = store.types
    writer = Writer(path)
    writer.set_compression(Writer.CompressionFormat.LZ4)
    vector = t['geometry_msgs/msg/Vector3']
    with writer:
        camera = writer.add_connection('/image', IMAGE, typestore=store)
        commands = [writer.add_connection('/cmd_vel', TWIST, typestore=store, callerid=f'/{k}')
                    for k in 'ab']
        battery = writer.add_connection('/battery', 'their_msgs/msg/Battery', typestore=store)
        for k in range(16):
            now = SECOND_NS + k * STEP_NS
            header = t['std_msgs/msg/Header'](
                k, t['builtin_interfaces/msg/Time'](now // SECOND_NS, now % SECOND_NS), 'camera')
            image = t[IMAGE](header, 60, 80, 'rgb8', 0, 240, picture(k).reshape(-1))
            twist = t[TWIST](vector(.1 * (k % 7), .2, 0.0), vector(0.0, 0.0, .3))
            for connection, m in ((commands[k % 2], twist), (camera, image),
                                  (battery, t['their_msgs/msg/Battery'](header, 11.1))):
                writer.write(connection, now - (m is twist),
                             store.serialize_ros1(m, connection.msgtype))
    return path


def test_a_ros_1_bag_is_the_same_recording(tmp_path: Path) -> None:
    assert replay(tmp_path / 'a', make(tmp_path / 'bag', commands=('/cmd_vel',)), *GO) == 0
    assert main(['replay', str(ros1_bag(tmp_path / 'one.bag')), '--out', str(tmp_path / 'b'), *GO,
                 '--no-overlay', '--no-report']) == 0
    a, b = (json.loads((tmp_path / n / 'actions.json').read_text())['actions'] for n in 'ab')
    assert a == b
    assert report(tmp_path / 'a')['runs'] == report(tmp_path / 'b')['runs']
    with Bag(tmp_path / 'b' / 'bag') as bag:  # converted to ROS 2
        counts = {c.topic: c.msgcount for c in bag.connections}
        assert counts == {'/image': 16, '/cmd_vel': 16, '/battery': 16, '/replay/cmd_vel': 16,
                          '/replay/narration': 1}
        battery = next(c for c in bag.connections if c.topic == '/battery')
        for _, t, raw in bag.reader.messages([battery]):
            m = bag.messages.read(battery, raw)
            assert m.charge == 11.1 and m.header.frame_id == 'camera'
            assert m.header.stamp.sec * SECOND_NS + m.header.stamp.nanosec == t


def test_a_part_of_a_bag_is_that_part(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag')
    assert main(['replay', str(bag), '--out', str(tmp_path / 'a'), *GO, '--no-overlay',
                 '--no-report', '--start', '.2', '--duration', '.3']) == 0
    stamps = [a['stamp_ns'] for a in json.loads(
        (tmp_path / 'a' / 'actions.json').read_text())['actions']]
    assert stamps == [SECOND_NS + k * STEP_NS for k in range(4, 10)]
    with Bag(tmp_path / 'a' / 'bag') as copied:
        assert copied.reader.topics['/image'].msgcount == 6
    with Bag(bag, start_s=.2, duration_s=.3) as part:
        assert len(part) == 6


def test_topics_are_chosen_where_only_one_can_be_meant(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', cameras=('/cam', '/cam/compressed', '/cam/depth'),
               commands=('/cmd_vel', '/velocity'), odometry=('/odom',))
    with Bag(bag) as chosen:
        assert (chosen.topic, chosen.commands, chosen.odometry) == ('/cam', '/cmd_vel', '/odom')
    with Bag(bag, Wanted('cam/compressed', 'none', 'velocity')) as asked:
        assert (asked.topic, asked.commands, asked.odometry) == (
            '/cam/compressed', '/velocity', '')
        assert next(iter(asked)).motion is None
    with Bag(make(tmp_path / 'other', commands=('/velocity',))) as quiet:
        assert quiet.commands == ''
        assert quiet.notes() == ['/velocity may hold commands; if so, name one with --commands']
    with pytest.raises(BagError, match='has no command topic /image'):
        Bag(bag, Wanted(commands='/image'))


def test_several_cameras_are_several_runs(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', cameras=('/front', '/rear'))
    assert replay(tmp_path / 'out', bag, *GO, '--topic', 'all') == 0
    said = report(tmp_path / 'out')
    assert [r['topic'] for r in said['runs']] == ['/front', '/rear']
    assert said['differences'] == []  # other pictures, nothing to compare
    assert (tmp_path / 'out' / 'front' / 'actions.json').is_file()
    assert (tmp_path / 'out' / 'rear' / 'actions.json').is_file()


def test_the_instruction_may_be_in_the_bag(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', instruction='fly to the red ball')
    assert replay(tmp_path / 'a', bag) == 0
    assert replay(tmp_path / 'b', bag, *GO) == 0
    a, b = (json.loads((tmp_path / n / 'actions.json').read_text()) for n in 'ab')
    assert a == b and a['understood'] == 'go to the red sphere'


def test_settings_may_have_blanks_around_them(tmp_path: Path) -> None:
    values = read_settings(['pipeline.max_gap=0.4, pipeline.planner=7'])
    assert values == {'pipeline.max_gap': .4, 'pipeline.planner': '7'}


@pytest.mark.parametrize('node', ['/**', 'vla_node', '/drone1/vla_node', '/drone1/**'])
def test_a_parameter_file_is_read_for_any_name_of_the_node(tmp_path: Path, node: str) -> None:
    file = tmp_path / 'dump.yaml'  # as ros2 param dump writes it
    ours = {'autostart': True, 'qos_overrides': {'/parameter_events': {'publisher': {'depth': 9}}},
            'safety': {'max_speed': .3}, 'node.enabled': False, 'use_sim_time': True,
            'start_type_description_service': True}
    nodes = {node: {'ros__parameters': ours},
             'sim_node': {'ros__parameters': {'sim': {'seed': 3}}}}
    file.write_text(yaml.safe_dump(nodes))
    assert read_settings([], file) == {'safety.max_speed': .3, 'node.enabled': False}
    ours['use_sim_tim'] = ours.pop('use_sim_time')
    file.write_text(yaml.safe_dump(nodes))
    with pytest.raises(ConfigError, match="unknown setting 'use_sim_tim'"):
        read_settings([], file)
    del nodes[node]
    file.write_text(yaml.safe_dump(nodes))
    with pytest.raises(ConfigError, match='holds nothing for vla_node, but for sim_node'):
        read_settings([], file)


def test_the_instruction_may_be_in_the_settings(tmp_path: Path) -> None:
    told = ('--set', 'pipeline.instruction=fly to the red ball')
    understood = []
    for name, wanted in (('silent', ''), ('speaks', 'land')):
        bag = make(tmp_path / name, instruction=wanted)
        assert replay(tmp_path / 'out', bag, *told) == 0
        understood.append(report(tmp_path / 'out')['runs'][0]['understood'])
    assert understood == ['go to the red sphere', 'land']


def test_two_settings_are_compared(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',))
    file = tmp_path / 'slow.yaml'
    file.write_text('/**:\n  ros__parameters:\n    safety: {max_speed: 0.3}\n')
    assert replay(tmp_path / 'out', bag, *GO, '--compare', str(file), '--compare',
                  'pipeline.max_gap=0.4,safety.max_speed=1.8') == 0
    said = report(tmp_path / 'out')
    assert [r['name'] for r in said['runs']] == [
        'pilot', 'slow', 'pipeline.max_gap=0.4,safety.max_speed=1.8']
    assert [r['settings'] for r in said['runs']] == [
        {}, {'safety.max_speed': .3}, {'pipeline.max_gap': .4}]
    slow, same = said['differences']
    assert said['runs'][1]['command']['max_speed'] <= .3 + 1e-9
    assert not slow['identical'] and slow['agreement']['velocity_rmse'] > 0
    assert same['identical'] and same['largest']['m_s'] == 0


def test_adaptation_hears_what_was_really_sent(tmp_path: Path) -> None:
    """The vehicle does half of what it is told: adaptation must see that, not the pilot's."""
    bag = make(tmp_path / 'bag', 40, commands=('/cmd_vel',), odometry=('/odom',),
               speed=lambda k: .5)
    assert main(['replay', str(bag), '--out', str(tmp_path / 'out'), *GO, '--no-overlay',
                 '--no-report', '--set', 'adaptation.enabled=true']) == 0
    said = report(tmp_path / 'out')['runs'][0]['adaptation']
    assert said['heard'] == 'recorded commands' and said['states'] == {'active': 40}
    with Bag(tmp_path / 'out' / 'bag') as made:
        assert made.reader.topics[ADAPTATION_TOPIC].msgcount == 40
        assert made.reader.topics[ADAPTATION_TOPIC].msgtype == DIAGNOSTICS
    assert replay(tmp_path / 'off', bag, *GO) == 0
    assert report(tmp_path / 'off')['runs'][0]['adaptation'] is None


def test_everything_but_the_latency_is_the_same_twice(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',), odometry=('/odom',))
    for out in 'ab':
        assert replay(tmp_path / out, bag, *GO, '--set', 'adaptation.enabled=true', '--compare',
                      'safety.max_speed=0.3', quick=False) == 0
    files = sorted(p.relative_to(tmp_path / 'a') for p in (tmp_path / 'a').rglob('*')
                   if p.is_file())
    assert {p.name for p in files} == {
        'report.html', 'report.json', 'actions.json', 'latency.json', 'latency.svg', 'bag.mcap',
        'metadata.yaml', 'overlay.mp4'}
    for file in files:
        if not file.name.startswith('latency'):
            assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes(), \
                file
    page = (tmp_path / 'a' / 'report.html').read_text()
    fetched = re.findall(r'(?:src|href)="([^"#]*)"|url\((?!#)([^)]*)\)|@import', page)
    assert fetched and all(a.startswith('data:') for a, _ in fetched)
    assert page.count('<svg') == 5 and page.count('data:image/jpeg') == 16
    assert '<script' not in page and str(tmp_path) not in page
    for word in ('fly to the red ball', 'safety.max_speed=0.3', '/cmd_vel'):
        assert word in page


@pytest.mark.parametrize('tokens', ['full', 'live', 'team'])
def test_the_report_tells_what_fewer_tokens_save(tmp_path: Path, tokens: str) -> None:
    bag, out = make(tmp_path / 'bag', 40, odometry=('/odom',)), tmp_path / 'out'
    assert replay(out, bag, *GO, '--set', f'pipeline.tokens={tokens},pipeline.frames=2',
                  quick=False) == 0
    read = report(out)['runs'][0]['reading']
    assert read['looks'] >= 1 and read['tokens']['all'] == 2 * layout.TOKENS
    shares = [read[k]['mean'] / read[k]['all'] for k in (
        'tokens', 'multiplications', 'cache_bytes')]
    page, took = (out / 'report.html').read_text(), json.loads(
        (out / 'latency.json').read_text())
    assert took['read_ms']['count'] == read['looks'] and took['read_ms']['p50'] > .1
    assert took['read_all_ms'] > .1 and 'memory saved' in page
    assert 'reading the view, ms' in (out / 'latency.svg').read_text()
    if tokens == 'full':
        assert shares[0] <= 1 and shares[0] * read['looks'] > read['looks'] - 1
    else:
        assert max(shares) < .95


def test_without_a_seeing_head_nothing_is_saved(tmp_path: Path) -> None:
    assert replay(tmp_path / 'out', make(tmp_path / 'bag'), *GO, '--set', 'pipeline.seeing=false',
                  quick=False) == 0
    assert report(tmp_path / 'out')['runs'][0]['reading'] is None
    assert 'memory saved' not in (tmp_path / 'out' / 'report.html').read_text()
    took = json.loads((tmp_path / 'out' / 'latency.json').read_text())
    assert took['read_ms'] is None and took['read_all_ms'] is None


def test_the_page_escapes_what_it_is_given(tmp_path: Path) -> None:
    bag = make(tmp_path / 'a<b>&', instruction='fly to the red ball <script>alert(1)</script>')
    assert main(['replay', str(bag), '--out', str(tmp_path / 'out'), '--no-overlay', '--bag',
                 'none']) == 0
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert '<script' not in page and 'a&lt;b&gt;&amp;' in page


@pytest.mark.parametrize(('correlation', 'shown'), [
    (.8, '<b>0.40 s</b>'), (.1, 'no shift stands out, correlation 0.10')])
def test_a_lag_is_shown_only_where_one_stands_out(tmp_path: Path, correlation: float,
                                                  shown: str) -> None:
    assert replay(tmp_path / 'out', make(tmp_path / 'bag', commands=('/cmd_vel',)), *GO) == 0
    told = report(tmp_path / 'out')
    told['runs'][0]['agreement']['lag'] = {'seconds': -.4, 'correlation': correlation,
                                           'at_limit': False}
    tiles = replay_page._tiles(told)
    assert shown in tiles and ('0.40 s' in tiles) == (correlation > .3)


@pytest.mark.skipif(BROWSER is None, reason='needs Chromium: apt install chromium')
def test_a_browser_shows_the_page_without_a_complaint(tmp_path: Path) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',), odometry=('/odom',))
    assert main(['replay', str(bag), *GO, '--compare', 'safety.max_forward=0.4', '--out',
                 str(tmp_path / 'out'), '--no-overlay', '--bag', 'none']) == 0
    picture = tmp_path / 'page.png'
    done = subprocess.run(
        [str(BROWSER), '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--enable-logging=stderr', '--hide-scrollbars', '--window-size=1200,3000',
         f'--user-data-dir={tmp_path / "profile"}', f'--screenshot={picture}',
         (tmp_path / 'out' / 'report.html').as_uri()],
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and 'CONSOLE' not in done.stderr, done.stderr
    shown = cv2.imread(str(picture))
    assert shown.shape == (3000, 1200, 3)
    drawn = (shown != shown[0, 0]).any(2)  # against the paper of the page
    assert drawn[:1500].mean() > .3 and drawn[1500:].any()


def test_many_bags_on_two_processes_are_what_they_are_alone(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bags = [make(tmp_path / '0' / 'bag', 12, commands=('/cmd_vel',)),
            make(tmp_path / '1' / 'bag #2', 13, commands=('/cmd_vel',))]
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(b'no bag')
    status = main(['replay', *map(str, bags), str(broken), '--out', str(tmp_path / 'all'), *GO,
                   '--jobs', '2', '--no-overlay', '--bag', 'none'])
    assert status == 1
    errors = [li for li in capfd.readouterr().err.replace('\r', '\n').splitlines()
              if li.startswith('edge-vla: ')]
    assert len(errors) == 1 and 'broken.mcap' in errors[0]
    for k, name in enumerate(('bag', 'bag #2')):
        assert replay(tmp_path / f'alone{k}', bags[k], *GO) == 0
        for file in ('actions.json', 'report.json'):
            assert (tmp_path / 'all' / name / file).read_bytes() == \
                (tmp_path / f'alone{k}' / file).read_bytes()
    rows = report(tmp_path / 'all')['recordings']
    assert [('error' in r, r.get('link')) for r in rows] == [
        (False, 'bag/report.html'), (False, 'bag #2/report.html'), (True, None)]
    page = (tmp_path / 'all' / 'report.html').read_text()
    assert '2 of 3 recordings replayed' in page and 'href="bag%20%232/report.html"' in page


class FakeRay:
    """As much of Ray as is used, in this process."""

    def __init__(self) -> None:
        self.address, self.open = '', False

    def init(self, address: str, **options: Any) -> None:
        if address == 'nowhere':
            raise ConnectionError('could not connect\nto nowhere')
        self.address, self.open = address, True

    def shutdown(self) -> None:
        self.open = False

    def remote(self, function: Callable) -> Any:
        def submit(piece: Any) -> Any:
            return _Reference(lambda: function(piece))
        handle = SimpleNamespace(remote=submit)
        handle.options = lambda **options: handle
        return handle

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        assert self.open
        return references[-1:], references[:-1]  # not in the order of submission

    def get(self, reference: Any) -> Any:
        return reference.call()


class _Reference:

    def __init__(self, call: Callable) -> None:
        self.call = call


def test_a_ray_cluster_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capfd: pytest.CaptureFixture[str]) -> None:
    bag = make(tmp_path / 'bag', commands=('/cmd_vel',))
    options = (*GO, '--compare', 'safety.max_speed=0.3')
    assert replay(tmp_path / 'here', bag, *options) == 0
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, 'ray', ray)
    assert replay(tmp_path / 'there', bag, *options, '--ray', 'head:6379') == 0
    assert ray.address == 'head:6379' and not ray.open
    assert (tmp_path / 'here' / 'report.json').read_bytes() == \
        (tmp_path / 'there' / 'report.json').read_bytes()
    capfd.readouterr()
    assert replay(tmp_path / 'x', bag, *GO, '--ray', 'nowhere') == 2
    assert 'no Ray cluster at nowhere: could not connect to nowhere' in capfd.readouterr().err
    monkeypatch.setitem(sys.modules, 'ray', None)
    assert replay(tmp_path / 'x', bag, *GO, '--ray', 'head:6379') == 2
    assert "pip install 'edge_vla[ray]'" in capfd.readouterr().err


def test_the_list_keeps_the_order_given_whatever_is_done_first(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'ray', FakeRay())  # takes the last piece of work first
    bags = [make(tmp_path / f'{k}' / 'bag', 12 + k) for k in range(3)]
    assert replay(tmp_path / 'all', *bags, *GO, '--ray', 'auto') == 0
    rows = report(tmp_path / 'all')['recordings']
    assert [r['link'] for r in rows] == [f'{n}/report.html' for n in ('bag', 'bag_2', 'bag_3')]
