# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1e: windows space and space."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], axes=('space', 'space'))
model = dict(backbone=dict(links=[link]))
