# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA: links in the layers 10 to 12."""

_base_ = '../../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], start_layer=9)
model = dict(backbone=dict(links=[link]))
