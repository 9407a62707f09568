# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: cross-attention without adapter (85.9 M)."""

_base_ = ['./b_cast.py', '../_base_/parts.py']

model = dict(backbone=dict(links=[_base_.cross_attention]))
