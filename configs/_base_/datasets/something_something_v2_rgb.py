# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Something-Something V2: the direction of a motion makes the class."""

_base_ = './common_segments.py'

dataset = dict(data_root='data/something_something_v2', num_classes=174)
# No flips: pushing from left to right is a class of its own.
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'Flip'
]
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(type='ReadableClips', metric=dict(type='ClipAccMetric'))
test_evaluator = val_evaluator
