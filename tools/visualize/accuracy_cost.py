# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Accuracy of models against their cost.

From ``results.json`` of ``tools/test.py`` and the table of
``tools/analysis/get_flops.py --json``::

    python tools/visualize/accuracy_cost.py --published k400 \\
        --model CAST=run/results.json:acc/top1,cost.json
"""

import argparse

import ca2st_mm  # noqa: F401  (mends and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.records import RecordError
from ca2st_mm.visualization.accuracy_cost import (
    COSTS,
    draw_accuracy_cost,
    read_point,
)
from ca2st_mm.visualization.named_files import named_files
from ca2st_mm.visualization.published import COLUMNS, COST, published
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        metavar='NAME=RESULTS.json:METRIC,COST.json',
        help='a model, its accuracy and its cost; may be repeated',
    )
    parser.add_argument('--cost', choices=COSTS, default='per-view')
    parser.add_argument(
        '--metric', default='top-1 accuracy', help='name of the accuracy'
    )
    parser.add_argument(
        '--published',
        choices=COLUMNS,
        help="draw this column of the CAST authors' table too",
    )
    parser.add_argument('--out', default='accuracy_cost.png')
    args = parser.parse_args()
    if not args.model and not args.published:
        parser.error('nothing to draw; give --model or --published')
    if args.published and args.cost != 'per-view':
        parser.error('the published costs are per view; use --cost per-view')
    return args


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    models = {
        name: read_point(text, args.cost)
        for name, text in named_files(args.model).items()
    }
    columns = (COST, args.published)
    authors = published(columns) if args.published else {}
    save(draw_accuracy_cost(args.cost, args.metric, models, authors), args.out)
    print(args.out)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError, RecordError))
