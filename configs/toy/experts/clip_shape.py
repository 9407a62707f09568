# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The toy's spatial expert learns appearance from single frames."""

_base_ = [
    '../../_base_/models/toy_experts.py',
    '../../_base_/datasets/toy.py',
    '../../_base_/toy_training.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(_base_.clip, **_base_.from_scratch),
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=2,
        in_channels=_base_.embed_dims,
        topk=(1,),
        average_clips='prob',
    ),
    data_preprocessor=_base_.imgs_preprocessor,
)

# Labels of one factor instead of the twelve classes.
test_pipeline = _base_.expert_frames_pipeline
factor = dict(classes='classes_shape.txt', pipeline=test_pipeline)
train_dataloader = dict(dataset=dict(factor, ann_file='train_shape.csv'))
val_dataloader = dict(dataset=dict(factor, ann_file='val_shape.csv'))
test_dataloader = dict(dataset=dict(factor, ann_file='test_shape.csv'))
val_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy',))
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=_base_.expert_checkpoint)
work_dir = 'work_dirs/toy/clip_shape'
