# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on EPIC-KITCHENS-100; the authors report 49.3 % action top-1.

The temporal expert predicts the verb, the spatial one the noun.
"""

_base_ = [
    '../_base_/models/cast_vit-base.py',
    '../_base_/datasets/segments.py',
    '../_base_/training.py',
]

videomae = 'zoo://videomae_vit-base-p16_ek100-pre'
model = dict(
    backbone=dict(
        experts=dict(temporal=dict(init_cfg=dict(checkpoint=videomae))),
    ),
    cls_head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=97,
        num_nouns=300,
        # No adapters: the pooled features go straight to a classifier.
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
)

pack = dict(type='PackAudioVisual', streams=('imgs',))
train_pipeline = [*_base_.train_frames, pack]
val_pipeline = [*_base_.val_frames, pack]
test_pipeline = [*_base_.test_frames, pack]
dataset = dict(
    data_root='data/epic_kitchens100', num_classes=dict(verb=97, noun=300)
)
# The authors: 6 clips a GPU x 4 accumulated batches x 16 GPUs.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
    dataset=dict(dataset, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(dataset, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=test_pipeline))
# The lists of unseen participants and tail classes come with the annotations;
# None leaves their numbers out.
lists = 'data/epic_kitchens100/annotations/EPIC_100'
val_evaluator = dict(
    metric=dict(
        type='EpicKitchensMetric',
        unseen_participants=f'{lists}_unseen_participant_ids_validation.csv',
        tail_verbs=f'{lists}_tail_verbs.csv',
        tail_nouns=f'{lists}_tail_nouns.csv',
    ),
)
test_evaluator = val_evaluator

optim_wrapper = dict(accumulative_counts=4)
default_hooks = dict(
    checkpoint=dict(save_best='acc/action_top1'),
    linear_scaling=dict(recipe_batch_size=384),
)
