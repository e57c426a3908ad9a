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


"""Generate text with a BitNet or LFM2 model on this CPU."""

import argparse
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import Any

from edge_vla.exceptions import ConfigError

SAMPLING = (
    ('--temperature', float, 'higher is more varied; 0 takes the likeliest token (default)'),
    ('--top-k', int, 'only the k likeliest tokens; 0 is all (default)'),
    ('--top-p', float, 'only the likeliest tokens that make up this probability (default 1)'),
    ('--repetition-penalty', float, 'above 1 makes tokens said before less likely (default 1)'),
    ('--seed', int, 'of the random numbers (default 0); with a model as --draft it repeats the '
     'law of a text, not the text'))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('prompt', nargs='?', help='what to continue; - reads standard input')
    parser.add_argument('--model', type=Path, required=True, help='Hugging Face folder, GGUF file '
                        'or what edge-vla convert wrote')
    parser.add_argument('--ids', metavar='"N N"', help='token ids instead of a prompt; prints the '
                        'ids that follow')
    parser.add_argument('--chat', action='store_true', help='the prompt is what a user says')
    parser.add_argument('--system', default='', metavar='TEXT', help='said before the user')
    parser.add_argument('--max-tokens', type=int, default=128, help='most tokens (default 128)')
    parser.add_argument('--stop', action='append', default=[], metavar='TEXT',
                        help='end before this; may be given again')
    for name, kind, text in SAMPLING:  # what is not given stays absent
        parser.add_argument(name, type=kind, default=argparse.SUPPRESS,
                            metavar=kind.__name__.upper(), help=text)
    parser.add_argument('--threads', type=int, default=0, help='0 is what suits (default)')
    parser.add_argument('--context', type=int, default=0, help='most tokens of prompt and answer; '
                        '0 is what the model was made for (default)')
    parser.add_argument('--kv', default='auto', help='cache: float32, float16 or int8')
    parser.add_argument('--head', default='auto', help='embedding: float32, int8, int6 or int4')
    parser.add_argument('--weights', default='auto', help='of LFM2: float32, int8, int4 or q4_0')
    parser.add_argument('--draft', metavar='MODEL', help='a smaller model that proposes tokens, '
                        'or ngram for what the text repeats: faster, the same law')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report there')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.language.decoder import DecoderSettings, load_decoder
    from edge_vla.language.sampling import SamplingConfig
    from edge_vla.memory import peak_memory_mb

    names = [flag[2:].replace('-', '_') for flag, *_ in SAMPLING]
    sampling = SamplingConfig(**{n: getattr(args, n) for n in names if n in args})
    prompt = _prompt(args)
    if args.ids is not None and args.stop:
        raise ConfigError('--stop is text, and --ids asks for none: leave out one of them')
    try:
        settings = DecoderSettings(threads=args.threads, kv=args.kv, head=args.head,
                                   weights=args.weights, capacity=args.context)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    decoder = load_decoder(args.model, settings, lambda line: print(line, file=sys.stderr))
    show = args.ids is None
    if not show:
        decoder.tokenizer = None  # ids in, ids out
    draft = None if args.draft is None else _draft(args, settings, decoder, sampling)
    done = decoder.generate(prompt, draft=draft, max_tokens=args.max_tokens, sampling=sampling,
                            stop=args.stop, chat=args.chat, system=args.system,
                            on_text=_write if show else None)
    print('' if show else ' '.join(map(str, done.ids)))
    report = asdict(done) | {
        'model': str(args.model), 'tokens_per_second': done.tokens_per_second,
        'prompt_tokens_per_second': done.prompt_tokens_per_second,
        'peak_memory_mb': peak_memory_mb()}
    print(f'{len(done.ids)} tokens ({done.finish}), {done.tokens_per_second:.1f} tokens/s, first '
          f'token after {done.first_token_seconds:.2f} s, prompt of {done.prompt_tokens} tokens '
          f'at {done.prompt_tokens_per_second:.1f} tokens/s, peak memory '
          f'{report["peak_memory_mb"]:.0f} MB', file=sys.stderr)
    if draft is not None:
        print(f'{done.kept_tokens} of {done.drafted_tokens} proposed tokens kept', file=sys.stderr)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + '\n')
        print(f'wrote {args.json}', file=sys.stderr)
    return 0


def _draft(args: argparse.Namespace, settings: Any, decoder: Any, sampling: Any) -> Any:
    """Return what proposes tokens."""
    from dataclasses import replace

    from edge_vla.language.decoder import load_decoder
    from edge_vla.language.drafts import draft_for
    from edge_vla.language.ngram import NGramDraft

    if args.draft == 'ngram':
        return NGramDraft()
    other = load_decoder(args.draft, replace(settings, head='auto', weights='auto'),
                         lambda line: print(line, file=sys.stderr))
    if decoder.tokenizer is None:
        other.tokenizer = None
    return draft_for(decoder, other, sampling)


def _write(piece: str) -> None:
    encoding = sys.stdout.encoding or 'utf-8'  # a terminal need not know every letter
    print(piece.encode(encoding, 'replace').decode(encoding), end='', flush=True)


def _prompt(args: argparse.Namespace) -> Any:
    """Return the text, or the token ids, that the arguments give."""
    if (args.prompt is None) == (args.ids is None):
        raise ConfigError('give a prompt or --ids')
    try:
        if args.ids is not None:
            return [int(i) for i in args.ids.replace(',', ' ').split()]
        if args.prompt == '-' and sys.stdin is None:
            raise ConfigError('standard input is closed: give the prompt as an argument')
        return sys.stdin.read().removesuffix('\n') if args.prompt == '-' else args.prompt
    except UnicodeDecodeError as error:
        raise ConfigError(f'standard input is not text ({error})') from error
    except ValueError as error:
        raise ConfigError(f'--ids {args.ids!r}: expected numbers, like "1 2 3"') from error
