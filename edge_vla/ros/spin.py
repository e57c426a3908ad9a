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


"""Start, run and end a node so that it always leaves in order."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
import signal
import sys
import time
import types

from edge_vla.exceptions import EdgeVlaError
import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

HEAR_S = 0.3  # for a node that `lingers` to hear and pass on the last command of another
END_S = 5  # for the middleware to end; every node has sent its last command before


def run(make: Callable[[], Node], name: str) -> int:
    """Run one node until SIGINT or SIGTERM and return the exit status; see `run_all`."""
    return run_all({name: make}, sys.argv)


def run_all(makers: Mapping[str, Callable[[], Node]], arguments: Sequence[str]) -> int:
    """
    Run nodes in this process until SIGINT or SIGTERM, or until one says it is `finished`.

    rclpy's own handlers end the context at once; here every node first gets its ``close()``,
    so that a last zero command still goes out.

    Parameters
    ----------
    makers : mapping
        Name of each node, for messages, to what makes it; closed in this order.
    arguments : sequence of str
        Command line: names of the nodes, and what follows ``--ros-args`` holds for all.

    Returns
    -------
    int
        Exit status: 2 for wrong input, else the largest `status` a node ends with.

    """
    stopping = False

    def stop(_signal: int, _frame: types.FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # noqa: B902  rclpy raises a different one for every reason
        said = ' '.join(str(error).split()).partition(', at /')[0]  # without lines of its sources
        print(f'{next(iter(makers))}: ROS does not start: {type(error).__name__}: {said}',
              file=sys.stderr)
        return 2
    rest = [word for word in remove_ros_args(list(arguments))[1:] if word not in makers]
    if rest:
        print(f'{next(iter(makers))}: unknown argument {rest[0]!r}: what ROS is to read stands '
              'after --ros-args', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    nodes: list[Node] = []
    executor = SingleThreadedExecutor()  # the events executor of some wheels hangs
    try:
        for make in makers.values():
            nodes.append(make())
            executor.add_node(nodes[-1])
        while rclpy.ok() and not stopping and not any(
                getattr(node, 'finished', False) for node in nodes):
            executor.spin_once(timeout_sec=0.1)
    except (EdgeVlaError, NameValidationException) as error:  # of topics
        print(f'{list(makers)[min(len(nodes), len(makers) - 1)]}: {" ".join(str(error).split())}',
              file=sys.stderr)
        return 2
    except ExternalShutdownException:
        pass
    finally:
        for node in nodes:
            if getattr(node, 'lingers', False):
                _hear(executor, time.monotonic() + HEAR_S)
            node.close()
            executor.remove_node(node)
        # Fast DDS 3.2 can spin for ever, holding the interpreter, when several nodes end at once
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(END_S)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
        signal.alarm(0)
    return max((getattr(node, 'status', 0) for node in nodes), default=0)


def _hear(executor: SingleThreadedExecutor, until: float) -> None:
    """Go on for a moment, whatever happens."""
    while rclpy.ok() and time.monotonic() < until:
        with suppress(Exception):
            executor.spin_once(timeout_sec=0.02)
