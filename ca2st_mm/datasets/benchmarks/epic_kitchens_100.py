# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-KITCHENS-100: verbs and nouns of segments of long videos."""

from .benchmark import (
    TIMES,
    UNLABELLED,
    Benchmark,
    Clip,
    Form,
    Task,
    each_row,
    unlabelled,
)
from .label_files import Row, has_cells, has_columns

COUNTS = dict(train=67_217, val=9_668)
_PLAIN = ('narration_id', 'verb_class', 'noun_class')


def _clip(row: Row, task: Task) -> Clip:
    """A narration; lists of the authors have no times."""
    name = row['narration_id']
    return Clip(
        id=name,
        labels=tuple(
            row.index(f'{kind}_class', task.names[kind])
            for kind in ('verb', 'noun')
        ),
        names=(name,),
        # A narration is called as its video, and numbered.
        video=(name.rpartition('_')[0],),
        start=row.seconds('start_timestamp'),
        end=row.seconds('stop_timestamp'),
    )


BENCHMARK = Benchmark(
    name='epic_kitchens_100',
    title='EPIC-KITCHENS-100',
    folder='epic_kitchens100',
    classes=dict(verb=97, noun=300),
    class_files=dict(
        verb='epic_kitchens_100_verb.txt', noun='epic_kitchens_100_noun.txt'
    ),
    lists=dict(
        train=('EPIC_100_train.csv', 'epic100_train_gpt2_xl.csv', 'train.csv'),
        val=(
            'EPIC_100_validation.csv',
            'epic100_val_gpt2_xl.csv',
            'val.csv',
        ),
        test=('EPIC_100_test_timestamps.csv',),
    ),
    forms=(
        Form(
            'official CSV',
            has_columns(*_PLAIN, 'start_timestamp', 'stop_timestamp'),
            each_row(_clip),
            COUNTS,
        ),
        Form(
            "the CAST authors' list 'id,verb,noun'",
            has_cells(1, 2, count=3),
            each_row(_clip, _PLAIN),
            COUNTS,
        ),
        Form(
            "the CA2ST authors' CSV with header, as 'epic100_*_gpt2_xl.csv'",
            # verb, noun, start_frame, stop_frame; more columns may follow.
            has_cells(1, 2, 12, 13, row=1),
            each_row(_clip, _PLAIN, skip=1),
            COUNTS,
        ),
        Form(
            UNLABELLED,
            has_columns('narration_id', *TIMES),
            unlabelled('narration_id'),
        ),
    ),
    untrimmed=True,
)
