# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST on ActivityNet 1.3 as the authors' code trains it.

docs/training.md says what each change does, and what is still ours.
"""

_base_ = './cast_activitynet.py'

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
)

sampling = dict(type='SegmentSample', clip_len=16, rule='reference')
train_pipeline = [
    sampling if 'Sample' in step['type'] else step
    for step in _base_.train_pipeline
]
val_pipeline = [
    sampling if 'Sample' in step['type'] else step
    for step in _base_.val_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
