# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA with VideoMAE in place of CLIP."""

_base_ = '../../cava/cava_vggsound.py'

videomae = dict(
    type='VideoMAEExpert',
    num_frames=16,
    drop_path_rate=0.2,
    init_cfg=dict(
        type='Pretrained', checkpoint='zoo://videomae_vit-base-p16_k400-ft'
    ),
)
audio = _base_.model.backbone.experts.audio.to_dict()
adapter = dict(type='ResidualAdapter')
link = dict(_base_.model.backbone.links[0], between=('temporal', 'audio'))
model = dict(
    backbone=dict(
        experts=dict(_delete_=True, temporal=videomae, audio=audio),
        inputs=dict(_delete_=True, temporal='imgs', audio='audios'),
        links=[link],
    ),
    cls_head=dict(
        in_channels=dict(_delete_=True, audio=768, temporal=768),
        adapters=dict(_delete_=True, audio=adapter, temporal=adapter),
    ),
)
