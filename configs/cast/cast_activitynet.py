# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on ActivityNet.

The authors' recipe is not known: it is theirs of Something-Something V2 with
the stochastic depth of EPIC-KITCHENS-100 and Kinetics-400.  What they report
is not known to us.
"""

_base_ = [
    '../_base_/models/cast_vit-base.py',  # drop path: our choice
    '../_base_/datasets/activitynet_rgb.py',
    '../_base_/schedules/adamw_50e.py',  # our choice, as on SSV2
    '../_base_/default_runtime.py',
]

fetch = {
    'data/activitynet/train.csv': (
        'list the training instances of ActivityNet with the '
        'columns file,start,end,label'
    ),
    'data/activitynet/val.csv': (
        'list the validation instances of ActivityNet with the '
        'columns file,start,end,label'
    ),
}
# Our choice: the weights of Kinetics-400; theirs are unknown.
videomae = 'zoo://videomae_vit-base-p16_k400-ft'
model = dict(
    backbone=dict(
        experts=dict(temporal=dict(init_cfg=dict(checkpoint=videomae))),
    ),
    cls_head=dict(
        num_classes=200,
        # The head of the authors' later code, which ActivityNet came with.
        adapters=dict(
            spatial=dict(type='ResidualAdapter'),
            temporal=dict(type='ResidualAdapter'),
        ),
        reduction='mean',
    ),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        # Our choice, as on the other benchmarks; theirs is unknown.
        blending=dict(
            type='MultiStreamBlending',
            alpha=0.8,
            prob=0.9,
        ),
    ),
)
# Our choice, as on the other benchmarks of CAST; theirs is unknown.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
)
optim_wrapper = dict(accumulative_counts=4)  # our choice
default_hooks = dict(
    checkpoint=dict(save_best='acc/top1'),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
)
