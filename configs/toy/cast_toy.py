# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on the toy: appearance and motion, no sound."""

_base_ = [
    '../_base_/models/toy_experts.py',
    '../_base_/datasets/toy_rgb.py',
    '../_base_/schedules/toy_adamw.py',
    '../_base_/toy_runtime.py',
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
                axes=dict(spatial='time', temporal='space'),
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
        type='MultiModalDataPreprocessor',
        preprocessors=dict(imgs=_base_.imgs_preprocessor),
    ),
)
# A multi-expert model takes its streams by name, even a single one.
test_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(
        type='PackActionInputs',
        collect_keys=('imgs',),
        meta_keys=('img_shape', 'filename'),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
work_dir = 'work_dirs/toy/cast_toy'
