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


"""Several nodes in one process: one interpreter, one executor, less memory and switching."""

from importlib import import_module
import sys

from edge_vla.ros import spin

# the pilot first: it is closed first and sends its last zero while the others still listen
NODES = {'vla_node': 'VlaNode', 'px4_offboard_node': 'Px4OffboardNode',
         'ardupilot_node': 'ArduPilotNode', 'sim_node': 'SimNode',
         'bag_player_node': 'BagPlayerNode'}


def main() -> int:
    """
    Run the nodes that are named before ``--ros-args``.

    Parameters and remappings hold for all of them; ``-r NODE:FROM:=TO`` and
    ``-p NODE:NAME:=VALUE`` reach one alone.
    """
    words = sys.argv[1:]
    names = words[:words.index('--ros-args')] if '--ros-args' in words else words
    unknown = [n for n in names if n not in NODES]
    if unknown or not names or len(set(names)) < len(names):
        print(f'usage: single_process NODE... [--ros-args ...], NODE one of {", ".join(NODES)}',
              file=sys.stderr)
        return 2
    makers = {name: getattr(import_module(f'edge_vla.ros.{name}'), NODES[name])
              for name in NODES if name in names}
    return spin.run_all(makers, sys.argv)


if __name__ == '__main__':
    raise SystemExit(main())
