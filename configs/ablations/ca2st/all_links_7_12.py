# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: all links in the layers 7 to 12."""

_base_ = '../../ca2st/ca2st_ek100.py'

links = [dict(link, start_layer=6) for link in _base_.model.backbone.links]
model = dict(backbone=dict(links=links))
