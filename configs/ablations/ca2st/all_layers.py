# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: audio joins in all layers."""

_base_ = '../../ca2st/ca2st_ek100.py'

links = [dict(link, start_layer=0) for link in _base_.model.backbone.links]
model = dict(backbone=dict(links=links))
