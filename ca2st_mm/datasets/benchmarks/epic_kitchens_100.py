# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-KITCHENS-100: verbs and nouns of segments of long videos."""

from .annotations import (
    Annotations,
    Benchmark,
    Clip,
    Form,
    Task,
)
from .source import (
    Row,
    Source,
    has_cells,
    has_columns,
    has_integers,
)
from .unlabelled import (
    TIMES,
    TITLE,
    unlabelled_reader,
)

COUNTS = dict(train=67_217, val=9_668)
_PLAIN = ('narration_id', 'verb_class', 'noun_class')


def _clip(row: Row, task: Task) -> Clip:
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


def read_official(source: Source, task: Task) -> Annotations:
    """The official CSV, with times."""
    return Annotations([_clip(row, task) for row in source.rows()])


def read_plain(source: Source, task: Task) -> Annotations:
    """``id,verb,noun`` without header or times."""
    return Annotations([_clip(row, task) for row in source.rows(_PLAIN)])


def read_below_header(source: Source, task: Task) -> Annotations:
    """The same three columns first, below a header, and others behind."""
    rows = list(source.rows(_PLAIN))[1:]
    return Annotations([_clip(row, task) for row in rows])


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
            read_official,
            COUNTS,
        ),
        Form(
            "the CAST authors' list 'id,verb,noun'",
            has_cells(3, integers=(1, 2)),
            read_plain,
            COUNTS,
        ),
        Form(
            "the CA2ST authors' CSV with header, as 'epic100_*_gpt2_xl.csv'",
            # verb, noun, start_frame, stop_frame; more columns may follow.
            has_integers((1, 2, 12, 13), row=1),
            read_below_header,
            COUNTS,
        ),
        Form(
            TITLE,
            has_columns('narration_id', *TIMES),
            unlabelled_reader('narration_id'),
        ),
    ),
    untrimmed=True,
)
