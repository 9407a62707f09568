# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on VGG-Sound as the authors' code trains it.

docs/training.md says what each change does, and what is still ours.
"""

_base_ = './cava_vggsound.py'

link = dict(
    _base_.model.backbone.links[0],
    drop_path_unit=dict(spatial='token', audio='token'),
)
model = dict(
    backbone=dict(
        experts=dict(
            spatial=dict(drop_path_unit='token', norm_eps=1e-6),
            audio=dict(time_bin_order='time_major', position_fit='squeeze'),
        ),
        links=[link],
    ),
    data_preprocessor=dict(blending=dict(type='ReferenceMultiStreamBlending')),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.released_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.released_val_pipeline))
