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
Byte-level BPE tokenizer in pure Python, reading Hugging Face's tokenizer.json.

Only the runtime half: encoding and decoding. Supported is what the shipped tokenizer uses: a
``Split`` on a regular expression that Python's ``re`` understands, then ``ByteLevel``.
"""

import json
from pathlib import Path
import re

from edge_vla.exceptions import CheckpointError


def _byte_alphabet() -> list[str]:
    """Return the printable stand-in of every byte (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(extra)) for b in range(256)]


_BYTES = _byte_alphabet()
BYTE_OF = {c: b for b, c in enumerate(_BYTES)}


class Tokenizer:
    """
    Text to token ids and back.

    Parameters
    ----------
    vocab : dict of str to int
    merges : list of tuple of str
        In order of rank.
    special : dict of str to int
        Tokens that text never produces.
    pattern : str
        Regular expression that cuts text into pieces merged on their own.

    Attributes
    ----------
    size : int
        One more than the largest id.

    """

    def __init__(self, vocab: dict[str, int], merges: list[tuple[str, str]],
                 special: dict[str, int], pattern: str) -> None:
        self.special = special
        self._vocab = vocab
        self._ranks = {pair: k for k, pair in enumerate(merges)}
        self._names = {i: t for t, i in vocab.items()} | {i: t for t, i in special.items()}
        self._pattern = re.compile(pattern)
        self._known: dict[str, list[int]] = {}
        self.size = 1 + max(self._names)

    @classmethod
    def load(cls, path: Path) -> 'Tokenizer':
        """
        Read a tokenizer.json.

        Raises
        ------
        CheckpointError
            Missing, malformed or of a kind this reader does not know.

        """
        try:
            raw = json.loads(path.read_text(encoding='utf-8'))
            model, pre = raw['model'], raw['pre_tokenizer']
            kinds = [p['type'] for p in pre['pretokenizers']]
            if model['type'] != 'BPE' or kinds != ['Split', 'ByteLevel'] or raw['normalizer']:
                raise CheckpointError(f'{path}: only byte-level BPE with one Split is supported')
            merges = [tuple(m.split(' ')) if isinstance(m, str) else tuple(m)
                      for m in model['merges']]
            special = {t['content']: int(t['id']) for t in raw['added_tokens']}
            vocab = {t: int(i) for t, i in model['vocab'].items() if t not in special}
            pattern = pre['pretokenizers'][0]['pattern']['Regex']
            return cls(vocab, merges, special, pattern)
        except OSError as error:
            raise CheckpointError(f'{path}: cannot be read ({error.strerror})') from error
        except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
            raise CheckpointError(f'{path}: not a tokenizer.json this reader knows '
                                  f'({error})') from error

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`; never special tokens, any text can be encoded."""
        ids: list[int] = []
        start = 0
        for match in self._pattern.finditer(text):
            if match.start() > start:
                ids += self._piece(text[start:match.start()])
            ids += self._piece(match.group())
            start = match.end()
        return ids + self._piece(text[start:])

    def decode(self, ids: list[int]) -> str:
        """Return the text of token ids; special tokens by name, broken bytes as U+FFFD."""
        out = bytearray()
        for i in ids:
            name = self._names.get(i, '')
            out += name.encode() if name in self.special else bytes(BYTE_OF[c] for c in name)
        return out.decode('utf-8', 'replace')

    def _piece(self, piece: str) -> list[int]:
        if piece not in self._known:
            ids = self._merge(piece)
            if len(self._known) > 4096:
                self._known.clear()
            self._known[piece] = ids
        return self._known[piece]

    def _merge(self, piece: str) -> list[int]:
        # lone surrogates cannot be UTF-8; they become question marks instead of an error
        parts = [_BYTES[b] for b in piece.encode('utf-8', 'replace')]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:], strict=False))
            best = min(pairs, key=lambda p: self._ranks.get(p, len(self._ranks)))
            if best not in self._ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if i < len(pairs) and pairs[i] == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return [self._vocab[p] for p in parts]
