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
            audio=dict(clock='transposed', position_fit='squeeze'),
        ),
        links=[link],
    ),
    data_preprocessor=dict(blending=dict(type='ReferenceMultiStreamBlending')),
)

sampling = dict(type='DenseSample', clip_len=16, interval=4)
train_pipeline = [
    sampling if 'Sample' in step['type'] else step
    for step in _base_.train_pipeline[:-1]
] + [dict(type='PackAudioVisual', half_times=True)]
val_pipeline = [
    sampling if 'Sample' in step['type'] else step
    for step in _base_.val_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
