# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: identity, adapters in place of the links (18.1 M)."""

_base_ = './b_cast.py'

link = dict(
    type='AdapterLink',
    between=('spatial', 'temporal'),
    axes=('self', 'self'),
    drop_path_rate=0.2,
)
model = dict(backbone=dict(links=[link]))
