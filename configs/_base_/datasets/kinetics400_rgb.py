# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400, pictures only."""

_base_ = './common_dense.py'

dataset = dict(data_root='data/kinetics400', num_classes=400)
# Five clips times three crops.
test_pipeline = [
    dict(step, num_clips=5) if step['type'] == 'DenseSample' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
val_evaluator = dict(type='ReadableClips', metric=dict(type='ClipAccMetric'))
test_evaluator = val_evaluator
