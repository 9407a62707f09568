# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The spatial expert alone, an ordinary backbone of ``Recognizer3D``.

Adapters and final norm are trained; ``adapter_ratio=None, frozen_parts=()``
trains the expert itself.  The recipe is that of CAST (our choice).
"""

_base_ = ['../_base_/datasets/dense.py', '../_base_/training.py']

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

# Recognizer3D takes a plain tensor of frames.
pack = dict(
    type='PackActionInputs', meta_keys=('img_shape', 'filename', 'clip_id')
)
train_pipeline = [*_base_.train_frames, pack]
val_pipeline = [*_base_.val_frames, pack]
# Five clips times three crops.
test_sample = dict(_base_.test_sample, num_clips=5)
test_pipeline = [_base_.open_video, test_sample, *_base_.test_views, pack]
dataset = dict(data_root='data/kinetics400', num_classes=400)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))

max_epochs = 70
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(_base_.warmup_cosine, end=max_epochs)]
