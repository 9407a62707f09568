# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The spatial expert on single images, a backbone of ``Recognizer2D``.

A 4-D batch of images is a clip of one frame; the head averages eight of them.
The recipe is that of CAST (our choice).
"""

_base_ = [
    '../_base_/datasets/kinetics400_images.py',
    '../_base_/schedules/adamw_70e.py',
    '../_base_/default_runtime.py',
]

fetch = {
    'data/kinetics400/train.csv': (
        'tools/data/kinetics400/prepare.py writes it from the official lists'
    ),
    'data/kinetics400/val.csv': (
        'tools/data/kinetics400/prepare.py writes it from the official lists'
    ),
}
model = dict(
    type='Recognizer2D',
    backbone=dict(
        type='CLIPExpert',
        num_frames=1,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='zoo://clip_vit-base-p16_openai'
        ),
    ),
    cls_head=dict(
        type='TSNHead',
        num_classes=400,
        in_channels=768,
        spatial_type=None,  # an expert pools its own tokens
        dropout_ratio=0.0,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        format_shape='NCHW',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
)
