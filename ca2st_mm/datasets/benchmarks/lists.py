# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Plain lists that several benchmarks share."""

from .annotations import Annotations, Clip, Task
from .source import BenchmarkError, Row, Source


def split_path_label(line: str) -> tuple[str, str]:
    """Path and label of a line; the path may hold blanks.

    Returns:
        Both; the label is empty where the line has no blank.
    """
    path, _, label = line.strip().rpartition(' ')
    return (path.strip(), label) if path else (label, '')


def is_path_label(source: Source) -> bool:
    """Whether the first line is ``path label``."""
    path, label = split_path_label(source.lines[0])
    return bool(path) and label.isdecimal()


def path_label_rows(source: Source) -> list[Row]:
    """Lines ``path label`` as rows with the columns ``file, label``.

    Raises:
        BenchmarkError: If a line has no label.
    """
    rows = []
    for number, line in enumerate(source.lines, start=1):
        where = f"'{source.path}', line {number}"
        path, label = split_path_label(line)
        if not label:
            raise BenchmarkError(
                f"{where}: expected 'path label', got {line.strip()!r}."
            )
        rows.append(Row(where, dict(file=path, label=label)))
    return rows


def read_path_label(source: Source, task: Task) -> Annotations:
    """Lines ``path label``, as MMAction2 and the CA2ST authors write."""
    names = task.names['label']
    return Annotations(
        [
            Clip(row['file'], (row.index('label', names),), (row['file'],))
            for row in path_label_rows(source)
        ]
    )


def read_file_text_label(source: Source, task: Task) -> Annotations:
    """Rows ``file, class name, class index`` without a header.

    Raises:
        BenchmarkError: If name and index contradict each other.
    """
    return _file_text_label(source.rows(('file', 'text', 'label')), task)


def read_file_text_label_below_header(
    source: Source, task: Task
) -> Annotations:
    """The same rows below a header, whatever its words."""
    rows = list(source.rows(('file', 'text', 'label')))
    return _file_text_label(rows[1:], task)


def _file_text_label(rows, task: Task) -> Annotations:
    names = task.names['label']
    return Annotations(
        [
            Clip(
                row['file'],
                (row.checked_index('label', 'text', names),),
                (row['file'],),
            )
            for row in rows
        ]
    )
