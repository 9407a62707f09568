# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Confusion matrix of a model, and the pairs it confuses most.

From a dump of ``tools/test.py --dump``::

    ca2st plot confusion CAST=cast.pkl --task noun \\
        --classes epic_kitchens_100_noun --csv confusion.csv
    ca2st plot confusion CAST=cast.pkl --task action \\
        --classes epic_kitchens_100_verb --classes epic_kitchens_100_noun
"""

import argparse
from collections.abc import Sequence

from figure_tool import figure_parser, write, write_csv


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__)
    add = parser.add_argument
    add('dump', metavar='NAME=DUMP.pkl', help='name and dump of a test')
    add('--task', choices=('verb', 'noun', 'action'), help='if there are both')
    add(
        '--classes',
        action='append',
        help='file with a name a line, or a shipped list; for actions once '
        'for verbs and once for nouns',
    )
    add('--limit', type=int, default=30, help='most classes')
    add('--csv', help='also write all counts that are not 0')
    args = parser.parse_args()
    wanted = 2 if args.task == 'action' else 1
    if args.classes and len(args.classes) != wanted:
        parser.error(f'give --classes {wanted} times, or leave it out')
    args.classes = args.classes or [None] * wanted
    return args


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from class_labels import class_labels
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from result_files import Scores, named_files, read_scores
from sklearn.metrics import confusion_matrix

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.visualization.style import (
    INK,
    FigureInputError,
    new_figure,
)

_NAMED = 60  # more names than this cannot be read
_WRITTEN = 15  # more numbers than this a side cannot be read


def most_confused(
    counts: np.ndarray, limit: int = 20
) -> list[tuple[int, int, int]]:
    """(true class, predicted class, clips) of the most frequent mistakes.

    ``counts`` (C, C) says how often class i was taken for class j.
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind='stable')[:limit]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        (int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]
    ]


def best_actions(
    result: Scores, verbs: Sequence[str], nouns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True and best action of every clip, (clips,), and names of actions.

    An action is the best verb with the best noun; only pairs that occur, as
    truth or as answer, become classes.
    """
    true, best = 0, 0
    for task, count in (('verb', len(verbs)), ('noun', len(nouns))):
        scores, labels = result.of(task)
        true = true * count + labels
        best = best * count + scores.argmax(axis=1)
    pairs, places = np.unique(
        np.concatenate((true, best)), return_inverse=True
    )
    names = [
        f'{verbs[pair // len(nouns)]} {nouns[pair % len(nouns)]}'
        for pair in pairs
    ]
    return places[: len(true)], places[len(true) :], names


def often_confused(counts: np.ndarray, limit: int) -> np.ndarray:
    """The classes of the most frequent mistakes, in class order.

    >>> often_confused(np.array([[5, 0, 3], [0, 9, 0], [0, 0, 7]]), limit=2)
    array([0, 2])
    """
    chosen: set[int] = set()
    for true, best, _ in most_confused(counts, limit**2):
        if len(chosen | {true, best}) > limit:
            break
        chosen |= {true, best}
    return np.array(sorted(chosen), dtype=int)


def draw_confusion(
    counts: np.ndarray, names: Sequence[str], title: str, limit: int = 30
) -> Figure:
    """Shares of each true class, as a heat map.

    With more classes than the limit those of the most frequent mistakes are
    drawn; shares are still of all clips of the class.  The colour follows
    the square root of the share, so that rare mistakes are seen.

    Raises:
        FigureInputError: If the limit is too large to be read.
    """
    if not 2 <= limit <= _NAMED:
        raise FigureInputError(
            f'{limit} classes cannot be drawn; choose from 2 to {_NAMED}'
        )
    chosen = np.arange(len(counts))
    if len(counts) > limit:
        chosen = often_confused(counts, limit)
        title += (
            f'\nthe {len(chosen)} of {len(counts)} classes of the most '
            'frequent mistakes'
        )
    clips = counts.sum(axis=1)[chosen]
    part = counts[np.ix_(chosen, chosen)]
    # A class without a clip has no share; it stays blank.
    with np.errstate(invalid='ignore'):
        shares = 100 * part / clips[:, None]
    side = 2.6 + max(0.2 * len(chosen), 2.0)
    figure = new_figure(side + 1.2, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap='Blues', norm=PowerNorm(0.5, 0, 100))
    places, labels = range(len(chosen)), [names[i] for i in chosen]
    axes.set_xticks(places, labels, rotation=90, fontsize=8)
    labels = [f'{n} ({int(c)})' for n, c in zip(labels, clips, strict=True)]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set(xlabel='predicted', ylabel='true (clips)')
    axes.set_title(title, fontsize=10)
    if len(chosen) <= _WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                axes.text(
                    column,
                    row,
                    f'{share:.0f}',
                    ha='center',
                    va='center',
                    fontsize=7,
                    color='white' if share > 40 else INK,
                )
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label('share of the true class, %')
    return figure


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
    counts = confusion_matrix(true, best, labels=np.arange(len(names)))
    title = f'{name}, {args.task}s' if args.task else name
    figure = draw_confusion(counts, names, title, args.limit)
    for i, j, clips in most_confused(counts, 10):
        print(f'{clips:6}  {names[i]}  taken for  {names[j]}')
    write(figure, args.out, path, 'confusion.png')
    pairs = zip(*counts.nonzero(), strict=True)
    rows = ((names[i], names[j], int(counts[i, j])) for i, j in pairs)
    write_csv(args.csv, ('true', 'predicted', 'clips'), rows)


if __name__ == '__main__':
    run_or_explain(main)
