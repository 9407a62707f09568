# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""KineticsSound: the 31 classes of Kinetics-400 that one can hear.

There is a training and a test set; the latter also validates.  Length of
sound, views and no SpecAugment: our choice, the authors' are not known.
"""

_base_ = './common_dense_sound.py'

dataset = dict(data_root='data/kinetics_sound', num_classes=31)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dict(dataset, ann_file='test.csv'))
test_dataloader = dict(dataset=dict(dataset, ann_file='test.csv'))
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='AudioVisualAccMetric')
)
test_evaluator = val_evaluator
