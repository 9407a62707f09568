# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on Kinetics-400; the authors report 85.3 % top-1 (5 x 3 views)."""

_base_ = [
    '../_base_/models/cast_vit-base.py',
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
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        # Half of the batches are mixed up.
        blending=dict(type='MultiStreamBlending', alpha=0.8, prob=0.5),
    ),
)
# The authors: 6 clips a GPU x 6 accumulation steps x 16 GPUs.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 6),
)
optim_wrapper = dict(accumulative_counts=6)
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(
        type='LinearScalingHook',
        base_batch_size=256,
        recipe_batch_size=576,
    ),
)
