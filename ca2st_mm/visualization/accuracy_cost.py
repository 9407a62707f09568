# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy against what it costs."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ca2st_mm.utils.records import RecordError, read_number, read_record

from .labels_apart import label_points
from .style import (
    GREY,
    INK,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)

# What a point may be placed by: column of the cost table, unit, divisor.
COSTS = {
    'per-view': ('macs', 'G multiply-accumulates of one view', 1e9),
    'total': ('macs', 'G multiply-accumulates of all views', 1e9),
    'parameters': ('parameters', 'parameters, million', 1e6),
    'trained': ('trainable', 'trained parameters, million', 1e6),
}


def read_cost(path: str, kind: str) -> float:
    """One number of what ``get_flops.py --json`` wrote.

    Args:
        path: The table.
        kind: A key of ``COSTS``.

    Raises:
        FigureInputError: If the file is not such a table.
    """
    column, _, unit = COSTS[kind]
    try:
        rows = json.loads(Path(path).read_text())
        whole = {row['part']: row for row in rows}['all']
        return whole[column] / unit
    except FileNotFoundError as error:
        raise FigureInputError(
            f'There is no file {path}; tools/analysis/get_flops.py CONFIG '
            '--json writes it'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FigureInputError(
            f'{path} is no table of tools/analysis/get_flops.py --json'
        ) from error


def read_point(text: str, kind: str) -> tuple[float, float]:
    """Cost and accuracy of one model.

    Args:
        text: ``RESULTS.json:METRIC,COST.json``.
        kind: A key of ``COSTS``; 'total' counts the views of the test.

    Returns:
        Cost in the unit of its kind, and per cent.

    Raises:
        FigureInputError: If the text or the cost is wrong, or the number of
            views unknown.
        RecordError: If the results hold no such number.
    """
    number, comma, cost = text.partition(',')
    if not comma:
        raise FigureInputError(
            f'{text!r} has no cost; write RESULTS.json:METRIC,COST.json'
        )
    price = read_cost(cost, kind)
    if kind == 'total':
        path = number.rpartition(':')[0]
        price *= _views(path)
    return price, 100 * read_number(number)


def _views(path: str) -> int:
    data = read_record(path).get('data')
    views = data.get('views') if isinstance(data, dict) else None
    if not isinstance(views, list) or len(views) != 1:
        raise RecordError(
            f'{path} does not say one number of views for all clips; draw '
            '--cost per-view'
        )
    return views[0]


def draw_accuracy_cost(
    kind: str,
    metric: str,
    models: Mapping[str, tuple[float, float]],
    authors: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """A point for each model; cost on a logarithmic axis.

    Args:
        kind: A key of ``COSTS``.
        metric: Name of the accuracy.
        models: Measured cost and accuracy.
        authors: Published ones, drawn hollow and called the authors'.
    """
    authors = authors or {}
    placed = [*models.items(), *authors.items()]
    points = np.array([values for _, values in placed], dtype=float)
    figure = new_figure(6.4, 4.8)
    axes = tidy(figure.subplots(), COSTS[kind][1], f'{metric}, %')
    axes.set_xscale('log')
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(0.15 * (high[1] - low[1]), 1.0)
    axes.set_xlim(low[0] / 1.6, high[0] * 1.6)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter('{x:g}')
    axes.grid(color=GREY, lw=0.5)
    axes.set_axisbelow(True)
    if authors:
        axes.plot(
            *np.array(list(authors.values())).T,
            'o',
            mfc='white',
            color=INK,
            label="the CAST authors' numbers",
        )
        axes.plot([], [], 'o', color=colour_of(0), label='measured here')
        figure.legend(loc='outside upper center', ncols=2, frameon=False)
    for number, point in enumerate(models.values()):
        axes.plot(*point, 'o', ms=9, color=colour_of(number))
    label_points(axes, [name for name, _ in placed], points)
    return figure
