# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""An annotation file as text, rows or JSON, with errors that say where."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ca2st_mm.utils.text_files import ListFileError, lines_of, read_text


class BenchmarkError(ListFileError):
    """A benchmark cannot be prepared; says what is wrong and what to do."""


class Row:
    """One row: cells by column name, and where it stands.

    >>> row = Row('line 1', dict(name='run', stop='00:01:02.5'))
    >>> row.class_of('name', ['walk', 'run']), row.seconds('stop')
    (1, 62.5)

    Args:
        where: File and line, for messages.
        cells: Cells by column name.

    Raises:
        BenchmarkError: If there are no named cells.
    """

    def __init__(self, where: str, cells: Mapping[str, Any]) -> None:
        if not isinstance(cells, Mapping):
            raise BenchmarkError(f'{where} is not a JSON object.')
        self.where = where
        self.cells = cells

    def __getitem__(self, column: str) -> str:
        text = str(self.cells.get(column, '')).strip()
        if not text:
            raise BenchmarkError(
                f"{self.where}: the column '{column}' is empty or absent."
            )
        return text

    def integer(self, column: str) -> int:
        """The whole number in a cell, from 0.

        Raises:
            BenchmarkError: If it is none.
        """
        text = self[column]
        if not is_number(text):
            raise BenchmarkError(
                f'{self.where}: {column} {text!r} is not a number from 0.'
            )
        return int(text)

    def index(self, column: str, names: Sequence[str]) -> int:
        """The class index in a cell.

        Args:
            column: Name of the column.
            names: Names of all classes.

        Raises:
            BenchmarkError: If it is no index into ``names``.
        """
        index = self.integer(column)
        if index >= len(names):
            raise BenchmarkError(
                f'{self.where}: {column} {index} is out of range for '
                f'{len(names)} classes (0 to {len(names) - 1}).'
            )
        return index

    def class_of(self, column: str, names: Sequence[str]) -> int:
        """The class whose name stands in a cell.

        Raises:
            BenchmarkError: If no class is called so.
        """
        name = self[column]
        if name not in names:
            raise BenchmarkError(
                f'{self.where}: {name!r} is none of the {len(names)} classes; '
                'compare the spelling, or name your classes with --classes.'
            )
        return names.index(name)

    def checked_index(
        self, column: str, text: str, names: Sequence[str]
    ) -> int:
        """A class index that must agree with a class name next to it.

        Args:
            column: Column of the index.
            text: Column of the name.
            names: Names of all classes.

        Raises:
            BenchmarkError: If the two contradict each other.
        """
        index = self.index(column, names)
        if names[index] != self[text]:
            raise BenchmarkError(
                f'{self.where}: class {index} is called {self[text]!r}, but '
                f'{names[index]!r} in our list; give the class names in the '
                'order of your file with --classes.'
            )
        return index

    def seconds(self, column: str) -> float | None:
        """A time as seconds or ``hours:minutes:seconds``; None if empty.

        Raises:
            BenchmarkError: If it is neither.
        """
        if self.cells.get(column) in (None, ''):
            return None
        try:
            value = 0.0
            for part in self[column].split(':'):
                value = 60 * value + float(part)
        except ValueError:
            value = -1.0
        if not 0 <= value < float('inf'):
            raise BenchmarkError(
                f'{self.where}: {column} {self[column]!r} is not a time.'
            )
        return round(value, 6)


