# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: no link between the temporal and the audio expert."""

_base_ = '../../ca2st/ca2st_ek100.py'

model = dict(backbone=dict(links=_base_.model.backbone.links[:2]))
