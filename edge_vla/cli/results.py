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

"""Files of results, looked at before the work that they are of."""

from pathlib import Path
import tempfile

from edge_vla.exceptions import ConfigError


def need_writable(file: Path) -> None:
    """
    Make the folder of a file, and see whether the file can be written; leave it as it was.

    Raises
    ------
    ConfigError
        It cannot.

    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file() or file.is_dir():
            file.open('ab').close()  # os.access says yes in /proc
        elif not file.exists():  # or is a link to what is not there yet
            tempfile.TemporaryFile(dir=file.resolve().parent).close()
    except OSError as error:
        raise ConfigError(f'{file} cannot be written: {error.strerror}') from error
