# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: bottlenecks of an eighth of the width."""

_base_ = '../../ca2st/ca2st_ek100.py'

links = [dict(link, ratio=1 / 8) for link in _base_.model.backbone.links]
width = dict(embed_dims=768 // 8)
model = dict(
    backbone=dict(links=links, time_encoders=dict(imgs=width, audios=width))
)
