# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Lists of clips in any form: tables, lines ``path label``, JSON."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ca2st_mm.utils.text_files import ListFileError, lines_of, read_text


class Row:
    """One row: cells by column name, and where it stands.

    >>> row = Row('line 1', dict(name='run', stop='00:01:02.5'))
    >>> row.class_of('name', ['walk', 'run']), row.seconds('stop')
    (1, 62.5)

    Args:
        where: File and line, for messages.
        cells: Cells by column name.
        line: Number of the line, or of the JSON record.

    Raises:
        ListFileError: If there are no named cells.
    """

    def __init__(
        self, where: str, cells: Mapping[str, Any], line: int = 0
    ) -> None:
        if not isinstance(cells, Mapping):
            raise ListFileError(f'{where} is not a JSON object.')
        self.where, self.cells, self.line = where, cells, line

    def get(self, column: str) -> str:
        """The text of a cell without blanks around it; empty if absent."""
        value = self.cells.get(column)
        return '' if value is None else str(value).strip()

    def __getitem__(self, column: str) -> str:
        text = self.get(column)
        if not text:
            raise ListFileError(
                f"{self.where}: the column '{column}' is empty or absent."
            )
        return text

    def index(self, column: str, size: int | None = None) -> int:
        """The whole number from 0 in a cell, below ``size``.

        Raises:
            ListFileError: If it is no such number, or out of range.
        """
        text = self[column]
        if not is_index(text):
            raise ListFileError(
                f'{self.where}: {column} {text!r} is not a whole number '
                'from 0.'
            )
        if size is not None and int(text) >= size:
            raise ListFileError(
                f'{self.where}: {column} {int(text)} is out of range for '
                f'{size} classes (0 to {size - 1}).'
            )
        return int(text)

    def class_of(self, column: str, names: Sequence[str]) -> int:
        """The class whose name stands in a cell.

        Raises:
            ListFileError: If no class is called so.
        """
        name = self[column]
        if name not in names:
            raise ListFileError(
                f'{self.where}: {name!r} is none of the {len(names)} classes; '
                'compare the spelling, or name your classes with --classes.'
            )
        return names.index(name)

    def seconds(self, column: str) -> float | None:
        """A time as seconds or ``hours:minutes:seconds``; None if empty.

        Raises:
            ListFileError: If it is neither.
        """
        if not self.get(column):
            return None
        try:
            value = 0.0
            for part in self[column].split(':'):
                value = 60 * value + float(part)
        except ValueError:
            value = -1.0
        if not 0 <= value < float('inf'):
            raise ListFileError(
                f'{self.where}: {column} {self[column]!r} is not a time in '
                'seconds or hours:minutes:seconds.'
            )
        return value


