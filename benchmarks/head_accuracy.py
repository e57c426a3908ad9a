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
What a quantised head or cache changes: agreement of logits with float32.

``python benchmarks/head_accuracy.py [CHECKPOINT]``; without one, the shipped language head on
instructions, else the checkpoint on token ids that it continued itself from random starts.
"""

from pathlib import Path
import sys

from edge_vla.language.decoder import Decoder, DecoderSettings, load_decoder
from edge_vla.language.head import BEGIN, canonical, PLAN
from edge_vla.language.plan import COLOURS, Plan, SHAPES, VERBS
from edge_vla.language.tokenizer import Tokenizer
from edge_vla.sim.instructions import sample_instruction
import numpy as np

SHIPPED = Path(__file__).parents[1] / 'edge_vla' / 'checkpoints' / 'pilot' / 'language'
KINDS = [('float32', 'float32'), ('float32', 'float16'), ('float32', 'int8'), ('int8', 'int8'),
         ('int6', 'int8'), ('int4', 'int8')]


def sequences(path: Path, exact: Decoder) -> list[list[int]]:
    """Return what to read."""
    rng = np.random.default_rng(0)
    if path == SHIPPED:
        tokenizer = Tokenizer.load(path / 'tokenizer.json')
        slots = VERBS[:-1], COLOURS, SHAPES
        texts = [sample_instruction(rng, Plan(*(str(rng.choice(slot)) for slot in slots)),
                                    'held_out') for _ in range(300)]
        return [[tokenizer.special[BEGIN], *tokenizer.encode(canonical(text)),
                 tokenizer.special[PLAN]] for text in texts]
    out = []
    for _ in range(6):
        ids = rng.integers(0, exact.config.vocab_size, 4).tolist()
        exact.cache.truncate(0)
        logits = exact.forward(ids)
        for _ in range(28):
            ids.append(int(logits.argmax()))
            logits = exact.forward(ids[-1:])
        out.append(ids)
    return out


def main() -> None:
    """Print a table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    want, read = [], []
    print(f'{"head":8} {"cache":8} {"same first":>10} {"same first five":>15} {"rms error":>10}')
    for head, kv in KINDS:
        decoder = load_decoder(path, DecoderSettings(head=head, kv=kv, capacity=256))
        read = read or sequences(path, decoder)
        got = []
        for ids in read:
            decoder.cache.truncate(0)
            got.append(decoder.logits(ids))
        want = want or got
        a, b = np.concatenate(want), np.concatenate(got)
        five = np.mean([len(set(x) & set(y)) / 5 for x, y in zip(
            np.argsort(a)[:, -5:], np.argsort(b)[:, -5:], strict=True)])
        error = np.sqrt(((a - b) ** 2).mean() / a.var())
        print(f'{head:8} {kv:8} {(a.argmax(1) == b.argmax(1)).mean():10.4f} {five:15.4f} '
              f'{error:10.5f}', flush=True)
        decoder.close()


if __name__ == '__main__':
    main()
