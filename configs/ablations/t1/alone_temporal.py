# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1a: the temporal expert alone, a part of the ensemble."""

_base_ = './b_cast.py'

own = dict(_delete_=True, temporal=_base_.model.backbone.experts.temporal)
inputs = dict(_delete_=True, temporal='imgs')
model = dict(
    backbone=dict(links=[], experts=own, inputs=inputs),
    cls_head=dict(fusions=dict(noun='verb')),
)
