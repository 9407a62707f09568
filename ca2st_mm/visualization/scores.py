# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Scores of every clip, as ``tools/test.py --dump`` writes them."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from mmengine.fileio import load

from .style import FigureInputError

# Label column -> key of its scores in a prediction.
KEYS = dict(label='pred_score', verb='pred_verb_score', noun='pred_noun_score')


@dataclass(frozen=True)
class Scores:
    """What one model answered.

    Attributes:
        path: The dump.
        scores: By label column (label, or verb and noun): (clips, classes).
        labels: By label column: true classes, (clips,).
        files: The video of each clip; None if the test did not keep it.
    """

    path: str
    scores: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    files: list[str] | None

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))

    def of(self, task: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores and labels of one label column.

        Args:
            task: The column; None if there is only one.

        Raises:
            FigureInputError: If there is no such column, or several.
        """
        if task is None and len(self.scores) == 1:
            task = next(iter(self.scores))
        if task not in self.scores:
            known = ' and '.join(self.scores)
            cure = '; choose with --task' if task is None else f', not {task}'
            raise FigureInputError(
                f'{self.path} holds scores of {known}{cure}'
            )
        return self.scores[task], self.labels[task]


def read_scores(path: str) -> Scores:
    """Read a dump.  A pickle can run code: read only your own.

    Args:
        path: The .pkl.

    Raises:
        FigureInputError: If it is not there or no dump of scores.
    """
    try:
        samples = load(path)
    except FileNotFoundError as error:
        raise FigureInputError(
            f'There is no file {path}; tools/test.py CONFIG CHECKPOINT '
            '--dump writes it'
        ) from error
    except (pickle.UnpicklingError, EOFError, TypeError) as error:
        raise FigureInputError(f'{path} is no dump (.pkl): {error}') from error
    if not isinstance(samples, list) or not samples:
        raise FigureInputError(f'{path} holds no list of predictions')
    found = [
        task
        for task, key in KEYS.items()
        if all(isinstance(s, dict) and key in s for s in samples)
    ]
    if not found or any('gt_label' not in s for s in samples):
        raise FigureInputError(
            f'{path} holds no scores with labels; write it with '
            'tools/test.py --dump on a labelled set'
        )
    labels = np.stack([np.asarray(s['gt_label']).ravel() for s in samples])
    if labels.shape[1] != len(found):
        raise FigureInputError(
            f'{path} has {labels.shape[1]} labels a clip but scores of '
            f'{" and ".join(found)}; one label a clip is needed'
        )
    files = [s.get('filename') for s in samples]
    return Scores(
        path,
        {t: _stacked(path, samples, KEYS[t]) for t in found},
        {t: labels[:, column] for column, t in enumerate(found)},
        None if None in files else files,
    )


def _stacked(path: str, samples: list[dict], key: str) -> np.ndarray:
    rows = [np.asarray(s[key], dtype=np.float64) for s in samples]
    lengths = {row.shape for row in rows}
    if len(lengths) > 1:
        raise FigureInputError(
            f'{path} has clips with different numbers of classes: '
            f'{sorted(size for (size,) in lengths)}'
        )
    return np.stack(rows)


def check_same_clips(results: Sequence[Scores]) -> None:
    """Make sure that models answered the same clips in the same order.

    Args:
        results: Of each model.

    Raises:
        FigureInputError: If length, file names, labels or numbers of
            classes differ; names both files.
    """
    first = results[0]
    for other in results[1:]:
        pair = f'{first.path} and {other.path}'
        cure = 'test both models on the same list'
        if len(first) != len(other):
            raise FigureInputError(
                f'{pair} hold {len(first)} and {len(other)} clips; {cure}'
            )
        sizes = [
            {t: s.shape[1] for t, s in result.scores.items()}
            for result in (first, other)
        ]
        if sizes[0] != sizes[1]:
            raise FigureInputError(
                f'{pair} have scores of {sizes[0]} and {sizes[1]} classes; '
                f'{cure}'
            )
        if first.files and other.files:
            # The same clips may lie in another folder.
            names = [
                [PurePath(file).name for file in result.files]
                for result in (first, other)
            ]
            _check_equal(*names, 'file', pair, cure)
        for task, labels in first.labels.items():
            known = other.labels[task]
            _check_equal(labels, known, f'true {task}', pair, cure)


def _check_equal(a: Sequence, b: Sequence, what: str, pair: str, cure: str):
    for number, (left, right) in enumerate(zip(a, b, strict=True)):
        if left != right:
            raise FigureInputError(
                f'{pair} differ in the {what} of clip {number}: {left} and '
                f'{right}; {cure}'
            )
