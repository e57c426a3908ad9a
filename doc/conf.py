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

"""Settings of the documentation; two reference pages are written from the code itself."""

import argparse
import os
from pathlib import Path
from typing import Any

from edge_vla import __version__
from edge_vla.cli.main import make_parser
from edge_vla.config import NODES, settings_of

project, author, release = 'edge_vla', 'The edge_vla authors', __version__
copyright = '2026, The edge_vla authors'  # noqa: A001
extensions = ['myst_parser']
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'edge_vla {release}'
html_copy_source = False
suppress_warnings = ['myst.xref_missing']  # links to files of the repository


def settings_page() -> str:
    """Return the page of every parameter, from the dataclasses that define them."""
    lines = ['# Settings', '', 'Every setting is one field of `edge_vla/config.py`; node '
             'parameters, YAML files and flags follow from it. *Live* ones may change while the '
             'node is active (`ros2 param set`).']
    for node, config in NODES.items():
        lines += ['', f'## {node}', '', '| name | default | range | unit | | what |',
                  '|---|---|---|---|---|---|']
        for s in settings_of(config):
            limits = ', '.join(s.choices) if s.choices else (
                '' if s.low is None else f'{s.low:g} to {s.high:g}')
            value = repr(s.default) if s.default != '' else "''"
            lines.append(f'| `{s.name}` | `{value}` | {limits} | {s.unit} | '
                         f'{"live" if s.dynamic else ""} | {s.help} |')
    return '\n'.join(lines) + '\n'


def commands_page() -> str:
    """Return the page of every command, as its own help says it."""
    os.environ['COLUMNS'] = '96'
    lines = ['# Commands', '']
    for name, sub in subcommands(make_parser()).items():
        lines += [f'## edge-vla {name}', '', '```text', sub.format_help().strip(), '```', '']
        for more in subcommands(sub).values():
            lines += ['```text', more.format_help().strip(), '```', '']
    return '\n'.join(lines)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's own commands by name."""
    return {name: sub for a in parser._actions if isinstance(a, argparse._SubParsersAction)
            for name, sub in a.choices.items()}


def generate(app: Any) -> None:
    """Write the generated pages, only where they changed."""
    folder = Path(app.srcdir) / 'reference'
    for name, text in (('settings.md', settings_page()), ('commands.md', commands_page())):
        file = folder / name
        if not file.is_file() or file.read_text(encoding='utf-8') != text:
            file.write_text(text, encoding='utf-8')


def setup(app: Any) -> None:
    """Let Sphinx call `generate` before it reads."""
    app.connect('builder-inited', generate)
