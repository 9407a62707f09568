# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Qualitative sheets: frames of clips beside the answers of models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .frames import Pictures
from .scores import Scores, check_same_clips
from .style import (
    GREY,
    INK,
    RED,
    TEAL,
    FigureInputError,
    new_figure,
)

_LONGEST = 30  # characters of a class name that fit beside the frames


@dataclass(frozen=True)
class Answer:
    """What one model says about one clip.

    Attributes:
        model: Its name.
        text: Best class.
        score: Of the best class, from 0 to 1; of verb and noun the product.
        right: Whether it is the true class.
    """

    model: str
    text: str
    score: float
    right: bool


def answers_to(
    clip: int,
    results: Mapping[str, Scores],
    names: Mapping[str, Sequence[str]],
) -> tuple[str, list[Answer]]:
    """The truth and the answers of all models.

    Args:
        clip: Which one.
        results: By model; a verb and a noun make one answer.
        names: Of the classes, by label column.

    Returns:
        The true class, and an answer of each model.

    Raises:
        FigureInputError: If scores are not probabilities.
    """
    first = next(iter(results.values()))
    for result in results.values():
        _check_probabilities(result, clip)
    true = {task: int(of[clip]) for task, of in first.labels.items()}
    answers = []
    for model, result in results.items():
        rows = {task: of[clip] for task, of in result.scores.items()}
        best = {task: int(row.argmax()) for task, row in rows.items()}
        score = float(np.prod([row.max() for row in rows.values()]))
        answers.append(Answer(model, _say(best, names), score, best == true))
    return _say(true, names), answers


def _check_probabilities(result: Scores, clip: int) -> None:
    for scores in result.scores.values():
        row = scores[clip]
        if row.min() < 0 or abs(row.sum() - 1) > 1e-2:
            raise FigureInputError(
                f'the scores of {result.path} are no probabilities; test '
                "with average_clips='prob' in the head"
            )


def _say(classes: Mapping[str, int], names: Mapping) -> str:
    return ' '.join(names[task][index] for task, index in classes.items())


def pick_clips(
    results: Mapping[str, Scores], which: str, limit: int
) -> list[int]:
    """Clips worth looking at, those of which the last model is sure first.

    Classes take turns, so that a sheet is not of one class.

    Args:
        results: By model; the last is the one that is shown.
        which: A key of ``PICKS``.
        limit: How many at most.

    Raises:
        FigureInputError: If the models answered other clips, or none is
            such a clip.
    """
    check_same_clips(list(results.values()))
    right = np.stack([_is_right(result) for result in results.values()])
    chosen = np.flatnonzero(PICKS[which](right[:-1], right[-1]))
    if not len(chosen):
        raise FigureInputError(
            f"there is no clip of the kind '{which}' among {right.shape[1]}; "
            f'choose another of {", ".join(PICKS)}'
        )
    last = list(results.values())[-1]
    sure = np.prod([s.max(axis=1) for s in last.scores.values()], axis=0)
    order = chosen[np.argsort(-sure[chosen], kind='stable')]
    turns: dict[tuple, int] = {}
    for clip in order:
        true = tuple(labels[clip] for labels in last.labels.values())
        turns.setdefault((true, clip), sum(true == t for t, _ in turns))
    # The surest clip of each class comes before the second of any.
    return [int(clip) for _, clip in sorted(turns, key=turns.get)][:limit]


PICKS = {
    'gained': lambda others, ours: ours & ~others.any(axis=0),
    'lost': lambda others, ours: ~ours & others.any(axis=0),
    'hard': lambda others, ours: ~ours & ~others.any(axis=0),
    'easy': lambda others, ours: ours & others.all(axis=0),
}


def _is_right(result: Scores) -> np.ndarray:
    hits = [
        scores.argmax(axis=1) == result.labels[task]
        for task, scores in result.scores.items()
    ]
    return np.all(hits, axis=0)


def draw_sheet(
    clips: Sequence[tuple[str, Pictures, str, Sequence[Answer]]],
) -> Figure:
    """A row for each clip: its frames, the truth and the answers.

    Args:
        clips: File, frames, true class and answers of each.
    """
    count = max(len(pictures.frames) for _, pictures, _, _ in clips)
    lines = max(len(answers) for *_, answers in clips) + 1
    height = max(1.55, 0.25 + 0.24 * lines)
    figure = new_figure(1.35 * count + 3.6, height * len(clips))
    grid = figure.add_gridspec(
        len(clips), count + 1, width_ratios=[1.35] * count + [3.6]
    )
    for row, (path, pictures, truth, answers) in enumerate(clips):
        shown = zip(pictures.frames, pictures.seconds, strict=True)
        for column, (frame, second) in enumerate(shown):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(frame)
            axes.set_title(f'{second:.2f} s', fontsize=7, pad=2)
            axes.axis('off')
        axes = figure.add_subplot(grid[row, count])
        _write(axes, Path(path).name, truth, answers)
    return figure


def _write(
    axes: Axes, name: str, truth: str, answers: Sequence[Answer]
) -> None:
    axes.set(xlim=(0, 1), ylim=(len(answers) + 1.6, -0.4))
    axes.axis('off')
    axes.text(0, 0, _short(name, 44), fontsize=7, color=INK, va='center')
    axes.text(0, 1, f'true: {_short(truth)}', fontsize=9, va='center')
    for line, answer in enumerate(answers, 2):
        colour = TEAL if answer.right else RED
        # A sign beside the colour, for those who cannot tell the colours.
        sign = '✓' if answer.right else '✗'
        axes.barh(line, answer.score, 0.8, color=GREY, alpha=0.6)
        axes.text(
            0.01,
            line,
            f'{sign} {answer.model}: {_short(answer.text)} '
            f'({answer.score:.0%})',
            fontsize=9,
            color=colour,
            va='center',
        )


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f'{text[: longest - 1]}…'
