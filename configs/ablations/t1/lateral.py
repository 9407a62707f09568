# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1b: a lateral connection in each layer, linear and add."""

_base_ = ['./b_cast.py', '../_base_/parts.py']

link = dict(_base_.pair, type='LateralLink', axes=('same', 'same'))
model = dict(backbone=dict(links=[link]))
