# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions as text, and as CSV and JSON files that grow."""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ca2st_mm.datasets.containers import probe
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.percent import percent

from .prediction import UNKNOWN, Failure, PartAnswer, Prediction, Ranking
from .windows import Key

COLUMNS = ('source', 'start', 'end', 'task', 'rank', 'label', 'score')
COLUMNS += ('audio', 'error', 'model')
_AUDIO = {True: 'yes', False: 'no', None: ''}


class AnswerFile:
    """A CSV or JSON file of answers, on disk after every one.

    One that is there already is continued: its answers are kept, all but
    failures, which are tried again, and a line that a crash has cut off.

    Args:
        path: ``.csv``: a line for each class; ``.json``: a list of records;
            any other ending: a JSON record a line.
        model: What the model is called; answers of another one are not
            continued.
        overwrite: Whether to begin anew.
        lines: Whether ``.json`` is a record a line, too, as of a stream,
            whose answers are not kept in ``rankings``.

    Attributes:
        rankings: The best task of each answer in the file, by its source,
            start and end; empty for a failure.

    Raises:
        UsageError: If the file holds something else.

    Example:
        >>> with AnswerFile('out.csv', 'ca2st.pth') as file:
        ...     for answer in recognizer.predict(['clip.mp4'], top_k=2):
        ...         file.write(answer)
        >>> len(AnswerFile('out.csv', 'ca2st.pth').rankings)
        1
    """

    def __init__(
        self,
        path: str,
        model: str,
        overwrite: bool = False,
        lines: bool = False,
    ) -> None:
        self.path, self.model, self._lines = path, model, lines
        self.rankings: dict[Key, Ranking] = {}
        ending = os.path.splitext(path)[1].lower()
        self._is_csv = ending == '.csv'
        self._is_list = ending == '.json' and not lines
        kept = [] if overwrite else list(self._read())
        # Written anew, so that a cut line does not stay.
        part = f'{path}.part'
        # Names of files need not be UTF-8.
        self._file = open(
            part,
            'w',
            encoding='utf-8',
            errors='backslashreplace',
            newline='',
        )
        self._table = csv.writer(self._file, lineterminator='\n')
        if self._is_csv:
            self._table.writerow(COLUMNS)
        self._first = True
        for record in kept:
            self._add(record)
        self._file.flush()
        os.replace(part, path)

    def __enter__(self) -> 'AnswerFile':
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_list:
            self._file.write('[\n]\n' if self._first else '\n]\n')
        self._file.close()

    def write(self, answer: Prediction | Failure) -> None:
        """Add an answer."""
        record = dict(answer.as_record(), model=self.model)
        self._add(_csv_rows(answer, self.model) if self._is_csv else record)
        if not self._lines:
            key = answer.source, answer.start, answer.end
            self.rankings[key] = getattr(answer, 'best', ())
        self._file.flush()

    def _add(self, record: Any) -> None:
        if self._is_csv:
            self._table.writerows(record)
            return
        text = json.dumps(record, allow_nan=False)
        if self._is_list:
            text = f'{"[" if self._first else ","}\n{text}'
            self._first = False
        else:
            text += '\n'
        self._file.write(text)

    def _read(self) -> Iterator[Any]:
        """Answers that are kept: records, or rows of the table."""
        if not os.path.exists(self.path):
            return
        try:
            text = Path(self.path).read_text(encoding='utf-8')
            read = self._read_csv if self._is_csv else self._read_json
            yield from read(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(
                f'{self.path} is there and holds no answers that can be '
                'continued; name another file, or pass --overwrite'
            ) from error

    def _read_csv(self, text: str) -> Iterator[list[tuple]]:
        whole = text[: text.rfind('\n') + 1]
        rows = list(csv.reader(io.StringIO(whole, newline='')))
        if text and tuple(rows[:1][0] if rows else ()) != COLUMNS:
            raise ValueError('another header')
        named = [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]]
        # Of an answer that was cut off nothing stays.
        cut = _key_of(named[-1]) if named and whole != text else None
        for key, found in groupby(named, key=_key_of):
            found = list(found)
            self._check_model(found[0]['model'])
            if key != cut and not found[0]['error']:
                last = found[-1]['task']
                self.rankings[key] = tuple(
                    (row['label'], float(row['score']))
                    for row in found
                    if row['task'] == last
                )
                yield [tuple(row.values()) for row in found]

    def _read_json(self, text: str) -> Iterator[dict]:
        lines = text.split('\n')
        for number, line in enumerate(lines, 1):
            line = line.strip().removesuffix(',')
            if line in ('', '[', ']'):
                continue
            try:
                record = json.loads(line)
            except ValueError:
                if number < len(lines):
                    raise
                return  # cut off
            self._check_model(record['model'])
            if 'ranked' in record:
                ranked = list(record['ranked'].values())[-1]
                key = record['source'], record['start'], record['end']
                self.rankings[key] = tuple(
                    (pair['label'], pair['score']) for pair in ranked
                )
                yield record

    def _check_model(self, model: str) -> None:
        if model != self.model:
            raise UsageError(
                f'{self.path} holds answers of {model}; name another file '
                'for those of this model, or pass --overwrite'
            )


