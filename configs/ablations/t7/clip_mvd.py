# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: CLIP and MVD."""

_base_ = '../t1/b_cast.py'

# A ViT-B like VideoMAE; get its weights from MVD's authors.
start = dict(checkpoint='data/weights/mvd_vit-base-p16.pth')
model = dict(backbone=dict(experts=dict(temporal=dict(init_cfg=start))))
