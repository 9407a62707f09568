# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on EPIC-KITCHENS-100.

The authors' recipe is not known; this is the one of EPIC-SOUNDS.  For the
unseen kitchens alone their notebook has 35.12 % action top-1.
"""

_base_ = [
    '../_base_/models/cava_vit-base.py',  # drop path: our choice
    '../_base_/datasets/epic_kitchens100_audio_visual.py',
    '../_base_/schedules/adamw_50e.py',  # our choice, as on EPIC-SOUNDS
    '../_base_/default_runtime.py',
]

fetch = {
    'data/epic_kitchens100/train.csv': (
        'list the training segments of EPIC-KITCHENS-100 with the '
        'columns file,start,end,verb,noun'
    ),
    'data/epic_kitchens100/val.csv': (
        'list the validation segments of EPIC-KITCHENS-100 with the '
        'columns file,start,end,verb,noun'
    ),
}
model = dict(
    backbone=dict(
        experts=dict(
            audio=dict(spec_size=(400, 128)),  # 4 s: our choice
        ),
    ),
    cls_head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=97,
        num_nouns=300,
        # Both classifiers read one sum.
        fusions=dict(
            verb=dict(
                in_channels=dict(audio=768, spatial=768),
                adapters=dict(
                    audio=dict(type='ResidualAdapter'),
                    spatial=dict(type='ResidualAdapter'),
                ),
            ),
            noun='verb',
        ),
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='MultiStreamDataPreprocessor',
        # Pictures are mixed, spectrograms get a box of the partner's.  Our
        # choice, as on EPIC-SOUNDS; the authors' is unknown.
        blending=dict(
            type='MultiStreamBlending',
            alpha=0.8,
            prob=0.9,
            cut=('audios',),
        ),
    ),
)
# Our choice, as on EPIC-SOUNDS; the authors' are unknown.
optim_wrapper = dict(
    accumulative_counts=4,
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(layer_decay=0.8),
)
param_scheduler = [dict(_base_.param_scheduler[0], min_ratio=2e-3)]  # to 1e-6
# Our choice, as on EPIC-SOUNDS; the authors' is unknown.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
)
default_hooks = dict(
    checkpoint=dict(save_best='acc/action_top1'),
    linear_scaling=dict(type='LinearScalingHook', base_batch_size=256),
)
