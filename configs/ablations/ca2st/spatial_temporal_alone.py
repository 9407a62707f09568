# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: the spatial and the temporal expert exchange, audio joins late."""

_base_ = '../../ca2st/ca2st_ek100.py'

links = _base_.model.backbone.links[:1]
model = dict(backbone=dict(links=links, time_encoders=None))
