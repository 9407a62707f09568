# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on EPIC-KITCHENS-100; the authors report 49.3 % action top-1.

The temporal expert names the verb, the spatial one the noun.
"""

_base_ = [
    '../_base_/models/cast_vit-base.py',
    '../_base_/datasets/epic_kitchens100_rgb.py',
    '../_base_/schedules/adamw_50e.py',
    '../_base_/default_runtime.py',
]

videomae = 'zoo://videomae_vit-base-p16_ek100-pre'
fetch = {
    'data/epic_kitchens100/train.csv': (
        'tools/data/epic_kitchens_100/prepare.py writes it from the '
        'official lists'
    ),
    'data/epic_kitchens100/val.csv': (
        'tools/data/epic_kitchens_100/prepare.py writes it from the '
        'official lists'
    ),
}
model = dict(
    backbone=dict(
        experts=dict(temporal=dict(init_cfg=dict(checkpoint=videomae))),
    ),
    cls_head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=97,
        num_nouns=300,
        # No adapters here: the pooled features go straight to a classifier.
        fusions=dict(
            verb=dict(
                in_channels=dict(temporal=768),
                adapters=dict(temporal=dict(type='Identity')),
            ),
            noun=dict(
                in_channels=dict(spatial=768),
                adapters=dict(spatial=dict(type='Identity')),
            ),
        ),
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
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
    checkpoint=dict(save_best='acc/action_top1'),
    linear_scaling=dict(
        type='LinearScalingHook',
        base_batch_size=256,
        recipe_batch_size=384,
    ),
)
