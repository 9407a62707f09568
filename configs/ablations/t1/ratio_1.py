# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1d: bottlenecks of the whole of the width."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], ratio=1 / 1)
model = dict(backbone=dict(links=[link]))
