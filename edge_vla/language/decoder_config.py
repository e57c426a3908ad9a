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

"""What the configurations of all decoders share: sizes, heads, and how config.json is read."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
import math
from pathlib import Path
from typing import Any, TypeVar

from edge_vla.checkpoints.sources import read_json
from edge_vla.exceptions import CheckpointError

T = TypeVar('T', bound='DecoderConfig')
_PLAIN = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a word'}
_MOST = 1 << 31  # more than any size of a model


class DecoderConfig(ABC):
    """
    Base of the frozen dataclasses that describe a decoder in the words of config.json.

    Attributes
    ----------
    hidden_size, num_attention_heads, num_key_value_heads : int
        Fields of every subclass.

    """

    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int

    def _check_positive(self) -> None:
        """Refuse numbers, other than ids of tokens, that are not positive, or too large."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and 'token' not in f.name and value < 1 or (
                    f.type is float and not 0 < value < math.inf):
                raise CheckpointError(f'{f.name} must be positive, is {value}')
            if f.type is int and value >= _MOST:
                raise CheckpointError(f'{f.name} must be less than {_MOST}')

    def _check_heads(self) -> None:
        """Refuse heads that do not divide what they share, or cannot be rotated."""
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(f'hidden_size {self.hidden_size} is not a multiple of '
                                  f'num_attention_heads {self.num_attention_heads}')
        if self.num_attention_heads % self.num_key_value_heads:
            raise CheckpointError(
                f'num_attention_heads {self.num_attention_heads} is not a multiple of '
                f'num_key_value_heads {self.num_key_value_heads}')
        if self.head_dim % 2:
            raise CheckpointError(f'head size {self.head_dim} is odd: RoPE needs pairs')

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        """Width of the keys (and of the values) of one token."""
        return self.num_key_value_heads * self.head_dim

    @classmethod
    def load(cls: type[T], path: Path) -> T:
        """
        Read a config.json.

        Parameters
        ----------
        path : Path
            The file.

        Raises
        ------
        CheckpointError
            Missing, malformed, or of another architecture.

        """
        return cls.from_dict(read_json(path), str(path))

    @classmethod
    def from_dict(cls: type[T], values: Mapping[str, Any], where: str) -> T:
        """
        Take what is needed from the keys of a config.json.

        Parameters
        ----------
        values : Mapping
            As in config.json, from whichever kind of file; how the weights are stored is not
            looked at.
        where : str
            The file, for messages.

        Raises
        ------
        CheckpointError
            A value is malformed, or of another architecture.

        """
        cls._check_architecture(values, where)
        # newer files keep rope_theta here
        raw = cls._complete(values)
        for key in ('rope_scaling', 'rope_parameters'):
            rope = values.get(key) or {}
            if not isinstance(rope, Mapping):
                raise CheckpointError(f'{where}: the parameters of RoPE are not a table')
            if any(isinstance(value, Mapping) for value in rope.values()):
                raise CheckpointError(f'{where}: RoPE differs by kind of layer, which is not '
                                      'supported')
            kind = rope.get('rope_type', rope.get('type', 'default'))
            if kind != 'default':
                raise CheckpointError(f'{where}: rope_type {kind!r} is not supported')
            raw |= rope
        try:
            config = cls(**{f.name: _plain(f.type, f.name, raw[f.name], where)
                            for f in fields(cls) if f.type in _PLAIN
                            and raw.get(f.name) is not None} | cls._computed(raw))
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f'{where}: a value has the wrong type ({error})') from error
        if values.get('head_dim', config.head_dim) not in (None, config.head_dim):
            raise CheckpointError(f'{where}: head_dim {values["head_dim"]} is not hidden_size / '
                                  f'num_attention_heads = {config.head_dim}')
        return config

    @staticmethod
    @abstractmethod
    def _check_architecture(values: Mapping[str, Any], where: str) -> None:
        """Refuse the configuration of another architecture."""

    @staticmethod
    @abstractmethod
    def _complete(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with what a file may leave out, as in transformers."""

    @abstractmethod
    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name of every tensor in Hugging Face's files, and its shape as floats."""

    @staticmethod
    def _computed(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are more than the value of one key."""
        return {}


def token_ids(value: Any) -> tuple[int, ...]:
    """Return the ids of tokens that a file gives as one, as a list, or as None for none."""
    ids = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if wrong := [i for i in ids if isinstance(i, bool) or not isinstance(i, int | float) or i % 1]:
        raise TypeError(f'{wrong[0]!r} is no token')
    return tuple(int(i) for i in ids)


def _plain(kind: type, name: str, value: Any, where: str) -> Any:
    """Return a value that is what it should be, 2.0 as 2 and 2 as 2.0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (number and (kind is float or kind is int and value % 1 == 0)
            or kind in (bool, str) and isinstance(value, kind)):
        return kind(value)
    raise CheckpointError(f'{where}: {name} is {value!r}, expected {_PLAIN[kind]}')
