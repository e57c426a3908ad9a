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

# Run the tests: on all cores, then the live ones, which need the machine for themselves.
#   tools/test.sh PYTHON [arguments of pytest]
set -uo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
status=0
run() {
  "$python" -m pytest -q "$@"
  local ended=$?
  # 5: the arguments leave nothing of this part
  if [ "$ended" -ne 0 ] && [ "$ended" -ne 5 ]; then status=$ended; fi
}
run -m 'not live' -n auto --dist loadfile "$@"
run -m live "$@"
exit "$status"
