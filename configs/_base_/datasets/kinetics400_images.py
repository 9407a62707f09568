# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400 as single images, for an expert without time."""

_base_ = './kinetics400_rgb.py'

pack = dict(
    type='PackActionInputs', meta_keys=('img_shape', 'filename', 'clip_id')
)
image_format = dict(type='FormatShape', input_format='NCHW')
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=1, num_clips=8),
    dict(type='DecodeVideo'),
    *_base_.rand_augment,
    *_base_.random_crop,
    _base_.flip,
    image_format,
    pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    dict(type='UniformSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    *_base_.centre_crop,
    image_format,
    pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    *_base_.three_crops,
    image_format,
    pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
