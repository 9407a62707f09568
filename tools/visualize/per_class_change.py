# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a model gains over its experts, class by class.

From dumps of ``tools/test.py --dump``, the model first::

    python tools/visualize/per_class_change.py \\
        CAST=cast.pkl CLIP=clip.pkl VideoMAE=videomae.pkl --task noun \\
        --classes epic_kitchens_100_noun --by-category
"""

import argparse
import csv

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.class_labels import category_of, class_labels
from ca2st_mm.visualization.per_class_change import (
    draw_category_change,
    draw_class_change,
    f1_changes,
)
from ca2st_mm.visualization.scores import read_comparable
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'dumps',
        nargs='+',
        metavar='NAME=DUMP.pkl',
        help='the model, then the models it is compared with',
    )
    parser.add_argument(
        '--task', choices=('verb', 'noun'), help='where there are both'
    )
    parser.add_argument(
        '--classes', help='file with a name a line, or a shipped list'
    )
    parser.add_argument(
        '--by-category',
        action='store_true',
        help='draw super-categories, by default of EPIC-KITCHENS-100',
    )
    parser.add_argument(
        '--categories',
        metavar='TABLE.csv',
        help='super-categories of your own: columns class and category',
    )
    parser.add_argument(
        '--limit', type=int, default=10, help='classes at either end'
    )
    parser.add_argument('--csv', help='also write the numbers of each class')
    parser.add_argument('--out', default='per_class_change.png')
    return parser.parse_args()


def main() -> None:
    """Compare and draw as the arguments say."""
    args = parse_args()
    results = read_comparable(args.dumps)
    if len(results) < 2:
        raise FigureInputError('give the model and at least one other model')
    (name, ours), *rest = results.items()
    f1, changes, support = f1_changes(ours, dict(rest), args.task)
    names = class_labels(args.classes, len(f1))
    if args.by_category or args.categories:
        groups = category_of(names, args.categories, args.task)
        figure = draw_category_change(name, changes, support, groups)
    else:
        figure = draw_class_change(name, changes, support, names, args.limit)
    save(figure, args.out)
    print(args.out)
    if args.csv:
        with open(args.csv, 'w', newline='') as file:
            writer = csv.writer(file)
            over = [f'change_over_{other}' for other in changes]
            writer.writerow(['class', 'clips', f'f1_{name}', *over])
            columns = zip(names, support, f1, *changes.values(), strict=True)
            for label, clips, *numbers in columns:
                writer.writerow(
                    [label, int(clips), *(f'{n:.2f}' for n in numbers)]
                )
        print(args.csv)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError,))
