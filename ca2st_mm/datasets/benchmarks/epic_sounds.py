# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-SOUNDS: what one hears in the videos of EPIC-KITCHENS-100."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    LeftOut,
    Task,
)
from .source import Row, Source, has_columns
from .unlabelled import (
    TIMES,
    TITLE,
    unlabelled_reader,
)

# The CA2ST authors leave this one out and do not say why.
LEFT_OUT = {'P01_03_22': 'the CA2ST authors leave it out, reason unknown'}


def _clip(row: Row, task: Task) -> Clip:
    name = row['annotation_id']
    label = row.checked_index('class_id', 'class', task.names['label'])
    return Clip(
        name,
        (label,),
        (name,),
        (row['video_id'],),
        row.seconds('start_timestamp'),
        row.seconds('stop_timestamp'),
    )


def read_official(source: Source, task: Task) -> Annotations:
    """The official CSV."""
    clips = [_clip(row, task) for row in source.rows()]
    return Annotations(
        [clip for clip in clips if clip.id not in LEFT_OUT],
        [LeftOut(c.id, LEFT_OUT[c.id]) for c in clips if c.id in LEFT_OUT],
    )


BENCHMARK = Benchmark(
    name='epic_sounds',
    title='EPIC-SOUNDS',
    folder='epic_sounds',
    classes=dict(label=44),
    class_files=dict(label='epic_sounds.txt'),
    lists=dict(
        train=('EPIC_Sounds_train.csv',),
        val=('EPIC_Sounds_validation.csv',),
        test=('EPIC_Sounds_recognition_test_timestamps.csv',),
    ),
    forms=(
        Form(
            'official CSV',
            has_columns('annotation_id', 'video_id', 'class', 'class_id'),
            read_official,
            dict(val=8_035),
        ),
        Form(
            TITLE,
            has_columns('annotation_id', *TIMES),
            unlabelled_reader('annotation_id'),
            dict(test=5_131),
        ),
    ),
    untrimmed=True,
)
