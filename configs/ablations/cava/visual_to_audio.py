# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: from the frames to audio only."""

_base_ = '../../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], axes=(None, 'all'))
model = dict(backbone=dict(links=[link]))
