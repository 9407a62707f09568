# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a benchmark is: clips, forms of annotation files, class names.

A benchmark's annotations come in several forms (the official one, lists of
the CA2ST authors, ...).  A :class:`Form` knows one of them by its content and
turns it into clips; nothing here touches a video.
"""

import os.path as osp
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.utils.text_files import ListFileError

from .label_files import BenchmarkError, Row, Source

FOLDER = osp.join(osp.dirname(__file__), 'classes')


class Clip(NamedTuple):
    """One clip.

    Attributes:
        id: The name that the annotations give it.
        labels: Class indices, in the order of ``Benchmark.classes``; empty
            in a test set without public labels.
        names: What its own, trimmed file may be called, best first; folders
            and extension may be left out.
        video: What the untrimmed video is called, or names to try.
        start: First second in the untrimmed video, if known.
        end: Last second in the untrimmed video, if known.
    """

    id: str
    labels: tuple[int, ...]
    names: tuple[str, ...]
    video: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None


class LeftOut(NamedTuple):
    """A clip that misses a file or that a rule leaves out, and why."""

    id: str
    reason: str


class Task(NamedTuple):
    """What to read: the split, and the class names of each label column."""

    split: str
    names: Mapping[str, list[str]]


ReadRow = Callable[[Row, Task], Clip | LeftOut | None]
Read = Callable[[Source, Task], Iterable[Clip | LeftOut | None]]


@dataclass(frozen=True)
class Form:
    """One form in which the annotations of a benchmark come.

    Attributes:
        title: For the log.
        matches: Tells from the content whether a file has this form.
        read: From file and task to clips, those that a rule of the
            benchmark leaves out, and None for rows of other splits.
        counts: Rows of each split as published for this form; a split that
            is not here has a count unknown to us.
    """

    title: str
    matches: Callable[[Source], bool]
    read: Read
    counts: Mapping[str, int] = field(default_factory=dict)


def each_row(
    read_row: ReadRow, columns: Sequence[str] = (), skip: int = 0
) -> Read:
    """A reader of tables.

    Args:
        read_row: Reads one row.
        columns: Names of the columns; none where the first line has them.
        skip: Rows above the first, besides those names.
    """
    return lambda source, task: (
        read_row(row, task) for row in source.rows(columns, skip)
    )


def read_path_label(source: Source, task: Task) -> Iterable[Clip]:
    """Lines ``path label``, as MMAction2 and the CA2ST authors write."""
    for row in source.path_labels():
        if not row.cells['label']:
            raise BenchmarkError(
                f"{row.where}: expected 'path label', got {row['file']!r}."
            )
        file, label = row['file'], row.index('label', task.names['label'])
        yield Clip(file, (label,), (file,))


FILE_TEXT_LABEL = ('file', 'text', 'label')


def file_text_label(row: Row, task: Task) -> Clip:
    """A row ``file, class name, class index``; name and index must agree."""
    label = row.checked_index('label', 'text', task.names['label'])
    return Clip(row['file'], (label,), (row['file'],))


UNLABELLED = 'official times of the test set, without labels'
TIMES = ('video_id', 'start_timestamp', 'stop_timestamp')


def unlabelled(column: str) -> Read:
    """A reader of a test set whose labels their owners keep.

    Args:
        column: Name of the column of ids; the files of trimmed clips are
            called like them.
    """

    def read_row(row: Row, task: Task) -> Clip:
        if task.split != 'test':
            raise BenchmarkError(
                f'{row.where}: there are no labels, so this can only be the '
                f"test set, not '{task.split}'."
            )
        video, start, stop = TIMES
        return Clip(
            id=row[column],
            labels=(),
            names=(row[column],),
            video=(row[video],),
            start=row.seconds(start),
            end=row.seconds(stop),
        )

    return each_row(read_row)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: As in ``tools/data/<name>``.
        title: As its authors write it.
        folder: Where our configs expect it below ``data/``.
        classes: Label column -> number of classes, as published.
        class_files: Label column -> file in ``classes/``.
        lists: Split -> file names to look for, best first.
        forms: Known forms, tried in this order.
        untrimmed: Whether clips are parts of longer videos, so that one has
            to say which of the two one has.
    """

    name: str
    title: str
    folder: str
    classes: Mapping[str, int]
    class_files: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    forms: tuple[Form, ...]
    untrimmed: bool = False


@lru_cache
def shipped_names(name: str) -> list[str]:
    """Names of a file in ``classes/``.

    Args:
        name: File name.
    """
    return read_class_names(osp.join(FOLDER, name))


def class_names(
    benchmark: Benchmark, path: str | None = None, encoding: str | None = None
) -> Mapping[str, list[str]]:
    """Class names by label column.

    >>> from ca2st_mm.datasets.benchmarks import BENCHMARKS
    >>> class_names(BENCHMARKS['ucf101'])['label'][:2]
    ['ApplyEyeMakeup', 'ApplyLipstick']

    Args:
        benchmark: The benchmark.
        path: The user's own list, in place of the shipped one.
        encoding: Fallback for a list that is not UTF-8.

    Raises:
        BenchmarkError: If their number is not the published one, the user's
            list cannot be read, or the benchmark has verbs and nouns and
            ``path`` is given.
    """
    names = {
        column: shipped_names(name)
        for column, name in benchmark.class_files.items()
    }
    if path:
        if list(names) != ['label']:
            raise BenchmarkError(
                f'{benchmark.title} has verbs and nouns with official '
                'numbers; leave --classes out.'
            )
        try:
            names = dict(label=read_class_names(path, encoding))
        except (ListFileError, FileNotFoundError) as error:
            raise BenchmarkError(f'--classes {path}: {error}') from error
    for column, count in benchmark.classes.items():
        if len(names[column]) != count:
            where = path or benchmark.class_files[column]
            raise BenchmarkError(
                f"'{where}' names {len(names[column])} classes, but "
                f'{benchmark.title} has {count} ({column}).'
            )
    return names
