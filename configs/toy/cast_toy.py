# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on the toy data set: appearance and motion, no audio."""

_base_ = [
    '../_base_/models/toy_experts.py',
    '../_base_/datasets/toy.py',
    '../_base_/toy_training.py',
]

model = dict(
    type='MultiExpertRecognizer',
    backbone=dict(
        type='MultiExpertBackbone',
        experts=dict(
            spatial=dict(_base_.clip, init_cfg=_base_.clip_init),
            temporal=dict(_base_.videomae, init_cfg=_base_.videomae_init),
        ),
        inputs=dict(spatial='imgs', temporal='imgs'),
        links=[
            dict(
                type='BottleneckCrossAttention',
                between=('spatial', 'temporal'),
                axes=('time', 'space'),
                num_heads=4,
            ),
        ],
    ),
    cls_head=dict(
        type='FusionHead',
        num_classes=12,
        in_channels=dict(
            spatial=_base_.embed_dims, temporal=_base_.embed_dims
        ),
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        preprocessors=dict(imgs=_base_.imgs_preprocessor),
    ),
)

test_pipeline = _base_.frames_pipeline
train_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy',))
test_evaluator = val_evaluator
work_dir = 'work_dirs/toy/cast_toy'
