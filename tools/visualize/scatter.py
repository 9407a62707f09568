# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What balance.py and accuracy_cost.py share: published numbers and names.

The published numbers are those of the CAST paper (arXiv 2311.18825, Table 2),
in per cent; cost in G multiply-accumulates of one view, the lowest of each
method over the data sets.  CLIP, VideoMAE (action) and AIM (action) were run
by the authors of CAST, the rest is as they cite it.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from ca2st_mm.visualization.style import INK, colour_of

COST = 'gmac_per_view'
# Every figure that shows published numbers says so.
AUTHORS = "the CAST authors' numbers"

_GAP = 6  # points between a marker and its name
_SIDES = [
    (1, 0, 'left', 'center'),
    (-1, 0, 'right', 'center'),
    (0, 1, 'center', 'bottom'),
    (0, -1, 'center', 'top'),
    (1, 1.4, 'left', 'bottom'),
    (-1, 1.4, 'right', 'bottom'),
    (1, -1.4, 'left', 'top'),
    (-1, -1.4, 'right', 'top'),
]


def published(columns: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Numbers of the methods for which all of the columns are published."""
    table = Path(__file__).with_name('published_cast.csv')
    with open(table, newline='', encoding='utf-8') as file:
        return {
            row['method']: tuple(float(row[column]) for column in columns)
            for row in csv.DictReader(file)
            if all(row[column] for column in columns)
        }


def draw_points(
    axes: Axes,
    models: Mapping[str, Sequence[float]],
    authors: Mapping[str, Sequence[float]],
) -> None:
    """Draw measured points filled, published ones hollow, and their names.

    A name is written on the first side of its point that is free, or that
    covers least.  Set the limits of the axes before.
    """
    if authors:
        columns = np.array(list(authors.values())).T
        axes.plot(*columns, 'o', mfc='none', color=INK, label=AUTHORS)
    for number, point in enumerate(models.values()):
        axes.plot(*point, 'o', ms=9, color=colour_of(number))
    names = [*models, *authors]
    points = np.array([*models.values(), *authors.values()], dtype=float)
    axes.figure.draw_without_rendering()
    inside = axes.get_window_extent()
    radius = _GAP * axes.figure.dpi / 72
    taken = [
        Bbox.from_bounds(x - radius, y - radius, 2 * radius, 2 * radius)
        for x, y in axes.transData.transform(points)
    ]

    def shared(a: Bbox, b: Bbox) -> float:
        both = Bbox.intersection(a, b)
        return 0.0 if both is None else both.width * both.height

    for name, point in zip(names, points, strict=True):
        text = axes.annotate(
            name,
            point,
            (0, 0),
            textcoords='offset points',
            fontsize=8,
            color=INK,
            path_effects=[withStroke(linewidth=2, foreground='white')],
        )

        def place(side: tuple, text=text) -> Bbox:
            dx, dy, ha, va = side
            text.set(ha=ha, va=va)
            text.set_position((dx * (_GAP + 1), dy * (_GAP + 1)))
            return text.get_window_extent()

        def cost(side: tuple) -> float:
            box = place(side)
            covered = sum(shared(box, other) for other in taken)
            return covered + box.width * box.height - shared(box, inside)

        taken.append(place(min(_SIDES, key=cost)))
