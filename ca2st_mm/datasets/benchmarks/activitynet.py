# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ActivityNet 1.3: actions in long videos."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from .benchmark import Benchmark, Clip, Form, Task
from .label_files import (
    BenchmarkError,
    Row,
    Source,
    has_columns,
    is_number,
)

_SUBSETS = dict(train='training', val='validation')


def _clip(row: Row, video: str, number: int, label: int) -> Clip:
    """One instance; trimmed files are called id_number (from 0)."""
    span = row.seconds('t_start'), row.seconds('t_end')
    if None in span:
        raise BenchmarkError(f'{row.where}: t_start or t_end is absent.')
    name = f'{video}_{number}'
    return Clip(
        name, (label,), (f'v_{name}', name), (f'v_{video}', video), *span
    )


def _database(source: Source) -> Any:
    return isinstance(source.json, dict) and source.json.get('database')


def read_official(source: Source, task: Task) -> Iterator[Clip]:
    """The official JSON: one clip per annotated segment of the subset."""
    for video, facts in _database(source).items():
        where = f"'{source.path}', video {video}"
        facts = Row(where, facts)
        if facts['subset'] != _SUBSETS[task.split]:
            continue
        for number, cells in enumerate(facts.cells.get('annotations') or ()):
            row = Row(where, cells)
            times = row.cells.get('segment')
            if not (isinstance(times, list) and len(times) == 2):
                raise BenchmarkError(f'{where}: a segment without two times.')
            label = row.class_of('label', task.names['label'])
            times = dict(zip(('t_start', 't_end'), times, strict=True))
            yield _clip(Row(where, times), video, number, label)


def read_csv(source: Source, task: Task) -> Iterator[Clip]:
    """``video_id,t_start,t_end,video_duration,label`` with header.

    The label is a class index or a class name.
    """
    names, numbers = task.names['label'], Counter()
    for row in source.rows():
        video = row['video_id'].removeprefix('v_')
        find = row.index if is_number(row['label']) else row.class_of
        yield _clip(row, video, numbers[video], find('label', names))
        numbers[video] += 1


BENCHMARK = Benchmark(
    name='activitynet',
    title='ActivityNet 1.3',
    folder='activitynet',
    classes=dict(label=200),
    class_files=dict(label='activitynet.txt'),
    lists={
        split: (
            'activity_net.v1-3.min.json',
            'activity_net.v1-3.json',
            f'{split}.csv',
        )
        for split in ('train', 'val')
    },
    forms=(
        Form(
            'official JSON',
            lambda source: isinstance(_database(source), dict),
            read_official,
        ),
        Form(
            "the authors' CSV with t_start and t_end",
            has_columns('video_id', 't_start', 't_end', 'label'),
            read_csv,
        ),
    ),
    untrimmed=True,
)
