# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""VGG-Sound: 309 classes of sound, ten seconds each.

There is a training and a test set; the latter also validates.
"""

_base_ = './common_dense_sound.py'

dataset = dict(data_root='data/vggsound', num_classes=309)
train_pipeline = [
    *_base_.train_pipeline[:-1],
    _base_.mask_spectrogram,
    _base_.pack_with_sound,
]
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, ann_file='test.csv'))
test_dataloader = dict(dataset=dict(dataset, ann_file='test.csv'))
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='AudioVisualAccMetric')
)
test_evaluator = val_evaluator
