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


"""The look that all pictures share."""

from pathlib import Path
from typing import Any

from edge_vla.exceptions import ConfigError, MissingDependencyError

INK, FAINT, GREY, GROUND = '#22262b', '#d9ddd2', '#7b828a', '#f4f6f0'


def need_matplotlib(file: Path | None = None) -> None:
    """
    Do nothing if pictures can be drawn, and written to a file of that name.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    ConfigError
        It knows no such kind of file.

    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "pictures need matplotlib: pip install 'edge_vla[viz]'") from error
    if file is not None:
        from matplotlib.backend_bases import FigureCanvasBase
        kinds = FigureCanvasBase.get_supported_filetypes()
        if file.suffix and file.suffix.removeprefix('.').lower() not in kinds:
            raise ConfigError(f'{file} is no picture: its name ends with one of '
                              f'{", ".join("." + kind for kind in kinds)}')


def blank(size: tuple[float, float], dpi: int) -> Any:
    """
    Return a white figure that needs no display.

    Parameters
    ----------
    size : tuple of float
        Width and height, inches.
    dpi : int
        Pixels per inch.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.

    """
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=size, dpi=dpi, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def clean(axes: Any) -> None:
    """Give axes the look of the house: no ticks, a faint frame."""
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.tick_params(length=0, which='both', labelcolor=INK)


def save(figure: Any, path: Path) -> None:
    """Write a figure (PNG, or what the suffix of `path` says), making its folder."""
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    for text in (*figure.texts, *legends):
        text.set_parse_math(False)  # an instruction with $ is no formula
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
