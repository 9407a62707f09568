# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Experts and links that several rows have."""

videomae_k400 = dict(
    _delete_=True,
    type='VideoMAEExpert',
    num_frames=16,
    drop_path_rate=0.2,
    init_cfg=dict(
        type='Pretrained', checkpoint='zoo://videomae_vit-base-p16_k400-ft'
    ),
)
in21k = dict(
    _delete_=True,
    type='TimmExpert',
    model='vit_base_patch16_224.augreg_in21k',
    frame_stride=2,
    frozen_parts=('embed', 'layers'),  # the final norm is trained
    drop_path_rate=0.2,
)
# Our choice: the paper does not say which EVA of this size.
eva = dict(in21k, model='eva02_base_patch16_clip_224.merged2b')
# A ViT-B like VideoMAE; its weights are at github.com/ruiwang2021/mvd.
mvd = dict(init_cfg=dict(checkpoint='data/weights/mvd_vit-base-p16.pth'))

pair = dict(between=('spatial', 'temporal'), drop_path_rate=0.2)
# The paper does not say which positions it has.  With these, which the names
# of parameters in the authors' code suggest, the number of parameters is
# theirs.
cross_attention = dict(
    pair,
    type='CrossAttentionLink',
    axes=('time', 'space'),
    positions=('learned', dict(context='learned_joint')),
)
