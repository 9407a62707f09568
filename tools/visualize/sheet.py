# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A qualitative sheet: frames of clips, the truth, the answers of models.

From dumps of ``tools/test.py --dump``, the model to show last::

    ca2st plot sheet CLIP=clip.pkl VideoMAE=videomae.pkl \\
        CAST=cast.pkl --classes epic_kitchens_100_verb \\
        --classes epic_kitchens_100_noun --pick gained
"""

import argparse
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from figure_tool import figure_parser, whole, write

# Which clips to show: from whether the other models (models, clips) and the
# last one (clips,) are right.
PICKS = {
    'gained': lambda others, ours: ours & ~others.any(axis=0),
    'lost': lambda others, ours: ~ours & others.any(axis=0),
    'hard': lambda others, ours: ~ours & ~others.any(axis=0),
    'easy': lambda others, ours: ours & others.all(axis=0),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = figure_parser(__doc__, 'file (default: next to the last dump)')
    add = parser.add_argument
    add('dumps', nargs='+', metavar='NAME=DUMP.pkl', help='dumps of tests')
    add(
        '--classes',
        action='append',
        help='file with a name a line, or a shipped list; for verbs and '
        'nouns once each',
    )
    add(
        '--pick',
        choices=PICKS,
        default='gained',
        help='clips that only the last model gets right (gained), that it '
        'gets wrong and another right (lost), that none gets right (hard) '
        'or all (easy)',
    )
    add(
        '--ann-file',
        '--manifest',  # as it was called
        help='the list of the test: where the clips are and, in untrimmed '
        'files, from when to when (default: what the dumps say)',
    )
    add('--data-root', default='', help='folder of the files in --ann-file')
    add('--clips', type=whole, default=4, help='how many rows')
    add('--frames', type=whole, default=6, help='of each clip')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and wrong flags end here, before torch is imported

import numpy as np
from class_labels import class_labels
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from result_files import Scores, read_comparable

import ca2st_mm  # noqa: F401  (patches and registers, so it comes first)
from ca2st_mm.datasets.annotations import read_annotations
from ca2st_mm.datasets.faults import MediaError
from ca2st_mm.datasets.video import PyAVReader
from ca2st_mm.engine.launch import run_or_explain
from ca2st_mm.utils.percent import percent
from ca2st_mm.visualization.style import (
    GREY,
    INK,
    RED,
    TEAL,
    FigureInputError,
    new_figure,
)

Span = tuple[float | None, float | None]


class Answer(NamedTuple):
    """What one model says about one clip."""

    model: str
    text: str  # its best class
    score: float  # of verb and noun the product
    right: bool


class Row(NamedTuple):
    """What the sheet shows of one clip; frames are RGB, at seconds."""

    path: str
    frames: np.ndarray
    seconds: np.ndarray
    truth: str
    answers: Sequence[Answer]


def pick_clips(
    results: Mapping[str, Scores], which: str, limit: int
) -> list[int]:
    """Clips worth looking at, those of which the last model is sure first.

    Classes take turns, so that a sheet is not of one class.

    Raises:
        FigureInputError: If none is such a clip.
    """
    hits = [[r.hits(task) for task in r.scores] for r in results.values()]
    right = np.array(hits).all(axis=1)
    chosen = np.flatnonzero(PICKS[which](right[:-1], right[-1]))
    if not len(chosen):
        raise FigureInputError(
            f"there is no clip of the kind '{which}' among {right.shape[1]}; "
            f'choose another of {", ".join(PICKS)}'
        )
    last = list(results.values())[-1]
    sure = np.prod([s.max(axis=1) for s in last.scores.values()], axis=0)
    seen: dict[tuple, int] = {}
    turns = {}
    for clip in chosen[np.argsort(-sure[chosen], kind='stable')]:
        true = tuple(labels[clip] for labels in last.labels.values())
        turns[int(clip)] = seen[true] = seen.get(true, 0) + 1
    # The most confident clip of each class comes before the second of any.
    return sorted(turns, key=turns.get)[:limit]


def answers_to(
    clip: int,
    results: Mapping[str, Scores],
    names: Mapping[str, Sequence[str]],
) -> tuple[str, list[Answer]]:
    """The true class of a clip, and the answers of all models.

    A verb and a noun make one answer.

    Raises:
        FigureInputError: If scores are not probabilities.
    """

    def say(classes: Mapping[str, int]) -> str:
        return ' '.join(names[task][index] for task, index in classes.items())

    first = next(iter(results.values()))
    true = {task: int(of[clip]) for task, of in first.labels.items()}
    answers = []
    for model, result in results.items():
        rows = {task: of[clip] for task, of in result.scores.items()}
        if any(r.min() < 0 or abs(r.sum() - 1) > 1e-2 for r in rows.values()):
            raise FigureInputError(
                f'the scores of {result.path} are no probabilities; test '
                "with average_clips='prob' in the head"
            )
        best = {task: int(row.argmax()) for task, row in rows.items()}
        score = float(np.prod([row.max() for row in rows.values()]))
        answers.append(Answer(model, say(best), score, best == true))
    return say(true), answers


def read_frames(
    path: str, count: int, span: Span
) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced frames of a clip, the middle of each part, and seconds.

    Raises:
        MediaError: If the file cannot be read; names it.
    """
    reader = PyAVReader(path, span=span)
    try:
        stamps = reader.frame_times
        start = stamps[0] if span[0] is None else span[0]
        end = stamps[-1] if span[1] is None else span[1]
        places = start + (np.arange(count) + 0.5) / count * (end - start)
        indices = np.abs(stamps[:, None] - places).argmin(axis=0)
        return reader.read(indices), stamps[indices]
    finally:
        reader.close()


