# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The spatial expert alone, an ordinary backbone of ``Recognizer3D``.

Adapters and final norm are trained; ``adapter_ratio=None, frozen_parts=()``
trains the expert itself.  The recipe is that of CAST (our choice).
"""

_base_ = [
    '../_base_/datasets/kinetics400_rgb.py',
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
    type='Recognizer3D',
    backbone=dict(
        type='CLIPExpert',
        num_frames=8,
        frame_stride=2,  # of the 16 frames that CAST reads
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='zoo://clip_vit-base-p16_openai'
        ),
    ),
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=400,
        in_channels=768,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        format_shape='NCTHW',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)
# Recognizer3D takes the pictures alone, not a dict of streams.
pack = dict(
    type='PackActionInputs', meta_keys=('img_shape', 'filename', 'clip_id')
)
train_pipeline = _base_.train_pipeline[:-1] + [pack]
val_pipeline = _base_.val_pipeline[:-1] + [pack]
test_pipeline = _base_.test_pipeline[:-1] + [pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
)
