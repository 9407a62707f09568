# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on the toy data set: appearance and audio, no motion."""

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
            audio=dict(_base_.ast, init_cfg=_base_.ast_init),
        ),
        inputs=dict(spatial='imgs', audio='audios'),
        time_encoders=dict(
            imgs=dict(embed_dims=_base_.embed_dims // 2),
            audios=dict(embed_dims=_base_.embed_dims // 2),
        ),
        links=[
            dict(
                type='BottleneckCrossAttention',
                between=('spatial', 'audio'),
                axes=('all', 'all'),
                num_heads=4,
                position='timestamp',
            ),
        ],
    ),
    cls_head=dict(
        type='FusionHead',
        num_classes=12,
        in_channels=dict(spatial=_base_.embed_dims, audio=_base_.embed_dims),
        adapters=dict(
            spatial=dict(type='ResidualAdapter'),
            audio=dict(type='ResidualAdapter'),
        ),
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        preprocessors=dict(
            imgs=_base_.imgs_preprocessor,
            audios=_base_.audios_preprocessor,
        ),
    ),
)
work_dir = 'work_dirs/toy/cava_toy'
