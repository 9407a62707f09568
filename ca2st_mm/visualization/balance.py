# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How evenly a model does several things: the harmonic mean of the CAST paper.

Two accuracies span a plane with lines of equal harmonic mean; more stand
side by side, the harmonic mean last.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ca2st_mm.evaluation.accuracy import harmonic_mean

from .labels_apart import label_points
from .style import (
    GREY,
    INK,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)

Points = Mapping[str, Sequence[float]]


def draw_balance(
    axes_names: Sequence[str], models: Points, authors: Points | None = None
) -> Figure:
    """A plane for two accuracies, a profile for more.

    Args:
        axes_names: Of the accuracies.
        models: Measured accuracies of each model, per cent.
        authors: Published ones, drawn hollow and called the authors'.

    Raises:
        FigureInputError: If there are fewer than two accuracies or a model
            has another number of them.
    """
    authors = authors or {}
    if len(axes_names) < 2:
        raise FigureInputError('balance needs two accuracies or more')
    for name, values in models.items():
        if len(values) != len(axes_names):
            raise FigureInputError(
                f'{name} has {len(values)} numbers for the '
                f'{len(axes_names)} axes {", ".join(axes_names)}'
            )
    draw = _plane if len(axes_names) == 2 else _profile
    return draw(axes_names, models, authors)


def _plane(names: Sequence[str], models: Points, authors: Points) -> Figure:
    figure = new_figure(6.4, 5.6)
    axes = tidy(figure.subplots(), *(f'{name}, %' for name in names))
    placed = [*models.items(), *authors.items()]
    everyone = np.array([values for _, values in placed], dtype=float)
    low, high = _limits(everyone)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _contours(axes, low, high)
    if authors:
        points = np.array(list(authors.values()))
        axes.plot(
            *points.T,
            'o',
            mfc='none',
            color=INK,
            label="the CAST authors' numbers",
        )
    for number, (name, values) in enumerate(models.items()):
        axes.plot(*values, 'o', ms=9, color=colour_of(number), label=name)
    label_points(axes, [name for name, _ in placed], everyone)
    figure.legend(loc='outside upper center', ncols=3, frameon=False)
    return figure


def _limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 2.0)
    return np.maximum(low - margin, 0.1), high + margin


def _contours(axes, low: np.ndarray, high: np.ndarray) -> None:
    """Dashed lines of equal harmonic mean."""
    x, y = np.meshgrid(
        *(np.linspace(a, b, 200) for a, b in zip(low, high, strict=True))
    )
    lines = axes.contour(
        x, y, 2 / (1 / x + 1 / y), 6, colors=GREY, linestyles='--', zorder=0
    )
    axes.clabel(lines, fmt='%g', fontsize=7, colors=INK)
    axes.plot([], [], '--', color=GREY, label='equal harmonic mean')


def _profile(names: Sequence[str], models: Points, authors: Points) -> Figure:
    columns = [*names, 'harmonic mean']
    figure = new_figure(1.6 + 1.5 * len(columns), 4.4)
    axes = tidy(figure.subplots(), '', 'per cent')
    places = np.arange(len(columns))
    for name, values in authors.items():
        line = [*values, harmonic_mean(values)]
        label = f"{name}, the authors' ({line[-1]:.1f})"
        axes.plot(places, line, 'o--', mfc='none', lw=0.8, label=label)
    for number, (name, values) in enumerate(models.items()):
        line = [*values, harmonic_mean(values)]
        label = f'{name} ({line[-1]:.1f})'
        axes.plot(places, line, 'o-', color=colour_of(number), label=label)
    axes.axvspan(len(names) - 0.5, len(names) + 0.5, color=GREY, alpha=0.35)
    axes.set_xlim(-0.3, len(names) + 0.5)
    axes.set_xticks(places, columns)
    axes.grid(axis='y', color=GREY, lw=0.5)
    figure.legend(
        loc='outside right upper',
        frameon=False,
        fontsize=8,
        title='model (harmonic mean)',
        title_fontsize=8,
    )
    return figure
