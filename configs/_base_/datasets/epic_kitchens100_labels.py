# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Classes and numbers of EPIC-KITCHENS-100, for its other files.

The lists of unseen participants and tail classes come with the annotations;
set an entry to None to do without its numbers.
"""

dataset = dict(
    data_root='data/epic_kitchens100', num_classes=dict(verb=97, noun=300)
)
lists = 'data/epic_kitchens100/annotations/EPIC_100'
val_evaluator = dict(
    type='ReadableClips',
    metric=dict(
        type='EpicKitchensMetric',
        unseen_participants=f'{lists}_unseen_participant_ids_validation.csv',
        tail_verbs=f'{lists}_tail_verbs.csv',
        tail_nouns=f'{lists}_tail_nouns.csv',
    ),
)
test_evaluator = val_evaluator
