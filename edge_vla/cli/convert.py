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

"""Convert a BitNet checkpoint to the memory-mapped format, which loads in under a second."""

import argparse
from pathlib import Path
import sys
import time

from edge_vla.exceptions import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('source', type=Path, help='Hugging Face folder or GGUF file of BitNet '
                        '(packed or masters; I2_S, TQ1_0, TQ2_0) or LFM2 (Q4_0, Q8_0, F16)')
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--head', default='auto', choices=('auto', 'float32', 'int8', 'int6',
                                                           'int4'),
                        help='what the embedding and head are kept in (default int6; of LFM2 int8)'
                        )
    parser.add_argument('--weights', default='auto', choices=('auto', 'float32', 'int8', 'int4',
                                                              'q4_0'),
                        help='what the matrices of an LFM2 are kept in: int4 takes 4.25 bits a '
                        'weight, q4_0, which GGUF files have, 4.5 (default: as a GGUF file has '
                        'them, else int4)')
    parser.add_argument('--no-sketch', action='store_true', help='save 12 %% of the memory, and '
                        'read the whole head for the likeliest token too')
    parser.add_argument('--packing', default='auto', help='5bit (smaller; fast with AVX-512 VBMI) '
                        'or 2bit (default: by this CPU; either can be loaded anywhere)')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.language.decoder import DecoderSettings, read_model
    from edge_vla.language.sketch import unsketched
    from edge_vla.language.store import save_model

    try:
        settings = DecoderSettings(head=args.head, packing=args.packing, weights=args.weights)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    started = time.monotonic()
    model = read_model(args.source, settings, lambda line: print(line, file=sys.stderr),
                       original=True)
    if args.no_sketch:
        model = unsketched(model)
    path = save_model(model, args.out, args.source)
    print(f'wrote {path}: {path.stat().st_size / 1e6:.1f} MB ({model.packing} body '
          f'{model.tensors["body"].nbytes / 1e6:.1f} MB, {model.head} head '
          f'{model.tensors["head"].nbytes / 1e6:.1f} MB) in {time.monotonic() - started:.0f} s')
    return 0
