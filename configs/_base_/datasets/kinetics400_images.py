# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Kinetics-400, one frame of each of 8 segments, for image models.

The manifests are those of ``kinetics400_rgb.py``.
"""

data_root = 'data/kinetics400'

rand_augment = dict(
    # The authors' policy is timm's rand-m7-n4-mstd0.5-inc1, four operations
    # of probability 1/2.  The closest that needs no further package:
    # torchvision's, two operations, magnitude 21 of 30.
    type='TorchVisionWrapper',
    op='RandAugment',
    num_ops=2,
    magnitude=21,
    interpolation=2,  # bilinear
)
pack = dict(
    type='PackActionInputs',
    meta_keys=('img_shape', 'filename'),
)
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=1, num_clips=8),
    dict(type='DecodeVideo'),
    rand_augment,
    dict(
        type='RandomResizedCrop',
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
    ),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCHW'),
    pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    # The authors validate on random frames; ours are the centres of the
    # segments, so that the best checkpoint does not depend on luck.
    dict(type='UniformSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCHW'),
    pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=8, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCHW'),
    pack,
]

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='train.csv',
        num_classes=400,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='val.csv',
        num_classes=400,
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='AudioVisualDataset',
        data_root=data_root,
        ann_file='val.csv',
        num_classes=400,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
