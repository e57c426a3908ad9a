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

"""
Tokenizers of checkpoints people download: any byte-level BPE in tokenizer.json or a GGUF file.

Encoding is done by the package tokenizers, an extra; decoding is a table of bytes. The shipped
language head needs neither, see `edge_vla.language.tokenizer`.
"""

import codecs
from collections.abc import Callable, Iterable, Mapping
import json
from pathlib import Path
import re
from typing import Any

from edge_vla.checkpoints.gguf import GgufFile
from edge_vla.exceptions import CheckpointError, MissingDependencyError
from edge_vla.language.tokenizer import BYTE_OF
import numpy as np

BEGIN, END_OF_TURN = '<|begin_of_text|>', '<|eot_id|>'
ENDS = (END_OF_TURN, '<|im_end|>', '<|endoftext|>')  # whatever config.json says
# of LLaMA 3's tokenizer.json
_LLAMA3_PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+')
_LLAMA3_NAMES = ('llama-bpe', 'llama3', 'llama-v3', 'lfm2')  # as llama.cpp knows that expression
_CONTROL, _USER_DEFINED = 3, 4  # types of a token in GGUF


class TextTokenizer:
    """
    Text to token ids and back.

    Parameters
    ----------
    source : str
        The content of a tokenizer.json.
    where : str
        The file, for messages.

    Attributes
    ----------
    special : dict of str to int
        Tokens that text produces only where it is asked for.
    begin : int or None
        The token every prompt begins with.
    size : int
        One more than the largest id.

    Raises
    ------
    CheckpointError
        Malformed, or not byte-level BPE.
    MissingDependencyError
        The package tokenizers is not installed.

    """

    def __init__(self, source: str, where: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependencyError(
                "text needs the package tokenizers: pip install 'edge_vla[language]'") from error
        try:
            self._inner = inner = Tokenizer.from_str(source)
        except Exception as error:  # the package raises nothing more precise
            raise CheckpointError(f'{where}: not a tokenizer.json ({error})') from error
        if type(inner.decoder).__name__ != 'ByteLevel':
            raise CheckpointError(f'{where}: only byte-level BPE is supported')
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True  # as the text they are
        added = inner.get_added_tokens_decoder()
        self.special = {t.content: i for i, t in added.items() if t.special}
        first = inner.encode('a').ids[:1]
        self.begin: int | None = first[0] if first != self._plain('a')[:1] else None
        self._names = {i: t for t, i in inner.get_vocab(with_added_tokens=True).items()}
        self.size = 1 + max(self._names, default=-1)
        self._added, self._hidden = set(added), set(self.special.values())
        longest_first = sorted(self.special, key=len, reverse=True)
        self._cut = re.compile('|'.join(map(re.escape, longest_first)) or '(?!)')
        for name in self.special:  # one that is a whole piece of text and in the vocabulary
            if not self._hidden.isdisjoint(self._plain(name)):
                raise CheckpointError(f'{where}: ordinary text can produce the special token '
                                      f'{name!r}')

    def encode(self, text: str, special: bool = False) -> list[int]:
        """
        Return the token ids of a text.

        Parameters
        ----------
        text : str
            Any; nothing is put before or after it.
        special : bool
            Read the names of special tokens as these, which a user's text must never be.

        """
        ids: list[int] = []
        start = 0
        for match in self._cut.finditer(text) if special else ():
            ids += self._plain(text[start:match.start()])
            ids.append(self.special[match.group()])
            start = match.end()
        return ids + self._plain(text[start:])

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """
        Return the text of token ids.

        Parameters
        ----------
        ids : iterable of int
            Unknown ones give nothing.
        skip_special : bool
            Leave special tokens out instead of naming them.

        """
        return b''.join(self.bytes_of(i, skip_special) for i in ids).decode('utf-8', 'replace')

    def bytes_of(self, token: int, skip_special: bool = True) -> bytes:
        """
        Return what a token stands for, which may be a part of a character.

        Parameters
        ----------
        token : int
            Its id.
        skip_special : bool
            Return nothing for a special token instead of its name.

        """
        name = self._names.get(token, '')
        if skip_special and token in self._hidden:
            return b''
        if token in self._added or not BYTE_OF.keys() >= set(name):
            return name.encode()
        return bytes(BYTE_OF[c] for c in name)

    def token_id(self, name: str) -> int | None:
        """Return the id of a token as the vocabulary writes it, None if there is none."""
        return self._inner.token_to_id(name)

    def _plain(self, text: str) -> list[int]:
        # lone surrogates cannot be UTF-8; they become question marks instead of an error
        clean = text.encode('utf-8', 'replace').decode()
        return self._inner.encode(clean, add_special_tokens=False).ids


class TextStream:
    """
    Turns tokens to text as they come, whole characters only.

    Parameters
    ----------
    tokenizer : TextTokenizer
        Whose tokens they are.

    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder('utf-8')('replace')

    def push(self, token: int) -> str:
        """Return the characters that a token completes, often none."""
        return self._utf8.decode(self._tokenizer.bytes_of(token))

    def finish(self) -> str:
        """Return U+FFFD if the text ended inside a character, else nothing."""
        return self._utf8.decode(b'', final=True)


def load_text_tokenizer(source: Path | str | Mapping[str, Any]) -> TextTokenizer | None:
    """
    Return the tokenizer of a checkpoint, None if it has none.

    Parameters
    ----------
    source : Path, str or Mapping
        A folder with tokenizer.json or with one GGUF file, a file in such a folder, or the
        metadata of a GGUF file.

    Raises
    ------
    CheckpointError
        There is one, but it is malformed or of an unsupported kind.
    MissingDependencyError
        There is one, but the package tokenizers is not installed.

    """
    where = 'the GGUF metadata' if isinstance(source, Mapping) else str(source)
    metadata = source if isinstance(source, Mapping) else gguf_metadata(Path(source))
    if metadata is not None:
        if 'tokenizer.ggml.tokens' not in metadata:
            return None
        return TextTokenizer(json.dumps(tokenizer_json(metadata, where)), where)
    path = folder_of(Path(source)) / 'tokenizer.json'
    if not path.exists():
        return None
    try:
        return TextTokenizer(path.read_text(encoding='utf-8'), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f'{path}: cannot be read ({error})') from error


def folder_of(path: Path) -> Path:
    """Return the folder of a checkpoint given as this or as a file in it."""
    return path if path.is_dir() else path.parent


def gguf_metadata(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a GGUF file, or of the only one in a folder without config.json."""
    if path.is_dir() and not (path / 'tokenizer.json').exists():
        found = sorted(path.glob('*.gguf'))
        path = found[0] if len(found) == 1 else path
    return GgufFile(path).metadata if _is_gguf(path) else None


def _is_gguf(path: Path) -> bool:
    """Tell by its first bytes whether a file is one: downloads have all kinds of names."""
    if path.suffix == '.gguf':
        return path.is_file()
    try:
        with path.open('rb') as file:
            return file.read(4) == b'GGUF'
    except OSError:  # a folder, or nothing: whoever opens the weights says so
        return False


def outer_tokens(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the first and last token of a GGUF file, as tokenizer_config.json."""
    tokens = metadata.get('tokenizer.ggml.tokens', [])
    found = {key: metadata.get(f'tokenizer.ggml.{key}_id') for key in ('bos_token', 'eos_token')}
    return {key: tokens[i] for key, i in found.items()
            if isinstance(i, int) and 0 <= i < len(tokens)}


def tokenizer_json(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """
    Return the tokenizer.json of LLaMA 3's tokenizer in a GGUF file.

    Parameters
    ----------
    metadata : Mapping
        Of the file.
    where : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        It is another kind of tokenizer, or malformed.

    """
    def get(key: str, kind: type, default: Any = None) -> Any:
        value = metadata.get(f'tokenizer.ggml.{key}', default)
        if not isinstance(value, kind):
            raise CheckpointError(f'{where}: tokenizer.ggml.{key} is missing or malformed')
        return value

    tokens, merges = get('tokens', list), get('merges', list)
    kinds = get('token_type', np.ndarray).tolist()
    model, pre = get('model', str), get('pre', str, 'default')
    # Microsoft's file of BitNet 2B4T does not name the expression
    if model != 'gpt2' or pre not in (*_LLAMA3_NAMES, *(['default'] if BEGIN in tokens else [])):
        raise CheckpointError(f'{where}: only the tokenizer of LLaMA 3 (gpt2, {_LLAMA3_NAMES[0]}) '
                              f'is read from GGUF, this is {model}, {pre}: use the checkpoint in '
                              "Hugging Face's layout")
    if not all(isinstance(text, str) for text in (*tokens, *merges)) or not (
            len(set(tokens)) == len(tokens) == len(kinds)):
        raise CheckpointError(f'{where}: the lists under tokenizer.ggml do not fit together')
    added = [{'id': i, 'content': token, 'special': kind == _CONTROL, 'normalized': False,
              'single_word': False, 'lstrip': False, 'rstrip': False}
             for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
             if kind in (_CONTROL, _USER_DEFINED)]
    levels = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True,
              'use_regex': False}
    split = {'type': 'Split', 'pattern': {'Regex': _LLAMA3_PIECES}, 'behavior': 'Isolated',
             'invert': False}
    bpe = {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': None,
           'end_of_word_suffix': None, 'fuse_unk': False, 'byte_fallback': False,
           'ignore_merges': True, 'vocab': {t: i for i, t in enumerate(tokens)},
           'merges': merges}
    return {'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': added,
            'normalizer': None, 'decoder': levels, 'model': bpe,
            'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [split, levels]},
            'post_processor': _beginning(tokens, get)}


def _beginning(tokens: list[str], get: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the step that puts the first token before a prompt."""
    first = get('bos_token_id', int, -1)
    if not 0 <= first < len(tokens) or not get('add_bos_token', bool, True):
        return None
    return {'type': 'TemplateProcessing',
            'single': [{'SpecialToken': {'id': tokens[first], 'type_id': 0}},
                       {'Sequence': {'id': 'A', 'type_id': 0}}],
            'pair': [{'Sequence': {'id': 'A', 'type_id': 0}},
                     {'Sequence': {'id': 'B', 'type_id': 1}}],
            'special_tokens': {tokens[first]: {'id': tokens[first], 'ids': [first],
                                               'tokens': [tokens[first]]}}}
