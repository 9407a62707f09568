# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1h: VideoMAE is spatial, CLIP temporal."""

_base_ = './b_cast.py'

known = _base_.model.backbone.experts
spatial = dict(known.temporal, _delete_=True)
temporal = dict(known.spatial, _delete_=True)
model = dict(backbone=dict(experts=dict(spatial=spatial, temporal=temporal)))
