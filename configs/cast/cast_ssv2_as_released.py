# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on Something-Something V2 as the authors' code trains it.

docs/training.md says what each change does, and what is still ours.
"""

_base_ = './cast_ssv2.py'

link = dict(
    _base_.model.backbone.links[0],
    drop_path_unit=dict(spatial='token', temporal='sample'),
)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(drop_path_unit='token'),
            temporal=dict(init_cfg=dict(norm=False)),
        ),
        links=[link],
    ),
    # The classifier of VideoMAE.
    cls_head=dict(init_cfg=_base_.model.backbone.experts.temporal.init_cfg),
)

train_pipeline = [
    *[s for s in _base_.released_train_frames if s['type'] != 'Flip'],
    _base_.pack,
]
val_pipeline = [*_base_.released_val_frames, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
