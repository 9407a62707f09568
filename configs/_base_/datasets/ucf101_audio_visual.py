# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""UCF-101 with sound: clips that have a sound track, split 1 of 3.

Its result is the mean over three splits: train and test each, with
``train_split2.csv`` and so on.  There is no validation set; the test set
also validates.  Views, length of sound and no SpecAugment: our choice, the
authors' are not known.
"""

_base_ = './common_dense_sound.py'

dataset = dict(data_root='data/ucf101', num_classes=101)
test_dataset = dict(dataset, ann_file='test_split1.csv')
train_dataloader = dict(dataset=dict(dataset, ann_file='train_split1.csv'))
val_dataloader = dict(dataset=test_dataset)
test_dataloader = dict(dataset=test_dataset)
val_evaluator = dict(
    type='ReadableClips', metric=dict(type='AudioVisualAccMetric')
)
test_evaluator = val_evaluator
