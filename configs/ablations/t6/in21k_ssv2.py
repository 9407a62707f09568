# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 6: ViT of ImageNet-21K, VideoMAE of Something-Something V2."""

_base_ = ['../t1/b_cast.py', '../_base_/parts.py']

start = dict(checkpoint='zoo://videomae_vit-base-p16_ssv2-pre')
experts = dict(spatial=_base_.in21k, temporal=dict(init_cfg=start))
model = dict(backbone=dict(experts=experts))
