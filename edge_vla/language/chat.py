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
Conversations as the tokens a model was tuned on.

A checkpoint's own template is a Jinja program, run in a sandbox by the package jinja2, an extra.
Those of BitNet b1.58 2B4T and of LFM2 are built in.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
import json
from pathlib import Path
import re
from typing import Any

from edge_vla.checkpoints.sources import read_json
from edge_vla.exceptions import CheckpointError, InstructionError, MissingDependencyError
from edge_vla.language.text_tokenizer import (
    BEGIN,
    END_OF_TURN,
    folder_of,
    gguf_metadata,
    outer_tokens,
    TextTokenizer,
)

BITNET = ('{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '
          "message['role'] | capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}"
          "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")
# what all templates of LFM2 come to without tools
CHATML = ("{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
          "+ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|im_start|>assistant\n' }}{% endif %}")
# Microsoft's GGUF of 2B4T has a placeholder for a template, under which the model never stops.
_PLACEHOLDER = 'BITNETAssistant'
_ROLES = ('system', 'user', 'assistant')
_SAFE_JINJA = [3, 1, 6]
_FREE = range(0xF0000, 0xFFFFE)  # characters for private use, which text hardly ever holds


class ChatTemplate:
    """
    Turns messages into a prompt.

    Parameters
    ----------
    source : str
        A Jinja template as in tokenizer_config.json; that of BitNet 2B4T by default.
    begin : str
        The name of the first token, which a template may use.
    end : str
        The name of the last token, which a template may use.

    """

    def __init__(self, source: str = BITNET, begin: str = BEGIN,
                 end: str = '<|end_of_text|>') -> None:
        self._source = BITNET if _PLACEHOLDER in source else source
        self._begin, self._end = begin, end
        self._compiled: Any = None

    def encode(self, tokenizer: TextTokenizer, messages: Sequence[Mapping[str, str]],
               reply: bool = True) -> list[int]:
        """
        Return the token ids of a conversation; what the messages say gives no special tokens.

        Parameters
        ----------
        tokenizer : TextTokenizer
            Of the same checkpoint.
        messages : sequence of Mapping
            Each with 'role' (system, user or assistant) and 'content'.
        reply : bool
            End where the assistant is to speak.

        Raises
        ------
        InstructionError
            A message is malformed, or the template refuses the conversation.
        CheckpointError
            The template is wrong, or a published one and the tokenizer lacks its special tokens.
        MissingDependencyError
            The template needs the package jinja2, which is not installed.

        """
        needed = {BITNET: END_OF_TURN, CHATML: '<|im_end|>'}.get(self._source)
        if needed is not None and needed not in tokenizer.special:
            raise CheckpointError(f'the model has no chat template of its own, and its tokenizer '
                                  f'lacks {needed}, which the usual one needs')
        # No special token may begin or end inside a message: where one could, the letters it
        # begins and ends with are others while the template works, which can trim them and so on.
        messages = _checked(messages)
        ends = {c for name in tokenizer.special if any(
            name[:2] in m['content'] or name[-2:] in m['content'] for m in messages)
            for c in (name[0], name[-1])}
        used = {c for m in messages for c in m['content']} | set(self._source)
        free = (chr(c) for c in _FREE if chr(c) not in used)
        masked = dict(zip(map(ord, sorted(ends)), free, strict=False))
        back = {ord(stand_in): chr(c) for c, stand_in in masked.items()}
        text = self.render([m | {'content': m['content'].translate(masked)} for m in messages],
                           reply)
        names = sorted(tokenizer.special, key=len, reverse=True)
        ids: list[int] = []
        # pieces and, between them, special tokens
        for part in re.split('(' + ('|'.join(map(re.escape, names)) or '(?!)') + ')', text):
            ids += [tokenizer.special[part]] if part in tokenizer.special else tokenizer.encode(
                part.translate(back))
        first = [] if tokenizer.begin is None else [tokenizer.begin]
        return ids if ids[:1] == first else first + ids

    def render(self, messages: Sequence[Mapping[str, str]], reply: bool = True) -> str:
        """
        Return a conversation as text, for people: `encode` keeps special tokens apart.

        Parameters
        ----------
        messages : sequence of Mapping
            Each with 'role' (system, user or assistant) and 'content'.
        reply : bool
            End where the assistant is to speak.

        Raises
        ------
        InstructionError
            A message is malformed, or the template refuses the conversation.
        CheckpointError
            The template is wrong.
        MissingDependencyError
            The template needs the package jinja2, which is not installed.

        """
        messages = _checked(messages)
        if self._source == BITNET:
            turns = (f'{m["role"].capitalize()}: {m["content"].strip()}{END_OF_TURN}'
                     for m in messages)
            return ''.join(turns) + ('Assistant: ' if reply else '')
        if self._source == CHATML:
            turns = (f'<|im_start|>{m["role"]}\n{m["content"]}<|im_end|>\n' for m in messages)
            return ''.join((self._begin, *turns, '<|im_start|>assistant\n' if reply else ''))
        if self._compiled is None:
            self._compiled = _compile(self._source)
        try:
            return self._compiled.render(
                messages=messages, add_generation_prompt=reply, bos_token=self._begin,
                eos_token=self._end, tools=None, documents=None)  # as transformers has it
        except InstructionError:
            raise
        except Exception as error:  # a template is a program: anything may go wrong
            raise CheckpointError(f'the chat template failed: {error}') from error


