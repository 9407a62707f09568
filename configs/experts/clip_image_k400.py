# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The spatial expert on single images, a backbone of ``Recognizer2D``.

A 4-D batch of images is a clip of one frame; the head averages eight of them.
The recipe is that of CAST (our choice).
"""

_base_ = ['../_base_/datasets/dense.py', '../_base_/training.py']

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

image_format = dict(type='FormatShape', input_format='NCHW')
pack = dict(
    type='PackActionInputs', meta_keys=('img_shape', 'filename', 'clip_id')
)
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=1, num_clips=8),
    dict(type='DecodeVideo'),
    _base_.rand_augment,
    *_base_.random_crop,
    dict(type='Flip', flip_ratio=0.5),
    image_format,
    pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    dict(type='UniformSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    _base_.centre_crop,
    image_format,
    pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    _base_.three_crops,
    image_format,
    pack,
]
dataset = dict(data_root='data/kinetics400', num_classes=400)
train_dataloader = dict(dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))

max_epochs = 70
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(_base_.warmup_cosine, end=max_epochs)]
