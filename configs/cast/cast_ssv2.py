# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on Something-Something V2; the authors report 71.6 % (2 x 3 views)."""

_base_ = [
    '../_base_/models/cast_vit-base.py',
    '../_base_/datasets/segments.py',
    '../_base_/training.py',
]

videomae = 'zoo://videomae_vit-base-p16_ssv2-ft'
drop_path = dict(drop_path_rate=0.3)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=drop_path,
            temporal=dict(drop_path, init_cfg=dict(checkpoint=videomae)),
        ),
        links=[dict(_base_.model.backbone.links[0], **drop_path)],
    ),
    cls_head=dict(num_classes=174),
)

dataset = dict(data_root='data/something_something_v2', num_classes=174)
pack = dict(type='PackAudioVisual', streams=('imgs',))
# No flips: pushing from left to right is a class of its own.
train_pipeline = [
    *[step for step in _base_.train_frames if step['type'] != 'Flip'],
    pack,
]
val_pipeline = [*_base_.val_frames, pack]
test_pipeline = [*_base_.test_frames, pack]
# The authors: 6 clips a GPU x 4 accumulated batches x 16 GPUs.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
    dataset=dict(dataset, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))

optim_wrapper = dict(accumulative_counts=4)
default_hooks = dict(linear_scaling=dict(recipe_batch_size=384))
