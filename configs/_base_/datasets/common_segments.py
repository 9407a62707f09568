# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Pictures of benchmarks whose clips are short: a frame of each segment.

A clip is cut into 16 equal segments.  Where the manifest has ``start`` and
``end``, only that span of the file is looked at.
"""

_base_ = './common_pictures.py'

clip_format = dict(type='FormatShape', input_format='NCTHW')
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16),
    dict(type='DecodeVideo'),
    *_base_.rand_augment,
    *_base_.random_crop,
    _base_.flip,
    clip_format,
    _base_.pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    # The authors validate on random frames; ours are the centres of the
    # segments, so that the best checkpoint does not depend on luck.
    dict(type='UniformSample', clip_len=16, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    *_base_.centre_crop,
    clip_format,
    _base_.pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    # Two clips, starts and centres of the segments, times three crops.
    dict(type='SegmentSample', clip_len=16, num_clips=2, test_mode=True),
    dict(type='DecodeVideo'),
    *_base_.three_crops,
    clip_format,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
