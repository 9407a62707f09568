# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: late fusion in three extra layers.

Our choice: they are whole layers, trained from scratch.
"""

_base_ = '../../ca2st/ca2st_ek100.py'

links = [dict(link, start_layer=12) for link in _base_.model.backbone.links]
more = dict(extra_layers=3)
experts = dict(spatial=more, temporal=more, audio=more)
model = dict(backbone=dict(links=links, experts=experts))
