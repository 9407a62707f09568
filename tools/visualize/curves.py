# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Curves of training runs, from the logs in their work folders.

::

    python tools/visualize/curves.py work_dirs/cast CA2ST=work_dirs/ca2st
    python tools/visualize/curves.py work_dirs/cast --key grad_norm --key loss
"""

import argparse
import sys

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.curves import draw_curves, read_run
from ca2st_mm.visualization.scores import named_files
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='NAME=FOLDER',
        help='work folder of a run, or its scalars.json',
    )
    parser.add_argument(
        '--key',
        action='append',
        help='what to draw, as it is logged; may be repeated (default: '
        'loss, top-1 accuracies, learning rate)',
    )
    parser.add_argument('--out', default='curves.png')
    return parser.parse_args()


def main() -> None:
    """Read and draw as the arguments say."""
    args = parse_args()
    runs = {n: read_run(p) for n, p in named_files(args.runs).items()}
    for name, log in runs.items():
        if log.missing:
            epochs = ', '.join(map(str, log.missing))
            print(
                f'warning: the log of {name} has no line of the epochs '
                f'{epochs}; the curve is broken there',
                file=sys.stderr,
            )
    save(draw_curves(runs, args.key), args.out)
    print(args.out)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError,))
