# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: neither positions nor clock times."""

_base_ = '../../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], position=None)
model = dict(backbone=dict(links=[link], time_encoders=None))