def _key_of(row: dict[str, str]) -> Key:
    start, end = (float(row[k]) if row[k] else None for k in ('start', 'end'))
    return row['source'], start, end


def _csv_rows(answer: Prediction | Failure, model: str) -> list[tuple]:
    # An open end stays empty.
    span = answer.source, answer.start, answer.end
    if isinstance(answer, Failure):
        return [(*span, None, None, None, None, None, answer.reason, model)]
    audio = _AUDIO[answer.views.has_audio]
    return [
        (*span, task, rank, label, score, audio, None, model)
        for task, ranking in answer.ranked.items()
        for rank, (label, score) in enumerate(ranking, 1)
    ]


class Event(NamedTuple):
    """A stretch of a file in which windows give the same class.

    Attributes:
        source: The file.
        start: First second.
        end: Last second.
        label: The class.
        score: Mean of its probability in these windows.
    """

    source: str
    start: float
    end: float
    label: str
    score: float


def merge_windows(
    rankings: dict[Key, Ranking], multi_label: bool = False
) -> list[Event]:
    """Join windows that follow each other and give the same class.

    Windows that overlap share what they have in common, half each.  Windows
    that are unknown are no event.

    Args:
        rankings: Classes of each window; of one without them, as a failure
            has it, nothing is known.
        multi_label: Whether all of its classes are meant, or the best alone.

    Example:
        >>> run, walk = (('run', 0.75),), (('walk', 0.5),)
        >>> spans = ('a', 0.0, 2.0), ('a', 1.0, 3.0), ('a', 2.0, 4.0)
        >>> for event in merge_windows(dict(zip(spans, (run, run, walk)))):
        ...     print(*event)
        a 0.0 2.5 run 0.75
        a 2.5 4.0 walk 0.5
    """
    events: list[Event] = []
    counts: list[int] = []
    by_source: dict[str, list[Key]] = {}
    for key in rankings:
        if None not in key:
            by_source.setdefault(key[0], []).append(key)
    for source, keys in by_source.items():
        keys = sorted(keys)
        bounds = [[start, end] for _, start, end in keys]
        for left, right in pairwise(bounds):
            if left[1] > right[0]:
                left[1] = right[0] = (left[1] + right[0]) / 2
        latest: dict[str, int] = {}
        for key, (start, end) in zip(keys, bounds, strict=True):
            ranking = rankings[key]
            for label, score in ranking if multi_label else ranking[:1]:
                if label == UNKNOWN:
                    continue
                place = latest.get(label)
                if place is not None and events[place].end > start - 1e-6:
                    event, count = events[place], counts[place]
                    mean = (event.score * count + score) / (count + 1)
                    events[place] = event._replace(end=end, score=mean)
                    counts[place] += 1
                else:
                    latest[label] = len(events)
                    events.append(Event(source, start, end, label, score))
                    counts.append(1)
    return events


def summary(prediction: Prediction) -> str:
    """Lines of text: the classes with their scores; a span in one line."""
    ranked = prediction.ranked
    if prediction.start is None and prediction.end is None:
        lines = [prediction.source]
        for task, ranking in ranked.items():
            lines += [f'  {task}'] if len(ranked) > 1 else []
            lines += [
                f'  {percent(score):>8}  {name}' for name, score in ranking
            ]
        return '\n'.join(lines)
    start, end = (
        'open' if second is None else f'{second:.2f} s'
        for second in (prediction.start, prediction.end)
    )
    names = ', '.join(f'{n} {percent(s)}' for n, s in prediction.best[:3])
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
                f'{answer.label} {percent(answer.score)} (the answer above: '
                f'{percent(answer.change, sign=True)})'
            )
        lines.append(f'  {part}: {said}')
    return '\n'.join(lines)
