# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAVA with VideoMAE in place of CLIP."""

_base_ = ['../../cava/cava_vggsound.py', '../_base_/parts.py']

model = dict(backbone=dict(experts=dict(spatial=_base_.videomae_k400)))