def draw_sheet(rows: Sequence[Row]) -> Figure:
    """A row for each clip: its frames, the truth and the answers."""
    count = max(len(row.frames) for row in rows)
    lines = max(len(row.answers) for row in rows) + 1
    height = max(1.55, 0.25 + 0.24 * lines)
    figure = new_figure(1.35 * count + 3.6, height * len(rows))
    grid = figure.add_gridspec(
        len(rows), count + 1, width_ratios=[1.35] * count + [3.6]
    )
    for number, row in enumerate(rows):
        shown = zip(row.frames, row.seconds, strict=True)
        for column, (frame, second) in enumerate(shown):
            axes = figure.add_subplot(grid[number, column])
            axes.imshow(frame)
            axes.set_title(f'{second:.2f} s', fontsize=7, pad=2)
            axes.axis('off')
        _write(figure.add_subplot(grid[number, count]), row)
    return figure


def _write(axes: Axes, row: Row) -> None:
    axes.set(xlim=(0, 1), ylim=(len(row.answers) + 1.6, -0.4))
    axes.axis('off')
    name = _short(Path(row.path).name, 44)
    axes.text(0, 0, name, fontsize=7, color=INK, va='center')
    axes.text(0, 1, f'true: {_short(row.truth)}', fontsize=9, va='center')
    for line, answer in enumerate(row.answers, 2):
        # A sign next to the colour, for those who cannot tell the colours.
        sign = '✓' if answer.right else '✗'
        axes.barh(line, answer.score, 0.8, color=GREY, alpha=0.6)
        axes.text(
            0.01,
            line,
            f'{sign} {answer.model}: {_short(answer.text)} '
            f'({percent(answer.score)})',
            fontsize=9,
            color=TEAL if answer.right else RED,
            va='center',
        )


def _short(text: str, longest: int = 30) -> str:
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def clips_of(
    results: Sequence[Scores], args: argparse.Namespace
) -> list[tuple[str, Span]]:
    """File and span of every clip.

    Raises:
        FigureInputError: If neither the dumps nor an annotation file tell.
    """
    if args.ann_file:
        try:
            rows = read_annotations(args.ann_file, {})
        except (FileNotFoundError, ValueError) as error:
            raise FigureInputError(f'--ann-file: {error}') from error
        first = results[0]
        if len(rows) != first.total:
            raise FigureInputError(
                f'{args.ann_file} lists {len(rows)} clips, but {first.path} '
                f'holds {first.total}; give the list of the test'
            )
        rows = [rows[clip] for clip in first.clips]
        return [
            (osp.join(args.data_root, r['file']), (r['start'], r['end']))
            for r in rows
        ]
    for result in results:
        if result.files:
            return [(file, (None, None)) for file in result.files]
    raise FigureInputError(
        'the dumps do not say which files the clips are (meta_keys of the '
        'config without filename); give --ann-file and --data-root'
    )


def main() -> None:
    """Pick and draw as the arguments say."""
    args = parse_args()
    results = read_comparable(args.dumps)
    chosen = pick_clips(results, args.pick, args.clips)
    first = next(iter(results.values()))
    listed = args.classes or [None] * len(first.scores)
    if len(listed) != len(first.scores):
        raise FigureInputError(
            f'give --classes for each of {" and ".join(first.scores)}'
        )
    names = {
        task: class_labels(text, scores.shape[1])
        for text, (task, scores) in zip(
            listed, first.scores.items(), strict=True
        )
    }
    places = clips_of(list(results.values()), args)
    rows = []
    for clip in chosen:
        path, span = places[clip]
        frames = read_frames(path, args.frames, span)
        rows.append(Row(path, *frames, *answers_to(clip, results, names)))
    last = list(results.values())[-1].path
    write(draw_sheet(rows), args.out, last, 'sheet.png')


if __name__ == '__main__':
    run_or_explain(main, FileNotFoundError, MediaError)
