# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VGG-Sound: ten seconds of video and audio each."""

from .benchmark import (
    FILE_TEXT_LABEL,
    Benchmark,
    Clip,
    Form,
    Task,
    each_row,
    file_text_label,
)
from .label_files import Row, has_cells


def _official(row: Row, task: Task) -> Clip | None:
    """``vggsound.csv``: YouTube id, start, class name, split."""
    if row['split'] != task.split:
        return None
    label = row.class_of('label', task.names['label'])
    name = f'{row["id"]}_{row.integer("start"):06d}'
    return Clip(name, (label,), (name,))


def _file_class(row: Row, task: Task) -> Clip:
    """``train.csv`` and ``test.csv``: file, class name."""
    label = row.class_of('class', task.names['label'])
    return Clip(row['file'], (label,), (row['file'],))


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
            has_cells(1, count=4),
            each_row(_official, ('id', 'start', 'label', 'split')),
            # 291 more than in train.csv and test.csv
            # (github.com/hche11/VGGSound/issues/19).
            dict(train=183_971, test=15_496),
        ),
        Form(
            "official list 'file,class'",
            has_cells(count=2),
            each_row(_file_class, ('file', 'class')),
            dict(train=183_730, test=15_446),
        ),
        Form(
            "the authors' list 'file,text,label' with header",
            has_cells(2, count=3, row=1),
            each_row(file_text_label, FILE_TEXT_LABEL, skip=1),
            # A selection ("sel"): its size is not published.
        ),
    ),
)
