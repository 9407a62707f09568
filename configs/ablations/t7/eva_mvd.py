# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: EVA and MVD."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

experts = dict(spatial=_base_.eva, temporal=_base_.mvd)
model = dict(backbone=dict(experts=experts))
