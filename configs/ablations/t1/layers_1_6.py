# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""As CAST, Table 1f, of the first layers; not in the paper."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], layers=range(6))
model = dict(backbone=dict(links=[link]))
