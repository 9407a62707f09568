# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST on the toy data set: appearance, motion and audio."""

_base_ = [
    '../_base_/models/toy_experts.py',
    '../_base_/datasets/toy.py',
    '../_base_/toy_training.py',
]

b_ca = dict(type='BottleneckCrossAttention', num_heads=4)
by_time = dict(b_ca, position='timestamp', start_layer=1)
model = dict(
    type='MultiExpertRecognizer',
    backbone=dict(
        type='MultiExpertBackbone',
        experts=dict(
            spatial=dict(_base_.clip, init_cfg=_base_.clip_init),
            temporal=dict(_base_.videomae, init_cfg=_base_.videomae_init),
            audio=dict(_base_.ast, init_cfg=_base_.ast_init),
        ),
        inputs=dict(spatial='imgs', temporal='imgs', audio='audios'),
        share_bottlenecks=True,
        time_encoders=dict(
            imgs=dict(embed_dims=_base_.embed_dims // 2),
            audios=dict(embed_dims=_base_.embed_dims // 2),
        ),
        links=[
            dict(
                b_ca, between=('spatial', 'temporal'), axes=('time', 'space')
            ),
            dict(by_time, between=('spatial', 'audio'), axes=('all', 'all')),
            dict(by_time, between=('temporal', 'audio'), axes=('all', 'all')),
        ],
    ),
    cls_head=dict(
        type='FusionHead',
        num_classes=12,
        in_channels=dict(
            spatial=_base_.embed_dims,
            temporal=_base_.embed_dims,
            audio=_base_.embed_dims,
        ),
        adapters=dict(
            audio=dict(activation='quick_gelu', zero_init=False),
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
work_dir = 'work_dirs/toy/ca2st_toy'
