# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: as cross_attention.py, then an adapter (93.0 M)."""

_base_ = ['./b_cast.py', '../_base_/parts.py']

link = dict(_base_.cross_attention, adapter_ratio=0.25)
model = dict(backbone=dict(links=[link]))
