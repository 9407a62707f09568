# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Balance of models over tasks or data sets, with the harmonic mean.

From ``results.json`` of ``tools/test.py``, one number an axis::

    python tools/visualize/balance.py --axes 'EK100 noun' 'EK100 verb' \\
        --published noun verb \\
        --model \\
        CAST=a/results.json:acc/noun_top1,a/results.json:acc/verb_top1
"""

import argparse

import ca2st_mm  # noqa: F401  (mends and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.evaluation.accuracy import harmonic_mean
from ca2st_mm.utils.records import RecordError, read_number
from ca2st_mm.visualization.balance import draw_balance
from ca2st_mm.visualization.named_files import named_files
from ca2st_mm.visualization.published import COLUMNS, published
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        metavar='NAME=FILE:METRIC,FILE:METRIC',
        help='a model and its number on each axis; may be repeated',
    )
    parser.add_argument(
        '--axes', nargs='+', required=True, help='names of the axes'
    )
    parser.add_argument(
        '--published',
        nargs='+',
        choices=COLUMNS,
        help="column of each axis in the CAST authors' table: draw it too",
    )
    parser.add_argument('--out', default='balance.png')
    args = parser.parse_args()
    if not args.model and not args.published:
        parser.error('nothing to draw; give --model or --published')
    if args.published and len(args.published) != len(args.axes):
        parser.error('--published needs one column for each of --axes')
    return args


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    models = {
        name: [100 * read_number(number) for number in numbers.split(',')]
        for name, numbers in named_files(args.model).items()
    }
    authors = published(args.published) if args.published else {}
    save(draw_balance(args.axes, models, authors), args.out)
    for name, values in models.items():
        print(f'{harmonic_mean(values):.1f}  harmonic mean of {name}')
    print(args.out)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError, RecordError))
