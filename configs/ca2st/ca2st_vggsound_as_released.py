# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST on VGG-Sound as the authors' code trains it.

docs/training.md says what each change does, and what is still ours.
"""

_base_ = './ca2st_vggsound.py'

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
            audio=dict(time_bin_order='time_major', position_fit='squeeze'),
        ),
        links=links,
    ),
    data_preprocessor=dict(blending=dict(type='ReferenceMultiStreamBlending')),
)

train_dataloader = dict(dataset=dict(pipeline=_base_.released_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.released_val_pipeline))
