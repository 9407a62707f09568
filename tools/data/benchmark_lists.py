# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Lists of benchmarks in any known form, and the clips in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from row_readers import CONVERTERS, READERS

from ca2st_mm.datasets.benchmarks import Benchmark, class_names, shipped_names
from ca2st_mm.datasets.list_files import ListFile, Row, is_index
from ca2st_mm.utils.class_names import read_class_names
from ca2st_mm.utils.text_files import ListFileError

# The class names of each label column.
Names = Mapping[str, Sequence[str]]


class Clip(NamedTuple):
    """One clip, by the name that the annotations give it."""

    id: str
    # Class indices, in the order of Benchmark.classes; none in a test set
    # without public labels.
    labels: tuple[int, ...]
    # What its own, trimmed file may be called, best first; folders and
    # extension may be left out.
    names: tuple[str, ...]
    video: tuple[str, ...] = ()  # names of the untrimmed video
    start: float | None = None  # seconds in the untrimmed video, if known
    end: float | None = None


class LeftOut(NamedTuple):
    """A clip that misses a file or that a rule leaves out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Form:
    """One form in which the annotations of a benchmark come.

    Names are formats over the cells of a row, such as ``'{id}_{start}'``.

    Attributes:
        title: For the log.
        id: The name of a clip.
        labels: Label column -> column of the class, as index or name; none
            in a test set without public labels.
        header: A table whose first line names (at least) these columns.
        columns: A table without such names: ours of its (first) columns.
        indices: Which of them hold whole numbers, from 0.
        skip: Lines above such a table.
        more: Whether further columns may follow.
        keys: JSON objects, the first of which has (at least) these keys.
        reader: Other lists: a name in ``row_readers.READERS``.
        converter: Changes rows: a name in ``row_readers.CONVERTERS``.
        files: What the file of a clip may be called; ``id`` if left out.
        video: What the untrimmed video may be called.
        start: Column of the first second.
        end: Column of the last second.
        class_name: Column of a class name that the class must agree with.
        subset_of: List of all classes in the rows, in ``classes/``, of which
            the benchmark has some; the rows of others are not read.
        other_classes: Why clips of other classes are left out.
        left_out: Clip -> why it is left out.
        counts: Rows of each split as published for this form; a split that
            is not here has a count unknown to us.
        split_column: Where the split of a row stands, if one list holds
            several.
    """

    title: str
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] = ()
    columns: Sequence[str] = ()
    indices: Sequence[int] = ()
    skip: int = 0
    more: bool = False
    keys: Sequence[str] = ()
    reader: str | None = None
    converter: str | None = None
    files: Sequence[str] = ()
    video: Sequence[str] = ()
    start: str = ''
    end: str = ''
    class_name: str | None = None
    subset_of: str | None = None
    other_classes: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    split_column: str | None = None

    def rows(self, source: ListFile) -> Iterable[Row] | None:
        """The rows of a list of this form; None if it has another."""
        rows = self._rows(source)
        if rows is not None and self.converter:
            rows = CONVERTERS[self.converter](rows)
        return rows

    def _rows(self, source: ListFile) -> Iterable[Row] | None:
        if self.reader:
            return READERS[self.reader](source)
        if self.keys:
            first = source.records[0].cells if source.records else ()
            return source.records if set(self.keys) <= set(first) else None
        first = source.head(self.skip + 1)[self.skip :]
        if not first:
            return None
        if self.header:
            return (
                source.table() if set(self.header) <= set(first[0]) else None
            )
        cells = dict(enumerate(first[0]))
        found = self.more or len(cells) == len(self.columns)
        if found and all(is_index(cells.get(i, '')) for i in self.indices):
            return source.table(self.columns, self.skip)
        return None

    def clip(self, row: Row, names: Names) -> Clip | LeftOut | None:
        """The clip of a row; None if it belongs to another benchmark.

        Raises:
            ListFileError: If a cell is empty or wrong.
        """
        name = self.id.format_map(row)
        labels = [
            self._label(row, cell, names[column])
            for column, cell in self.labels.items()
        ]
        if name in self.left_out:
            return LeftOut(name, self.left_out[name])
        if None in labels:
            return self.other_classes and LeftOut(name, self.other_classes)
        files, video = (
            tuple(text.format_map(row) for text in formats)
            for formats in (self.files or (self.id,), self.video)
        )
        times = row.seconds(self.start), row.seconds(self.end)
        return Clip(name, tuple(labels), files, video, *times)

    def _label(self, row: Row, cell: str, names: Sequence[str]) -> int | None:
        """The class index; None for a class that is none of the names."""
        text, known = row.get(cell), names
        if self.subset_of:
            known = shipped_names(self.subset_of)
        if self.other_classes and (
            not text or (is_index(text) and int(text) >= len(known))
        ):
            return None
        if is_index(row[cell]):
            label = row.index(cell, len(known))
        else:
            label = row.class_of(cell, known)
        if self.class_name and known[label] != row[self.class_name]:
            raise ListFileError(
                f'{row.where}: class {label} is called '
                f'{row[self.class_name]!r}, but {known[label]!r} in our list; '
                'give the class names in the order of your file with '
                '--classes.'
            )
        if self.subset_of:
            return _indices_in(self.subset_of, tuple(names)).get(label)
        return label


@lru_cache
def _indices_in(file: str, names: tuple[str, ...]) -> dict[int, int]:
    """Index in a list of ``classes/`` -> index in names of some of it."""
    known = shipped_names(file)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ListFileError(
            f"'{file}' has no class {unknown[0]!r}; correct the name in the "
            'list of --classes.'
        )
    return {known.index(name): index for index, name in enumerate(names)}


def names_in_order(
    benchmark: Benchmark, path: str | None = None, encoding: str | None = None
) -> Names:
    """Class names by label column, for labels that are numbers.

    ``path`` is a list of the user in place of the shipped one.

    Raises:
        ListFileError: If the user's list cannot be read or has another
            number of names, or the benchmark has verbs and nouns.
    """
    shipped = class_names(benchmark)
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


def read_list(
    benchmark: Benchmark, source: ListFile, split: str, names: Names
) -> tuple[Form, list[Clip | LeftOut]]:
    """The clips of an annotation file, whose form its content tells.

    Returns:
        The form of the file; clips, and those that a rule leaves out.

    Raises:
        ListFileError: If it has none of the known forms, a row is wrong, or
            labels are absent from another set than the test set.
    """
    forms = [Form(**form) for form in benchmark.forms]
    for form in forms:
        rows = form.rows(source)
        if not rows:
            continue
        column = form.split_column
        clips = [
            form.clip(row, names)
            for row in rows
            if column is None or row[column] == split
        ]
        found = [clip for clip in clips if clip is not None]
        unlabelled = any(isinstance(c, Clip) and not c.labels for c in found)
        if unlabelled and split != 'test':
            raise ListFileError(
                f"'{source.path}': there are no labels, so this can only be "
                f"the test set, not '{split}'."
            )
        return form, found
    known = '; '.join(form.title for form in forms)
    raise ListFileError(
        f"'{source.path}' starts with {source.lines[0][1][:80]!r}, which is "
        f'no form of {benchmark.title} known here: {known}.'
    )
