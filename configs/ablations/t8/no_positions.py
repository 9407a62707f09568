# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 8: no position embeddings in B-CAST."""

_base_ = '../t1/b_cast.py'

link = dict(_base_.model.backbone.links[0], position=None)
model = dict(backbone=dict(links=[link]))
