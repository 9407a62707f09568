# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy of models against their cost.

From ``results.json`` of ``tools/test.py`` and the table of
``tools/analysis/get_flops.py --json``::

    ca2st plot accuracy-cost --published k400 \\
        --model CAST=run/results.json:acc/top1,cost.json
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from figure_tool import PUBLISHED, figure_parser, write

# What a point may be placed by: column of the cost table, unit, divisor.
COSTS = {
    'per-view': ('macs', 'G multiply-accumulates of one view', 1e9),
    'total': ('macs', 'G multiply-accumulates of all views', 1e9),
    'parameters': ('parameters', 'parameters, million', 1e6),
    'trained': ('trainable', 'trained parameters, million', 1e6),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__)
    add = parser.add_argument
    add(
        '--model',
        action='append',
        default=[],
        metavar='NAME=RESULTS.json:METRIC,COST.json',
        help='a model, its accuracy and its cost; may be repeated',
    )
    add(
        '--cost',
        choices=COSTS,
        default='per-view',
        help='of one view or all, or numbers of parameters',
    )
    add('--metric', default='top-1 accuracy', help='name of the accuracy')
    add(
        '--published',
        choices=PUBLISHED,
        help="draw this column of the CAST authors' table too",
    )
    args = parser.parse_args()
    if not args.model and not args.published:
        parser.error('nothing to draw; give --model or --published')
    if args.published and args.cost != 'per-view':
        parser.error('the published costs are per view; use --cost per-view')
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from result_files import named_files, read_number
from scatter import COST, draw_points, published

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.text_files import read_record
from ca2st_mm.visualization.style import (
    GREY,
    FigureInputError,
    colour_of,
    new_figure,
    tidy,
)


def read_point(text: str, kind: str) -> tuple[float, float]:
    """Cost of a kind, in its unit, and accuracy in per cent of one model.

    The text is ``RESULTS.json:METRIC,COST.json``; 'total' counts the views of
    the test.

    Raises:
        FigureInputError: If the text or the cost is wrong.
        UsageError: If the results hold no such number.
    """
    number, comma, path = text.partition(',')
    if not comma:
        raise FigureInputError(
            f'{text!r} has no cost; write RESULTS.json:METRIC,COST.json'
        )
    column, _, unit = COSTS[kind]
    try:
        rows = json.loads(Path(path).read_text())
        cost = {row['part']: row for row in rows}['all'][column] / unit
    except FileNotFoundError as error:
        raise FigureInputError(
            f'There is no file {path}; ca2st report get-flops CONFIG '
            '--json writes it'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FigureInputError(
            f'{path} is no table of ca2st report get-flops --json'
        ) from error
    accuracy = 100 * read_number(number)
    if kind == 'total':
        results = number.rpartition(':')[0]
        match read_record(results).get('data'):
            case {'views': [int(views)]}:
                cost *= views
            case _:
                raise FigureInputError(
                    f'{results} does not say one number of views for all '
                    'clips; draw --cost per-view'
                )
    return cost, accuracy


def draw_accuracy_cost(
    kind: str,
    metric: str,
    models: Mapping[str, tuple[float, float]],
    authors: Mapping[str, tuple[float, float]],
) -> Figure:
    """A point for each model; cost on a logarithmic axis.

    Measured cost and accuracy are filled points, published ones hollow and
    called the authors'.
    """
    points = np.array([*models.values(), *authors.values()], dtype=float)
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
    draw_points(axes, models, authors)
    if authors:
        axes.plot([], [], 'o', color=colour_of(0), label='measured here')
        figure.legend(loc='outside upper center', ncols=2, frameon=False)
    return figure


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    files = named_files(args.model)
    models = {name: read_point(f, args.cost) for name, f in files.items()}
    columns = (COST, args.published)
    authors = published(columns) if args.published else {}
    first = next(iter(files.values()), '').partition(':')[0]
    figure = draw_accuracy_cost(args.cost, args.metric, models, authors)
    write(figure, args.out, first, 'accuracy_cost.png')


if __name__ == '__main__':
    run_or_explain(main)
