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

"""The live view: it shows what there is, in the real viewers' servers, and holds up nothing."""

import json
import socket
import subprocess
import sys
import threading
import time

import cv2
from edge_vla.datatypes import Action, Command, Frame
from edge_vla.exceptions import ConfigError, EdgeVlaError, MissingDependencyError
from edge_vla.visualization.live import LiveView, parse, View
import numpy as np
import pytest


def view(k: int = 0) -> View:
    marks = np.zeros((9, 12), np.uint8)
    marks[:, :4] = 1
    return View(
        Frame(10**9 + k, np.full((60, 80, 3), 99, np.uint8)),
        Action(10**9 + k, np.array([.5, 0, 0]), .1, {
            'target_visible': .75, 'target_bearing': .2, 'target_distance': 3.0, 'tokens': 36,
            'attention': np.zeros((9, 12), np.float32), 'kept': marks}),
        Command(10**9 + k, (.5, 0.0, .25), .1, 'ok'), 'fly to the red ball', f'step {k}', 4.5)


class Slow:
    """A viewer that hangs until it is let go."""

    def __init__(self) -> None:
        self.let_go, self.shown, self.closed = threading.Event(), [], False

    def write(self, seen: View) -> None:
        self.shown.append(seen.narration)
        self.let_go.wait(20)

    def close(self) -> None:
        self.closed = True


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def until(condition, what: str) -> None:  # noqa: ANN001
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(.01)


def test_a_viewer_that_hangs_holds_up_nothing() -> None:
    slow, said = Slow(), []
    live = LiveView('foxglove', said.append, lambda name, port: slow)
    live.show(view(0))
    until(lambda: slow.shown, 'the first step')
    spent = []
    for k in range(1, 1001):
        began = time.perf_counter()
        live.show(view(k))
        spent.append(time.perf_counter() - began)
    assert np.median(spent) < 1e-3 and slow.shown == ['step 0']
    slow.let_go.set()
    until(lambda: len(slow.shown) > 1, 'the newest step')
    assert slow.shown == ['step 0', 'step 1000']  # what lay between is left out
    live.close()
    assert slow.closed and not said


def test_a_viewer_that_never_returns_does_not_keep_the_node() -> None:
    slow = Slow()
    live = LiveView('rerun', print, lambda name, port: slow)
    live.show(view())
    until(lambda: slow.shown, 'the first step')
    began = time.monotonic()
    live.close()
    assert time.monotonic() - began < 4 and not slow.closed
    slow.let_go.set()


def test_a_viewer_that_fails_is_said_once() -> None:
    class Failing(Slow):
        def write(self, seen: View) -> None:
            raise RuntimeError('the network\nis gone')
    said = []
    live = LiveView('foxglove:1234', said.append, lambda name, port: Failing())
    for k in range(5):
        live.show(view(k))
        time.sleep(.02)
    until(lambda: said, 'what is wrong')
    assert said == ['no live view in foxglove any more: the network is gone']
    live.close()


@pytest.mark.parametrize(('target', 'port'), [('foxglove', 8765), ('rerun', 9876),
                                              (' foxglove:99 ', 99), ('rerun:65535', 65535)])
def test_a_viewer_is_named_with_its_port(target: str, port: int) -> None:
    assert parse(target) == (target.split(':')[0].strip(), port)


@pytest.mark.parametrize('target', ['', 'rviz', 'foxglove:', 'foxglove:0', 'rerun:65536',
                                    'rerun:-1', 'rerun:x', 'foxglove:8765:1', 'foxglove:²'])
def test_what_is_no_viewer_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match='foxglove or rerun'):
        parse(target)


