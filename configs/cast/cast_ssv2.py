# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on Something-Something V2; the authors report 71.6 % (2 x 3 views)."""

_base_ = [
    '../_base_/models/cast_vit-base.py',
    '../_base_/datasets/something_something_v2_rgb.py',
    '../_base_/schedules/adamw_50e.py',
    '../_base_/default_runtime.py',
]

fetch = {
    'data/something_something_v2/train.csv': (
        'list the training clips of Something-Something V2 with the '
        'columns file,label'
    ),
    'data/something_something_v2/val.csv': (
        'list the validation clips of Something-Something V2 with the '
        'columns file,label'
    ),
}
videomae = 'zoo://videomae_vit-base-p16_ssv2-ft'
drops = dict(drop_path_rate=0.3)
link = dict(_base_.model.backbone.links[0], **drops)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=drops,
            temporal=dict(drops, init_cfg=dict(checkpoint=videomae)),
        ),
        links=[link],
    ),
    cls_head=dict(num_classes=174),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        blending=dict(
            type='MultiStreamBlending',
            alpha=0.8,
            prob=0.9,
        ),
    ),
)
# The authors: 6 clips a GPU x 4 accumulation steps x 16 GPUs.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
)
optim_wrapper = dict(accumulative_counts=4)
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(
        type='LinearScalingHook',
        base_batch_size=256,
        recipe_batch_size=384,
    ),
)
