# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 6: CLIP, VideoMAE of Kinetics-400."""

_base_ = '../t1/b_cast.py'

start = dict(checkpoint='zoo://videomae_vit-base-p16_k400-pre')
model = dict(backbone=dict(experts=dict(temporal=dict(init_cfg=start))))
