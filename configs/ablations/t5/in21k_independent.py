# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 5: ViT of ImageNet-21K, independent experts."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

experts = dict(spatial=_base_.in21k)
model = dict(backbone=dict(links=[], experts=experts))
