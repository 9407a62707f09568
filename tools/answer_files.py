# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Predictions as text, and as CSV and JSON files that grow."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise
from typing import Any, TextIO

from ca2st_mm.apis.prediction import Failure, PartAnswer, Prediction, Ranking
from ca2st_mm.apis.windows import Key
from ca2st_mm.datasets.containers import probe
from ca2st_mm.utils.errors import UsageError
from ca2st_mm.utils.percent import percent

COLUMNS = ('source', 'start', 'end', 'task', 'rank', 'label', 'score')
COLUMNS += ('audio', 'error', 'model', 'settings')
# What reading a file that is something else raises.
_OTHER = AttributeError, KeyError, TypeError, ValueError, csv.Error
_AUDIO = {True: 'yes', False: 'no', None: ''}


class AnswerFile:
    """A CSV or JSON file of answers, on disk after every one.

    One that is there already is continued: its answers are kept, all but
    failures, which are tried again, and a line that a crash has cut off.

    Args:
        path: ``.csv``: a line for each class; ``.json``: a list of records;
            any other ending: a JSON record a line.
        model: What the model is called.
        settings: What answers depend on, by name; a file of answers with
            other settings is refused.
        overwrite: Whether to begin anew.
        stream: Whether the answers are those of a stream: none is kept in
            ``rankings``, failures stay, and ``.json`` is a record a line.

    Attributes:
        rankings: The best task of each answer in the file, by its source,
            start and end; empty for a failure.

    Raises:
        UsageError: If the file holds something else.
    """

    def __init__(
        self,
        path: str,
        model: str,
        settings: Mapping[str, Any],
        overwrite: bool = False,
        stream: bool = False,
    ) -> None:
        self.path, self.model, self._stream = path, model, stream
        self._settings = ' '.join(f'{k}={v}' for k, v in settings.items())
        self.rankings: dict[Key, Ranking] = {}
        ending = os.path.splitext(path)[1].lower()
        self._is_csv = ending == '.csv'
        self._is_list = ending == '.json' and not stream
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
        try:
            for record in () if overwrite else self._read():
                self._add(record)
        except UsageError:
            self._file.close()
            os.remove(part)
            raise
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
        made_by = dict(model=self.model, settings=self._settings)
        if self._is_csv:
            self._add(_csv_rows(answer, *made_by.values()))
        else:
            self._add(dict(answer.as_record(), **made_by))
        if not self._stream:
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
        read = self._read_csv if self._is_csv else self._read_json
        try:
            with open(self.path, encoding='utf-8', newline='\n') as file:
                yield from read(file)
        except UsageError:
            raise
        except _OTHER as error:
            raise UsageError(
                f'{self.path} is there and holds no answers that can be '
                'continued; name another file, or pass --overwrite'
            ) from error

    def _read_csv(self, file: TextIO) -> Iterator[list[tuple]]:
        is_cut = False

        def whole_lines() -> Iterator[str]:
            nonlocal is_cut
            for line in file:
                if is_cut := not line.endswith('\n'):
                    return
                yield line

        rows = csv.reader(whole_lines())
        header = next(rows, None)
        if tuple(header or ()) != COLUMNS and (header or is_cut):
            raise ValueError('another header')
        named = (dict(zip(COLUMNS, row, strict=True)) for row in rows)
        answers = (list(found) for _, found in groupby(named, key=_key_of))
        for found, after in pairwise(chain(answers, [None])):
            self._check(found[0]['settings'])
            # Of an answer that was cut off nothing stays.
            if after is None and is_cut:
                return
            ranking = [
                (row['label'], float(row['score']))
                for row in found
                if not row['error'] and row['task'] == found[-1]['task']
            ]
            if self._is_kept(_key_of(found[0]), ranking):
                yield [tuple(row.values()) for row in found]

    def _read_json(self, file: TextIO) -> Iterator[dict]:
        for line, after in pairwise(chain(file, [None])):
            line = line.strip().removesuffix(',')
            if line in ('', '[', ']'):
                continue
            try:
                record = json.loads(line)
            except ValueError:
                if after is not None:
                    raise
                return  # cut off
            self._check(record['settings'])
            key = record['source'], record['start'], record['end']
            tasks = [(), *record.get('ranked', {}).values()]
            ranking = [(pair['label'], pair['score']) for pair in tasks[-1]]
            if self._is_kept(key, ranking):
                yield record

    def _is_kept(self, key: Key, ranking: list[tuple[str, float]]) -> bool:
        """Whether an answer stays; what it says is remembered."""
        if ranking and not self._stream:
            self.rankings[key] = tuple(ranking)
        return bool(ranking) or self._stream

    def _check(self, settings: str) -> None:
        if settings != self._settings:
            other = set(settings.split()) ^ set(self._settings.split())
            names = sorted({pair.partition('=')[0] for pair in other})
            raise UsageError(
                f'{self.path} holds answers with other {", ".join(names)}; '
                'name another file, or pass --overwrite'
            )


def _key_of(row: dict[str, str]) -> Key:
    start, end = (float(row[k]) if row[k] else None for k in ('start', 'end'))
    return row['source'], start, end


def _csv_rows(answer: Prediction | Failure, *made_by: str) -> list[tuple]:
    # An open end stays empty.
    span = answer.source, answer.start, answer.end
    if isinstance(answer, Failure):
        return [(*span, *[None] * 5, answer.reason, *made_by)]
    audio = _AUDIO[answer.views.has_audio]
    return [
        (*span, task, rank, label, score, audio, None, *made_by)
        for task, ranking in answer.ranked.items()
        for rank, (label, score) in enumerate(ranking, 1)
    ]


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
