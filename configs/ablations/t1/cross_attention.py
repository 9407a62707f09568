# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: cross-attention without adapter (85.9 M).

The paper does not say which positions it has.  With these, which the names of
parameters in the authors' code suggest, the number of parameters is theirs.
"""

_base_ = './b_cast.py'

link = dict(
    type='CrossAttentionLink',
    between=('spatial', 'temporal'),
    axes=('time', 'space'),
    positions=('learned', dict(context='learned_joint')),
    drop_path_rate=0.2,
)
model = dict(backbone=dict(links=[link]))
