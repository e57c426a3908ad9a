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


"""What a pilot sees and does, shown live in Foxglove or Rerun; nothing here holds up a flight."""

from collections.abc import Callable
from dataclasses import dataclass
import socket
import threading
import time
from typing import Any, Protocol

import cv2
from edge_vla.datatypes import Action, Command, Frame
from edge_vla.exceptions import ConfigError, EdgeVlaError, MissingDependencyError
from edge_vla.visualization.overlay import draw, Overlay

PORTS = {'foxglove': 8765, 'rerun': 9876}  # where their viewers look by themselves
HOST = '127.0.0.1'
JPEG_QUALITY = 80
NUMBERS = ('forward', 'left', 'up', 'yaw_rate', 'target_visible', 'target_bearing',
           'target_distance', 'tokens_kept', 'latency_ms')
RERUN_MEMORY = '128MB'  # of what was shown, for viewers that come later
CLOSE_S = 2.0


@dataclass(frozen=True)
class View:
    """
    One step of the pilot.

    Attributes
    ----------
    frame : Frame
    action : Action
        What the policy wanted.
    command : Command
        What the gate let out.
    instruction, narration : str
        What was asked, and what is being done.
    latency_ms : float
        From the arrival of the image to its command.

    """

    frame: Frame
    action: Action
    command: Command
    instruction: str
    narration: str
    latency_ms: float

    def numbers(self) -> dict[str, float]:
        """Return what can be plotted: m/s, rad/s, rad, m, ms."""
        c, info = self.command, self.action.info
        kept = info.get('kept')
        return dict(zip(NUMBERS, (
            *c.velocity, c.yaw_rate, float(info['target_visible']),
            float(info['target_bearing']), float(info['target_distance']),
            1.0 if kept is None else info['tokens'] / kept.size, self.latency_ms), strict=True))

    def jpeg(self) -> bytes:
        """Return the picture with the overlay."""
        info = self.action.info
        picture = draw(self.frame.image, Overlay(
            self.instruction, self.narration, self.command.velocity, self.command.yaw_rate, None,
            self.command.state, info.get('attention'), kept=info.get('kept')))
        return cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
                            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class Viewer(Protocol):
    """Where steps are shown."""

    def write(self, view: View) -> None:
        """Show a step; may take its time."""

    def close(self) -> None:
        """Let go of the port."""


class LiveView:
    """
    Shows the newest step in a thread of its own; steps it has no time for are left out.

    Parameters
    ----------
    target : str
        'foxglove' or 'rerun', with ':PORT' for another than theirs.
    say : callable
        Called once, with a line of text, if showing fails later on; it then stays off.
    open_viewer : callable, optional
        Opens the viewer from its name and port.

    Raises
    ------
    ConfigError
        `target` is neither.
    MissingDependencyError
        Its package is not installed.
    EdgeVlaError
        The port is taken.

    """

    def __init__(self, target: str, say: Callable[[str], None],
                 open_viewer: Callable[[str, int], Viewer] | None = None) -> None:
        self.name, self.port = parse(target)
        self._viewer = (open_viewer or _open)(self.name, self.port)
        self._say = say
        self._newest: View | None = None
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name='live view', daemon=True)
        self._thread.start()

    def show(self, view: View) -> None:
        """Hand over a step; takes microseconds, whatever the viewer does."""
        self._newest = view
        self._wake.set()

    def close(self) -> None:
        """End the thread, unless the viewer holds it, and let go of the port."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._viewer.close()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
            view, self._newest = self._newest, None
            try:
                if view is not None:
                    self._viewer.write(view)
            except Exception as error:  # noqa: B902  a picture is not worth a flight
                self._say(f'no live view in {self.name} any more: '
                          f'{" ".join(str(error).split()) or type(error).__name__}')
                return


def parse(target: str) -> tuple[str, int]:
    """
    Return the viewer and the port that a setting names.

    Raises
    ------
    ConfigError
        It names none.

    """
    name, colon, port = target.strip().partition(':')
    if name not in PORTS or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigError(f'{target!r} is no live view: foxglove or rerun, with :PORT if need be')
    return name, int(port) if colon else PORTS[name]


def _open(name: str, port: int) -> Viewer:
    try:
        return Foxglove(port) if name == 'foxglove' else Rerun(port)
    except ImportError as error:
        raise MissingDependencyError(
            f"a live view in {name} needs its package: pip install 'edge_vla[{name}]'") from error
    except Exception as error:
        raise EdgeVlaError(f'no live view in {name} on port {port}: '
                           f'{" ".join(str(error).split())}') from error


def _bind(host: str, port: int) -> None:
    """Take a port and let go of it; OSError where somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


