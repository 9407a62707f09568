# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Tables 5 and 6: ViT of ImageNet-21K, VideoMAE of EK100."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

model = dict(backbone=dict(experts=dict(spatial=_base_.in21k)))
