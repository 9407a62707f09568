# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Balance of models over tasks or data sets, with the harmonic mean.

From ``results.json`` of ``tools/test.py``, one number an axis::

    ca2st plot balance --axes 'EK100 noun' 'EK100 verb' \\
        --published noun verb \\
        --model \\
        CAST=a/results.json:acc/noun_top1,a/results.json:acc/verb_top1

Two accuracies span a plane with lines of equal harmonic mean; more stand
side by side, the harmonic mean last.
"""

import argparse
from collections.abc import Mapping, Sequence
from statistics import harmonic_mean

from figure_tool import PUBLISHED, figure_parser, write


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__)
    add = parser.add_argument
    add(
        '--model',
        action='append',
        default=[],
        metavar='NAME=FILE:METRIC,FILE:METRIC',
        help='a model and its number on each axis; may be repeated',
    )
    add('--axes', nargs='+', required=True, help='names of the axes')
    add(
        '--published',
        nargs='+',
        choices=PUBLISHED,
        help="column of each axis in the CAST authors' table: draw it too",
    )
    args = parser.parse_args()
    if not args.model and not args.published:
        parser.error('nothing to draw; give --model or --published')
    if args.published and len(args.published) != len(args.axes):
        parser.error('--published needs one column for each of --axes')
    if len(args.axes) < 2:
        parser.error('balance needs two accuracies or more: name two --axes')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from matplotlib.figure import Figure
from result_files import named_files, read_number
from scatter import draw_points, published

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.style import (
    GREY,
    INK,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)

Points = Mapping[str, Sequence[float]]


def draw_plane(
    names: Sequence[str], models: Points, authors: Points
) -> Figure:
    """Two accuracies of each model, and lines of equal harmonic mean.

    Per cent; published ones are hollow and called the authors'.
    """
    figure = new_figure(6.4, 5.6)
    axes = tidy(figure.subplots(), *(f'{name}, %' for name in names))
    points = np.array([*models.values(), *authors.values()], dtype=float)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 2.0)
    low, high = np.maximum(low - margin, 0.1), high + margin
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    sides = (np.linspace(a, b, 200) for a, b in zip(low, high, strict=True))
    x, y = np.meshgrid(*sides)
    lines = axes.contour(
        x, y, 2 / (1 / x + 1 / y), 6, colors=GREY, linestyles='--', zorder=0
    )
    axes.clabel(lines, fmt='%g', fontsize=7, colors=INK)
    axes.plot([], [], '--', color=GREY, label='equal harmonic mean')
    draw_points(axes, models, authors)
    figure.legend(loc='outside upper center', ncols=3, frameon=False)
    return figure


def draw_profile(
    names: Sequence[str], models: Points, authors: Points
) -> Figure:
    """Accuracies of each model side by side, the harmonic mean last."""
    columns = [*names, 'harmonic mean']
    figure = new_figure(1.6 + 1.5 * len(columns), 4.4)
    axes = tidy(figure.subplots(), '', '%')
    lines = [
        (f"{name}, the authors'", values, dict(ls='--', mfc='none', lw=0.8))
        for name, values in authors.items()
    ]
    lines += [
        (name, values, dict(color=colour_of(number)))
        for number, (name, values) in enumerate(models.items())
    ]
    for name, values, style in lines:
        mean = harmonic_mean(values)
        label = f'{name} ({mean:.1f})'
        axes.plot([*values, mean], marker='o', label=label, **style)
    axes.axvspan(len(names) - 0.5, len(names) + 0.5, color=GREY, alpha=0.35)
    axes.set_xlim(-0.3, len(names) + 0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.grid(axis='y', color=GREY, lw=0.5)
    figure.legend(
        loc='outside right upper',
        frameon=False,
        fontsize=8,
        title='model (harmonic mean)',
        title_fontsize=8,
    )
    return figure


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    files = named_files(args.model)
    models = {
        name: [100 * read_number(number) for number in numbers.split(',')]
        for name, numbers in files.items()
    }
    for name, values in models.items():
        if len(values) != len(args.axes):
            raise FigureInputError(
                f'{name} has {len(values)} numbers for the '
                f'{len(args.axes)} axes {", ".join(args.axes)}'
            )
    authors = published(args.published) if args.published else {}
    draw = draw_plane if len(args.axes) == 2 else draw_profile
    first = next(iter(files.values()), '').partition(':')[0]
    for name, values in models.items():
        print(f'{harmonic_mean(values):.1f}  harmonic mean of {name}')
    figure = draw(args.axes, models, authors)
    write(figure, args.out, first, 'balance.png')


if __name__ == '__main__':
    run_or_explain(main)
