# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 7: EVA and VideoMAE."""

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
model = dict(backbone=dict(experts=dict(spatial=spatial)))
