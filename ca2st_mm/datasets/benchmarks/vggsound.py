# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VGG-Sound: ten seconds of picture and sound each."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .lists import (
    read_file_text_label_below_header,
)
from .source import Source, has_cells

COUNTS = dict(test=15_446)


def read_official(source: Source, task: Task) -> Annotations:
    """``vggsound.csv``: YouTube id, start, class name, split."""
    clips = []
    for row in source.rows(('id', 'start', 'label', 'split')):
        if row['split'] != task.split:
            continue
        label = row.class_of('label', task.names['label'])
        name = f'{row["id"]}_{row.integer("start"):06d}'
        clips.append(Clip(name, (label,), (name,)))
    return Annotations(clips)


def read_file_class(source: Source, task: Task) -> Annotations:
    """``train.csv`` and ``test.csv``: file, class name."""
    names = task.names['label']
    return Annotations(
        [
            Clip(row['file'], (row.class_of('text', names),), (row['file'],))
            for row in source.rows(('file', 'text'))
        ]
    )


BENCHMARK = Benchmark(
    name='vggsound',
    title='VGG-Sound',
    folder='vggsound',
    classes=dict(label=309),
    class_files=dict(label='vggsound.txt'),
    lists={
        split: ('vggsound.csv', f'{split}_sel.csv', f'{split}.csv')
        for split in ('train', 'test')
    },
    forms=(
        Form(
            "official 'vggsound.csv', both splits in one file",
            has_cells(4, integers=(1,)),
            read_official,
            COUNTS,
        ),
        Form(
            "official list 'file,class'",
            has_cells(2, integers=()),
            read_file_class,
            COUNTS,
        ),
        Form(
            "the authors' list 'file,text,label' with header",
            has_cells(3, integers=(2,), row=1),
            read_file_text_label_below_header,
            # A selection ("sel"): its size is not published.
        ),
    ),
)
