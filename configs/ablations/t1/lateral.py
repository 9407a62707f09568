# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1b: a lateral connection in each layer, linear and add."""

_base_ = './b_cast.py'

link = dict(
    type='LateralLink',
    between=('spatial', 'temporal'),
    axes=('same', 'same'),
    drop_path_rate=0.2,
)
model = dict(backbone=dict(links=[link]))
