# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""ActivityNet 1.3: actions in long videos."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .source import (
    BenchmarkError,
    Row,
    Source,
    has_columns,
)

_SUBSETS = dict(train='training', val='validation')


def _clip(
    video: str, number: int, label: int, span: tuple[float, float]
) -> Clip:
    """One instance; trimmed files are called id_number (from 0)."""
    name = f'{video}_{number}'
    return Clip(
        name, (label,), (f'v_{name}', name), (f'v_{video}', video), *span
    )


def is_official(source: Source) -> bool:
    """Whether this is the JSON with all videos."""
    return isinstance(source.json, dict) and 'database' in source.json


def read_official(source: Source, task: Task) -> Annotations:
    """The official JSON: one clip per annotated segment of the subset."""
    clips = []
    for video, facts in source.json['database'].items():
        where = f"'{source.path}', video {video}"
        if Row(where, facts)['subset'] != _SUBSETS[task.split]:
            continue
        for number, instance in enumerate(facts.get('annotations', ())):
            row = Row(where, instance)
            label = row.class_of('label', task.names['label'])
            clips.append(_clip(video, number, label, _span(row)))
    return Annotations(clips)


def _span(row: Row) -> tuple[float, float]:
    """First and last second of an instance.

    Raises:
        BenchmarkError: If it has no two times.
    """
    times = row.cells.get('segment') or ()
    times = Row(row.where, dict(zip(('start', 'end'), times, strict=False)))
    span = times.seconds('start'), times.seconds('end')
    if None in span:
        raise BenchmarkError(f'{row.where}: a segment without two times.')
    return span


def read_csv(source: Source, task: Task) -> Annotations:
    """``video_id,t_start,t_end,video_duration,label`` with header.

    The label is a class index or a class name.

    Raises:
        BenchmarkError: If a row has no times.
    """
    clips, numbers = [], {}
    names = task.names['label']
    for row in source.rows():
        video = row['video_id'].removeprefix('v_')
        span = row.seconds('t_start'), row.seconds('t_end')
        if None in span:
            raise BenchmarkError(f'{row.where}: t_start or t_end is empty.')
        find = row.index if row['label'].isdecimal() else row.class_of
        number = numbers[video] = numbers.get(video, -1) + 1
        clips.append(_clip(video, number, find('label', names), span))
    return Annotations(clips)


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
        Form('official JSON', is_official, read_official),
        Form(
            "the authors' CSV with t_start and t_end",
            has_columns('video_id', 't_start', 't_end', 'label'),
            read_csv,
        ),
    ),
    untrimmed=True,
)
