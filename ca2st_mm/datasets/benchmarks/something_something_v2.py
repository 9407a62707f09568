# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Something-Something V2."""

from collections.abc import Iterator

from .benchmark import Benchmark, Clip, Form, Task, read_path_label
from .label_files import Row, Source, has_keys, is_path_label

COUNTS = dict(train=168_913, val=24_777)


def read_official(source: Source, task: Task) -> Iterator[Clip]:
    """The official JSON; a class is a template without its brackets."""
    for row in source.records:
        template = row['template'].replace('[', '').replace(']', '')
        named = Row(row.where, dict(template=template))
        label = named.class_of('template', task.names['label'])
        yield Clip(row['id'], (label,), (row['id'],))


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
        Form(
            'official JSON',
            has_keys('id', 'template'),
            read_official,
            COUNTS,
        ),
        Form("list 'file label'", is_path_label, read_path_label, COUNTS),
    ),
)
