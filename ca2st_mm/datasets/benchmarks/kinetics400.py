# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400."""

from .benchmark import (
    Benchmark,
    Clip,
    Form,
    Task,
    each_row,
    read_path_label,
)
from .label_files import Row, has_columns, is_path_label


def _clip(row: Row, task: Task) -> Clip:
    """A row of the official CSV: class name, YouTube id, times."""
    name = row['youtube_id']
    first, last = row.integer('time_start'), row.integer('time_end')
    # What downloaders call the file, with and without the times.
    names = (f'{name}_{first:06d}_{last:06d}', name)
    label = row.class_of('label', task.names['label'])
    return Clip(names[0], (label,), names)


is_official = has_columns('label', 'youtube_id', 'time_start', 'time_end')
read_official = each_row(_clip)

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
        # No counts: the official lists have changed over the years, and
        # lists of the second form name the videos that were still available.
        Form('official CSV', is_official, read_official),
        Form("list 'file label'", is_path_label, read_path_label),
    ),
)