def load_chat_template(source: Path | str | Mapping[str, Any],
                       default: str = BITNET) -> ChatTemplate:
    """
    Return the chat template of a checkpoint.

    Parameters
    ----------
    source : Path, str or Mapping
        As for `load_text_tokenizer`.
    default : str
        What it is if it has none; that of BitNet 2B4T by default.

    Raises
    ------
    CheckpointError
        A file is malformed.

    """
    metadata = source if isinstance(source, Mapping) else gguf_metadata(Path(source))
    if metadata is not None:
        return _template(metadata.get('tokenizer.chat_template'), outer_tokens(metadata), default)
    folder = folder_of(Path(source))
    config = folder / 'tokenizer_config.json'
    values = read_json(config) if config.exists() else {}
    alone = folder / 'chat_template.jinja'
    try:
        text = alone.read_text(encoding='utf-8') if alone.exists() else values.get('chat_template')
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f'{alone}: cannot be read ({error})') from error
    return _template(text, values, default)


def _checked(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return role and content of each message, and nothing else of it."""
    for m in messages:
        if m.get('role') not in _ROLES or not isinstance(m.get('content'), str):
            raise InstructionError(f'a message has a role ({", ".join(_ROLES)}) and a content '
                                   f'that is text, not {dict(m)!r}')
    return [{'role': m['role'], 'content': m['content']} for m in messages]


def _template(source: Any, values: Mapping[str, Any], default: str) -> ChatTemplate:
    if isinstance(source, list):  # several, by name
        source = {t.get('name'): t.get('template') for t in source if isinstance(t, dict)}.get(
            'default')
    names = {}
    for ours, key in (('begin', 'bos_token'), ('end', 'eos_token')):
        value = values.get(key)
        value = value.get('content') if isinstance(value, dict) else value
        if isinstance(value, str):
            names[ours] = value
    names = ({'begin': '<|startoftext|>'} if default == CHATML else {}) | names
    given = isinstance(source, str) and source.strip()
    return ChatTemplate(source if given else default, **names)


def _compile(source: str) -> Any:
    """Compile a template with what transformers gives one."""
    try:
        import jinja2
        import jinja2.ext
        import jinja2.sandbox
    except ImportError as error:
        raise MissingDependencyError("this model's chat template needs the package jinja2: "
                                     "pip install 'edge_vla[language]'") from error
    found = version('jinja2')
    if [int(n) for n in re.findall(r'\d+', found)][:3] < _SAFE_JINJA:
        raise MissingDependencyError(f'the sandbox of jinja2 {found} can be escaped from: '
                                     "pip install --upgrade 'jinja2>=3.1.6'")

    class Generated(jinja2.ext.Extension):
        """``{% generation %}``: what a training loss counts; here it is what it holds."""

        tags = {'generation'}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(('name:endgeneration',), drop_needle=True)

    def refuse(message: str) -> None:
        raise InstructionError(f'the chat template refuses the conversation: {message}')

    def now(form: str) -> str:
        return datetime.now().strftime(form)
    room = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generated])
    room.filters['tojson'] = partial(json.dumps, ensure_ascii=False)
    room.globals |= {'raise_exception': refuse, 'strftime_now': now}
    try:
        return room.from_string(source)
    except jinja2.TemplateError as error:
        raise CheckpointError(f'the chat template is malformed: {error}') from error
