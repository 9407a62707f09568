# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .lists import is_path_label, read_path_label
from .source import Row, Source, has_columns

is_official = has_columns('label', 'youtube_id', 'time_start', 'time_end')


def file_names(row: Row) -> tuple[str, ...]:
    """What downloaders call the clip of a row of the official CSV."""
    name = row['youtube_id']
    first, last = row.integer('time_start'), row.integer('time_end')
    return (f'{name}_{first:06d}_{last:06d}', name)


def read_official(source: Source, task: Task) -> Annotations:
    """The official CSV: class name, YouTube id, times."""
    names = task.names['label']
    return Annotations(
        [
            Clip(
                file_names(row)[0],
                (row.class_of('label', names),),
                file_names(row),
            )
            for row in source.rows()
        ]
    )


BENCHMARK = Benchmark(
    name='kinetics400',
    title='Kinetics-400',
    folder='kinetics400',
    classes=dict(label=400),
    class_files=dict(label='kinetics400.txt'),
    lists={
        split: (
            f'{split}.csv',
            f'kinetics_{split}.csv',
            f'kinetics400_{split}_list_videos.txt',
        )
        for split in ('train', 'val')
    },
    forms=(
        # The official lists have changed over the years: no one count.
        Form('official CSV', is_official, read_official),
        Form(
            "list 'file label'",
            is_path_label,
            read_path_label,
            dict(val=19_796),
        ),
    ),
)
