# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions as text, CSV and JSON, written as they come."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from .many import Failure
from .prediction import Prediction, SenseAnswer, Views

COLUMNS = (
    'source',
    'start',
    'end',
    'task',
    'rank',
    'label',
    'score',
    'sound',
    'error',
)
_SOUND = {True: 'yes', False: 'no', None: ''}


class Table(Protocol):
    """Takes one answer after the other."""

    def write(self, answer: Prediction | Failure) -> None:
        """Add an answer."""


@contextmanager
def csv_table(path: str) -> Iterator[Table]:
    """A CSV file with a line for each name; on disk after every answer.

    Args:
        path: File to write.
    """
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        yield _CsvTable(file, writer)


class _CsvTable:
    def __init__(self, file: Any, writer: csv.DictWriter) -> None:
        self._file, self._writer = file, writer

    def write(self, answer: Prediction | Failure) -> None:
        self._writer.writerows(_rows(answer))
        self._file.flush()


def _rows(answer: Prediction | Failure) -> Iterator[dict[str, Any]]:
    """Lines of an answer; an open end stays empty."""
    where = dict(source=answer.source, start=answer.start, end=answer.end)
    if isinstance(answer, Failure):
        yield dict(where, error=answer.reason)
        return
    sound = _SOUND[answer.views.has_sound]
    for task, ranking in answer.ranked.items():
        for rank, (label, score) in enumerate(ranking, 1):
            named = dict(task=task, rank=rank, label=label, score=score)
            yield dict(where, **named, sound=sound)


@contextmanager
def json_list(path: str) -> Iterator[Table]:
    """A JSON file with a list of records; complete when it is closed.

    Args:
        path: File to write.
    """
    with open(path, 'w', encoding='utf-8') as file:
        file.write('[')
        try:
            yield _JsonList(file)
        finally:
            file.write('\n]\n')


class _JsonList:
    def __init__(self, file: Any) -> None:
        self._file, self._comma = file, ''

    def write(self, answer: Prediction | Failure) -> None:
        text = json.dumps(answer.as_record(), allow_nan=False)
        self._file.write(f'{self._comma}\n{text}')
        self._comma = ','


def summary(prediction: Prediction) -> str:
    """A few lines of text: the names with their scores.

    Args:
        prediction: What to show; a span in one line for each task.
    """
    ranked = prediction.ranked
    if prediction.start is None and prediction.end is None:
        lines = [prediction.source]
        for task, ranking in ranked.items():
            lines += [f'  {task}'] if len(ranked) > 1 else []
            lines += [f'  {score:8.2%}  {name}' for name, score in ranking]
        return '\n'.join(lines)
    span = f'{_second(prediction.start)} to {_second(prediction.end)}'
    # The action stands last and says verb and noun.
    best = list(ranked.values())[-1]
    names = ', '.join(f'{name} {score:.1%}' for name, score in best[:3])
    return f'{prediction.source}  {span}  {names}'


def explanation(views: Views) -> str:
    """A few lines of text: frames and seconds that were used.

    Args:
        views: What the model was given.
    """
    lines = []
    if views.frames is not None:
        for number, frames in enumerate(views.frames):
            lines.append(f'  clip {number + 1}, frames: {_row(frames, "d")}')
            if views.seconds is not None:
                times = _row(views.seconds[number], '.3f')
                lines.append(f'  clip {number + 1}, seconds: {times}')
            else:
                lines.append(f'  clip {number + 1}, seconds: unknown')
    if views.sound is not None:
        for start, end in views.sound:
            lines.append(f'  sound, seconds: {start:.3f} to {end:.3f}')
    return '\n'.join(lines)


def senses_table(answers: Sequence[SenseAnswer]) -> str:
    """Lines of text: what each part of the model says alone.

    Args:
        answers: Of one prediction.
    """
    several = len({answer.task for answer in answers}) > 1
    lines = []
    for answer in answers:
        part = f'{answer.part}, {answer.task}' if several else answer.part
        said = (
            f'does not know: {answer.unknown}'
            if answer.unknown
            else f'{answer.label} {answer.score:.1%} '
            f'(the answer above: {answer.change:+.1%})'
        )
        lines.append(f'  {part}: {said}')
    return '\n'.join(lines)


def _row(values: np.ndarray, form: str) -> str:
    return ' '.join(format(value, form) for value in values)


def _second(value: float | None) -> str:
    return 'open' if value is None else f'{value:.2f} s'
