# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Curves of training runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .curve_logs import RunLog
from .style import (
    GREY,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)

_COLUMNS = 3


def usual_keys(runs: Mapping[str, RunLog]) -> list[str]:
    """Loss, the top-1 accuracies of validation, and the rate."""
    logs = list(runs.values())
    trained = {key for log in logs for key in log.training}
    tested = {key for log in logs for key in log.validation}
    accuracies = sorted(key for key in tested if key.endswith('top1'))
    return [
        *(k for k in ('loss',) if k in trained),
        *accuracies,
        *(k for k in ('lr',) if k in trained),
    ]


def draw_curves(
    runs: Mapping[str, RunLog], keys: Sequence[str] | None = None
) -> Figure:
    """A panel for each key, a line for each run.

    Training runs along iterations, validation along epochs (a line for each
    as they were logged).  A line is broken where epochs are missing.

    Args:
        runs: Logs by name of the run.
        keys: What to draw; None for :func:`usual_keys`.

    Raises:
        FigureInputError: If no run has logged a key.
    """
    keys = list(keys or usual_keys(runs))
    figure_columns = min(len(keys), _COLUMNS) or 1
    rows = -(-len(keys) // _COLUMNS) or 1
    figure = new_figure(3.9 * figure_columns, 0.6 + 3 * rows)
    panels = list(figure.subplots(rows, figure_columns, squeeze=False).flat)
    for axes, key in zip(panels, keys, strict=False):
        _panel(axes, key, runs)
    for axes in panels[len(keys) :]:
        axes.remove()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc='outside upper center',
        ncols=min(len(labels), 4 if figure_columns > 1 else 2),
        frameon=False,
    )
    return figure


def _panel(axes: Axes, key: str, runs: Mapping[str, RunLog]) -> None:
    unit = kind = None
    for number, (name, log) in enumerate(runs.items()):
        style = dict(color=colour_of(number), label=name)
        # Times are logged for both; those of training are the ones wanted.
        if key in log.training:
            unit, kind = 'iteration', 'training'
            axes.plot(*_broken(log, key).T, lw=1.3, **style)
        elif key in log.validation:
            unit = 'epoch' if log.epochs else 'iteration'
            kind = 'validation'
            points = np.array(log.validation[key], dtype=float)
            axes.plot(*points.T, 'o-', ms=4, **style)
        else:
            axes.plot([], [], **style)
    if unit is None:
        known = sorted(
            {k for log in runs.values() for k in log.training}
            | {k for log in runs.values() for k in log.validation}
        )
        raise FigureInputError(
            f'no run has logged {key!r}; they have {", ".join(known)}'
        )
    tidy(axes, unit, f'{key} ({kind})')
    axes.set_xlim(left=0)
    axes.grid(color=GREY, lw=0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if key == 'lr':
        axes.ticklabel_format(axis='y', scilimits=(-2, 3))


def _broken(log: RunLog, key: str) -> np.ndarray:
    """Points of a line, with a hole after every jump over missing epochs."""
    points = np.array(log.training[key], dtype=float)
    if not log.missing:
        return points
    steps = np.diff(points[:, 0])
    usual = np.median(steps)
    holes = np.flatnonzero(steps > 1.5 * usual) + 1
    return np.insert(points, holes, np.nan, axis=0)
