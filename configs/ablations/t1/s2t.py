# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1g: from the spatial to the temporal expert only."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], axes=(None, 'space'))
model = dict(backbone=dict(links=[link]))
