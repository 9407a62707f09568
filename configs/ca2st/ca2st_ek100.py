# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST on EPIC-KITCHENS-100.

Of the authors' run we know that bottlenecks are shared and that each stream
has its time encoder, as here.  The rest is the recipe of CAST.  For the unseen
kitchens alone their notebook has 42.35 % action top-1.
"""

_base_ = [
    '../_base_/models/ca2st_vit-base.py',
    '../_base_/datasets/segments.py',
    '../_base_/training.py',  # 50 epochs: our choice, as CAST
]

# Our choice, as CAST; the authors' are unknown.
videomae = 'zoo://videomae_vit-base-p16_ek100-pre'
audio_adapter = dict(type='Adapter', activation='quick_gelu', zero_init=False)
model = dict(
    backbone=dict(
        experts=dict(
            temporal=dict(init_cfg=dict(checkpoint=videomae)),
            audio=dict(spec_size=(400, 128)),  # 4 s: our choice
        ),
    ),
    cls_head=dict(
        _delete_=True,
        type='VerbNounHead',
        num_verbs=97,
        num_nouns=300,
        # The temporal expert serves the verb, the spatial one the noun, audio
        # both.
        fusions=dict(
            verb=dict(
                in_channels=dict(temporal=768, audio=768),
                adapters=dict(
                    temporal=dict(type='Adapter'), audio=audio_adapter
                ),
            ),
            noun=dict(
                in_channels=dict(spatial=768, audio=768),
                adapters=dict(
                    spatial=dict(type='Adapter'), audio=audio_adapter
                ),
            ),
        ),
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
)

dataset = dict(
    data_root='data/epic_kitchens100', num_classes=dict(verb=97, noun=300)
)
# Our choice, as CAST; the authors' is unknown.
train_dataloader = dict(
    batch_size=6,
    sampler=dict(type='WholeStepSampler', clips_per_step=6 * 4),
    dataset=dict(dataset, pipeline=_base_.train_pipeline),
)
val_dataloader = dict(dataset=dict(dataset, pipeline=_base_.val_pipeline))
test_dataloader = dict(dataset=dict(dataset, pipeline=_base_.test_pipeline))
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

optim_wrapper = dict(accumulative_counts=4)  # our choice
default_hooks = dict(checkpoint=dict(save_best='acc/action_top1'))