class ListFile:
    """A list as text, table, lines ``path label`` or JSON.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.txt') as file:
    ...     _ = file.write('run 1.mp4 3\\n')
    ...     file.flush()
    ...     [row] = ListFile(file.name).path_labels()
    >>> row['file'], row.index('label', 4)
    ('run 1.mp4', 3)

    Args:
        path: The file; anything MMEngine opens.
        encoding: Fallback for a file that is not UTF-8.

    Attributes:
        lines: Number and text of each line that is not blank.

    Raises:
        ListFileError: If it is empty or no text.
        FileNotFoundError: If there is no such file.
    """

    def __init__(self, path: str, encoding: str | None = None) -> None:
        self.path = path
        self.text = read_text(path, encoding)
        numbered = enumerate(lines_of(self.text), start=1)
        self.lines = [(n, line) for n, line in numbered if line.strip()]
        if not self.lines:
            raise ListFileError(f"The list '{path}' is empty.")

    def head(self, count: int = 1) -> list[list[str]]:
        """Cells of the first rows, or of none if these are no table.

        They tell the form of a list; the rest of it may be wrong.
        """
        try:
            rows = csv.reader(line for _, line in self.lines[:count])
            return [[cell.strip() for cell in row] for row in rows]
        except csv.Error:
            return []

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of each row that is not blank.

        Cells are as they stand, with blanks and with line breaks in quotes.
        Where the first row has blanks after its commas, those after the
        commas of all rows are left out.

        Raises:
            ListFileError: If quotes are left open; names the line.
        """
        reader = csv.reader(
            io.StringIO(self.text, newline=''),
            strict=True,  # else an open quote swallows the rows below it
            skipinitialspace=', ' in self.lines[0][1],
        )
        line = 1
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise ListFileError(
                f"'{self.path}', line {line}: {error}; a value with commas, "
                'quotes or line breaks stands in double quotes, quotes in it '
                'are doubled.'
            ) from error

    def table(
        self, columns: Sequence[str] = (), skip: int = 0
    ) -> Iterator[Row]:
        """Rows of comma-separated cells.

        Args:
            columns: Names of the first columns; none where the first row
                has the names of all.
            skip: Rows above the first, besides those names.

        Raises:
            ListFileError: If quotes are left open, or a row has more values
                than there are names in the first row.
        """
        rows = self.cells()
        for _ in range(skip):
            next(rows)
        names = columns or [name.strip() for name in next(rows)[1]]
        for line, cells in rows:
            where = f"'{self.path}', line {line}"
            surplus = '' if columns else ''.join(cells[len(names) :])
            if surplus.strip():
                raise ListFileError(
                    f'{where}: {len(cells)} values for the {len(names)} '
                    f'columns {",".join(names)}; put values with commas into '
                    'quotes.'
                )
            yield Row(where, dict(zip(names, cells, strict=False)), line)

    def path_labels(self, required: bool = True) -> Iterator[Row]:
        """Lines ``path label`` as rows with the columns ``file, label``.

        The path may hold blanks.

        Raises:
            ListFileError: If a required label is absent.
        """
        for line, text in self.lines:
            where = f"'{self.path}', line {line}"
            file, *label = text.strip().rsplit(maxsplit=1)
            if required and not label:
                raise ListFileError(
                    f"{where}: expected 'path label', got {text!r}."
                )
            yield Row(where, dict(file=file, label=''.join(label)), line)

    def has_path_labels(self) -> bool:
        """Whether the first line is ``path label``."""
        first = next(self.path_labels(required=False))
        return is_index(first.get('label')) and first['file'][-1] != ','

    @cached_property
    def json(self) -> Any:
        """The one JSON value; None if the file is something else."""
        if self.text.lstrip()[0] not in '{[':
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def records(self) -> list[Row]:
        """JSON objects: one a line, a list, or columns as pandas writes.

        None of them if the file holds something else.

        Raises:
            ListFileError: If a later line is no JSON, or a record no object.
        """
        values, unit = self.json, 'record'
        if values is None:
            values, unit = self._json_lines(), 'line'
        elif isinstance(values, dict):
            columns = list(values.values())
            if columns and all(isinstance(c, dict) for c in columns):
                # DataFrame.to_json(): column -> index -> cell
                values = [
                    {name: cells.get(i) for name, cells in values.items()}
                    for i in columns[0]
                ]
            else:
                values = [values]
        return [
            Row(f"'{self.path}', {unit} {number}", cells, number)
            for number, cells in enumerate(values, start=1)
        ]

    def _json_lines(self) -> list:
        """The JSON value of each line; none if the first has none."""
        values = []
        for number, line in self.lines:
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if not values:
                    break
                raise ListFileError(
                    f"'{self.path}', line {number} is not JSON; expected one "
                    'object on each line.'
                ) from error
        return values


def is_index(text: str) -> bool:
    """Whether a text is a whole number from 0, of a usual length.

    >>> is_index('12'), is_index('-1'), is_index(''), is_index('9' * 5000)
    (True, False, False, False)
    """
    return text.isdecimal() and len(text) < 10
