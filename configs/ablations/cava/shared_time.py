# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: one encoder of times for both streams."""

_base_ = '../../cava/cava_vggsound.py'

encoders = dict(imgs=dict(embed_dims=384), audios='imgs')
model = dict(backbone=dict(time_encoders=dict(_delete_=True, **encoders)))