class Foxglove:
    """
    A WebSocket server that Foxglove opens as ``ws://localhost:PORT``.

    Parameters
    ----------
    port : int
        Of this machine alone.

    """

    def __init__(self, port: int) -> None:
        import foxglove
        from foxglove.channels import CompressedImageChannel, LogChannel
        self._context = context = foxglove.Context()  # its channels close with it
        self._server = foxglove.start_server(name='edge_vla', host=HOST, port=port,
                                             context=context)
        self._messages = foxglove.messages
        numbers = dict.fromkeys(NUMBERS, {'type': 'number'})
        text = dict.fromkeys(('state', 'instruction'), {'type': 'string'})
        self._camera = CompressedImageChannel('/live/camera', context=context)
        self._narration = LogChannel('/live/narration', context=context)
        self._pilot = foxglove.Channel('/live/pilot', context=context, schema={
            'type': 'object', 'title': 'edge_vla.Pilot', 'properties': numbers | text})
        self._said = ''

    def write(self, view: View) -> None:
        """Show a step; the picture is drawn only while somebody looks at it."""
        m, ns = self._messages, view.frame.stamp_ns
        stamp = m.Timestamp(ns // 10**9, ns % 10**9)
        self._pilot.log(view.numbers() | {'state': view.command.state,
                                          'instruction': view.instruction}, log_time=ns)
        if view.narration != self._said:
            self._said = view.narration
            self._narration.log(m.Log(timestamp=stamp, level=m.LogLevel.Info, name='edge_vla',
                                      message=view.narration), log_time=ns)
        if self._camera.has_sinks():
            self._camera.log(m.CompressedImage(timestamp=stamp, frame_id='camera', format='jpeg',
                                               data=view.jpeg()), log_time=ns)

    def close(self) -> None:
        """Let go of the port, which takes Foxglove a moment."""
        port = self._server.port
        self._server.stop()
        end = time.monotonic() + CLOSE_S
        while time.monotonic() < end:
            try:
                _bind(HOST, port)
                return
            except OSError:
                time.sleep(0.02)


class Rerun:
    """
    A server that ``rerun --connect`` shows.

    Parameters
    ----------
    port : int
        Of this machine; unlike Foxglove's, it listens to the whole network.

    Raises
    ------
    OSError
        The port is taken, which Rerun itself would only log.

    """

    def __init__(self, port: int) -> None:
        import rerun
        _bind('', port)
        self._rerun: Any = rerun
        self._stream = rerun.RecordingStream('edge_vla')
        rerun.serve_grpc(grpc_port=port, recording=self._stream,
                         server_memory_limit=RERUN_MEMORY)
        self._said = ''

    def write(self, view: View) -> None:
        """Show a step."""
        rr, stream = self._rerun, self._stream
        stream.set_time('stamp', duration=view.frame.stamp_ns * 1e-9)
        for name, value in view.numbers().items():
            stream.log(f'pilot/{name}', rr.Scalars(value))
        stream.log('camera', rr.EncodedImage(contents=view.jpeg(), media_type='image/jpeg'))
        if view.narration != self._said:
            self._said = view.narration
            stream.log('narration', rr.TextLog(view.narration))

    def close(self) -> None:
        """Let go of the port."""
        self._stream.disconnect()
