# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-SOUNDS: 44 classes of sound, 4 s each.

Clips are trimmed files, or spans (``start``, ``end``) of whole videos.  No
SpecAugment: our choice, whether the authors trained with it is not known.
"""

_base_ = './common_segments_sound.py'

dataset = dict(data_root='data/epic_sounds', num_classes=44)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='SoundEventMetric')
)
test_evaluator = val_evaluator
