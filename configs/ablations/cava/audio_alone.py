# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: the audio expert alone."""

_base_ = '../../cava/cava_vggsound.py'

audio = _base_.model.backbone.experts.audio.to_dict()
model = dict(
    backbone=dict(
        experts=dict(_delete_=True, audio=audio),
        inputs=dict(_delete_=True, audio='audios'),
        links=[],
        time_encoders=None,
    ),
    cls_head=dict(
        in_channels=dict(_delete_=True, audio=768),
        adapters=dict(_delete_=True, audio=dict(type='ResidualAdapter')),
    ),
)
