# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA on VGG-Sound, tested with half of the audio tokens hidden."""

_base_ = '../cava/cava_vggsound.py'

link = dict(_base_.model.backbone.links[0], masked_context=(0.5, 0.0))
model = dict(backbone=dict(links=[link]))
