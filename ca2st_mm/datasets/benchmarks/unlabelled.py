# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Test sets whose labels their owners keep: clips for submissions alone."""

from collections.abc import Callable

from .annotations import (
    Annotations,
    Clip,
    Task,
)
from .source import BenchmarkError, Row, Source

TITLE = 'official times of the test set, without labels'
TIMES = ('video_id', 'start_timestamp', 'stop_timestamp')


def unlabelled_reader(
    column: str,
) -> Callable[[Source, Task], Annotations]:
    """A reader of a CSV with the ids and times of clips.

    Args:
        column: Name of the column of ids; the files of trimmed clips are
            called like them.
    """

    def read(source: Source, task: Task) -> Annotations:
        if task.split != 'test':
            raise BenchmarkError(
                f"'{source.path}' has no labels, so it can only be the test "
                f"set, not '{task.split}'."
            )
        return Annotations([_clip(row, column) for row in source.rows()])

    return read


def _clip(row: Row, column: str) -> Clip:
    return Clip(
        id=row[column],
        labels=(),
        names=(row[column],),
        video=(row['video_id'],),
        start=row.seconds('start_timestamp'),
        end=row.seconds('stop_timestamp'),
    )
