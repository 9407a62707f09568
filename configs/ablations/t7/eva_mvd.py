# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: EVA and MVD."""

_base_ = '../t1/b_cast.py'

# Our choice: the paper does not say which EVA of this size.
spatial = dict(
    _delete_=True,
    type='TimmExpert',
    model='eva02_base_patch16_clip_224.merged2b',
    frame_stride=2,
    frozen_parts=('embed', 'layers'),  # the final norm is trained
    drop_path_rate=0.2,
)
# A ViT-B like VideoMAE; get its weights from MVD's authors.
start = dict(checkpoint='data/weights/mvd_vit-base-p16.pth')
experts = dict(spatial=spatial, temporal=dict(init_cfg=start))
model = dict(backbone=dict(experts=experts))
