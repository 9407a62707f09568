# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""EPIC-KITCHENS-100, frames only: one of each of 16 segments, 2 x 3 views.

The manifests ``data/epic_kitchens100/{train,val}.csv`` have the columns
``file`` (relative to ``data/epic_kitchens100``), ``verb`` and ``noun``, and
``start`` and ``end`` in seconds where the files are not trimmed.
"""

data_root = 'data/epic_kitchens100'

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
    collect_keys=('imgs',),
    meta_keys=('img_shape', 'filename'),
)
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16),
    dict(type='DecodeVideo'),
    rand_augment,
    dict(
        type='RandomResizedCrop',
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
    ),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    pack,
]
val_pipeline = [
    dict(type='OpenVideo'),
    # The authors validate on random frames; ours are the centres of the
    # segments, so that the best checkpoint does not depend on luck.
    dict(type='UniformSample', clip_len=16, num_clips=1, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    pack,
]
test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=16, num_clips=2, test_mode=True),
    dict(type='DecodeVideo'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
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
        num_classes=dict(verb=97, noun=300),
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
        num_classes=dict(verb=97, noun=300),
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
        num_classes=dict(verb=97, noun=300),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='VerbNounMetric')
test_evaluator = val_evaluator
