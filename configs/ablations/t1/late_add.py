# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1b: late fusion, add."""

_base_ = './b_cast.py'

fusion = dict(in_channels=dict(spatial=768, temporal=768), reduction='sum')
model = dict(
    backbone=dict(links=[]),
    cls_head=dict(fusions=dict(_delete_=True, verb=fusion, noun='verb')),
)
