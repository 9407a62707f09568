# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Steps of a picture pipeline that the benchmarks share.

The authors' settings; theirs are random erasing of probability 0 and a
colour jitter without effect, so neither is here.
"""

_base_ = './common_loaders.py'

# Theirs is timm's rand-m7-n4-mstd0.5-inc1: four operations, each with
# probability 1/2, the same for all frames.  Ours does that with torchvision's
# operations, at a fixed magnitude (21 of 30 is 7 of 10), as timm is not
# needed otherwise.
rand_augment = [
    dict(
        type='RandomApply',
        prob=0.5,
        transforms=[dict(type='RandAugmentFrames', num_ops=1, magnitude=21)],
    )
] * 4
random_crop = [
    dict(
        type='RandomResizedCrop',
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
    ),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
]
flip = dict(type='Flip', flip_ratio=0.5)
centre_crop = [
    dict(type='Resize', scale=(-1, 224)),  # short side
    dict(type='CenterCrop', crop_size=224),
]
three_crops = [
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
]
pack = dict(
    type='PackActionInputs',
    collect_keys=('imgs',),
    meta_keys=('img_shape', 'filename', 'clip_id'),
)
