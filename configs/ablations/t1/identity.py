# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1c: identity, adapters in place of the links (18.1 M).

Our choice: the paper does not describe them; those of half the usual hidden
width come to this number.
"""

_base_ = ['./b_cast.py', '../_base_/parts.py']

link = dict(_base_.pair, type='AdapterLink', axes=('self', 'self'))
model = dict(backbone=dict(links=[link]))