class Source:
    """An annotation file.

    Args:
        path: The file; anything MMEngine opens.
        encoding: Fallback for a file that is not UTF-8.

    Raises:
        BenchmarkError: If it is empty or no text.
    """

    def __init__(self, path: str, encoding: str | None = None) -> None:
        self.path = path
        try:
            self.text = read_text(path, encoding).strip()
        except ListFileError as error:
            raise BenchmarkError(str(error)) from error
        if not self.text:
            raise BenchmarkError(f"The annotation file '{path}' is empty.")

    @cached_property
    def lines(self) -> list[str]:
        """Lines, none of them blank."""
        return [line for line in lines_of(self.text) if line.strip()]

    @cached_property
    def table(self) -> list[list[str]]:
        """Comma-separated cells of the rows that are not blank.

        Raises:
            BenchmarkError: If quotes are left open or a cell is endless.
        """
        reader = csv.reader(io.StringIO(self.text, newline=''), strict=True)
        try:
            rows = [[cell.strip() for cell in row] for row in reader]
        except csv.Error as error:
            raise BenchmarkError(
                f"'{self.path}', line {reader.line_num}: no table of "
                f'comma-separated cells ({error}).'
            ) from error
        return [row for row in rows if any(row)]

    @cached_property
    def json(self) -> Any:
        """The one JSON value; None if the file is something else."""
        if self.text[0] not in '{[':
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def rows(
        self, columns: Sequence[str] = (), skip: int = 0
    ) -> Iterator[Row]:
        """Rows of a table.

        Args:
            columns: Their names; none where the first line has them.
            skip: Rows above the first, besides those names.
        """
        first = skip if columns else 1
        header = columns or self.table[0]
        for number, cells in enumerate(self.table[first:], start=first + 1):
            where = f"'{self.path}', row {number}"
            yield Row(where, dict(zip(header, cells, strict=False)))

    @cached_property
    def records(self) -> list[Row] | None:
        """JSON objects: one a line, a list, or columns as pandas writes.

        None if the file holds something else.
        """
        value, unit = self.json, 'record'
        if value is None:
            value, unit = self._json_lines(), 'line'
            if value is None:
                return None
        elif isinstance(value, dict):
            columns = list(value.values())
            if all(isinstance(column, dict) for column in columns):
                # DataFrame.to_json(): column -> index -> cell
                indices = columns[0] if columns else ()
                value = [
                    {name: cells.get(i) for name, cells in value.items()}
                    for i in indices
                ]
            else:
                value = [value]
        return [
            Row(f"'{self.path}', {unit} {number}", cells)
            for number, cells in enumerate(value, start=1)
        ]

    def _json_lines(self) -> list | None:
        """The JSON value of each line; None if the first has none."""
        values = []
        for number, line in enumerate(self.lines, start=1):
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if not values:
                    return None
                raise BenchmarkError(
                    f"'{self.path}', line {number} is not JSON; expected one "
                    'object on each line.'
                ) from error
        return values

    def path_labels(self) -> Iterator[Row]:
        """Lines ``path label`` as rows with the columns ``file, label``.

        The path may hold blanks.  A line without a label has none.
        """
        for number, line in enumerate(self.lines, start=1):
            path, _, label = line.strip().rpartition(' ')
            cells = dict(file=path.strip() or label, label=path and label)
            yield Row(f"'{self.path}', line {number}", cells)


def is_number(text: str) -> bool:
    """Whether a text is a whole number from 0, of a usual length.

    Args:
        text: Any text.
    """
    return text.isdecimal() and len(text) < 10


def has_columns(*columns: str) -> Callable[[Source], bool]:
    """A test: the first line is a header with (at least) these columns."""
    return lambda source: set(columns) <= set(_first_rows(source, 1)[0])


def has_cells(
    *integers: int, count: int | None = None, row: int = 0
) -> Callable[[Source], bool]:
    """A test: a row has whole numbers in these columns.

    Args:
        *integers: Columns of whole numbers, from 0; others hold anything.
        count: Number of cells; None: any.
        row: Row to look at; 1 below a header of unknown words.
    """

    def matches(source: Source) -> bool:
        rows = _first_rows(source, row + 1)
        if len(rows) <= row or count not in (None, len(rows[row])):
            return False
        cells = dict(enumerate(rows[row]))
        return all(is_number(cells.get(i, '')) for i in integers)

    return matches


def has_keys(*keys: str) -> Callable[[Source], bool]:
    """A test: these are JSON objects, the first with (at least) these keys."""
    return lambda source: (
        bool(source.records) and set(keys) <= set(source.records[0].cells)
    )


def is_path_label(source: Source) -> bool:
    """A test: the first line is ``path label``."""
    return is_number(next(source.path_labels()).cells['label'])


def _first_rows(source: Source, count: int) -> list[list[str]]:
    """The first rows, as they tell the form; the rest may be wrong."""
    try:
        rows = csv.reader(source.lines[:count])
        return [[cell.strip() for cell in row] for row in rows] or [[]]
    except csv.Error:
        return [[]]
