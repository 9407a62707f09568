# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""HD-EPIC-SOUNDS: new kitchens for models of EPIC-SOUNDS, test only."""

from .benchmark import Benchmark, Clip, Form, Task, each_row
from .label_files import Row, has_columns

SAMPLE_RATE = 48_000  # of start_sample and stop_sample
# Some events are shorter than a frame; the authors cut at least this much.
MIN_SECONDS = 1 / 30


def _clip(row: Row, task: Task) -> Clip:
    video = row['video_id']
    first, last = row.integer('start_sample'), row.integer('stop_sample')
    name = f'{video}-{first}-{last}'
    start = first / SAMPLE_RATE
    end = max(last / SAMPLE_RATE, start + MIN_SECONDS)
    label = row.index('class_id', task.names['label'])
    return Clip(name, (label,), (name,), (video,), start, end)


BENCHMARK = Benchmark(
    name='hd_epic_sounds',
    title='HD-EPIC-SOUNDS',
    folder='hd_epic_sounds',
    classes=dict(label=44),
    class_files=dict(label='epic_sounds.txt'),
    lists=dict(test=('HD_EPIC_Sounds.csv',)),
    forms=(
        Form(
            'official CSV',
            has_columns('video_id', 'start_sample', 'stop_sample', 'class_id'),
            each_row(_clip),
            dict(test=50_968),
        ),
    ),
    untrimmed=True,
)