@pytest.mark.parametrize('name', ['foxglove', 'rerun'])
def test_without_the_package_it_says_which(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'edge_vla\[{name}\]'"):
        LiveView(name, print)


def test_numbers_and_picture() -> None:
    numbers = view().numbers()
    assert numbers == {'forward': .5, 'left': 0.0, 'up': .25, 'yaw_rate': .1,
                       'target_visible': .75, 'target_bearing': .2, 'target_distance': 3.0,
                       'tokens_kept': 36 / 108, 'latency_ms': 4.5}
    picture = cv2.imdecode(np.frombuffer(view().jpeg(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)


class Client:
    """A WebSocket client, as Foxglove is one."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(('127.0.0.1', port), 10)
        self._socket.sendall((
            f'GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n'
            'Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
            'Sec-WebSocket-Protocol: foxglove.sdk.v1\r\nSec-WebSocket-Version: 13\r\n\r\n'
        ).encode())
        self._file = self._socket.makefile('rb')
        assert b'101' in self._file.readline()
        while self._file.readline().strip():
            pass

    def read(self) -> bytes:
        """Return the next message."""
        head = self._file.read(2)
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), 'big')
        return self._file.read(size)

    def channels(self) -> dict[str, int]:
        """Return the topics that are offered."""
        found: dict[str, int] = {}
        while len(found) < 3:
            message = self.read()
            if message[:1] == b'{':
                found |= {c['topic']: c['id'] for c in json.loads(message).get('channels', ())}
        return found

    def subscribe(self, channels: dict[str, int]) -> None:
        text = json.dumps({'op': 'subscribe', 'subscriptions': [
            {'id': k, 'channelId': k} for k in channels.values()]}).encode()
        self._socket.sendall(b'\x81' + bytes([128 | 126]) + len(text).to_bytes(2, 'big')
                             + bytes(4) + text)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_foxglove_hears_it() -> None:
    pytest.importorskip('foxglove', reason='pip install -e .[foxglove]')
    port = free_port()
    live = LiveView(f'foxglove:{port}', print)
    client = Client(port)
    channels = client.channels()
    assert set(channels) == {'/live/camera', '/live/pilot', '/live/narration'}
    client.subscribe(channels)
    heard: dict[int, bytes] = {}
    for k in range(1, 500):
        live.show(view(k))  # before it is subscribed nothing is sent
        time.sleep(.01)
        if k > 20 and not set(channels.values()) <= set(heard):
            message = client.read()
            if message[:1] == b'\x01':  # type, subscription, time, data
                assert int.from_bytes(message[5:13], 'little') >= 10**9
                heard[int.from_bytes(message[1:5], 'little')] = message[13:]
    pilot = json.loads(heard[channels['/live/pilot']])
    assert pilot['forward'] == .5 and pilot['state'] == 'ok' and pilot['tokens_kept'] == 36 / 108
    assert b'JFIF' in heard[channels['/live/camera']]
    assert b'step ' in heard[channels['/live/narration']]
    client.close()
    with pytest.raises(EdgeVlaError, match=f'no live view in foxglove on port {port}'):
        LiveView(f'foxglove:{port}', print)
    live.close()
    LiveView(f'foxglove:{port}', print).close()  # the port is free again


def test_rerun_serves_it() -> None:
    """In a process of its own: its server lives as long as the process does."""
    pytest.importorskip('rerun', reason='pip install -e .[rerun]')
    port = free_port()
    done = subprocess.run([sys.executable, '-c', f"""
import socket, sys, time
sys.path.insert(0, 'test')
from test_live_view import view
from edge_vla.visualization.live import LiveView
live = LiveView('rerun:{port}', lambda text: sys.exit(text))
for k in range(5):
    live.show(view(k))
    time.sleep(.05)
socket.create_connection(('127.0.0.1', {port}), 5).close()
try:
    LiveView('rerun:{port}', print)
except Exception as error:
    print(error)
live.close()
LiveView('rerun:{port}', print).close()
print('shown')
"""], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1] == 'shown', done.stderr
    assert lines[0].startswith(f'no live view in rerun on port {port}: ') and len(lines) == 2
