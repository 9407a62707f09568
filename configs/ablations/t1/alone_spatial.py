# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1a: the spatial expert alone, a part of the ensemble."""

_base_ = './b_cast.py'

experts = dict(
    _delete_=True, spatial=_base_.model.backbone.experts.spatial.to_dict()
)
fusion = dict(
    in_channels=dict(spatial=768),
    adapters=dict(spatial=dict(type='Identity')),
)
model = dict(
    backbone=dict(
        links=[], experts=experts, inputs=dict(_delete_=True, spatial='imgs')
    ),
    cls_head=dict(fusions=dict(_delete_=True, verb=fusion, noun='verb')),
)
