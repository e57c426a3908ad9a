#!/usr/bin/env bash
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

# Make a virtual environment with edge_vla, editable, and everything but PyTorch.
#   tools/install.sh VENV [PYTHON]
# With a ROS 2 installation sourced, that ROS 2 is used; otherwise it comes from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
python=${2:-}
extras=sim,bag,viz,foxglove,language,docs,test

good() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' > /dev/null 2>&1; }

if [ -n "${AMENT_PREFIX_PATH:-}" ] && "${python:-python3}" -c 'import rclpy' 2> /dev/null; then
  python=${python:-python3}
  ros=installed
  echo "edge_vla: using the ROS 2 installation that is sourced (${ROS_DISTRO:-unnamed})"
else
  ros=wheels
  for candidate in ${python:-python3.11 python3 python3.12 python3.13 python3.10}; do
    if good "$candidate"; then python=$candidate && break; fi
  done
  if [ "$(uname -sm)" = 'Linux x86_64' ]; then
    extras=ros,$extras
    echo 'edge_vla: no ROS 2 is sourced, so ROS 2 Kilted comes from PyPI (no root needed)'
  else
    echo "edge_vla: PyPI has no ROS 2 for $(uname -sm). Everything but the nodes and the demo will" >&2
    echo '  work; for those install ROS 2 (docs.ros.org), source its setup.bash, make install.' >&2
  fi
fi
if ! good "${python:-python3}"; then
  echo "edge_vla: needs Python 3.10 or newer with venv; '${python:-python3}' is not." >&2
  echo '  Debian and Ubuntu: apt install python3 python3-venv. Or: make install PYTHON=/path/to/python3' >&2
  exit 1
fi

if [ ! -x "$venv/bin/python" ]; then
  echo "edge_vla: making $venv with $("$python" --version)"
  options=()
  [ "$ros" = installed ] && options=(--system-site-packages)
  "$python" -m venv "${options[@]}" "$venv"
fi
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
if [ "$ros" = installed ]; then
  # its messages were compiled against this NumPy: stay on its major version
  "$python" - > "$constraints" <<'PYTHON'
import numpy
print(f'numpy<{int(numpy.__version__.split(".")[0]) + 1}')
PYTHON
fi
echo "edge_vla: installing the package with its extras ($extras); a minute or two"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --retries 5 \
  --constraint "$constraints" --editable ".[$extras]"
echo "edge_vla: installed. Next: make demo, make test, $venv/bin/edge-vla doctor"
