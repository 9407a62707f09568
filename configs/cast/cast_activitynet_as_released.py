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

# A span is a share of the number of frames, in tests as well.
open_video = dict(type='OpenShareOfVideo')
sample = _base_.released_sample
pack = _base_.pack
train_pipeline = [open_video, sample, *_base_.train_views, pack]
val_pipeline = [open_video, sample, *_base_.val_views, pack]
test_pipeline = [
    open_video,
    _base_.test_sample,
    *_base_.test_views,
    pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
