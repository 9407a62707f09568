# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions as text, CSV and JSON, written as they come."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ca2st_mm.datasets.containers import probe

from .prediction import Failure, PartAnswer, Prediction

COLUMNS = ('source', 'start', 'end', 'task', 'rank', 'label', 'score')
COLUMNS += ('audio', 'error')
_AUDIO = {True: 'yes', False: 'no', None: ''}
# Adds an answer to a file.
Write = Callable[[Prediction | Failure], None]


@contextmanager
def csv_table(path: str) -> Iterator[Write]:
    """A CSV file with a line for each class; on disk after every answer.

    Yields:
        A function that adds an answer.
    """
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()

        def write(answer: Prediction | Failure) -> None:
            # An open end stays empty.
            row = {k: getattr(answer, k) for k in ('source', 'start', 'end')}
            if isinstance(answer, Failure):
                writer.writerow(dict(row, error=answer.reason))
            else:
                row['audio'] = _AUDIO[answer.views.has_audio]
                for task, ranking in answer.ranked.items():
                    for rank, (label, score) in enumerate(ranking, 1):
                        named = dict(task=task, rank=rank, label=label)
                        writer.writerow(dict(row, **named, score=score))
            file.flush()

        yield write


@contextmanager
def json_list(path: str) -> Iterator[Write]:
    """A JSON file with a list of records; complete when it is closed.

    Yields:
        A function that adds an answer.
    """
    with open(path, 'w', encoding='utf-8') as file:
        separator = '['

        def write(answer: Prediction | Failure) -> None:
            nonlocal separator
            text = json.dumps(answer.as_record(), allow_nan=False)
            file.write(f'{separator}\n{text}')
            separator = ','

        try:
            yield write
        finally:
            file.write('[\n]\n' if separator == '[' else '\n]\n')


@contextmanager
def json_lines(path: str) -> Iterator[Write]:
    """A file with a JSON record a line; on disk after every answer.

    Yields:
        A function that adds an answer.
    """
    with open(path, 'a', encoding='utf-8') as file:

        def write(answer: Prediction | Failure) -> None:
            text = json.dumps(answer.as_record(), allow_nan=False)
            print(text, file=file, flush=True)

        yield write


def summary(prediction: Prediction) -> str:
    """Lines of text: the classes with their scores; a span in one line."""
    ranked = prediction.ranked
    if prediction.start is None and prediction.end is None:
        lines = [prediction.source]
        for task, ranking in ranked.items():
            lines += [f'  {task}'] if len(ranked) > 1 else []
            lines += [f'  {score:8.2%}  {name}' for name, score in ranking]
        return '\n'.join(lines)
    start, end = (
        'open' if second is None else f'{second:.2f} s'
        for second in (prediction.start, prediction.end)
    )
    names = ', '.join(f'{n} {s:.1%}' for n, s in prediction.best[:3])
    line = f'{prediction.source}  {start} to {end}  {names}'
    if prediction.latency is None:
        return line
    return f'{line}  after {prediction.latency:.2f} s'


def audio_note(prediction: Prediction) -> str | None:
    """What was done about missing audio; None where it was not missing."""
    if prediction.views.has_audio is not False:
        return None
    if not prediction.left_out:
        return 'no audio: silence was put in its place'
    experts = ' and '.join(prediction.left_out)
    return f'no audio: predicted without the expert {experts}'


def explanation(answer: Prediction) -> str:
    """Lines of text: streams, frames and seconds that were used.

    Streams are named if the source is a file with several of a kind.
    """
    views, lines = answer.views, []
    if os.path.isfile(answer.source):
        info = probe(answer.source)
        lines += [*info.choices('video'), *info.choices('audio')]
    if views.frames is not None:
        for number, frames in enumerate(views.frames):
            clip, times = f'clip {number + 1}', 'unknown'
            if views.seconds is not None:
                times = ' '.join(f'{t:.3f}' for t in views.seconds[number])
            lines.append(f'{clip}, frames: {" ".join(map(str, frames))}')
            lines.append(f'{clip}, seconds: {times}')
    if views.audio is not None:
        lines += [
            f'audio, seconds: {a:.3f} to {b:.3f}' for a, b in views.audio
        ]
    return '\n'.join(f'  {line}' for line in lines)


def modalities_table(answers: Sequence[PartAnswer]) -> str:
    """Lines of text: what each part of the model says alone."""
    several = len({answer.task for answer in answers}) > 1
    lines = []
    for answer in answers:
        part = f'{answer.part}, {answer.task}' if several else answer.part
        said = f'does not know: {answer.unknown}'
        if not answer.unknown:
            said = (
                f'{answer.label} {answer.score:.1%} '
                f'(the answer above: {answer.change:+.1%})'
            )
        lines.append(f'  {part}: {said}')
    return '\n'.join(lines)
