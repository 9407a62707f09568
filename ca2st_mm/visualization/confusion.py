# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ca2st_mm.evaluation.accuracy import most_confused

from .scores import Scores
from .style import INK, FigureInputError, new_figure

_NAMED = 60  # more names than this cannot be read
_WRITTEN = 15  # more numbers than this a side cannot be read


def best_actions(
    result: Scores, verbs: Sequence[str], nouns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Verb and noun as one class: best verb with best noun.

    Only pairs that occur, as truth or as answer, become classes.

    Args:
        result: Scores of verbs and nouns.
        verbs: Names of the verbs.
        nouns: Names of the nouns.

    Returns:
        True and best action of every clip, (clips,), and names of actions.
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

    Args:
        counts: How often class i was taken for class j, (C, C).
        limit: How many at most.

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

    Args:
        counts: How often class i was taken for class j, (C, C).
        names: Of the classes.
        title: What is shown.
        limit: How many classes at most.

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
