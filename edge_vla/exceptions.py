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

"""Errors a caller may want to catch, each with one clear message."""


class EdgeVlaError(Exception):
    """Base of every error edge_vla raises on purpose: says what is wrong and what to do."""


class ConfigError(EdgeVlaError):
    """A setting is unknown, has the wrong type or lies outside its range."""


class ImageError(EdgeVlaError):
    """An image cannot be used: unknown encoding, wrong size, truncated data."""


class CheckpointError(EdgeVlaError):
    """A checkpoint is missing, truncated, corrupt or does not match its configuration."""


class BagError(EdgeVlaError):
    """A recording cannot be read, is empty, or has no usable image topic."""


class InstructionError(EdgeVlaError):
    """An instruction is empty, too long or not text."""


class MissingDependencyError(EdgeVlaError):
    """An optional package is not installed; the message names the extra that brings it."""


def in_one_line(error: Exception) -> str:
    """Return what an error says, in one line; unexpected ones with their type."""
    told = ' '.join(str(error).split())
    known = isinstance(error, EdgeVlaError | TimeoutError)
    return told if known else f'{type(error).__name__}: {told}'
