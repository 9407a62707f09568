# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a model gains over its experts, class by class.

Draws the change of F1 and prints what the authors' notebooks report: mean
over classes, micro average, the classes that gain and lose most, and the
share of classes that improve.  From dumps of ``tools/test.py --dump``, the
model first::

    ca2st plot per-class-change \\
        CAST=cast.pkl CLIP=clip.pkl VideoMAE=videomae.pkl --task noun \\
        --classes epic_kitchens_100_noun --by-category
"""

import argparse
from collections.abc import Mapping, Sequence

from figure_tool import figure_parser, write, write_csv


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__)
    add = parser.add_argument
    add(
        'dumps',
        nargs='+',
        metavar='NAME=DUMP.pkl',
        help='the model, then the models it is compared with',
    )
    add('--task', choices=('verb', 'noun'), help='where there are both')
    add('--classes', help='file with a name a line, or a shipped list')
    add(
        '--by-category',
        action='store_true',
        help='draw super-categories, by default of EPIC-KITCHENS-100',
    )
    add(
        '--categories',
        metavar='TABLE.csv',
        help='super-categories of your own: columns class and category',
    )
    add('--limit', type=int, default=10, help='classes at either end')
    add('--csv', help='also write the numbers of each class')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from class_labels import category_of, class_labels
from matplotlib.figure import Figure
from result_files import Scores, read_comparable
from sklearn.metrics import f1_score

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.percent import percent
from ca2st_mm.visualization.style import (
    GREY,
    INK,
    RED,
    TEAL,
    FigureInputError,
    new_figure,
    tidy,
)


def f1_changes(
    ours: Scores, others: Mapping[str, Scores], task: str | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """F1 of every class, and how far it lies above that of other models.

    All scores are of the same clips; ``task`` is the label column.

    Returns:
        F1 of the model in per cent (C,), the change by model in points
        (C,), and the clips of each class (C,).
    """

    def f1_of(result: Scores) -> np.ndarray:
        scores, labels = result.of(task)
        classes, best = np.arange(scores.shape[1]), scores.argmax(axis=1)
        return 100 * f1_score(
            labels, best, labels=classes, average=None, zero_division=0
        )

    f1 = f1_of(ours)
    changes = {name: f1 - f1_of(other) for name, other in others.items()}
    return f1, changes, np.bincount(ours.of(task)[1], minlength=len(f1))


def draw_category_change(
    ours: str,
    changes: Mapping[str, np.ndarray],
    support: np.ndarray,
    categories: Sequence[str],
) -> Figure:
    """Bars of super-categories; a dot is one class.

    Classes without a clip (``support``) are left out.
    """
    names, seen = np.asarray(categories), support > 0
    first = next(iter(changes.values()))
    groups = {
        name: np.flatnonzero(seen & (names == name))
        for name in sorted(set(names[seen]))
    }
    order = sorted(groups, key=lambda n: -_mean(first, support, groups[n]))
    rows = {f'{name} ({len(groups[name])})': groups[name] for name in order}
    title = 'super-category (classes with clips)'
    return _draw(ours, changes, support, rows, title, dots=True)


def draw_class_change(
    ours: str,
    changes: Mapping[str, np.ndarray],
    support: np.ndarray,
    names: Sequence[str],
    limit: int = 10,
) -> Figure:
    """Bars of the classes that gain and lose most over the first model."""
    seen = np.flatnonzero(support > 0)
    first = next(iter(changes.values()))
    order = seen[np.argsort(-first[seen], kind='stable')]
    if len(order) > 2 * limit:
        order = np.concatenate((order[:limit], order[-limit:]))
    rows = {f'{names[i]} ({int(support[i])})': np.array([i]) for i in order}
    figure = _draw(ours, changes, support, rows, 'class (clips)')
    for axes in figure.axes if len(order) < len(seen) else ():
        axes.axhline(limit - 0.5, color=INK, lw=0.8)
    return figure


def _mean(change: np.ndarray, support: np.ndarray, own: np.ndarray) -> float:
    return np.average(change[own], weights=support[own])


def _draw(
    ours: str,
    changes: Mapping[str, np.ndarray],
    support: np.ndarray,
    rows: Mapping[str, np.ndarray],
    title: str,
    dots: bool = False,
) -> Figure:
    """Bars of rows of classes, a panel for each other model.

    A bar is the mean change of F1 of its classes weighted by their clips, the
    dashed line that of all.
    """
    # The label needs that much.
    height = max(1.4 + 0.24 * len(rows), 3.0)
    figure = new_figure(2.4 + 3.2 * len(changes), height)
    panels = figure.subplots(
        1, len(changes), sharex=True, sharey=True, squeeze=False
    )[0]
    for axes, (other, change) in zip(panels, changes.items(), strict=True):
        values = [_mean(change, support, own) for own in rows.values()]
        colours = [TEAL if value >= 0 else RED for value in values]
        axes.barh(range(len(rows)), values, 0.7, color=colours, alpha=0.85)
        for row, own in enumerate(rows.values() if dots else ()):
            places = [row] * len(own)
            axes.plot(change[own], places, '.', color=INK, ms=3, alpha=0.5)
        mean = np.average(change, weights=support)
        tidy(axes, 'change of F1, points')
        axes.axvline(0, color=INK, lw=0.8)
        axes.axvline(mean, color=INK, lw=1, ls='--')
        axes.set_title(
            f'{ours} over {other}\nmean weighted by clips {mean:+.1f}',
            fontsize=10,
        )
        axes.grid(axis='x', color=GREY, lw=0.5)
        axes.set_axisbelow(True)
    panels[0].invert_yaxis()
    panels[0].set_yticks(range(len(rows)), list(rows))
    panels[0].set_ylabel(title)
    return figure


def summary_of(
    changes: np.ndarray,
    support: np.ndarray,
    micro: float,
    names: Sequence[str],
    limit: int = 10,
) -> list[str]:
    """Lines about the change of F1, in points, over one other model.

    ``micro`` is that of the micro average: with one class a clip, of the
    accuracy.  Classes without a clip do not count.
    """
    seen = np.flatnonzero(support > 0)
    order = seen[np.argsort(-changes[seen], kind='stable')]
    total = len(seen)
    better, worse = (changes[seen] > 0).sum(), (changes[seen] < 0).sum()
    same = total - better - worse
    lines = [
        f'mean over {total} classes {changes[seen].mean():+.2f}, micro '
        f'{micro:+.2f} points of F1',
        f'classes better {better} ({percent(better / total)}), worse {worse} '
        f'({percent(worse / total)}), equal {same} ({percent(same / total)})',
    ]
    for what, some in (
        ('best', order[:limit]),
        ('worst', order[::-1][:limit]),
    ):
        listed = ', '.join(f'{names[i]} {changes[i]:+.1f}' for i in some)
        mean = changes[some].mean()
        lines.append(f'{len(some)} {what}, mean {mean:+.2f}: {listed}')
    return lines


def main() -> None:
    """Compare and draw as the arguments say."""
    args = parse_args()
    results = read_comparable(args.dumps)
    if len(results) < 2:
        raise FigureInputError('give the model and at least one other model')
    (name, ours), *rest = results.items()
    f1, changes, support = f1_changes(ours, dict(rest), args.task)
    names = class_labels(args.classes, len(f1))
    right = {model: r.hits(args.task).mean() for model, r in results.items()}
    for other, change in changes.items():
        micro = 100 * (right[name] - right[other])
        lines = summary_of(change, support, micro, names, args.limit)
        print('\n  '.join([f'{name} over {other}:', *lines]))
    if args.by_category or args.categories:
        groups = category_of(names, args.categories, args.task)
        figure = draw_category_change(name, changes, support, groups)
    else:
        figure = draw_class_change(name, changes, support, names, args.limit)
    write(figure, args.out, ours.path, 'per_class_change.png')
    over = [f'change_over_{other}' for other in changes]
    rows = (
        (label, int(clips), *(f'{n:.2f}' for n in numbers))
        for label, clips, *numbers in zip(
            names, support, f1, *changes.values(), strict=True
        )
    )
    write_csv(args.csv, ('class', 'clips', f'f1_{name}', *over), rows)


if __name__ == '__main__':
    run_or_explain(main)
