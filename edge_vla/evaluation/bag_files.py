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

"""Opening the files of a recording, and saying in one line why they cannot be read."""

from pathlib import Path
from typing import Any

from edge_vla.evaluation.bag_messages import rosbags
from edge_vla.exceptions import BagError

SUFFIXES = ('.mcap', '.db3', '.bag')
# What rosbags says about bags that are whole, but not for it.
UNSUPPORTED = ('not supported', 'Profile is not ros2', 'not indexed', 'not in timestamp order',
               'give the folder')
# What reads around the damage in a file.
RESCUE = {'.mcap': 'mcap recover', '.db3': 'the command .recover of sqlite3',
          '.bag': 'rosbag reindex'}
# Of these there is nothing left that it could read.
LOST = ('File magic', 'seems to be empty', 'not a database', 'missing tables', 'Zstandard',
            'Compressed file', 'codec')
REINDEX = 'ros2 bag reindex writes metadata.yaml anew'


def ros_of(path: Path) -> int:
    """Return which ROS has written a bag; a folder may be called anything."""
    return 1 if path.suffix == '.bag' and not path.is_dir() else 2


def kind_of(path: Path) -> str:
    """Return what reports call the recording."""
    if ros_of(path) == 1:
        return 'ROS 1 bag'
    files = [path] if path.is_file() else sorted(path.iterdir())
    storage = {'.mcap': 'mcap', '.db3': 'sqlite3'}
    for file in files:
        for suffix, name in storage.items():
            if suffix in file.suffixes:
                return f'rosbag2 ({name})'
    return 'rosbag2'


def open_reader(path: Path) -> Any:
    """
    Return an open ``rosbags`` reader.

    Raises
    ------
    BagError
        It is no bag, an empty or a damaged one; the message says what to do.

    """
    r = rosbags()
    try:
        if not path.exists():
            raise BagError(f'{path} does not exist')
        if not path.is_dir() and path.suffix not in SUFFIXES:
            raise BagError(f'{path} is neither a rosbag2 folder nor a {", ".join(SUFFIXES)} file')
        if path.is_dir() and not (path / 'metadata.yaml').is_file():
            raise BagError(f'{path} is no rosbag2: it has no metadata.yaml{_inside(path)}')
        reader = (r.rosbag1 if ros_of(path) == 1 else r.rosbag2).Reader(path)
        reader.open()
    except BagError:
        raise
    except Exception as error:  # noqa: B902  rosbags has many ways to fail
        raise broken(path, error) from error
    for number in (reader.message_count, reader.start_time, reader.duration,
                   *(c.msgcount for c in reader.connections)):
        if not isinstance(number, int):
            reader.close()
            raise BagError(f'{path} cannot be read: its metadata.yaml holds {number!r} in the '
                           f'place of a number; {REINDEX}')
    if not reader.message_count or not any(c.msgcount for c in reader.connections):
        reader.close()
        raise BagError(f'{path} is empty: it holds no messages' + (
            f'; if its files do, {REINDEX}' if path.is_dir() else ''))
    return reader


def _inside(folder: Path) -> str:
    """Say what to give instead of a folder that is no recording, but holds some."""
    files = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if files:
        return f'; give its file instead: {folder / files[0]}'
    bags = sorted(p.parent.name for p in folder.glob('*/metadata.yaml'))
    if bags:
        return f'; it holds recordings, give one or several of them: {", ".join(bags)}'
    return ', and no recordings in it'


def broken(path: Path, error: Exception, message: bool = False) -> BagError:
    """
    Say in one line why a bag cannot be read.

    Parameters
    ----------
    path : Path
        The file or folder that was asked for.
    error : Exception
        What ``rosbags`` raised.
    message : bool
        Whether it was about the content of a message, rather than about a file.

    """
    detail = ' '.join(str(error).split()) or type(error).__name__
    detail = detail.replace('; please report issue', '').rstrip('.')
    system = error if isinstance(error, OSError) else error.__cause__
    if isinstance(system, OSError) and system.strerror:  # no permission, no space to unpack it
        return BagError(f'{path} cannot be read: {system.strerror}' + (
            '' if system.filename in (None, str(path)) else f' ({system.filename})'))
    if 'not indexed' in detail and ros_of(path) == 1:
        detail = 'it was not closed when it was recorded; run rosbag reindex on it'
        return BagError(f'{path} cannot be read: {detail}')
    if 'files are missing' in detail:
        return BagError(f'{path} cannot be read: {detail}; put them back, or {REINDEX}')
    if any(text in detail for text in UNSUPPORTED):
        return BagError(f'{path} cannot be read: {detail}')
    suffix = path.suffix
    if path.is_dir():
        text = (path / 'metadata.yaml').read_text(errors='replace')
        for storage, ending in (('sqlite3', '.mcap'), ('mcap', '.db3')):
            if f'storage_identifier: {storage}' in text and f'{ending}\n' in text:
                return BagError(f'{path} cannot be read: its metadata.yaml says {storage}, but '
                                f'its files are {ending}; correct storage_identifier')
        suffix = '.mcap' if 'storage_identifier: mcap' in text else '.db3'
    todo = ''
    if path.is_dir() and 'metadata' in detail.replace(str(path), ''):
        todo = f'; {REINDEX}'
    elif not message and suffix in RESCUE and not any(text in detail for text in LOST):
        todo = f'; {RESCUE[suffix]} may save the rest'
    return BagError(f'{path} cannot be read, it is truncated or corrupt: {detail}{todo}')
