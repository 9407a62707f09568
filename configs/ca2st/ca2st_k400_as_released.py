# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST on Kinetics-400 as the authors' code trains it.

docs/training.md says what each change does, and what is still ours.
"""

_base_ = './ca2st_k400.py'

# Tokens of the temporal expert are dropped by sample, as all of ours.
unit = dict(spatial='token', audio='token')
links = [
    dict(
        link,
        drop_path_unit={k: v for k, v in unit.items() if k in link.between},
    )
    for link in _base_.model.backbone.links
]
model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(drop_path_unit='token'),
            temporal=dict(init_cfg=dict(norm=False)),
            audio=dict(time_bin_order='time_major', position_fit='squeeze'),
        ),
        links=links,
    ),
    # The classifier of VideoMAE.
    cls_head=dict(init_cfg=_base_.model.backbone.experts.temporal.init_cfg),
    data_preprocessor=dict(blending=dict(type='ReferenceMultiStreamBlending')),
)

train_pipeline = [
    *_base_.released_train_frames,
    *_base_.train_audio,
    dict(_base_.pack, half_times=True),
]
val_pipeline = [
    *_base_.released_val_frames,
    *_base_.val_audio,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
