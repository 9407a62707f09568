# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Confusion matrix of a model, and the pairs it confuses most.

From a dump of ``tools/test.py --dump``::

    python tools/visualize/confusion.py CAST=cast.pkl --task noun \\
        --classes epic_kitchens_100_noun --csv confusion.csv
    python tools/visualize/confusion.py CAST=cast.pkl --task action \\
        --classes epic_kitchens_100_verb --classes epic_kitchens_100_noun
"""

import argparse
import csv

import numpy as np

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.evaluation.accuracy import count_confusions, most_confused
from ca2st_mm.visualization.class_labels import class_labels
from ca2st_mm.visualization.confusion import best_actions, draw_confusion
from ca2st_mm.visualization.scores import Scores, named_files, read_scores
from ca2st_mm.visualization.style import FigureInputError, save


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('dump', metavar='NAME=DUMP.pkl')
    parser.add_argument(
        '--task',
        choices=('verb', 'noun', 'action'),
        help='where there are verbs and nouns',
    )
    parser.add_argument(
        '--classes',
        action='append',
        help='file with a name a line, or a shipped list; for actions once '
        'for verbs and once for nouns',
    )
    parser.add_argument('--limit', type=int, default=30, help='most classes')
    parser.add_argument('--csv', help='also write all counts that are not 0')
    parser.add_argument('--out', default='confusion.png')
    args = parser.parse_args()
    wanted = 2 if args.task == 'action' else 1
    if args.classes and len(args.classes) != wanted:
        parser.error(f'give --classes {wanted} times, or leave it out')
    args.classes = args.classes or [None] * wanted
    return args


def answers_of(
    result: Scores, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True and best classes of every clip, and the names of the classes."""
    if args.task == 'action':
        sizes = [result.of(t)[0].shape[1] for t in ('verb', 'noun')]
        verbs, nouns = map(class_labels, args.classes, sizes)
        return best_actions(result, verbs, nouns)
    scores, true = result.of(args.task)
    names = class_labels(args.classes[0], scores.shape[1])
    return true, scores.argmax(axis=1), names


def main() -> None:
    """Count and draw as the arguments say."""
    args = parse_args()
    [(name, path)] = named_files([args.dump]).items()
    true, best, names = answers_of(read_scores(path), args)
    counts = count_confusions(true, best, len(names))
    title = f'{name}, {args.task}s' if args.task else name
    save(draw_confusion(counts, names, title, args.limit), args.out)
    for i, j, clips in most_confused(counts, 10):
        print(f'{clips:6}  {names[i]}  taken for  {names[j]}')
    print(args.out)
    if args.csv:
        with open(args.csv, 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(['true', 'predicted', 'clips'])
            for i, j in zip(*counts.nonzero(), strict=True):
                writer.writerow([names[i], names[j], int(counts[i, j])])
        print(args.csv)


if __name__ == '__main__':
    run_or_explain(main, (FigureInputError,))
