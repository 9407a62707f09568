# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: bottlenecks of a quarter of the width."""

_base_ = '../../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], ratio=1 / 4)
width = dict(embed_dims=768 // 4)
model = dict(
    backbone=dict(links=[link], time_encoders=dict(imgs=width, audios=width))
)
