# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: as cross_attention.py, then an adapter (93.0 M)."""

_base_ = './b_cast.py'

link = dict(
    type='CrossAttentionLink',
    between=('spatial', 'temporal'),
    axes=('time', 'space'),
    positions=('learned', dict(context='learned_joint')),
    adapter_ratio=0.25,
    drop_path_rate=0.2,
)
model = dict(backbone=dict(links=[link]))
