# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CA2ST: links alone, no adapters in the experts."""

_base_ = '../../ca2st/ca2st_ek100.py'

bare = dict(adapter_ratio=None)
model = dict(
    backbone=dict(experts=dict(spatial=bare, temporal=bare, audio=bare))
)
