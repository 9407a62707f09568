# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: EVA and VideoMAE."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

model = dict(backbone=dict(experts=dict(spatial=_base_.eva)))
