# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A picture of what each part of a model contributes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from ca2st_mm.evaluation.sense_table import WHOLE, Row

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

COLOURS = {
    WHOLE: '#20242c',
    'picture alone': '#1b7f79',
    'sound alone': '#c98a1b',
    'sounds shuffled': '#c0504d',
}
OTHER = '#c9ced6'
MAX_CLASSES = 24


def draw_senses(
    path: str | Path,
    title: str,
    rows: Mapping[str, Row],
    by_class: Mapping[int, Mapping[str, Row]],
    names: Sequence[str],
) -> None:
    """Draw the parts side by side, and class by class.

    Args:
        path: The PNG to write.
        title: What was asked.
        rows: Of :func:`table`.
        by_class: Of :func:`table_by_class`.
        names: Class names.
    """
    shown = _most_moved(by_class)
    height = 1.6 + 0.3 * max(len(rows), len(shown))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, height), layout='constrained'
    )
    figure.suptitle(title)
    _draw_rows(left, rows)
    _draw_classes(right, {names[k]: by_class[k] for k in shown}, len(by_class))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _most_moved(by_class: Mapping[int, Mapping[str, Row]]) -> list[int]:
    """Classes that change most when a part is alone, strongest first."""

    def moved(label: int) -> float:
        return max(abs(row.change) for row in by_class[label].values())

    return sorted(by_class, key=moved, reverse=True)[:MAX_CLASSES]


def _draw_rows(axes: Axes, rows: Mapping[str, Row]) -> None:
    names = list(rows)
    values = [100 * rows[name].top1 for name in names]
    colours = [COLOURS.get(name, OTHER) for name in names]
    bars = axes.barh(names, values, color=colours)
    labels = [
        f'{v:.1f} % of {rows[n].clips}'
        for n, v in zip(names, values, strict=True)
    ]
    axes.bar_label(bars, labels, padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 130)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel('top-1, % (of so many clips)')
    axes.spines[['top', 'right']].set_visible(False)


def _draw_classes(
    axes: Axes, classes: Mapping[str, Mapping[str, Row]], total: int
) -> None:
    names = list(classes)
    # Parts that lie upon each other stay visible: the whole is drawn last
    # and smallest.
    for size, (part, colour) in zip(
        (110, 80, 50, 20), reversed(COLOURS.items()), strict=True
    ):
        points = [
            (100 * classes[name][part].top1, name)
            for name in names
            if part in classes[name]
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, size, color=colour, label=part, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(-4, 104)
    axes.grid(axis='y', color='#e8eaee')
    axes.set_xlabel(
        f'top-1, %, of the {len(names)} most moved of {total} classes'
    )
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, 1.12), ncols=4)
    axes.spines[['top', 'right']].set_visible(False)
