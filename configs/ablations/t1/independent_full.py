# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""CAST, Table 1a: independent experts, fine-tuned as a whole."""

_base_ = './b_cast.py'

whole = dict(adapter_ratio=None, frozen_parts=())
model = dict(
    backbone=dict(links=[], experts=dict(spatial=whole, temporal=whole))
)
