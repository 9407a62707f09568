# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: CLIP and MVD."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

model = dict(backbone=dict(experts=dict(temporal=_base_.mvd)))
