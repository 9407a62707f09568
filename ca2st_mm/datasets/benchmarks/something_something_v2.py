# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Something-Something V2."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .lists import is_path_label, read_path_label
from .source import Row, Source

COUNTS = dict(train=168_913, val=24_777)


def is_official(source: Source) -> bool:
    """Whether this is a JSON list of clips with templates."""
    records = source.json
    return (
        isinstance(records, list)
        and bool(records)
        and isinstance(records[0], dict)
        and {'id', 'template'} <= set(records[0])
    )


def read_official(source: Source, task: Task) -> Annotations:
    """The official JSON; a class is a template without its brackets."""
    clips = []
    for number, record in enumerate(source.json, start=1):
        row = Row(f"'{source.path}', record {number}", record)
        template = row['template'].replace('[', '').replace(']', '')
        named = Row(row.where, dict(template=template))
        label = named.class_of('template', task.names['label'])
        clips.append(Clip(row['id'], (label,), (row['id'],)))
    return Annotations(clips)


BENCHMARK = Benchmark(
    name='something_something_v2',
    title='Something-Something V2',
    folder='something_something_v2',
    classes=dict(label=174),
    class_files=dict(label='something_something_v2.txt'),
    lists=dict(
        train=('train.json', 'something-something-v2-train.json', 'train.csv'),
        val=(
            'validation.json',
            'something-something-v2-validation.json',
            'val.csv',
        ),
    ),
    forms=(
        Form('official JSON', is_official, read_official, COUNTS),
        Form("list 'file label'", is_path_label, read_path_label, COUNTS),
    ),
)
