# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1f: links in the layers 4 to 12."""

_base_ = './b_cast.py'

link = dict(_base_.model.backbone.links[0], start_layer=3)
model = dict(backbone=dict(links=[link]))
