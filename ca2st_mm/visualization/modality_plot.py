# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A figure of what each part of a model contributes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ca2st_mm.evaluation.modality_table import SHUFFLED, WHOLE, Row

from .style import GREY, INK, RED, colour_of, new_figure, save, tidy

_MAX_CLASSES = 24


def draw_modalities(
    path: str | Path,
    title: str,
    rows: Mapping[str, Row],
    by_class: Mapping[int, Mapping[str, Row]],
    names: Sequence[str],
) -> None:
    """Draw the parts of a model next to each other, and class by class.

    Args:
        path: The file to write.
        title: Of the figure.
        rows: By part, over all clips.
        by_class: By true class, the same of its clips.
        names: Class names.
    """

    def moved(label: int) -> float:
        return max(abs(row.change) for row in by_class[label].values())

    shown = sorted(by_class, key=moved, reverse=True)[:_MAX_CLASSES]
    colours = {WHOLE: INK, SHUFFLED: RED}
    alone = [part for part in rows if part.endswith(' alone')]
    colours |= {part: colour_of(number) for number, part in enumerate(alone)}
    height = 1.8 + 0.3 * max(len(rows), len(shown))
    figure = new_figure(12, height)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _draw_rows(left, rows, colours)
    label = f'top-1, %, of the {len(shown)} most moved of {len(by_class)} '
    tidy(right, f'{label}classes').set_xlim(-4, 104)
    # The whole model is drawn last and smallest, so that marks at the same
    # place stay visible.
    for number, part in enumerate(reversed(colours)):
        points = [
            (100 * by_class[k][part].top1, place)
            for place, k in enumerate(shown)
            if part in by_class[k]
        ]
        if points:
            size = 20 + 30 * (len(colours) - 1 - number)
            right.scatter(
                *zip(*points, strict=True),
                size,
                color=colours[part],
                label=part,
                zorder=3,
            )
    right.set_yticks(range(len(shown)), [names[k] for k in shown])
    right.invert_yaxis()
    right.grid(axis='y', color=GREY, lw=0.5)
    figure.legend(loc='outside lower right', ncols=4, frameon=False)
    save(figure, path)


def _draw_rows(
    axes: Axes, rows: Mapping[str, Row], colours: Mapping[str, str]
) -> None:
    names = list(rows)
    values = [100 * rows[name].top1 for name in names]
    bars = axes.barh(
        names, values, color=[colours.get(n, GREY) for n in names]
    )
    labels = [
        f'{value:.1f} % of {rows[name].clips}'
        for name, value in zip(names, values, strict=True)
    ]
    axes.bar_label(bars, labels, padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 130)
    axes.set_xticks(range(0, 101, 20))
    tidy(axes, 'top-1, % (of so many clips)')
