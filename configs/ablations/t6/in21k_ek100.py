# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Tables 5 and 6: ViT of ImageNet-21K, VideoMAE of EK100."""

_base_ = '../t1/b_cast.py'

spatial = dict(
    _delete_=True,
    type='TimmExpert',
    model='vit_base_patch16_224.augreg_in21k',
    frame_stride=2,
    frozen_parts=('embed', 'layers'),  # the final norm is trained
    drop_path_rate=0.2,
)
model = dict(backbone=dict(experts=dict(spatial=spatial)))
