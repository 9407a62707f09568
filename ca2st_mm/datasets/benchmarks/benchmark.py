# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""What a benchmark is: its clips, the forms of its lists, its classes."""

import os.path as osp
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.utils.text_files import ListFileError

from ..list_files import ListFile, Row, is_index

CLASS_FOLDER = osp.join(osp.dirname(__file__), 'classes')


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


# The class names of each label column.
Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Form:
    """One form in which the annotations of a benchmark come.

    Attributes:
        title: For the log.
        rows: The rows of a list of this form, told by its content; None or
            nothing if the list has another form.
        clip: From a row and the class names to the clip; None for a clip of
            another benchmark.
        counts: Rows of each split as published for this form; a split that
            is not here has a count unknown to us.
        split_column: Where the split of a row stands, if one list holds
            several.
    """

    title: str
    rows: Callable[[ListFile], Iterable[Row] | None]
    clip: Callable[[Row, Names], Clip | LeftOut | None]
    counts: Mapping[str, int] = field(default_factory=dict)
    split_column: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: As in ``tools/data/<name>``.
        title: As its authors write it.
        classes: Label column -> file of class names in ``classes/``.
        lists: Split -> file names to look for, best first.
        forms: Known forms, tried in this order.
        untrimmed: Whether clips are parts of longer videos, so that one has
            to say which of the two one has.
        folder: Where our configs expect it below ``data/``; its name if left
            out.
    """

    name: str
    title: str
    classes: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    forms: tuple[Form, ...]
    untrimmed: bool = False
    folder: str = ''

    def __post_init__(self) -> None:
        object.__setattr__(self, 'folder', self.folder or self.name)


def with_header(*columns: str) -> Callable:
    """Rows of a table whose first line names (at least) these columns."""

    def rows(source: ListFile) -> Iterable[Row] | None:
        head = source.head()
        found = head and set(columns) <= set(head[0])
        return source.table() if found else None

    return rows


def without_header(
    *columns: str, indices: Sequence[int], skip: int = 0, more: bool = False
) -> Callable:
    """Rows of a table whose columns have no names, or others than ours.

    Args:
        *columns: Our names of the first columns.
        indices: The columns that hold whole numbers, from 0.
        skip: Header lines.
        more: Whether further columns may follow.
    """

    def rows(source: ListFile) -> Iterable[Row] | None:
        first = source.head(skip + 1)[skip:]
        if not first or not (more or len(first[0]) == len(columns)):
            return None
        cells = dict(enumerate(first[0]))
        if all(is_index(cells.get(column, '')) for column in indices):
            return source.table(columns, skip)
        return None

    return rows


def json_objects(*keys: str) -> Callable:
    """JSON objects, the first with (at least) these keys."""

    def rows(source: ListFile) -> Iterable[Row] | None:
        records = source.records
        found = records and set(keys) <= set(records[0].cells)
        return records if found else None

    return rows


def path_labels(source: ListFile) -> Iterable[Row] | None:
    """Lines ``path label``, as MMAction2 and the CA2ST authors write."""
    return source.path_labels() if source.has_path_labels() else None


def checked_class(row: Row, index: str, name: str, names: Names) -> int:
    """A class index that must agree with a class name next to it.

    Args:
        row: The row.
        index: Column of the index.
        name: Column of the name.
        names: Class names; those of ``label`` are compared.

    Raises:
        ListFileError: If the two contradict each other.
    """
    label = row.index(index, len(names['label']))
    known = names['label'][label]
    if known != row[name]:
        raise ListFileError(
            f'{row.where}: class {label} is called {row[name]!r}, but '
            f'{known!r} in our list; give the class names in the order of '
            'your file with --classes.'
        )
    return label


@lru_cache
def shipped_names(name: str) -> list[str]:
    """Names of a file in ``classes/``.

    >>> shipped_names('ucf101.txt')[:2]
    ['ApplyEyeMakeup', 'ApplyLipstick']
    """
    return read_class_names(osp.join(CLASS_FOLDER, name))


def class_names(
    benchmark: Benchmark, path: str | None = None, encoding: str | None = None
) -> Names:
    """Class names by label column.

    >>> from ca2st_mm.datasets.benchmarks import BENCHMARKS
    >>> class_names(BENCHMARKS['epic_sounds'])['label'][1]
    'scrub / scrape / scour / wipe'

    Args:
        benchmark: The benchmark.
        path: The user's own list, in place of the shipped one.
        encoding: Fallback for a list that is not UTF-8.

    Raises:
        ListFileError: If the user's list cannot be read or has another
            number of names, or the benchmark has verbs and nouns.
    """
    shipped = {
        column: shipped_names(name)
        for column, name in benchmark.classes.items()
    }
    if not path:
        return shipped
    if list(shipped) != ['label']:
        raise ListFileError(
            f'{benchmark.title} has verbs and nouns with official numbers; '
            'leave --classes out.'
        )
    try:
        names = read_class_names(path, encoding)
    except (ListFileError, FileNotFoundError) as error:
        raise ListFileError(f'--classes {path}: {error}') from error
    if len(names) != len(shipped['label']):
        raise ListFileError(
            f"'{path}' names {len(names)} classes, but {benchmark.title} has "
            f'{len(shipped["label"])}.'
        )
    return dict(label=names)
