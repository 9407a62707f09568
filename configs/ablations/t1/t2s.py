# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1g: from the temporal to the spatial expert only."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], axes=('time', None))
model = dict(backbone=dict(links=[link]))
