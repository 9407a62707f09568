# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""An annotation file as text, rows or JSON, with errors that say where."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from mmengine.fileio import get_text


class BenchmarkError(ValueError):
    """A benchmark cannot be prepared; the message names thing and cure."""


class Row:
    """One row: cells by column name, and where it stands.

    Args:
        where: File and line, for messages.
        cells: Cells by column name.
    """

    def __init__(self, where: str, cells: Mapping[str, Any]) -> None:
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
        if not text.isdecimal():
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
        """A class index that must agree with a class name beside it.

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

    Raises:
        BenchmarkError: If it is empty.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = get_text(path).lstrip('\ufeff').strip()
        if not self.text:
            raise BenchmarkError(f"The annotation file '{path}' is empty.")

    @cached_property
    def lines(self) -> list[str]:
        """Lines, none of them blank."""
        return [line for line in self.text.splitlines() if line.strip()]

    @cached_property
    def table(self) -> list[list[str]]:
        """Comma-separated cells."""
        try:
            return [[c.strip() for c in row] for row in csv.reader(self.lines)]
        except csv.Error as error:
            raise BenchmarkError(
                f"'{self.path}' is no table of comma-separated cells: {error}."
            ) from error

    @cached_property
    def json(self) -> Any:
        """The one JSON value; None if the file is something else."""
        if self.text[0] not in '{[':
            return None
        try:
            return json.loads(self.text)
        except json.JSONDecodeError:
            return None

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows of a table.

        Args:
            columns: Their names; None where the first line has them.
        """
        first = 0 if columns else 1
        header = columns or self.table[0]
        for number, cells in enumerate(self.table[first:], start=first + 1):
            where = f"'{self.path}', row {number}"
            yield Row(where, dict(zip(header, cells, strict=False)))

    def json_lines(self) -> Iterator[Row]:
        """One JSON object a line.

        Raises:
            BenchmarkError: If a line holds something else.
        """
        for number, line in enumerate(self.lines, start=1):
            where = f"'{self.path}', line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise BenchmarkError(
                    f'{where} is not JSON ({error.msg}); one object a line.'
                ) from error
            if not isinstance(record, dict):
                raise BenchmarkError(f'{where} is not a JSON object.')
            yield Row(where, record)


def has_columns(*columns: str) -> Callable[[Source], bool]:
    """A test: the first line is a header with (at least) these columns."""
    return lambda source: set(columns) <= set(source.table[0])


def has_integers(
    columns: Sequence[int], row: int = 0
) -> Callable[[Source], bool]:
    """A test: a row has whole numbers in these columns.

    Args:
        columns: Numbers of the columns, from 0.
        row: Row to look at; 1 below a header of unknown words.
    """

    def matches(source: Source) -> bool:
        if len(source.table) <= row:
            return False
        cells = dict(enumerate(source.table[row]))
        return all(cells.get(i, '').isdecimal() for i in columns)

    return matches


def has_cells(
    count: int, integers: Sequence[int], row: int = 0
) -> Callable[[Source], bool]:
    """A test: a row has this many cells, these of them whole numbers.

    Args:
        count: Number of cells.
        integers: Columns of whole numbers; the others hold anything.
        row: As in :func:`has_integers`.
    """
    numbers = has_integers(integers, row)
    return lambda source: numbers(source) and len(source.table[row]) == count
