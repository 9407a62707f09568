# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What all figures share: colours, sizes, axes, saving."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ca2st_mm.utils.errors import UserError

TEAL, GREY, RED = '#1b7f79', '#c9ced6', '#c0504d'
INK = '#3b4048'
# One colour a model or an axis, in the order in which they are named; all
# can be told apart by colour-blind readers and in grey print.
PALETTE = (TEAL, '#d9903d', '#4b6fae', '#8a93a1', RED, '#7a5195')
COLORMAP = 'plasma'
_DPI = 130


class FigureInputError(UserError, ValueError):
    """An input cannot be drawn; the message names it and what to do."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that keeps its labels inside.

    Args:
        width: Inches.
        height: Inches.
    """
    return Figure(figsize=(width, height), layout='constrained')


def tidy(axes: Axes, x: str = '', y: str = '') -> Axes:
    """Name both axes and take away the frame that says nothing.

    Args:
        axes: The axes.
        x: What runs along x, with its unit.
        y: What runs along y, with its unit.
    """
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=9)
    return axes


def colour_of(number: int) -> str:
    """Colour of the n-th model; beyond the palette they repeat.

    >>> colour_of(0) == colour_of(len(PALETTE))
    True
    """
    return PALETTE[number % len(PALETTE)]


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure.

    Args:
        figure: The figure.
        path: File in a form that matplotlib writes (.png, .pdf, .svg).

    Raises:
        FigureInputError: If the file name has another ending.
    """
    known = figure.canvas.get_supported_filetypes()
    ending = Path(path).suffix[1:].lower()
    if ending not in known:
        raise FigureInputError(
            f'{path} does not end in the name of an image format; use '
            f'.png, or one of {", ".join(sorted(known))}'
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
