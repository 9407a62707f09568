# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Names beside points of a scatter plot, clear of each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from .style import INK

_GAP = 6  # points between a marker and its name
_CORNERS = [
    (x, y, *place)
    for x, y, place in (
        (1, 0, ('left', 'center')),
        (-1, 0, ('right', 'center')),
        (0, 1, ('center', 'bottom')),
        (0, -1, ('center', 'top')),
        (1, 1.4, ('left', 'bottom')),
        (-1, 1.4, ('right', 'bottom')),
        (1, -1.4, ('left', 'top')),
        (-1, -1.4, ('right', 'top')),
    )
]


def label_points(axes: Axes, names: Sequence[str], points: np.ndarray) -> None:
    """Write each name on the first side of its point that is free.

    If no side is, the side that covers least is taken.  Set the limits of the
    axes before.

    Args:
        axes: Where the points are drawn.
        names: One a point.
        points: (names, 2), in data coordinates.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    inside = axes.get_window_extent()
    radius = _GAP * figure.dpi / 72
    taken = [
        Bbox.from_bounds(x - radius, y - radius, 2 * radius, 2 * radius)
        for x, y in axes.transData.transform(points)
    ]
    for name, point in zip(names, points, strict=True):
        best = None
        for dx, dy, ha, va in _CORNERS:
            text = axes.annotate(
                name,
                point,
                (dx * (_GAP + 1), dy * (_GAP + 1)),
                textcoords='offset points',
                ha=ha,
                va=va,
                fontsize=8,
                color=INK,
                path_effects=[withStroke(linewidth=2, foreground='white')],
            )
            box = text.get_window_extent()
            cost = sum(_shared(box, other) for other in taken)
            cost += box.width * box.height - _shared(box, inside)
            if best is None or cost < best[0]:
                if best:
                    best[1].remove()
                best = (cost, text, box)
            else:
                text.remove()
        taken.append(best[2])


def _shared(a: Bbox, b: Bbox) -> float:
    """Area that two boxes have in common, pixels squared."""
    both = Bbox.intersection(a, b)
    return 0.0 if both is None else both.width * both.height
